package content

import (
	"bytes"
	"hash/maphash"
	"math"
)

// rearranged tells whether a file is made of exactly its own parts in another order: its end before its beginning, or its pages. A text is
// edited so too, by whole lines, and an archive is packed in another order.
func rearranged(was, now *view) bool {
	if !was.whole || !now.whole || was.version.Size != now.version.Size || was.format == "tar" || was.format.holdsFiles() {
		return false
	}
	return turned(was, now) || shuffled(was.head(), now.head(), was.format == Text)
}

// turned tells whether a file's end stands before its beginning.
func turned(was, now *view) bool {
	const probe = 64
	old, is := was.head(), now.head()
	if len(old) < 2*probe || patterned(is[:probe]) {
		return false
	}
	at := bytes.Index(old[1:], is[:probe]) + 1
	if at < 1 || !bytes.Equal(old[at:], is[:len(old)-at]) || !bytes.Equal(old[:at], is[len(old)-at:]) {
		return false
	}
	return was.format != Text || old[at-1] != '\n'
}

// shuffled tells whether a file has the same blocks in another order; those of a text begin within lines.
func shuffled(old, is []byte, text bool) bool {
	seed := maphash.MakeSeed()
	for _, grain := range []int{4096, 512} {
		if len(old) < 4*grain {
			continue
		}
		counts, moved, within := map[uint64]int{}, 0, 0
		for at := 0; at+grain <= len(old); at += grain {
			a, b := old[at:at+grain], is[at:at+grain]
			if !bytes.Equal(a, b) {
				counts[maphash.Bytes(seed, a)]++
				counts[maphash.Bytes(seed, b)]--
				if moved++; at > 0 && old[at-1] != '\n' {
					within++
				}
			}
		}
		rest := len(old) / grain * grain
		same := moved >= 3 && (!text || 3*within >= 2*moved) && bytes.Equal(old[rest:], is[rest:])
		for _, n := range counts {
			same = same && n == 0
		}
		if same {
			return true
		}
	}
	return false
}

// inKind tells whether letters became others, as small or as large, and digits others, and nothing else was changed: what a cipher leaves that
// keeps the form. Its letters are all as frequent as one another.
func inKind(was, now *view) bool {
	old, is := was.head(), now.head()
	if was.version.Size != now.version.Size || len(old) != len(is) {
		return false
	}
	kind := func(c byte) byte {
		switch {
		case c >= 'a' && c <= 'z':
			return 'a'
		case c >= 'A' && c <= 'Z':
			return 'A'
		case c >= '0' && c <= '9':
			return '0'
		case c >= 0x80:
			return 0x80
		}
		return 0
	}
	var had, has [26]int
	letters, changed, all := 0, 0, 0
	for i, c := range old {
		k := kind(c)
		if k != 0 {
			all++
		}
		if c == is[i] {
			continue
		}
		if k == 0 || kind(is[i]) != k {
			return false
		}
		changed++
		if k == 'a' {
			letters++
			had[c-'a']++
			has[is[i]-'a']++
		}
	}
	return letters >= 64 && 2*changed > all && evenly(has[:], letters) && !evenly(had[:], letters)
}

// evenly tells whether n things fell equally often on each of some kinds.
func evenly(counts []int, n int) bool {
	k, squares := float64(len(counts)), 0.0
	for _, c := range counts {
		squares += float64(c) * float64(c)
	}
	return k*squares/float64(n)-float64(n) < k-1+5*math.Sqrt(2*(k-1))
}

// strewn tells whether bytes at one distance became noise that were none, all over a file.
func strewn(was, now *view) bool {
	old, is := was.head(), now.head()
	if was.version.Size != now.version.Size || len(old) != len(is) || len(is) < 4*unit {
		return false
	}
	distance, first, changed := 0, -1, 0
	for i := range is {
		if old[i] == is[i] {
			continue
		}
		if changed++; first < 0 {
			first = i
		}
		if distance = divisor(distance, i-first); distance == 1 {
			return false
		}
	}
	if distance < 3 || changed < minWindow {
		return false
	}
	var had, has histogram
	same := 0
	for i := first; i < len(is); i += distance {
		had.add(old[i : i+1])
		has.add(is[i : i+1])
		if old[i] == is[i] {
			same++
		}
	}
	return 10*same < has.n && has.uniform() && had.chi2() > 2*uniformChi2
}
