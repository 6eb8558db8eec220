package hunt

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// Bounds of the paths that are told. A hostile repository may have deeper ones.
const (
	mostDepth = 4096
	mostPath  = 64 << 10  // bytes
	mostPaths = 128 << 20 // bytes of all paths that are told, and of those on the way to them
)

// found is a file with something in it that is looked for.
type found struct {
	name    string
	size    uint64
	matches []match // of places in the file; one for each indicator
}

// directory is what a tree holds that matters here: files with hits, and other directories.
type directory struct {
	files []found
	dirs  []child
	hit   bool // there is a hit in it or below
}

type child struct {
	name string
	tree uint32 // number
}

// locate finds the paths and snapshots of what was found. Each tree is read once more, however many snapshots hold it.
func (u *run) locate(ctx context.Context) error {
	l := locator{u: u, number: make(map[blob.ID]uint32), inRuns: u.blobsInHits()}
	if !l.anything() {
		return nil
	}
	err := snapshot.Trees(ctx, u.r, u.roots(), func(id blob.ID, t *snapshot.Tree, err error) error {
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			u.problem(fmt.Errorf("directory %s and what is below it: %w", id.Short(), err)) // told once
			return nil
		}
		l.add(id, t)
		return nil
	}, u.directories)
	if err != nil {
		return err
	}
	l.mark()
	l.tell()
	return ctx.Err()
}

// blobsInHits returns the blobs of border runs with hits.
func (u *run) blobsInHits() map[uint32]struct{} {
	blobs := make(map[uint32]struct{})
	for run := range u.runHits {
		for _, n := range u.s.blobsOf(run) {
			blobs[n] = struct{}{}
		}
	}
	return blobs
}

type locator struct {
	u      *run
	inRuns map[uint32]struct{}

	mu     sync.Mutex
	number map[blob.ID]uint32 // of trees
	dirs   []directory        // by number

	paths int // bytes of those that were told or gone
}

// anything tells whether there can be a hit.
func (l *locator) anything() bool {
	u := l.u
	return len(u.blobHits)+len(u.runHits)+len(u.fileHits) > 0 || u.s.named
}

// numberOf returns the number of a tree. The caller holds mu.
func (l *locator) numberOf(id blob.ID) uint32 {
	n, known := l.number[id]
	if !known {
		n = uint32(len(l.dirs))
		l.number[id] = n
		l.dirs = append(l.dirs, directory{})
	}
	return n
}

