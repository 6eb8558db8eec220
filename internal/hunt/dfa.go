package hunt

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// purpose is what an automaton is for.
type purpose int

const (
	// some tells whether there is a match, and is over as soon as that is certain.
	some purpose = iota
	// leftmost tells where the first match ends that begins behind where it starts: that which package regexp prefers.
	leftmost
	// backward goes from the end of a match to its start, the furthest away. Its program is reversed.
	backward
)

// dfa is a program's automaton, of which states are made when a text first leads to them, and all dropped when there are too many. It is
// for one goroutine.
//
// A state is written as its number times the length of a row of next. The sources of the idea are Ken Thompson, "Regular Expression
// Search Algorithm", 1968, and Russ Cox, "Regular Expression Matching in the Wild", 2010.
type dfa struct {
	*program
	purpose purpose
	start   []uint32 // instructions that wait where a match may begin

	next   []uint32 // by state and kind of byte
	states []state  // by number
	number map[string]uint32
	most   int // bytes of states, more or less
	room   int // bytes that more of them may take
	flushs int // how often all states were dropped

	now, then *waiting
	key       []byte

	left   int // states that may be made for this text
	pause  int // texts for which it is not tried
	paused int // last pause
}

// The first two states lead to themselves, so that a walk need not look for them at every byte.
const (
	unknown  = 0 // the state was not made yet
	over     = 1 // nothing that follows matters
	ordinary = 2
)

const (
	mostStates = 1 << 20 // bytes
	// worthwhile is how many bytes of a text should be read for each state that is made. Below, package regexp is as fast.
	worthwhile = 32
	fewStates  = 512 // that may be made for any text
	// longestPause bounds for how many texts an automaton is not tried after one that made it too large.
	longestPause = 1024
)

// state is what is known of the text up to a place.
type state struct {
	waits  []uint32 // instructions; in the order of preference for leftmost, else ascending
	before rune     // kind of the last whole rune
	cut    string   // bytes behind it that may be of a rune, each as the sample of its kind
	closed bool     // for some: none of what waits is of a match that began before this place
	found  bool     // for leftmost: there is a match; others that begin later do not matter
	back   uint8    // one more than how many bytes ago a match ended that was not told before, 0 if none did
}

// newDFA returns one whose states take about so many bytes.
func newDFA(p *program, purpose purpose, most int) *dfa {
	d := &dfa{program: p, purpose: purpose, most: most, now: newWaiting(len(p.insts)), then: newWaiting(len(p.insts)), left: fewStates}
	d.then.clear()
	d.wait(p.entry)
	d.start = slices.Clone(d.then.sorted(purpose))
	d.flush()
	return d
}

// flush drops all states.
func (d *dfa) flush() {
	d.states = append(d.states[:0], state{}, state{})
	d.next = append(d.next[:0], make([]uint32, ordinary<<d.shift)...)
	for i := range 1 << d.shift {
		d.next[over<<d.shift+i] = over << d.shift
	}
	d.number = make(map[string]uint32)
	d.room = d.most
	d.flushs++
}

// fresh returns the state in which a match can begin behind a rune, or behind nothing, and none has begun. It may flush.
func (d *dfa) fresh(before rune) uint32 {
	return d.make(state{waits: d.start, before: d.kind(before), closed: true})
}

// make returns the number of a state. It may flush.
func (d *dfa) make(st state) uint32 {
	d.key = append(append(d.key[:0], byte(one(st.closed)|one(st.found)<<1), st.back, byte(len(st.cut))), st.cut...)
	d.key = binary.LittleEndian.AppendUint32(d.key, uint32(st.before))
	for _, pc := range st.waits {
		d.key = binary.LittleEndian.AppendUint32(d.key, pc)
	}
	if s, known := d.number[string(d.key)]; known {
		return s
	}
	size := 4<<d.shift + 2*len(d.key) + 128
	if d.room < size {
		d.flush()
	}
	d.room -= size
	d.left--
	s := uint32(len(d.states)) << d.shift
	st.waits = slices.Clone(st.waits)
	d.states = append(d.states, st)
	d.next = append(d.next, make([]uint32, 1<<d.shift)...)
	d.number[string(d.key)] = s
	return s
}

// step returns the state that follows on a byte. It may flush.
func (d *dfa) step(s uint32, b byte) uint32 {
	kind := d.class[b]
	if n := d.next[s+uint32(kind)]; n != unknown {
		return n
	}
	flushs := d.flushs
	n := d.follow(&d.states[s>>d.shift], d.sample[kind])
	if flushs == d.flushs {
		d.next[s+uint32(kind)] = n
	}
	return n
}

// follow makes the state behind a byte, or before it.
func (d *dfa) follow(from *state, b byte) uint32 {
	st := state{waits: from.waits, before: from.before, found: from.found}
	if d.purpose == backward {
		st.cut = d.readBack(&st, string([]byte{b})+from.cut)
	} else {
		st.cut = d.readOn(&st, from.cut+string([]byte{b}))
	}
	certain := d.purpose == some && st.found
	if certain || d.purpose != some && len(st.waits) == 0 && st.back == 0 {
		return over << d.shift
	}
	st.closed = st.closed && st.cut == ""
	return d.make(st)
}

