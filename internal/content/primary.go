package content

import (
	"bytes"
	"slices"
	"strings"
)

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
