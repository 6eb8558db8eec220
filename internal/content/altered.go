package content

import (
	"bytes"
	"slices"
	"strings"
)

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
