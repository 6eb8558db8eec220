package content

import (
	"bytes"
	"slices"
)

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
