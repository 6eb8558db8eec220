package content

// The features that Judge tells. Any two of them are independent enough to count twice.
const (
	Noise        = "noise"            // the bytes cannot be told from random ones
	FormatLost   = "format lost"      // the first bytes are not those that the name, or the former content, promises
	Compressible = "was compressible" // the former content could be compressed, noise cannot
	Structured   = "was structured"   // the former content began with something that was no noise
	BesideNote   = "beside a note"    // a ransom note stands in its directory; not of Judge's making
	Renamed      = "renamed"          // a file of the former name is gone, and something was appended to its name
	Unparseable  = "cannot be read"   // it says by its first bytes what it is, and its content contradicts them
	Interleaved  = "parts kept"       // what is new stands between what was kept at its place
	SameLength   = "same length"      // all is different, and not one byte longer or shorter
)

// What else than noise content can become; each counts as Noise does.
const (
	Encoded     = "encoded noise" // noise written in letters, as base64
	Overwritten = "overwritten"   // one value, or a short pattern, again and again
	Keyed       = "keyed"         // the same short key laid over the content again and again
	Scrambled   = "scrambled"     // nothing of it reads as what it was
)

// Former is what is known of a file's content before it changed. The zero value knows nothing.
type Former struct {
	Plain, Stored int64  // bytes before and after compression, 0 if not known
	Format        Format // Unknown also if it was not looked at
	Structured    bool   // its first window was no noise; false also if it was not looked at
}

// Overhead is what the repository's encryption adds to each stored blob: nonce and authentication code.
const Overhead = 32

// Add counts one of the content's blobs: its plain bytes, and the bytes that it takes in its pack.
func (f *Former) Add(plain, stored uint32) {
	f.Plain += int64(plain)
	f.Stored += int64(stored) - Overhead
}

// Look fills in what the first bytes of the former content tell.
func (f *Former) Look(head []byte) {
	f.Format = Sniff(head)
	first := Measure(head[:min(len(head), WindowSize)])
	f.Structured = first.N >= minWindow && !first.Random()
}

// compressed is the share below which content counts as compressible. Encrypted or well-compressed content is stored at
// its own length or a little more.
const compressed = 0.9

// Compressible tells whether the former content took visibly less space when stored.
func (f Former) Compressible() bool {
	return f.Plain >= minWindow && f.Stored > 0 && float64(f.Stored) < compressed*float64(f.Plain)
}

// Finding is what Judge thinks of one file.
type Finding struct {
	Features []string
	Entropy  float64
	Chi2     float64
	Open     bool   // encrypted by a tool that says so, or under a name that does: its owner's doing unless something else says otherwise
	Locked   bool   // an archive that asks for a password
	Replaced bool   // it is no noise, and not what it was: another kind of file, or a text of which nothing is left
	Was      Format // of the former version, if it was looked at
	Cut      bool   // it is the beginning of what it was
}

// Encrypted tells whether the file was made unreadable: what it became speaks against it, and at least one thing more. What was
// encrypted openly does not count.
func (f Finding) Encrypted() bool { return f.Noise() && len(f.Features) >= 2 && !f.Open }

// Noise tells whether the file became at least what unreadable files are.
func (f Finding) Noise() bool {
	return len(f.Features) > 0 && (f.Features[0] == Noise || f.Features[0] == Encoded || f.Overwritten() || f.Features[0] == Keyed || f.Features[0] == Scrambled || f.Features[0] == Unparseable)
}

// Overwritten tells whether the content was destroyed rather than encrypted.
func (f Finding) Overwritten() bool { return len(f.Features) > 0 && f.Features[0] == Overwritten }

// Judge tells whether a file that holds what sample shows was encrypted by somebody else than its owner. name
// is the name it had when its content was good; renamed says that it stands elsewhere now.
func Judge(name string, former Former, sample Sample, renamed bool) Finding {
	found := Finding{Entropy: sample.Entropy(), Chi2: sample.Chi2()}
	if !noisy(former, sample) {
		return found
	}
	found.Features = append(found.Features, Noise)
	expected := Expected(name)
	if expected == Unknown {
		expected = former.Format
	}
	switch {
	case expected == Encrypted || expected == Unknown:
	case NamedEncrypted(name) && former.Format == Unknown: // the name says so, and nothing says otherwise
	case expected == Text, sample.Format != expected: // a text with noise in it is no text any more
		found.Features = append(found.Features, FormatLost)
	}
	switch {
	case former.Compressible():
		found.Features = append(found.Features, Compressible)
	case former.Structured && former.Format == Unknown && len(found.Features) == 1:
		// Dense data in a format that is not known here, such as a module or a bitcode file, still begins with a header.
		found.Features = append(found.Features, Structured)
	}
	if renamed {
		found.Features = append(found.Features, Renamed)
	}
	return found
}

// noisy leaves out what is close to noise by nature, as archives and pictures are, as long as they look like it.
func noisy(former Former, sample Sample) bool {
	random := sample.Random()
	switch {
	case sample.Format == Unknown || sample.Format == Encrypted:
		return random >= 0.5 || len(sample.Windows) > 0 && sample.Windows[0].Random()
	case sample.Format == Text:
		return random > 0
	case sample.Format.packed():
		return false
	}
	return random >= 0.5 && former.Compressible()
}
