package content

import (
	"bytes"
	"path"
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
