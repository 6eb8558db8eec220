package hunt

import "unicode/utf8"

const (
	// lanes are parts of a text that are walked side by side: a step waits for the one before it in the same lane only.
	lanes = 4
	// stretch is how many bytes of a lane are walked without a look at the state.
	stretch = 64
	// longestLane bounds what is walked again to see where in it a match is; shortestLane is just worth the seams.
	longestLane, shortestLane = 16 << 10, 512
	// seam is within how many bytes matches that began in one lane should have ended in the next, or failed.
	seam = 1 << 10
)

// walk is an automaton's way through a text.
type walk struct {
	*dfa
	data   []byte
	at     int
	s      uint32 // state there
	closed int    // place up to which no match ended, and none that began before it will
	single bool   // lanes are no use
}

// find tells whether a match begins at from or behind it, which is where a rune begins, and where the first one begins at the earliest.
// Assertions see what stands before, at 0 the start of the file, and the end of the file if the text ends it. If there are too many
// states for the text there may be a match, or not. The automaton is for some.
func (d *dfa) find(data []byte, from int, end bool) (least int, ok bool) {
	if d.pause > 0 || from >= len(data) {
		d.pause = max(0, d.pause-1)
		return from, from < len(data)
	}
	d.allow(len(data) - from)
	w := walk{dfa: d, data: data, at: from, s: d.fresh(runeBefore(data, from)), closed: from}
	for w.at < len(data) {
		hit := w.on()
		if hit {
			return w.least(), true
		}
		if d.tooMany() {
			return from, true
		}
	}
	d.paused = 0
	if end {
		_, ok = d.last(w.s, nothing)
	}
	return w.least(), ok
}

// allow lets a walk through so many bytes make states.
func (d *dfa) allow(bytes int) { d.left = fewStates + bytes/worthwhile }

// tooMany tells whether more states were made than the text is worth. Then there is a pause.
func (d *dfa) tooMany() bool {
	if d.left >= 0 {
		return false
	}
	d.paused = min(2*d.paused+1, longestPause)
	d.pause = d.paused
	return true
}

// end returns where the first match ends of those that begin at from or behind it, or -1; ok false tells that it would take too many states. If
// all is true the match may end with the text, else a rune must follow. The automaton is for leftmost.
func (d *dfa) end(data []byte, from int, all bool) (to int, ok bool) {
	if d.pause > 0 {
		d.pause--
		return 0, false
	}
	d.allow(len(data) - from)
	to = -1
	s := d.fresh(runeBefore(data, from))
	for i := from; i < len(data); i++ {
		if s = d.step(s, data[i]); s == over<<d.shift {
			return to, true
		}
		if back := d.states[s>>d.shift].back; back > 0 {
			to = i + 2 - int(back)
		}
		if d.left < 0 && d.tooMany() {
			return 0, false
		}
	}
	d.paused = 0
	if all {
		if back, hit := d.last(s, nothing); hit {
			to = len(data) - back
		}
	}
	return to, true
}

// begin returns where the longest match begins that ends at to, but no sooner than at from. The automaton is for backward.
func (d *dfa) begin(data []byte, from, to int) (at int, ok bool) {
	if d.pause > 0 {
		d.pause--
		return 0, false
	}
	d.allow(to - from)
	at = -1
	s := d.fresh(runeBehind(data, to))
	for i := to - 1; i >= from; i-- {
		if s = d.step(s, data[i]); s == over<<d.shift {
			return at, at >= 0
		}
		if back := d.states[s>>d.shift].back; back > 0 {
			at = i - 1 + int(back)
		}
		if d.left < 0 && d.tooMany() {
			return 0, false
		}
	}
	d.paused = 0
	if back, hit := d.last(s, runeBefore(data, from)); hit {
		at = from + back
	}
	return at, at >= 0
}

// least returns where a match can begin if none ended so far.
func (w *walk) least() int {
	if w.length == unlimited {
		return w.closed
	}
	// Assertions look a rune ahead, and those that are no UTF-8 are told late.
	return max(w.closed, runeStart(w.data, max(0, w.at-w.length-margin)))
}

// runeStart returns where the rune begins that a place is in, which may be no UTF-8.
func runeStart(data []byte, at int) int {
	for start := at; start >= max(0, at-utf8.UTFMax+1); start-- {
		if utf8.RuneStart(data[start]) {
			return start
		}
	}
	return at
}

// open tells whether a match may have begun that does not end with the text, or is not behind its end yet. The automaton is for some.
func (d *dfa) open(data []byte, from int) bool {
	d.allow(len(data) - from)
	w := walk{dfa: d, data: data, at: from, s: d.fresh(runeBefore(data, from)), closed: from}
	for w.at < len(data) {
		if w.on() || d.left < 0 {
			return true
		}
	}
	return w.closed < len(data)
}

// opens tells whether a match may begin where the text does, or might if it went on, whatever stands before. The automaton is for leftmost.
func (d *dfa) opens(data []byte) bool {
	d.allow(len(data))
	for _, before := range []rune{nothing, '\n', 'a', ' '} {
		s := d.make(state{waits: d.start, before: d.kind(before), found: true})
		for i := 0; s != over<<d.shift; i++ {
			if i == len(data) || d.left < 0 || d.states[s>>d.shift].back > 0 {
				return true
			}
			s = d.step(s, data[i])
		}
	}
	return false
}