// add takes down what a tree holds.
func (l *locator) add(id blob.ID, t *snapshot.Tree) {
	var d directory
	var subtrees []*snapshot.Node
	for _, n := range t.Nodes {
		switch {
		case n.Type == snapshot.File:
			if matches := l.u.judge(n.Content, l.inRuns); len(matches) > 0 {
				d.files = append(d.files, found{n.Name, n.Size, matches})
				d.hit = true
			}
		case n.Subtree != nil:
			subtrees = append(subtrees, n)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range subtrees {
		d.dirs = append(d.dirs, child{n.Name, l.numberOf(*n.Subtree)})
	}
	l.dirs[l.numberOf(id)] = d
}

// judge returns what a file holds of what is looked for, at most one match for each indicator.
func (u *run) judge(content []blob.ID, inRuns map[uint32]struct{}) []match {
	at := make(map[int][]int64) // by indicator
	note := func(m match, base int64) {
		places := at[m.indicator]
		for _, p := range m.at {
			if base+p >= 0 {
				places = append(places, base+p)
			}
		}
		at[m.indicator] = earliest(places)
	}
	switch len(content) {
	case 0:
		for _, i := range u.hashes[sha256.Sum256(nil)] {
			note(match{indicator: i}, 0)
		}
	case 1:
		for _, i := range u.hashes[content[0]] {
			note(match{indicator: i}, 0)
		}
		u.noteBlob(content[0], only, 0, note)
	default:
		u.judgeSeveral(content, inRuns, note)
	}
	list := make([]match, 0, len(at))
	for _, i := range slices.Sorted(maps.Keys(at)) {
		list = append(list, match{indicator: i, at: at[i]})
	}
	return list
}

// noteBlob notes what a blob holds that stands in a file in that role, base bytes from its start.
func (u *run) noteBlob(id blob.ID, r role, base int64, note func(m match, base int64)) {
	for _, m := range u.blobHits[id] {
		if m.role == r || m.role == anyRole {
			note(m, base)
		}
	}
}

// judgeSeveral judges a file of several blobs.
func (u *run) judgeSeveral(content []blob.ID, inRuns map[uint32]struct{}, note func(m match, base int64)) {
	numbers := u.s.numbersOf(content)
	base, near := int64(0), false
	for i, n := range numbers {
		if u.s.sizes[n] == missing {
			base = nowhere
			continue
		}
		u.noteBlob(u.s.ids[n], roleOf(i, len(numbers)), base, note)
		if _, hit := inRuns[n]; hit {
			near = true
		}
		base += int64(u.s.sizes[n])
	}
	if near {
		u.s.eachRun(numbers, func(r borderRun) {
			run, known := u.s.runs[r.key()]
			for _, m := range u.runHits[run] {
				if known {
					note(m, r.at)
				}
			}
		})
	}
	if len(u.fileHits) > 0 {
		for _, m := range u.fileHits[keyOf(numbers)] {
			note(m, 0)
		}
	}
}

// mark finds the directories that have hits below: from the files upwards.
func (l *locator) mark() {
	parents := make([][]uint32, len(l.dirs))
	var next []uint32
	for n := range l.dirs {
		for _, c := range l.dirs[n].dirs {
			parents[c.tree] = append(parents[c.tree], uint32(n))
		}
		if l.dirs[n].hit {
			next = append(next, uint32(n))
		}
	}
	for len(next) > 0 {
		n := next[len(next)-1]
		next = next[:len(next)-1]
		for _, p := range parents[n] {
			if !l.dirs[p].hit {
				l.dirs[p].hit = true
				next = append(next, p)
			}
		}
	}
}

// set is some of the snapshots of a host, by their places in time.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) addAll(other set) {
	for i := range s {
		s[i] |= other[i]
	}
}

func (s set) meets(other set) bool {
	for i := range s {
		if s[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

func (s set) len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// tell makes the hits of what was found, host by host.
func (l *locator) tell() {
	order := make(map[Indicator]int)
	for i, ind := range l.u.indicators {
		if _, again := order[ind]; !again {
			order[ind] = i
		}
	}
	for _, group := range (snapshot.GroupBy{Host: true}).Groups(l.u.list) {
		h := host{l: l, name: group.Key.Hostname, list: group.Snapshots}
		roots := make(map[uint32]set)
		for i, sn := range h.list {
			n, known := l.number[sn.Tree]
			if !known || !l.dirs[n].hit {
				continue
			}
			if roots[n] == nil {
				roots[n] = newSet(len(h.list))
			}
			roots[n].add(i)
		}
		for _, series := range (snapshot.GroupBy{Host: true, Paths: true}).Groups(h.list) {
			s := newSet(len(h.list))
			for i, sn := range h.list {
				if slices.Contains(series.Snapshots, sn) {
					s.add(i)
				}
			}
			h.series = append(h.series, s)
		}
		h.enter("", 0, roots)
	}
	slices.SortFunc(l.u.result.Hits, compareHits(order))
}

// host tells the hits in the snapshots of one host.
type host struct {
	l      *locator
	name   string
	list   []*snapshot.Snapshot // the oldest first
	series []set                // snapshots of the same paths
}

// enter tells the hits at and below a path, at which the given snapshots have these trees. What several snapshots have in common is
// looked at once.
func (h *host) enter(path string, depth int, trees map[uint32]set) {
	l := h.l
	if depth > mostDepth || len(path) > mostPath {
		l.u.problem(fmt.Errorf("directories with hits nest deeper than %d, or in a path of over %d bytes: those are not told", mostDepth, mostPath))
		return
	}
	if l.paths += len(path); l.paths > mostPaths {
		l.stop()
		return
	}
	below := make(map[string]map[uint32]set)
	files := make(map[string][]version)
	for _, n := range slices.Sorted(maps.Keys(trees)) {
		in := trees[n]
		for _, c := range l.dirs[n].dirs {
			if !l.dirs[c.tree].hit {
				continue
			}
			if below[c.name] == nil {
				below[c.name] = make(map[uint32]set)
			}
			if below[c.name][c.tree] == nil {
				below[c.name][c.tree] = newSet(len(h.list))
			}
			below[c.name][c.tree].addAll(in)
		}
		for i := range l.dirs[n].files {
			f := &l.dirs[n].files[i]
			files[f.name] = append(files[f.name], version{f, in})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h.file(path+"/"+name, files[name])
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		if l.u.result.More {
			return
		}
		h.enter(path+"/"+name, depth+1, below[name])
	}
}

// stop ends the telling.
func (l *locator) stop() {
	l.u.result.More = true
	l.u.problem(fmt.Errorf("more than %d hits, or %d bytes of paths that lead to them: the others are not told; look for less at a time, or in fewer snapshots",
		MostHits, mostPaths))
}

// version is a file as some snapshots have it.
type version struct {
	*found
	in set
}

// file tells the hits in the versions of a file.
func (h *host) file(path string, versions []version) {
	in := make(map[int]set) // by indicator
	for _, v := range versions {
		for _, m := range v.matches {
			if in[m.indicator] == nil {
				in[m.indicator] = newSet(len(h.list))
			}
			in[m.indicator].addAll(v.in)
		}
	}
	result := &h.l.u.result
	for _, i := range slices.Sorted(maps.Keys(in)) {
		if h.l.paths += len(path); len(result.Hits) == MostHits || h.l.paths > mostPaths {
			h.l.stop()
			return
		}
		hit := h.hit(path, i, in[i])
		for _, v := range versions {
			if !v.in.has(h.newest(in[i])) {
				continue
			}
			for _, m := range v.matches {
				if m.indicator == i {
					hit.Size, hit.Offsets = v.size, append([]int64{}, m.at...)
				}
			}
		}
		result.Hits = append(result.Hits, hit)
	}
}

// newest is the place of the newest snapshot of a set that is not empty.
func (h *host) newest(s set) int {
	i := len(h.list) - 1
	for !s.has(i) {
		i--
	}
	return i
}

// hit tells when something was seen at a path. Snapshots of other paths than those that ever had it say nothing of it.
func (h *host) hit(path string, indicator int, in set) Hit {
	about := newSet(len(h.list))
	for _, s := range h.series {
		if s.meets(in) {
			about.addAll(s)
		}
	}
	hit := Hit{Indicator: h.l.u.indicators[indicator], Host: h.name, Path: path, Snapshots: in.len()}
	unbroken := false
	for i, sn := range h.list {
		if !about.has(i) {
			continue
		}
		if !in.has(i) {
			unbroken = false
			continue
		}
		m := Moment{sn.ID, sn.Time}
		if !unbroken {
			hit.Spans = append(hit.Spans, Span{First: m})
			unbroken = true
		}
		span := &hit.Spans[len(hit.Spans)-1]
		span.Last = m
		span.Snapshots++
	}
	hit.InNewest = unbroken
	hit.First, hit.Last = hit.Spans[0].First, hit.Spans[len(hit.Spans)-1].Last
	return hit
}
