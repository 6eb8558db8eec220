package content

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// Case is one file whose content is to be judged against what it was.
type Case struct {
	Name    string   // of the good version, or of what stands there if none is known
	Old     *Version // nil: nothing is known of a good version
	New     *Version
	Renamed bool // the good version is gone from its name
}

// Examine tells whether a file was made unreadable by somebody else than its owner. Of long files it reads some places only. An
// error is one of reading.
func Examine(c Case) (Finding, error) {
	if f, sure, err := glance(c); err != nil || sure {
		return f, err
	}
	now, err := look(c.New, nil)
	if err != nil {
		return Finding{}, err
	}
	parsed, err := check(now)
	if err != nil {
		return Finding{}, err
	}
	f := now.figures()
	f.Locked = parsed.locked
	f.Open = parsed.locked || now.format == Encrypted
	if sound(now, parsed) {
		return f, nil
	}
	if c.Old == nil || c.Old.Data == nil {
		f.Open = f.Open || NamedEncrypted(c.New.Name)
		alone(&f, c, now)
		return f, nil
	}
	was, err := look(c.Old, now.places())
	if err != nil {
		return Finding{}, err
	}
	before, err := check(was)
	if err != nil {
		return Finding{}, err
	}
	if parsed.why != "" && before.health == Sound && now.format == was.format {
		parsed.health = Broken
	}
	if was.format == Encrypted && now.format == Encrypted {
		if stale(was, now) {
			f.Open, f.Features = false, []string{Noise, Interleaved}
			return f, nil
		}
		return f.closed(), nil // as it was: a volume, a safe for passwords
	}
	f.Open = f.Open || NamedEncrypted(c.New.Name) && (c.Old.Name != c.New.Name || was.format == Encrypted || was.format == Unknown && random(was.head(), 0))
	compare(&f, c, was, now, before, parsed)
	if len(f.Features) > 0 && f.Features[0] == Encoded && was.format == Encrypted {
		f.Open = false // no tool writes its own noise in letters under the same name
	}
	return f, nil
}

// nonces tells after how many bytes a fresh nonce has appeared in a file that a tool encrypted anew (KDBX 3.1 and 4; age v1; OpenSSL's enc;
// ansible-vault 1.1 and 1.2).
var nonces = map[string]int{"\x03\xd9\xa2\x9a": 96, "age-encryption.org/": 80, "Salted__": 16, "$ANSIBLE_VAULT;": 128}

// stale tells whether an encrypted file has the old nonce, and all behind it is new: whoever knew the key would have taken another one.
func stale(was, now *view) bool {
	n := common(was.head(), now.head())
	for magic, nonce := range nonces {
		if !bytes.HasPrefix(now.head(), []byte(magic)) || n < nonce {
			continue
		}
		d := contrastOf(was, now)
		return d.fresh >= unit && d.same < n+unit
	}
	return false
}

