package hunt

import (
	"math"
	"slices"
	"sync"
)

// mostBorders bounds the heads and tails of blobs that wait for those beside them, in bytes. Blobs that stand beside each other in a file
// mostly do so in a pack, too, and so they wait for a short time. Of those for which there is no room it is noted whether a match may
// reach over their ends; if so, and only then, they are read again.
const mostBorders = 128 << 20

// borders collects the heads and tails of blobs and puts the texts of border runs together. It is safe for concurrent use.
type borders struct {
	s     *survey
	edges func(data []byte) (start, end bool)
	most  int // bytes that are held
	room  int // the same, of a batch

	runs    []uint32 // by blob: those of blob n are from runEnds[n-1] to runEnds[n]
	runEnds []uint32

	mu      sync.Mutex
	waiting []int32 // of each run: how many distinct blobs are not read; done, if it is not waited for
	uses    []int32 // of each blob: how many runs wait that hold it
	held    map[uint32]edge
	open    []uint8 // of each blob, if it was asked: bits startOpen and endOpen
	bytes   int     // held
	late    []uint32
}

const done = -1

// What a match may reach over.
const (
	startOpen = 1 << iota
	endOpen
	asked
)

// edge is what border runs hold of a blob.
type edge struct {
	head, tail []byte // the same if it is the whole blob
}

func newBorders(s *survey, edges func(data []byte) (start, end bool), most int) *borders {
	b := &borders{
		s: s, edges: edges, most: most, room: most, runEnds: make([]uint32, len(s.ids)), waiting: make([]int32, len(s.ends)), uses: make([]int32, len(s.ids)),
		held: make(map[uint32]edge), open: make([]uint8, len(s.ids)),
	}
	// A blob that stands in a run several times counts once.
	latest := make([]uint32, len(s.ids)) // the number after that of the run in which the blob was met last
	each := func(fn func(run, n uint32)) {
		clear(latest)
		for run := range uint32(len(s.ends)) {
			for _, n := range s.blobsOf(run) {
				if latest[n] != run+1 {
					latest[n] = run + 1
					fn(run, n)
				}
			}
		}
	}
	each(func(run, n uint32) {
		b.waiting[run]++
		b.uses[n]++
	})
	total := uint32(0)
	next := make([]uint32, len(s.ids))
	for n, uses := range b.uses {
		next[n] = total
		total += uint32(uses)
		b.runEnds[n] = total
	}
	b.runs = make([]uint32, total)
	each(func(run, n uint32) {
		b.runs[next[n]] = run
		next[n]++
	})
	return b
}

// runsOf returns the runs that hold a blob.
func (b *borders) runsOf(n uint32) []uint32 {
	from := uint32(0)
	if n > 0 {
		from = b.runEnds[n-1]
	}
	return b.runs[from:b.runEnds[n]]
}

// size is how many bytes are held of a blob.
func (b *borders) size(n uint32) int { return min(int(b.s.sizes[n]), 2*b.s.reach) }

// ask tells whether runs wait for a blob, and whether there is room for it.
func (b *borders) ask(n uint32) (room, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes+b.size(n) <= b.most, b.uses[n] > 0
}

// whole is a border run of which all blobs are read.
type whole struct {
	run  uint32
	text text
}

// read takes a blob's content, and returns the runs that are whole now. Of a run for which there was no room it notes whether it must be
// read again.
func (b *borders) read(n uint32, data []byte) []whole {
	room, waiting := b.ask(n)
	if !waiting {
		return nil
	}
	var open uint8
	if !room {
		open = b.ends(data, data)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if room {
		b.hold(n, data)
	} else {
		b.open[n] = open
	}
	var ready []whole
	for _, run := range b.runsOf(n) {
		if b.waiting[run] == done {
			continue
		}
		if b.waiting[run]--; b.waiting[run] == 0 {
			switch {
			case b.allHeld(run):
				ready = append(ready, whole{run, b.text(run)})
			case b.crossed(run):
				b.late = append(b.late, run)
			}
			b.finish(run)
		}
	}
	return ready
}

// lose gives up the runs of a blob that cannot be read.
func (b *borders) lose(n uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, run := range b.runsOf(n) {
		if b.waiting[run] != done {
			b.finish(run)
		}
	}
}

func (b *borders) hold(n uint32, data []byte) {
	reach := b.s.reach
	kept := make([]byte, 0, b.size(n))
	var e edge
	if len(data) > 2*reach {
		kept = append(append(kept, data[:reach]...), data[len(data)-reach:]...)
		e = edge{kept[:reach], kept[reach:]}
	} else {
		kept = append(kept, data...)
		e = edge{kept, kept}
	}
	b.held[n] = e
	b.bytes += len(kept)
}

// allHeld tells whether the text of a run is there.
func (b *borders) allHeld(run uint32) bool {
	for _, n := range b.s.blobsOf(run) {
		if _, held := b.held[n]; !held {
			return false
		}
	}
	return true
}

// crossed tells whether a match may reach over a border in a run of which not all is held.
func (b *borders) crossed(run uint32) bool {
	blobs := b.s.blobsOf(run)
	for i, n := range blobs {
		if e, held := b.held[n]; held && b.open[n]&asked == 0 {
			b.open[n] = b.ends(e.head, e.tail)
		}
		if i > 0 && b.open[n]&startOpen != 0 || i < len(blobs)-1 && b.open[n]&endOpen != 0 {
			return true
		}
	}
	return false
}

// ends tells what a match may reach over of a blob.
func (b *borders) ends(head, tail []byte) uint8 {
	start, end := b.edges(head)
	if len(head) > 0 && &head[0] != &tail[0] {
		_, end = b.edges(tail)
	}
	return uint8(asked | startOpen*one(start) | endOpen*one(end))
}

// text puts together the text of a run.
func (b *borders) text(run uint32) text {
	t := text{start: b.s.edges[run]&first != 0, end: b.s.edges[run]&last != 0}
	for i, n := range b.s.blobsOf(run) {
		if i == 0 {
			t.data = append(t.data, b.held[n].tail...)
		} else {
			t.data = append(t.data, b.held[n].head...)
		}
	}
	return t
}

// finish ends the waiting for a run, and lets go what nobody else needs.
func (b *borders) finish(run uint32) {
	b.waiting[run] = done
	for _, n := range distinct(b.s.blobsOf(run)) {
		if b.uses[n]--; b.uses[n] > 0 {
			continue
		}
		if _, held := b.held[n]; held {
			b.bytes -= b.size(n)
			delete(b.held, n)
		}
	}
}

// distinct returns the blobs of a run, each once.
func distinct(blobs []uint32) []uint32 {
	if len(blobs) == 2 && blobs[0] != blobs[1] {
		return blobs
	}
	sorted := slices.Clone(blobs)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// batch takes up late runs, as many as there is room for, and returns the blobs that they need, each once; none if no run is late. From
// then on all that is read is held.
func (b *borders) batch() []uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var blobs []uint32
	room, taken := b.room, 0
	b.most = math.MaxInt
	for _, run := range b.late {
		need := 0
		for _, n := range distinct(b.s.blobsOf(run)) {
			if b.uses[n] == 0 {
				need += b.size(n)
			}
		}
		if need > room && taken > 0 {
			break
		}
		room -= need
		taken++
		b.waiting[run] = 0
		for _, n := range distinct(b.s.blobsOf(run)) {
			if b.waiting[run]++; b.uses[n] == 0 {
				blobs = append(blobs, n)
			}
			b.uses[n]++
		}
	}
	b.late = b.late[taken:]
	return blobs
}