// readOn reads the runes of a text, and returns what may be the start of another.
func (d *dfa) readOn(st *state, text string) (cut string) {
	for utf8.FullRuneInString(text) && text != "" {
		r, width := utf8.DecodeRuneInString(text)
		if d.read(st, r) {
			st.back = uint8(len(text) + 1)
		}
		text = text[width:]
	}
	return text
}

// readBack reads the runes of a text from its end, and returns what may be the end of another.
func (d *dfa) readBack(st *state, text string) (cut string) {
	for text != "" && (utf8.RuneStart(text[0]) || len(text) == utf8.UTFMax) {
		r, width := utf8.DecodeLastRuneInString(text)
		if d.read(st, r) {
			st.back = uint8(len(text) + 1)
		}
		text = text[:len(text)-width]
	}
	return text
}

// read takes a rune, and tells whether a match ended before it, or, for some, is certain. What waits is valid until it is called again.
func (d *dfa) read(st *state, r rune) (hit bool) {
	hit = d.resolve(st, r)
	d.then.clear()
	for _, pc := range d.now.list {
		if inst := &d.insts[pc]; inst.MatchRune(r) {
			d.wait(inst.Out)
		}
	}
	st.closed = len(d.then.list) == 0
	if st.found = st.found || hit; !st.found && d.purpose != backward {
		d.wait(d.entry)
	}
	st.found = st.found || d.purpose == some && d.then.matched
	st.waits, st.before = d.then.sorted(d.purpose), d.kind(r)
	return hit
}

// wait lets an instruction wait for the next rune. For leftmost the way from there is gone when assertions know what they see: in
// loops the order of preference depends on it. For others the number of states is less if it is gone at once as far as possible.
func (d *dfa) wait(pc uint32) {
	switch {
	case d.purpose != leftmost:
		d.await(d.then, pc, 0, false)
	case d.then.add(pc):
		d.then.list = append(d.then.list, pc)
	}
}

// resolve lets assertions go on, or not, as they find the runes on both sides, and tells whether a match ends there. What waits for
// the rune beyond is left in now.
func (d *dfa) resolve(st *state, beyond rune) (hit bool) {
	around := syntax.EmptyOpContext(st.before, beyond)
	if d.purpose == backward {
		around = syntax.EmptyOpContext(beyond, st.before)
	}
	d.now.clear()
	for _, pc := range st.waits {
		d.await(d.now, pc, around, true)
	}
	return d.now.matched
}

// last takes what stands beyond the text, and tells whether a match ends at its end, or before in bytes that are no rune, and how many before.
func (d *dfa) last(s uint32, beyond rune) (back int, hit bool) {
	st := d.states[s>>d.shift]
	for n := len(st.cut); n > 0; n-- { // which are no rune, then
		if d.read(&st, utf8.RuneError) {
			back, hit = n, true
		}
	}
	if d.resolve(&st, beyond) || d.purpose == some && st.found {
		return 0, true
	}
	return back, hit
}

// await adds an instruction to a set, or those that it leads to. What stands around is known or not; if not, assertions wait, and a
// match does. For leftmost, what is preferred less than a match is left out.
func (d *dfa) await(w *waiting, pc uint32, around syntax.EmptyOp, known bool) {
	for !(w.matched && d.purpose == leftmost) && w.add(pc) {
		inst := &d.insts[pc]
		switch inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			d.await(w, inst.Out, around, known)
			pc = inst.Arg
			continue
		case syntax.InstCapture, syntax.InstNop:
			pc = inst.Out
			continue
		case syntax.InstEmptyWidth:
			if known && syntax.EmptyOp(inst.Arg)&^around == 0 {
				pc = inst.Out
				continue
			}
			if known {
				return
			}
		case syntax.InstMatch:
			w.matched = true
			if known {
				return
			}
		case syntax.InstFail:
			return
		}
		w.list = append(w.list, pc)
		return
	}
}

// waiting is a set of instructions. It is for one goroutine.
type waiting struct {
	round   uint32   // that clear began
	met     []uint32 // the round in which an instruction was met last
	list    []uint32 // those that wait
	matched bool     // there is a match
}

func newWaiting(n int) *waiting { return &waiting{met: make([]uint32, n)} }

func (w *waiting) clear() {
	w.list, w.matched = w.list[:0], false
	if w.round++; w.round == 0 {
		clear(w.met)
		w.round = 1
	}
}

// add tells whether an instruction is met for the first time.
func (w *waiting) add(pc uint32) bool {
	again := w.met[pc] == w.round
	w.met[pc] = w.round
	return !again
}

// sorted returns what waits as a state has it. It is valid until clear is called.
func (w *waiting) sorted(purpose purpose) []uint32 {
	if purpose != leftmost {
		slices.Sort(w.list)
	}
	return w.list
}