// common returns how many bytes two heads have in common.
func common(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// closed returns the finding of a file that nobody but its owner could read before.
func (f Finding) closed() Finding {
	f.Open, f.Features = false, nil
	return f
}

// sound tells whether a file is what it says, so that nothing in it needs an explanation.
func sound(v *view, p parse) bool {
	return v.format != Unknown && v.format != Text && v.format.packed() && p.health == Sound && !v.hollow() && !p.wrapped
}

// figures sums up the windows of a version.
func (v *view) figures() Finding {
	s := v.sample()
	return Finding{Entropy: s.Entropy(), Chi2: s.Chi2()}
}

// sample makes of what was read what a stream would have given.
func (v *view) sample() Sample {
	s := Sample{Size: v.version.Size, Format: v.format}
	for _, p := range v.pieces {
		for k := range 8 {
			s.add(p.data[min(k*WindowSize, len(p.data)):min((k+1)*WindowSize, len(p.data))])
		}
	}
	return s
}

// alone judges a file of which no good version is known: by what its name promises, and by how well it was stored.
func alone(f *Finding, c Case, now *view) {
	var was Former
	if c.Old != nil {
		was.Plain, was.Stored = c.Old.Plain, c.Old.Stored
	}
	found := Judge(c.Name, was, now.sample(), c.Renamed)
	f.Features = found.Features
	if len(f.Features) > 0 {
		return
	}
	if expected := Expected(c.Name); encodedShare(now, 0) >= 0.6 && expected != Unknown && expected != Text {
		f.Features = []string{Encoded, FormatLost}
	}
}

// compare lists what tells the new version from the old one.
func compare(f *Finding, c Case, was, now *view, before, parsed parse) {
	d := contrastOf(was, now)
	if d.same == d.total && c.Old.Size == c.New.Size {
		return // nothing was done to it
	}
	primary := d.primary(was, now, before, parsed)
	f.Was = was.format
	if primary == "" {
		f.Replaced = replaced(was, now, before, parsed)
		f.Cut = d.total > 0 && d.same == d.total && c.New.Size < c.Old.Size
		return
	}
	f.Features = []string{primary}
	switch expected := was.format; {
	case expected == Unknown:
		if primary == Encoded { // letters where no text was
			f.Features = append(f.Features, FormatLost)
		}
	case expected != now.format, expected == Text != (primary == Encoded):
		f.Features = append(f.Features, FormatLost)
	}
	if primary != Unparseable && now.format == was.format && parsed.health == Broken && before.health != Broken {
		f.Features = append(f.Features, Unparseable)
	}
	switch old, is := c.Old.Share(), c.New.Share(); {
	case c.Old.Plain > 0 && old < compressed && is-old > 0.1:
		f.Features = append(f.Features, Compressible)
	case primary == Encoded && c.Old.Plain > 0 && (is-old > 0.1 || old-is > 0.1):
		f.Features = append(f.Features, Compressible)
	case primary == Encoded && was.format == Text, primary == Noise && (d.spread || 2*d.over >= d.noise.n || random(now.head(), 0) && !random(was.head(), 0) && len(was.head()) >= minWindow):
		f.Features = append(f.Features, Structured)
	case primary == Noise && (d.evened(was) || parsed.wrapped && before.health >= Framed):
		f.Features = append(f.Features, Structured)
	}
	if primary != Encoded && d.interleaved(was, now) && !random(was.head(), 0) && !was.format.holdsFiles() {
		f.Features = append(f.Features, Interleaved)
	}
	if primary != Noise && primary != Encoded && c.Old.Size == c.New.Size {
		f.Features = append(f.Features, SameLength)
	}
	appended := strings.HasPrefix(path.Base(c.New.Name), path.Base(c.Name))
	if c.Renamed && (appended || was.format != Unknown || !random(was.head(), 0)) { // noise that was noise says nothing by just another name
		f.Features = append(f.Features, Renamed)
	}
}

// aligned tells whether the new version is as long as the old one, or a little longer by what an encryptor appends.
func (v *view) aligned(was *view) bool {
	grown := v.version.Size - was.version.Size
	return grown >= -16 && grown <= 64<<10
}

// footed tells whether the new version is as long as the old one, but for what an encryptor needs to undo it.
func (v *view) footed(was *view) bool {
	grown := v.version.Size - was.version.Size
	return grown >= 0 && grown <= 2<<10
}

// holdsFiles tells of formats in which parts are rewritten in place every day: disks of virtual machines.
func (f Format) holdsFiles() bool { return f == "disk" || f == Encrypted }

// unit is the shortest piece of a longer file that is taken for noise by itself.
const unit = 256

// cipherBlock is the length of a block of most ciphers.
const cipherBlock = 16

// contrast is what differs between two versions at the same places.
type contrast struct {
	total     int // bytes of the new version that were looked at
	same      int // of these, equal to the old ones
	fresh     int // different, where the old version has something
	noise     histogram
	mixed     histogram // what is new between what was kept
	mixedLost histogram // what stood there
	over      int       // bytes of noise where something stood that was neither noise nor one value
	filled    int       // bytes of noise where one value stood
	constant  int       // bytes of one value, or of a short pattern, where something else stood
	runs      []run
	textNoise bool // noise where text stood
	spread    bool // noise between something else, and it was not so
}

// run is a stretch of units that differ, in units.
type run struct{ from, length int64 }

func contrastOf(was, now *view) *contrast {
	d := &contrast{}
	for _, p := range now.pieces {
		d.total += len(p.data)
		old := was.at(p.off)
		for at := 0; at < len(p.data); at += unit {
			b := p.data[at:min(at+unit, len(p.data))]
			var o []byte
			if at < len(old) {
				o = old[at:min(at+unit, len(old))]
			}
			d.unit((p.off+int64(at))/unit, o, b)
		}
	}
	if d.mixed.uniform() {
		for i, c := range d.mixed.counts {
			d.noise.counts[i] += c
		}
		d.noise.n += d.mixed.n
		if !d.mixedLost.uniform() {
			d.over += d.mixed.n
			d.textNoise = true
		}
	}
	return d
}

// at returns what was read of the version from off on.
func (v *view) at(off int64) []byte {
	for _, p := range v.pieces {
		if p.off == off {
			return p.data
		}
	}
	return nil
}

// unit compares one unit with what stood there.
func (d *contrast) unit(number int64, old, now []byte) {
	if bytes.Equal(old, now) {
		d.same += len(now)
		return
	}
	if k := len(d.runs); k > 0 && d.runs[k-1].from+d.runs[k-1].length == number {
		d.runs[k-1].length++
	} else {
		d.runs = append(d.runs, run{number, 1})
	}
	if patterned(now) {
		if d.fresh += min(len(old), len(now)); len(old) > 0 && !patterned(old) {
			d.constant += len(now)
		}
		return
	}
	if len(old) == len(now) {
		if kept := d.mix(old, now); kept > 0 {
			d.same += kept
			d.fresh += len(now) - kept
			return
		}
	}
	d.fresh += min(len(old), len(now))
	if random(now, 0) {
		d.noise.add(now)
		switch {
		case len(old) < minWindow || random(old, 0):
		case constant(old):
			d.filled += len(now)
		default:
			d.over += len(now)
			d.textNoise = d.textNoise || isText(old)
		}
	}
}

// minKept is how many bytes in a row must be the same to count as kept: noise has four by chance once in four billion places.
const minKept = 4

// mix gathers what is new between what was kept in a unit, and returns how many bytes were.
func (d *contrast) mix(old, now []byte) (kept int) {
	same := func(i int) int {
		n := 0
		for i+n < len(now) && old[i+n] == now[i+n] {
			n++
		}
		return n
	}
	from := 0
	for i := 0; i < len(now); {
		n := same(i)
		if n < minKept {
			i += n + 1
			continue
		}
		d.mixed.add(now[from:min(i, len(now))])
		d.mixedLost.add(old[from:min(i, len(now))])
		kept += n
		i += n
		from = i
	}
	if kept == 0 {
		return 0
	}
	d.mixed.add(now[from:])
	d.mixedLost.add(old[from:])
	return kept
}

// random tells whether the unit at off cannot be told from noise.
func random(b []byte, off int) bool {
	var h histogram
	b = b[min(off, len(b)):min(off+unit, len(b))]
	h.add(b)
	return h.uniform() && !isText(b)
}

// constant tells whether all bytes have one value.
func constant(b []byte) bool {
	return len(b) > 0 && bytes.Count(b, b[:1]) == len(b)
}

// patterned tells whether b is one value, or one short pattern repeated.
func patterned(b []byte) bool {
	if len(b) < minWindow {
		return constant(b)
	}
	for _, p := range []int{1, 2, 3, 4, 5, 6, 8, 10, 12, 16} {
		if bytes.Equal(b[p:], b[:len(b)-p]) {
			return true
		}
	}
	return false
}

// periodic tells whether data is one phrase again and again.
func periodic(data []byte) bool {
	const longest, begins = 4096, 16
	if len(data) < unit {
		return false
	}
	for p := 1; p <= min(longest, len(data)/4); p++ {
		i := bytes.Index(data[p:min(len(data), longest+p+begins)], data[:begins])
		if i < 0 {
			return false
		}
		if p += i; p <= len(data)/4 && bytes.Equal(data[p:], data[:len(data)-p]) {
			return true
		}
	}
	return false
}

// interleaved tells whether parts were kept where they stood and others became something else.
func (d *contrast) interleaved(was, now *view) bool {
	return d.fresh >= cipherBlock && d.same >= 4*cipherBlock && now.aligned(was) &&
		(was.version.Size == now.version.Size || d.same*100 >= d.same+d.fresh)
}

// regular tells whether what differs comes in pieces of one length at one distance, as no editing does.
func (d *contrast) regular() bool {
	if len(d.runs) < 6 {
		return false
	}
	var lengths, gaps []int64
	for i, r := range d.runs {
		lengths = append(lengths, r.length)
		if i > 0 {
			gaps = append(gaps, r.from-d.runs[i-1].from)
		}
	}
	return mostly(lengths) && mostly(gaps)
}

// sectored tells whether what differs are pieces of one length that all begin at whole sectors, in a file that is as long as before. One
// program's blocks are rewritten so too, but not in formats that have none.
func (d *contrast) sectored(was, now *view) bool {
	if was.version.Size != now.version.Size || len(d.runs) < 3 || now.format.paged() {
		return false
	}
	longest := int64(1 << 16)
	if now.format == Unknown { // perhaps a disk or a database; their blocks are longer
		longest = 2 * sector
		if 2*d.over < d.noise.n {
			return false
		}
	}
	alike := 0
	for _, r := range d.runs {
		if r.length == d.runs[0].length && r.from*unit%sector == 0 {
			alike++
		}
	}
	return d.runs[0].length*unit <= longest && 10*alike >= 9*len(d.runs)
}

// holed tells whether sectors were emptied, an eighth of the file or more, and nothing else was changed. Raw pictures are edited so.
func (d *contrast) holed(was, now *view) bool {
	switch {
	case was.version.Size != now.version.Size || now.format.paged() || 8*d.constant < d.total || 10*d.constant < 9*d.fresh:
		return false
	case now.format == "bmp" || now.format == "tiff" || now.format == "psd":
		return false
	}
	for _, r := range d.runs {
		if r.from*unit%sector != 0 {
			return false
		}
	}
	return was.format == Text || d.regular()
}

// hollow tells whether a sector of what was read is empty or a pattern.
func (v *view) hollow() bool {
	for _, p := range v.pieces {
		for at := 0; at+sector <= len(p.data); at += sector {
			if patterned(p.data[at : at+sector]) {
				return true
			}
		}
	}
	return false
}

// sector is the smallest unit of a disk, in bytes.
const sector = 512

// paged tells of formats whose programs rewrite parts of a file in place.
func (f Format) paged() bool {
	switch f {
	case "sqlite", "pgpages", "innodb", "hdf", "tar", "npy":
		return true
	}
	return f.holdsFiles()
}

// mostly tells whether two thirds of the values are the same.
func mostly(all []int64) bool {
	slices.Sort(all)
	middle, n := all[len(all)/2], 0
	for _, v := range all {
		if v == middle {
			n++
		}
	}
	return 3*n >= 2*len(all)
}

// evened tells whether content that was dense as a compressor leaves it is now as even as a cipher leaves it.
func (d *contrast) evened(was *view) bool {
	if d.noise.n < 32<<10 {
		return false
	}
	var old histogram
	for _, p := range was.pieces {
		old.add(p.data)
	}
	return old.n >= 32<<10 && old.chi2() > 2*uniformChi2
}

// primary names what was done to the content, "" if nothing was that speaks of damage.
func (d *contrast) primary(was, now *view, before, parsed parse) string {
	// A format that is not checked here, and was not there before, is a magic that costs nothing.
	known := now.format != Unknown && now.format != Text && (parsed.health != Broken || now.format.paged() && before.health == Broken) &&
		(parsed.health != Unchecked || now.format == was.format || now.format == Expected(now.version.Name))
	if parsed.wrapped && !before.wrapped && !parsed.holdsFormer(was) && (was.format != Unknown || !random(was.head(), 0)) {
		return Noise
	}
	kept := common(was.head(), now.head())
	if rest := now.head()[kept:]; 2*kept > len(was.head()) || was.format == Text && len(narrowed(rest)) == len(rest) {
		kept = 0 // what data in a text begin with, whatever they are
	}
	if is := encodedShare(now, kept); is >= 0.6 {
		if was.format == Unknown && random(was.head(), 0) {
			return "" // it was out of reach before, and is a text now
		}
		had := encodedShare(was, 0)
		lettered := now.format != was.format || was.format == Text || is >= 0.9
		if (had < 0.2 || is >= 0.97 && (had < 0.95 || opening(was) != opening(now))) && lettered && (!echoes(was.head()[kept:], now, kept) || had < 0.2 && headed(was.head(), now)) {
			return Encoded
		}
	}
	if 2*d.filled > d.noise.n && (was.format == Unknown && constant(first(was.head())) || was.format.paged() && now.format == was.format && (parsed.health != Broken || before.health == Broken) || was.format == Unknown && !random(now.head(), 0)) {
		return "" // space was reserved before
	}
	if d.noise.uniform() {
		share := float64(d.noise.n) / float64(max(1, d.total))
		head := random(now.head(), 0) && !bytes.Equal(first(now.head()), first(was.head()))
		switch {
		case known:
			// It is what it says as far as was seen: only what is certain counts.
			over := 2*d.over >= d.noise.n
			switch {
			case now.format != was.format || !now.aligned(was):
			case now.format == "tar" || now.format.holdsFiles(): // other files in the same place are no damage
				if over && d.interleaved(was, now) && d.regular() {
					return Noise
				}
			case d.sectored(was, now) && d.interleaved(was, now):
				return Noise
			case now.format.packed():
				if d.interleaved(was, now) && (d.regular() || share >= 0.05) || over && share >= 0.5 {
					return Noise
				}
			case parsed.health != Sound: // a program's next build has other noise at the same place, seldom where there was none
				if over && now.footed(was) && (share >= 0.5 || d.interleaved(was, now) && (d.regular() || share >= 0.05)) {
					return Noise
				}
			case over && d.interleaved(was, now) && d.regular(): // a database may well hold noise, not at one distance
				return Noise
			}
		case head, share >= 0.2 && !refilled(was, now), now.format == Unknown && was.format != Unknown && d.noise.n >= 4*cipherBlock, d.textNoise && was.format == Text, parsed.health == Broken,
			d.interleaved(was, now) && (d.regular() || d.sectored(was, now)) && (2*d.over >= d.noise.n || was.version.Share() >= compressed): // a disk that is filled is no other
			return Noise
		}
	}
	if d.holed(was, now) {
		return Overwritten
	}
	if what := spoiled(was, now); what != "" {
		return what
	}
	if rearranged(was, now) || inKind(was, now) || strewn(was, now) {
		return Scrambled
	}
	if now.version.Size == was.version.Size && !was.format.holdsFiles() && d.fresh >= unit && 50*d.same > d.total && streamsBroken(was, now) {
		return Unparseable
	}
	if now.format == was.format && (parsed.health != Sound || was.format.paged()) && !was.format.holdsFiles() && sprinkled(was, now) {
		return Scrambled
	}
	opaque := was.format == Unknown && random(was.head(), 0)
	if kept := common(was.head(), now.head()); !opaque && 2*d.same < d.total && 2*kept < len(was.head()) && parsed.health != Sound && periodic(now.head()) && !periodic(was.head()) {
		return Overwritten
	}
	if known {
		return ""
	}
	if d.total > 0 && !opaque && (d.constant*2 >= d.total || d.constant >= unit && patterned(first(now.head())) && !patterned(first(was.head())) && now.aligned(was)) {
		return Overwritten
	}
	if !opaque && 2*d.same < d.total && periodic(now.head()[kept:]) && !periodic(was.head()) {
		return Overwritten
	}
	known = was.format != Unknown && was.format.packed() // what is thin noise in it otherwise is no news
	old, is := was.head(), now.head()
	if d.same*10 < d.total && (laned(is, old, known) || sifted(is) && (known || !sifted(old)) || repeated(is) && (known || !repeated(old))) {
		d.spread = true
		return Noise
	}
	if what := d.scrambled(was, now, before, parsed); what != "" {
		return what
	}
	if d.fresh >= 2*unit && parsed.health == Broken && before.health > Broken && now.format == was.format && now.version.Size == was.version.Size {
		return Unparseable
	}
	return ""
}

// opening returns the first byte of a text that is none of a word, 0 if it begins with a word: a language of data has a bracket there.
func opening(v *view) byte {
	text := bytes.TrimLeft(narrowed(v.head()), " \t\r\n\xef\xbb\xbf")
	if len(text) == 0 || strings.IndexByte(letters, text[0]) >= 0 {
		return 0
	}
	return text[0]
}

func first(b []byte) []byte { return b[:min(len(b), unit)] }

// scrambled tells how content was changed that is no noise.
func (d *contrast) scrambled(was, now *view, before, parsed parse) string {
	old, is := was.head(), now.head()
	n := min(len(old), len(is))
	if n < 2*minWindow || !now.aligned(was) {
		return ""
	}
	if 2*d.same < d.total && permuted(was, now) {
		return Scrambled
	}
	if least := max(unit/4, d.total/4); now.version.Size == was.version.Size && (d.fresh >= least || d.fresh >= minWindow && was.format == Text && now.format == Text) && substituted(old[:n], is[:n]) {
		return Keyed
	}
	if was.format == Text && now.format == Text && reworded(was, now) {
		return Scrambled
	}
	if before.health >= Framed && was.format != Encrypted && now.version.Size == was.version.Size &&
		(now.format == Unknown || now.format != was.format && now.version.Size >= minOther && (now.format == Text || parsed.health == Broken)) {
		return Scrambled // its first bytes are gone, whatever is left
	}
	if was.format == Text && now.format == Unknown && now.version.Size == was.version.Size && d.fresh >= unit {
		return Scrambled
	}
	if d.same*50 > d.total {
		return ""
	}
	if back := bytes.Clone(old); was.whole && now.whole && len(old) == len(is) {
		if slices.Reverse(back); bytes.Equal(back, is) {
			return Scrambled
		}
	}
	if keyed(old[:n], is[:n]) || (was.format != Unknown || now.format != Text) && substituted(old[:n], is[:n]) {
		return Keyed
	}
	if was.format != Unknown && was.format != Encrypted && now.format == Unknown && now.version.Size == was.version.Size {
		return Scrambled
	}
	return ""
}

// minOther is how long a file is, in bytes, at least that is no longer and no shorter by chance with something else in it.
const minOther = 4 << 10

// minReplaced is how many bytes of a text must be known before it can be said that nothing of it is left.
const minReplaced = 256

// replaced tells whether a file is of no format any more, or not as that format demands, or no word of a text is left. Who
// saves another document under a name does that too.
func replaced(was, now *view, before, parsed parse) bool {
	switch {
	case was.format == Encrypted:
		return false
	case was.format == Unknown:
		return now.format == Text && !random(was.head(), 0)
	case now.format == was.format && was.format != Text:
		return parsed.health == Broken && before.health > Broken
	case now.format != Text && now.format != Unknown:
		return false
	case was.format != Text:
		return true
	}
	return len(was.head()) >= minReplaced && !echoes(was.head(), now, 0)
}

// keyed tells whether the same short key was laid over the content again and again.
func keyed(old, now []byte) bool {
	n := min(len(old), 8<<10)
	xor, sum := make([]byte, n), make([]byte, n)
	for i := range n {
		xor[i], sum[i] = old[i]^now[i], now[i]-old[i]
	}
	for _, x := range [][]byte{xor, sum} {
		if bytes.Count(x, []byte{0})*2 > n {
			continue
		}
		for p := 1; p <= min(256, n/2); p++ {
			if bytes.Equal(x[p:], x[:n-p]) {
				return true
			}
		}
	}
	return false
}

// substituted tells whether each value of a byte became another one everywhere. Letters that change their case, or that
// stand elsewhere in another alphabet of eight bits, are no damage.
func substituted(old, now []byte) bool {
	var to, from [256]int
	n := min(len(old), len(now), otherPiece)
	if n < 2*unit {
		return false
	}
	for i := range n {
		was, is := old[i], now[i]
		if to[was] != 0 && to[was] != 1+int(is) || from[is] != 0 && from[is] != 1+int(was) {
			return false
		}
		to[was], from[is] = 1+int(is), 1+int(was)
	}
	moved := 0
	for was, is := range to[:0x80] {
		if is != 0 && is != 1+was && is != 1+(was^0x20) {
			moved++
		}
	}
	return moved >= 8
}

// permuted tells whether two versions of one length are made of exactly the same bytes in another order. A text whose words are
// all there was sorted, or written by another program.
func permuted(was, now *view) bool {
	if !was.whole || !now.whole || was.version.Size != now.version.Size || was.version.Size < 2*unit {
		return false
	}
	var old, is histogram
	old.add(was.head())
	is.add(now.head())
	return old == is && (was.format != Text || !sameWords(was.head(), now.head()))
}

// sprinkled tells whether single bytes were changed to many others at equal distances, or all over a text: nobody edits so.
func sprinkled(was, now *view) bool {
	old, is := was.head(), now.head()
	if was.version.Size != now.version.Size || len(old) != len(is) || len(is) < 4*unit {
		return false
	}
	changed, alone, grid, last := 0, 0, 0, -1
	kinds, spread := map[[2]byte]bool{}, map[int]bool{}
	var by [256]int // how much was added
	var on [4]int   // where, from the start of a word
	for i := range is {
		if old[i] == is[i] {
			continue
		}
		changed++
		by[is[i]-old[i]]++
		on[i%4]++
		kinds[[2]byte{old[i], is[i]}] = true
		spread[i/(2*unit)] = true
		if last >= 0 {
			grid = divisor(grid, i-last)
		}
		if last != i-1 && (i+1 == len(is) || old[i+1] == is[i+1]) {
			alone++
		}
		last = i
	}
	if changed < 12 || len(kinds) < min(20, changed/2) || 10*alone < 9*changed || 5*len(spread) < 4*(len(is)/(2*unit)) {
		return false
	}
	if was.format == Unknown || was.format.paged() { // programs keep counters in such files, side by side or one in each record
		return 16*changed < len(is) && 4*slices.Max(by[:]) < changed && 2*slices.Max(on[:]) < changed && 8*slices.Min(on[:]) > changed
	}
	return grid >= cipherBlock || 16*changed < len(is)
}

func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// sameWords tells whether two texts have the same words, each as often.
func sameWords(a, b []byte) bool {
	counts := map[string]int{}
	fields := func(text []byte) [][]byte {
		return bytes.FieldsFunc(text, func(r rune) bool { return r < 0x80 && strings.IndexByte(between, byte(r)) >= 0 })
	}
	for _, w := range fields(a) {
		counts[string(w)]++
	}
	other, words := 0, fields(b)
	for _, w := range words {
		if counts[string(w)]--; counts[string(w)] < 0 {
			other++
		}
	}
	return other <= 2 && len(words) > 2 // the last line had no end
}

// echoes tells whether more of a former text is found in what stands there now than chance explains; the first bytes of that may be
// left out.
func echoes(old []byte, now *view, without int) bool {
	heard, _ := echo(old, now, without)
	return heard >= 3
}

// headed tells whether all that is no noise in letters stood in the former text: how its parts were headed, and nothing else.
func headed(old []byte, now *view) bool {
	head := now.head()[:min(len(now.head()), otherPiece)]
	rest := make([]byte, 0, len(head))
	within := false
	for line := range bytes.Lines(head) {
		letter := len(bytes.Trim(line, letters+"\r\n")) == 0
		if within = letter && (within || len(line) > minRun); !within {
			rest = append(rest, line...)
		}
	}
	if 2*len(rest) > len(head) {
		return false
	}
	heard, asked := echo(rest, &view{pieces: []piece{{0, old}}}, 0)
	return asked >= 8 && 10*heard > 9*asked
}

// echo returns how many of some places of a former text are found in what stands there now, and how many were looked for.
func echo(old []byte, now *view, without int) (heard, asked int) {
	const length, places = 12, 64
	for i := range places {
		at := i * (len(old) - length) / places
		if at < 0 || patterned(old[at:at+length]) {
			continue
		}
		asked++
		for _, p := range now.pieces {
			data := p.data
			if p.off == 0 {
				data = data[min(without, len(data)):]
			}
			if bytes.Contains(data, old[at:at+length]) {
				heard++
				break
			}
		}
	}
	return heard, asked
}

// spread tells whether noise was thinned with something that is none.
func spread(data []byte) bool {
	return lanes(data) != 0 || sifted(data)
}

// sifted tells whether noise is left of data without its runs of one value and of printable letters.
func sifted(data []byte) bool {
	const longest, run, word = 2 * WindowSize, 6, 14
	data = data[:min(len(data), 4*longest)]
	var h histogram
	left := 0 // bytes since the last run
	flush := func(end int) {
		if left > 0 && h.n < longest {
			h.add(data[end-left : end])
		}
		left = 0
	}
	for i := 0; i < len(data); {
		same, letters := 1, 0
		for i+same < len(data) && data[i+same] == data[i] {
			same++
		}
		for i+letters < len(data) && data[i+letters] >= 0x20 && data[i+letters] < 0x7f {
			letters++
		}
		switch {
		case letters >= word:
			flush(i)
			i += letters
		case same >= run:
			flush(i)
			i += same
		default:
			i, left = i+1, left+1
		}
	}
	flush(len(data))
	return h.n >= unit && h.n*5 >= min(len(data), longest) && h.uniform()
}

// repeated tells whether data is made of blocks of a cipher that turns equal ones into equal ones: without the repetitions they
// are noise.
func repeated(data []byte) bool {
	data = data[:min(len(data), otherPiece)]
	seen := map[[cipherBlock]byte]bool{}
	var h histogram
	for len(data) >= cipherBlock {
		block := [cipherBlock]byte(data)
		if !seen[block] {
			seen[block] = true
			h.add(data[:cipherBlock])
		}
		data = data[cipherBlock:]
	}
	return h.n >= unit && h.uniform()
}

// laned tells whether noise was spread between something else at a fixed distance, and at that distance it was not before; or, if it may have been,
// at any.
func laned(data, old []byte, before bool) bool {
	at := lanes(data)
	return at != 0 && (before || at&^lanes(old) != 0)
}

// lanes returns at which distances noise stands between something else, a bit for each: every other byte, every other block.
func lanes(data []byte) (at uint32) {
	data = data[:min(len(data), otherPiece)]
	bit := uint32(1)
	for _, grain := range []int{1, cipherBlock} {
		for _, period := range []int{2, 3, 4, 8, 12, 16, 20, 24, 32} {
			even, other := 0, 0
			for lane := range period {
				var h histogram
				for at := lane * grain; at < len(data); at += period * grain {
					h.add(data[at:min(at+grain, len(data))])
				}
				switch {
				case h.n < unit:
				case h.uniform():
					even++
				case h.chi2() > 8*uniformChi2:
					other++
				}
			}
			if even > 0 && other > 0 {
				at |= bit
			}
			bit <<= 1
		}
	}
	return at
}