// runeBefore returns the rune before a place, or nothing.
func runeBefore(data []byte, at int) rune {
	if at == 0 {
		return nothing
	}
	r, _ := utf8.DecodeLastRune(data[:at])
	return r
}

// runeBehind returns the rune at a place, or nothing.
func runeBehind(data []byte, at int) rune {
	if at == len(data) {
		return nothing
	}
	r, _ := utf8.DecodeRune(data[at:])
	return r
}

// on goes on by some bytes, or up to where a match is certain, and tells that.
func (w *walk) on() (hit bool) {
	n := min(len(w.data)-w.at, lanes*longestLane)
	lane := n / lanes / stretch * stretch
	if w.single || lane < shortestLane {
		return w.alone(w.at + n)
	}
	return w.abreast(lane)
}

// alone goes on to a place, in one lane, if there are not too many states.
func (w *walk) alone(to int) (hit bool) {
	for w.at < to && w.left >= 0 {
		n := min(stretch, to-w.at)
		if s := walkOne(w.next, &w.class, w.s, w.data[w.at:w.at+n]); s >= ordinary<<w.shift {
			w.move(w.at+n, s)
			continue
		}
		for range n {
			s := w.step(w.s, w.data[w.at])
			if s == over<<w.shift {
				return true
			}
			w.move(w.at+1, s)
		}
	}
	return false
}

// move notes that the walk came to a place, in a state.
func (w *walk) move(to int, s uint32) {
	w.at, w.s = to, s
	if w.states[s>>w.shift].closed {
		w.closed = to
	}
}

// walkOne walks through a short text. It comes to an ordinary state only over such.
func walkOne(next []uint32, class *[256]uint8, s uint32, data []byte) uint32 {
	for _, b := range data {
		s = next[s+uint32(class[b])]
	}
	return s
}

// walkAbreast is walkOne for each lane; the lanes begin that many bytes after each other.
func walkAbreast(next []uint32, class *[256]uint8, s [lanes]uint32, data []byte, lane int) [lanes]uint32 {
	s0, s1, s2, s3 := s[0], s[1], s[2], s[3]
	d0, d1, d2, d3 := data[:stretch], data[lane:][:stretch], data[2*lane:][:stretch], data[3*lane:][:stretch]
	for i := range stretch {
		s0 = next[s0+uint32(class[d0[i]])]
		s1 = next[s1+uint32(class[d1[i]])]
		s2 = next[s2+uint32(class[d2[i]])]
		s3 = next[s3+uint32(class[d3[i]])]
	}
	return [lanes]uint32{s0, s1, s2, s3}
}

// abreast goes on by that many bytes in each lane.
func (w *walk) abreast(lane int) (hit bool) {
	to, from, flushs := w.at+lanes*lane, w.states[w.s>>w.shift], w.flushs
	// again does it alone, since a match is there, or since the states of other lanes are not valid any more.
	again := func() bool {
		if flushs != w.flushs {
			w.s = w.make(from)
		}
		return w.alone(to)
	}
	s := [lanes]uint32{w.s}
	for i := range lanes - 1 {
		if s[i+1] = w.enter(w.at + (i+1)*lane); flushs != w.flushs {
			return again()
		}
	}
	entered := s
	for k := 0; k < lane; k += stretch {
		behind := walkAbreast(w.next, &w.class, s, w.data[w.at+k:], lane)
		if min(behind[0], behind[1], behind[2], behind[3]) < ordinary<<w.shift {
			for i := range lanes {
				if behind[i] = w.careful(s[i], w.data[w.at+i*lane+k:][:stretch]); flushs != w.flushs || w.left < 0 || behind[i] == over<<w.shift {
					return again()
				}
			}
		}
		s = behind
	}
	for i := range lanes - 1 {
		meet := w.meet(s[i], entered[i+1], w.data[w.at+(i+1)*lane:][:min(seam, lane)])
		if flushs != w.flushs {
			return again()
		}
		if !meet { // also if a match ended there
			w.single = true
			w.move(w.at+(i+1)*lane, s[i])
			return w.alone(to)
		}
	}
	w.move(to, s[lanes-1])
	return false
}

// enter returns the state at a place if no match began before the rune that stands there.
func (w *walk) enter(at int) uint32 {
	begin := runeStart(w.data, at)
	return w.careful(w.fresh(runeBefore(w.data, begin)), w.data[begin:at])
}

// careful makes states where there are none, and stops where a match is certain.
func (w *walk) careful(s uint32, data []byte) uint32 {
	for _, b := range data {
		if s = w.step(s, b); s == over<<w.shift {
			break
		}
	}
	return s
}

// meet tells whether two states lead to the same within some bytes.
func (w *walk) meet(s, other uint32, data []byte) bool {
	flushs := w.flushs
	for _, b := range data {
		if s == other || s == over<<w.shift {
			break
		}
		if s = w.step(s, b); flushs != w.flushs {
			return false
		}
		if other = w.step(other, b); flushs != w.flushs {
			return false
		}
	}
	return s == other
}
