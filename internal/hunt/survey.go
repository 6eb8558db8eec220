package hunt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// role tells where in a file a blob stands. A blob may have several.
type role uint8

const (
	middle role = iota
	first
	last
	only    // first and last
	anyRole // of what does not depend on it
)

// roleOf returns the role of the i-th of n blobs of a file.
func roleOf(i, n int) role {
	r := middle
	if i == 0 {
		r |= first
	}
	if i == n-1 {
		r |= last
	}
	return r
}

// survey is what the snapshots need, of which no content was read yet.
type survey struct {
	size  func(id blob.ID) (plain uint32, ok bool) // of a data blob of the repository
	reach int                                      // as of Hunt; 0 asks for no border runs
	most  int64                                    // bytes of a border run, more or less
	whole bool                                     // keep the content of files of several blobs
	read  bool                                     // all blobs are needed, not only their IDs

	hashes map[blob.ID][]int // as of Hunt

	alone *repo.Set // blobs that are a file
	data  *repo.Set // all blobs of files

	mu       sync.Mutex
	number   map[blob.ID]uint32 // of blobs of files of several blobs
	ids      []blob.ID          // by number, here and below
	sizes    []uint32           // plain bytes; missing says that the index does not know the blob
	roles    []uint8            // bit n is set for role n
	contents map[contentKey]struct{}
	files    [][]uint32 // distinct contents, if whole
	named    bool       // a file is one of the hashes, as its only blob says
	lost     int        // references to blobs that are not in the repository
	lostSome []blob.ID

	// Border runs: blobs that stand one after the other in a file, of which but the ends are searched.
	runs  map[runKey]uint32
	ends  []uint32 // of each run's blobs in blobs
	blobs []uint32
	edges []role // whether each run begins and ends the file
}

const missing = ^uint32(0)

// runKey stands for a border run.
type runKey [sha256.Size / 2]byte

// newSurvey returns one that has seen nothing yet.
func (u *run) newSurvey() *survey {
	return &survey{
		size: func(id blob.ID) (uint32, bool) {
			at, ok := u.r.Locate(blob.Handle{ID: id, Type: blob.Data})
			return at.Plain, ok
		},
		reach: u.reach, most: mostRun, whole: u.rules != nil || len(u.hashes) > 0, read: u.reads() || u.rules != nil, hashes: u.hashes,
		alone: u.r.NewSet(), data: u.r.NewSet(),
		number: make(map[blob.ID]uint32), contents: make(map[contentKey]struct{}), runs: make(map[runKey]uint32),
	}
}

// survey reads all directories, each once.
func (u *run) survey(ctx context.Context) error {
	u.s = u.newSurvey()
	err := snapshot.Trees(ctx, u.r, u.roots(), func(id blob.ID, t *snapshot.Tree, err error) error {
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			u.problem(fmt.Errorf("directory %s and what is below it: %w", id.Short(), err))
			return nil
		}
		for _, n := range t.Nodes {
			if n.Type == snapshot.File {
				u.s.add(n.Content)
			}
		}
		return nil
	}, u.directories)
	if err != nil {
		return err
	}
	if u.s.lost > 0 {
		u.problem(fmt.Errorf("%d times files need blobs that are not in the repository, %v among them: %w; run kedge check, which names the files",
			u.s.lost, u.s.lostSome, repo.ErrNotFound))
	}
	return nil
}

