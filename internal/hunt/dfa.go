package hunt

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// dfa is a program's automaton, of which states are made when a text first leads to them, and all dropped when there are too many. It
// tells whether a text holds a match, and about where; package regexp then says where exactly. It is for one goroutine.
//
// A state is written as its number times the length of a row of next. The sources of the idea are Ken Thompson, "Regular Expression Search Algorithm", 1968,
// and Russ Cox, "Regular Expression Matching in the Wild", 2010.
type dfa struct {
	*program
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
	unknown    = 0 // the state was not made yet
	matched    = 1 // a match ended, or will with whatever follows
	ordinary   = 2
	mostStates = 1 << 20 // bytes
	// worthwhile is how many bytes of a text should be read for each state that is made. Below, package regexp is as fast.
	worthwhile   = 32
	fewStates    = 512  // that may be made for any text
	longestPause = 1024 // texts
)

// state is what is known of the text up to a place.
type state struct {
	waits  []uint32 // instructions, in ascending order
	before rune     // kind of the last whole rune
	cut    string   // bytes behind it that may begin a rune, each as the sample of its kind
	closed bool     // none of them is of a match that began before this place
}

// newDFA returns one whose states take about so many bytes.
func newDFA(p *program, most int) *dfa {
	d := &dfa{program: p, most: most, now: newWaiting(len(p.insts)), then: newWaiting(len(p.insts)), left: fewStates}
	d.flush()
	return d
}

// flush drops all states.
func (d *dfa) flush() {
	d.states = append(d.states[:0], state{}, state{})
	d.next = append(d.next[:0], make([]uint32, ordinary<<d.shift)...)
	for i := range 1 << d.shift {
		d.next[matched<<d.shift+i] = matched << d.shift
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
	d.key = append(append(d.key[:0], byte(one(st.closed)), byte(len(st.cut))), st.cut...)
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

// follow makes the state behind a byte.
func (d *dfa) follow(from *state, b byte) uint32 {
	var room [utf8.UTFMax]byte
	text := append(append(room[:0], from.cut...), b)
	st := state{waits: from.waits, before: from.before}
	for len(text) > 0 && utf8.FullRune(text) {
		r, width := utf8.DecodeRune(text)
		if d.read(&st, r); d.now.matched || d.then.matched {
			return matched << d.shift
		}
		text = text[width:]
	}
	st.cut = string(text)
	st.closed = st.closed && st.cut == ""
	return d.make(st)
}

// read takes a rune. Now matched if a match ended before it, then if one ends behind it. What waits is valid until it is called again.
func (d *dfa) read(st *state, r rune) {
	d.resolve(st, r)
	d.then.clear()
	for _, pc := range d.now.list {
		if inst := &d.insts[pc]; inst.MatchRune(r) {
			d.await(d.then, inst.Out, 0, false)
		}
	}
	st.closed = len(d.then.list) == 0
	for _, pc := range d.start {
		d.await(d.then, pc, 0, false)
	}
	slices.Sort(d.then.list)
	st.waits, st.before = d.then.list, d.kind(r)
}

// resolve lets assertions go on, or not, as they find the runes before and behind them, and leaves what waits for that rune in now.
func (d *dfa) resolve(st *state, behind rune) {
	around := syntax.EmptyOpContext(st.before, behind)
	d.now.clear()
	for _, pc := range st.waits {
		d.await(d.now, pc, around, true)
	}
}

// ends tells whether a match ends where the file does.
func (d *dfa) ends(s uint32) bool {
	st := d.states[s>>d.shift]
	for range len(st.cut) { // which begins no rune, then
		if d.read(&st, utf8.RuneError); d.now.matched || d.then.matched {
			return true
		}
	}
	d.resolve(&st, nothing)
	return d.now.matched
}
