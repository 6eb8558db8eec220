package hunt

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
)

// Bounds of what is asked for at once of a file.
const (
	fileBatch      = 16 << 20 // bytes
	fileBatchBlobs = 1024
)

// readFiles reads files of several blobs from start to end, for their SHA-256 and for YARA. Those that begin alike are read one
// after the other, and what they have in common at the start is read once: a log that grows, or the versions of a disk image.
func (u *run) readFiles(ctx context.Context) error {
	files := slices.DeleteFunc(u.s.files, func(content []uint32) bool {
		return slices.ContainsFunc(content, func(n uint32) bool { return u.s.sizes[n] == missing }) // as was told
	})
	if u.rules == nil {
		files = u.possible(files)
	}
	slices.SortFunc(files, slices.Compare[[]uint32])
	for _, content := range files {
		u.total += u.s.length(content)
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	for len(files) > 0 && inner.Err() == nil {
		n := 1
		for n < len(files) && files[n][0] == files[0][0] {
			n++
		}
		alike := files[:n]
		files = files[n:]
		g.Go(func() error { return u.readAlike(inner, alike) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// possible returns the files that may have one of the hashes. The size of what has a hash is known if it is a blob, too; if that goes
// for all, files of other sizes are not read.
func (u *run) possible(files [][]uint32) [][]uint32 {
	sizes := make(map[int64]struct{})
	for id := range u.hashes {
		at, ok := u.r.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok && id != sha256.Sum256(nil) {
			return files
		}
		sizes[int64(at.Plain)] = struct{}{}
	}
	return slices.DeleteFunc(files, func(content []uint32) bool {
		_, ok := sizes[u.s.length(content)]
		return !ok
	})
}

// length is how many bytes a content has.
func (s *survey) length(content []uint32) (bytes int64) {
	for _, n := range content {
		bytes += int64(s.sizes[n])
	}
	return bytes
}

// resumable is a hash whose state can be kept.
type resumable interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// reader reads files that begin alike, sorted by their blobs. It is for one goroutine.
type reader struct {
	u      *run
	sum    resumable
	states map[int][]byte // of sum, after so many blobs; those that a later file goes on from
	read   int            // blobs of the last file
	failed bool           // the next one could not be read
	start  []byte         // of the file, as much as YARA is given
	room   []byte
}

func (u *run) readAlike(ctx context.Context, files [][]uint32) error {
	sum, ok := sha256.New().(resumable)
	if !ok {
		return errors.New("this SHA-256 cannot be taken up in the middle")
	}
	rd := reader{u: u, sum: sum, states: map[int][]byte{0: nil}}
	for i := 1; i < len(files); i++ {
		rd.states[common(files[i-1], files[i])] = nil
	}
	if err := rd.keep(0); err != nil {
		return err
	}
	var before []uint32
	for _, content := range files {
		if err := rd.file(ctx, content, common(before, content)); err != nil {
			return err
		}
		before = content
	}
	return nil
}

// common is how many blobs two files have in common at their starts.
func common(a, b []uint32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// keep keeps the state after so many blobs, if somebody will go on from there.
func (rd *reader) keep(blobs int) error {
	if _, asked := rd.states[blobs]; !asked {
		return nil
	}
	state, err := rd.sum.AppendBinary(nil)
	if err != nil {
		return fmt.Errorf("keep SHA-256: %w", err)
	}
	rd.states[blobs] = state
	return nil
}

// file reads a file whose first blobs are those of the file before.
func (rd *reader) file(ctx context.Context, content []uint32, same int) error {
	if same > rd.read && rd.failed {
		return nil // nor can this be read
	}
	if same <= rd.read {
		if err := rd.sum.UnmarshalBinary(rd.states[same]); err != nil {
			return fmt.Errorf("take up SHA-256: %w", err)
		}
		rd.start = rd.start[:min(int64(len(rd.start)), rd.u.s.length(content[:same]))]
		rd.read, rd.failed = same, false
	}
	if rd.u.rules != nil {
		room := min(rd.u.s.length(content), int64(rd.u.opt.MostScanned)+1)
		rd.start = slices.Grow(rd.start, max(0, int(room)-len(rd.start)))
	}
	for rd.read < len(content) && rd.more() {
		if err := rd.next(ctx, content); err != nil || rd.failed {
			return err
		}
	}
	rd.judge(content)
	return nil
}

// more tells whether the rest of the file matters.
func (rd *reader) more() bool {
	return len(rd.u.hashes) > 0 || len(rd.start) <= rd.u.opt.MostScanned
}

// next reads the next few blobs of a file.
func (rd *reader) next(ctx context.Context, content []uint32) error {
	u := rd.u
	place := make(map[uint32]int) // in room
	var handles []blob.Handle
	size := 0
	batch := content[rd.read:min(rd.read+fileBatchBlobs, len(content))]
	for i, n := range batch {
		if _, have := place[n]; have {
			continue
		}
		if size > 0 && size+int(u.s.sizes[n]) > fileBatch {
			batch = batch[:i]
			break
		}
		place[n] = size
		size += int(u.s.sizes[n])
		handles = append(handles, blob.Handle{ID: u.s.ids[n], Type: blob.Data})
	}
	rd.room = slices.Grow(rd.room[:0], size)[:size]
	lost := make([]bool, len(handles))
	err := u.r.LoadBlobs(ctx, handles, func(h blob.Handle, data []byte, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			u.problem(fmt.Errorf("files with blob %v were not searched whole: %w; run kedge check --read-data, which names them", h, err))
			lost[slices.Index(handles, h)] = true
			return nil
		}
		u.read(h.ID, len(data))
		copy(rd.room[place[u.s.number[h.ID]]:], data)
		return nil
	})
	if err != nil {
		return err
	}
	if rd.failed = slices.Contains(lost, true); rd.failed {
		return nil
	}
	for _, n := range batch {
		data := rd.room[place[n]:][:u.s.sizes[n]]
		if len(u.hashes) > 0 {
			rd.sum.Write(data)
		}
		if u.rules != nil {
			// One byte more than YARA is given tells that the file was cut.
			rd.start = append(rd.start, data[:min(len(data), u.opt.MostScanned+1-len(rd.start))]...)
		}
		rd.read++
		if err := rd.keep(rd.read); err != nil {
			return err
		}
	}
	return nil
}

// judge takes down what the file is.
func (rd *reader) judge(content []uint32) {
	u := rd.u
	var found []match
	if rd.read == len(content) && len(u.hashes) > 0 {
		for _, i := range u.hashes[blob.ID(rd.sum.Sum(nil))] {
			found = append(found, match{indicator: i, role: anyRole})
		}
	}
	if u.rules != nil {
		found = append(found, u.scan(u.s.ids[content[0]].Short(), rd.start)...)
	}
	if len(found) > 0 {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.fileHits[keyOf(content)] = found
	}
}

// contentKey stands for the blobs of a file.
type contentKey [sha256.Size]byte

func keyOf(content []uint32) contentKey {
	numbers := make([]byte, 0, 4*len(content))
	for _, n := range content {
		numbers = binary.LittleEndian.AppendUint32(numbers, n)
	}
	return sha256.Sum256(numbers)
}

// keyOfIDs is keyOf for blobs that have no numbers yet.
func keyOfIDs(content []blob.ID) contentKey {
	sum := sha256.New()
	for i := range content {
		sum.Write(content[i][:])
	}
	return contentKey(sum.Sum(nil))
}