// add takes down the content of a file.
func (s *survey) add(content []blob.ID) {
	switch len(content) {
	case 0:
		s.name(sha256.Sum256(nil))
		return
	case 1:
		s.name(content[0])
		s.addAlone(content[0])
		return
	}
	key := keyOfIDs(content)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.contents[key]; again {
		return
	}
	s.contents[key] = struct{}{}
	numbers := make([]uint32, 0, len(content))
	for _, id := range content {
		if n := s.addBlob(id); s.sizes[n] > 0 {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return
	}
	for i, n := range numbers {
		s.roles[n] |= 1 << roleOf(i, len(numbers))
	}
	if s.whole {
		s.files = append(s.files, numbers)
	}
	if s.reach > 0 {
		s.eachRun(numbers, func(r borderRun) { s.addRun(r) })
	}
}

// name notes that a file has this SHA-256.
func (s *survey) name(id blob.ID) {
	if _, asked := s.hashes[id]; asked {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.named = true
	}
}

// addAlone takes down a blob that is a file. What a tree says of it tells its SHA-256: a blob that is not there is missed only
// by those who read it.
func (s *survey) addAlone(id blob.ID) {
	h := blob.Handle{ID: id, Type: blob.Data}
	s.data.Add(h)
	if !s.alone.Add(h) && !s.alone.Has(h) && s.read {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lose(id)
	}
}

// numbersOf returns the blobs of a content that was added, without those that are empty.
func (s *survey) numbersOf(content []blob.ID) []uint32 {
	numbers := make([]uint32, 0, len(content))
	for _, id := range content {
		if n, known := s.number[id]; known && s.sizes[n] > 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// addBlob returns the number of a blob.
func (s *survey) addBlob(id blob.ID) uint32 {
	n, known := s.number[id]
	if !known {
		n = uint32(len(s.ids))
		s.number[id] = n
		s.data.Add(blob.Handle{ID: id, Type: blob.Data})
		plain, ok := s.size(id)
		if !ok {
			plain = missing
		}
		s.ids = append(s.ids, id)
		s.sizes = append(s.sizes, plain)
		s.roles = append(s.roles, 0)
	}
	if s.sizes[n] == missing {
		s.lose(id)
	}
	return n
}

func (s *survey) lose(id blob.ID) {
	if s.lost++; len(s.lostSome) < 5 {
		s.lostSome = append(s.lostSome, id)
	}
}

// nowhere is so far before a file's start that no place in it comes to 0: where the file goes on behind a missing blob is not known.
const nowhere = -1 << 60

// mostRun bounds the bytes of a border run: with small blobs between it would be as long as the file.
const mostRun = 1 << 20

// borderRun is some blobs of a file that stand one after the other, at least two. Those that are longer than twice the reach are its ends only:
// of the first it holds the tail, of the last the head, of reach bytes. All others it holds whole.
type borderRun struct {
	blobs []uint32 // valid during the call
	at    int64    // where its text begins in the file; negative if that is not known
	role  role     // whether that begins and ends the file
}

// eachRun calls fn for runs that hold every border of the content, with as much around each as the reach says or the file
// has. Where a blob is missing there is none.
func (s *survey) eachRun(content []uint32, fn func(r borderRun)) {
	var (
		r     borderRun
		bytes int64 // of the run's text
		file  int64 // of the file before this blob
	)
	reach := int64(s.reach)
	emit := func(end bool) {
		if len(r.blobs) > 1 {
			full := r
			if end {
				full.role |= last
			}
			fn(full)
		}
	}
	for i, n := range content {
		size := int64(s.sizes[n])
		switch {
		case s.sizes[n] == missing:
			emit(false)
			r, bytes, file = borderRun{}, 0, nowhere
			continue
		case size > 2*reach:
			r.blobs = append(r.blobs, n)
			emit(false)
			r, bytes = borderRun{blobs: []uint32{n}, at: file + size - reach}, reach
		default:
			if len(r.blobs) == 0 {
				r.at = file
				if i == 0 {
					r.role = first
				}
			}
			r.blobs = append(r.blobs, n)
			if bytes += size; bytes > s.most {
				emit(false)
				r, bytes = s.overlap(r, file+size)
			}
		}
		file += size
	}
	emit(len(content) > 0 && s.sizes[content[len(content)-1]] != missing)
}

// overlap returns the run that follows one which has become too long and ends at a place of the file: it begins with the last
// blobs of that, which make up at least twice the reach.
func (s *survey) overlap(r borderRun, end int64) (next borderRun, bytes int64) {
	i := len(r.blobs)
	for i > 1 && bytes < 2*int64(s.reach) {
		i--
		bytes += int64(s.sizes[r.blobs[i]])
	}
	return borderRun{blobs: append([]uint32(nil), r.blobs[i:]...), at: end - bytes}, bytes
}

// key returns what stands for the run.
func (r borderRun) key() (key runKey) {
	if len(r.blobs) == 2 {
		binary.LittleEndian.PutUint32(key[:], r.blobs[0])
		binary.LittleEndian.PutUint32(key[4:], r.blobs[1])
		key[len(key)-1] = byte(r.role)
		return key
	}
	sum := keyOf(r.blobs)
	copy(key[:], sum[:])
	key[len(key)-1] = 0x80 | byte(r.role)
	return key
}

func (s *survey) addRun(r borderRun) {
	key := r.key()
	if _, again := s.runs[key]; again {
		return
	}
	s.runs[key] = uint32(len(s.ends))
	s.blobs = append(s.blobs, r.blobs...)
	s.ends = append(s.ends, uint32(len(s.blobs)))
	s.edges = append(s.edges, r.role)
}

// blobsOf returns the blobs of a border run.
func (s *survey) blobsOf(n uint32) []uint32 {
	from := uint32(0)
	if n > 0 {
		from = s.ends[n-1]
	}
	return s.blobs[from:s.ends[n]]
}
