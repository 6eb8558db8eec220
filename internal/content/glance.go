package content

const (
	minGlanced  = 64 << 10 // bytes of a file from which a glance takes less than a look
	glancedAt   = 6        // places between head and end
	glancedSize = WindowSize
)

// glance judges a longer file by a few windows, of which every one is noise, where the former content had something else at the
// same places. sure is false where that does not settle it; then little was read.
func glance(c Case) (f Finding, sure bool, err error) {
	if c.New.Size < minGlanced || c.New.Share() < 1 || !c.New.allChanged() || c.Old == nil || c.Old.Data == nil || NamedEncrypted(c.New.Name) {
		return f, false, nil
	}
	now, err := look(c.New, []Span{{0, glancedSize}})
	if err != nil || now.format != Unknown || !now.noise() {
		return f, false, err
	}
	places := []Span{{0, glancedSize}}
	step := (c.New.Size - 2*glancedSize) / glancedAt
	for k := range int64(glancedAt) {
		at := glancedSize + k*step + (step-glancedSize)*(k*5%8)/8 // not at equal distances
		places = append(places, Span{at, at + glancedSize})
	}
	places = append(places, Span{c.New.Size - glancedSize, c.New.Size})
	if now, err = look(c.New, places); err != nil || !now.noise() {
		return f, false, err
	}
	was, err := look(c.Old, places)
	if err != nil || was.format == Encrypted || was.noise() {
		return f, false, err
	}
	f = now.figures()
	compare(&f, c, was, now, parse{}, parse{})
	return f, f.Encrypted(), nil
}

// allChanged tells whether nothing of a version is known to be as it was.
func (v *Version) allChanged() bool {
	return v.Changed == nil || len(v.Changed) == 1 && v.Changed[0].From == 0 && v.Changed[0].To >= v.Size
}

// noise tells whether every piece cannot be told from noise.
func (v *view) noise() bool {
	for _, p := range v.pieces {
		var h histogram
		if h.add(p.data); !h.uniform() {
			return false
		}
	}
	return len(v.pieces) > 0
}
