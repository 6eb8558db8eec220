package content

// Opaque is what can be said of a file of which nothing is known but what it holds now.
type Opaque struct {
	Noise  bool // noise, in letters or not, and nothing that says what it is
	Whole  bool // nothing else than noise
	Open   bool // it says itself that it is encrypted
	Locked bool // an archive that asks for a password
	Names  []string
	Finding
}

// Any tells whether its content is out of reach, by whatever means.
func (o Opaque) Any() bool { return o.Noise || o.Open || o.Locked }

// LookInto tells what a file holds that came from nowhere. Names are those of what a ZIP archive holds, as far as was looked.
func LookInto(version *Version) (Opaque, error) {
	v, err := look(version, nil)
	if err != nil {
		return Opaque{}, err
	}
	p, err := check(v)
	if err != nil {
		return Opaque{}, err
	}
	o := Opaque{Open: v.format == Encrypted, Locked: p.locked, Finding: v.figures()}
	if v.format == "zip" {
		b := &budgeted{view: v, left: maxParsed}
		entries, _, _ := zipDirectory(b)
		for _, e := range entries {
			o.Names = append(o.Names, e.name)
		}
		if b.err != nil {
			return Opaque{}, b.err
		}
	}
	if v.format != Unknown && v.format != Text && p.health != Broken {
		return o, nil
	}
	noise, encoded := v.noiseShare(), encodedShare(v, 0)
	o.Whole = noise >= 0.9 || encoded >= 0.99
	o.Noise = noise >= 0.2 || random(v.head(), 0) || spread(v.head()) || encoded >= 0.6
	return o, nil
}

// noiseShare returns the share of what was read that is noise, 0 if what seems to be has the bias of a compressor.
func (v *view) noiseShare() float64 {
	var h histogram
	total := 0
	for _, p := range v.pieces {
		for at := 0; at < len(p.data); at += unit {
			if b := p.data[at:min(at+unit, len(p.data))]; random(b, 0) {
				h.add(b)
			}
		}
		total += len(p.data)
	}
	if total == 0 || !h.uniform() {
		return 0
	}
	return float64(h.n) / float64(total)
}
