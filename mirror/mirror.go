// Package mirror copies a repository's files without its key. Every file but config is named by the SHA-256 of its bytes,
// so a copy can be verified to the last bit by whoever holds it.
//
// It promises that a file is compared with its name before it stands under that name, that what the copy held before is
// never changed or removed, and that the copy is a valid repository at every moment: what a file refers to arrives before
// the file does. A file that is damaged at the source does not keep the others from being copied: what needs it cannot be
// restored from the copy, and all else can.
package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
)

// Options of Pull.
type Options struct {
	Verify bool // read and verify again what the copy already holds
	// Progress is told how many of the files are done, from several goroutines; nil: nobody is.
	Progress    func(done, total int64)
	Concurrency int // files under way at once; 0: 4
}

// Result says what a copy holds.
type Result struct {
	Files, Bytes       int64    // held and, with Options.Verify or Verify, verified in this run
	NewFiles, NewBytes int64    // of these, fetched in this run: always verified
	Damaged            []string // names, as "data/3f…", of files whose bytes are not those of their name; sorted
}

// ErrDamaged is returned when some file's bytes were not those of its name. Result.Damaged lists them.
var ErrDamaged = errors.New("files are damaged: their bytes are not those of their names")

const (
	defaultConcurrency = 4
	// maxFile bounds one file, in bytes: the format allows packs of 128 MiB, and an index file is never larger.
	maxFile = 256 << 20
	// maxConfig bounds the config file, the one that is not named by its bytes.
	maxConfig = 1 << 20
)

// Pull copies to `to` what it lacks of `from`, kind by kind in the order of backend.Types. Locks are not copied. A file
// that is damaged at the source is left out and all others are copied; the error is ErrDamaged then. Pull may be
// repeated after any error, and goes on from there.
func Pull(ctx context.Context, from, to backend.Backend, opt Options) (Result, error) {
	p := &pull{from: from, to: to, opt: opt}
	var work [len(backend.Types)][]task
	for i, t := range backend.Types {
		tasks, err := p.missing(ctx, t)
		if err != nil {
			return p.result(), err
		}
		work[i] = tasks
		p.total += int64(len(tasks))
	}
	for i, t := range backend.Types {
		if err := each(ctx, work[i], opt.Concurrency, p.do); err != nil {
			return p.result(), fmt.Errorf("copy %v files: %w", t, err)
		}
	}
	if len(p.damaged) > 0 {
		return p.result(), ErrDamaged
	}
	return p.result(), nil
}

// Verify reads every file of a copy and compares it with its name. The error is ErrDamaged if some differ.
func Verify(ctx context.Context, be backend.Backend, progress func(done, total int64)) (Result, error) {
	p := &pull{to: be, opt: Options{Verify: true, Progress: progress}}
	var tasks []task
	for _, t := range backend.Types {
		held, err := list(ctx, be, t)
		if err != nil {
			return Result{}, err
		}
		for name, size := range held {
			tasks = append(tasks, task{backend.Handle{Type: t, Name: name}, size, true})
		}
	}
	p.total = int64(len(tasks))
	if err := each(ctx, tasks, 0, p.do); err != nil {
		return p.result(), err
	}
	if len(p.damaged) > 0 {
		return p.result(), ErrDamaged
	}
	return p.result(), nil
}

// pull is one run. Its counters are shared by the workers.
type pull struct {
	from, to backend.Backend
	opt      Options
	total    int64
	done     atomic.Int64

	mu      sync.Mutex
	counts  Result
	damaged []string
}

// task is one file to copy, or to verify where it is held.
type task struct {
	handle backend.Handle
	size   int64
	held   bool
}

func (p *pull) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.counts
	r.Damaged = slices.Sorted(slices.Values(p.damaged))
	return r
}

// missing lists the files of one kind that must be looked at.
func (p *pull) missing(ctx context.Context, t backend.Type) ([]task, error) {
	offered, err := list(ctx, p.from, t)
	if err != nil {
		return nil, fmt.Errorf("list %v files at the source: %w", t, err)
	}
	held, err := list(ctx, p.to, t)
	if err != nil {
		return nil, fmt.Errorf("list %v files of the copy: %w", t, err)
	}
	var tasks []task
	for name, size := range held {
		if p.opt.Verify {
			tasks = append(tasks, task{backend.Handle{Type: t, Name: name}, size, true})
			continue
		}
		p.counts.Files++
		p.counts.Bytes += size
	}
	for name, size := range offered {
		if _, ok := held[name]; !ok {
			tasks = append(tasks, task{backend.Handle{Type: t, Name: name}, size, false})
		}
	}
	return tasks, nil
}

// list returns the names and sizes of one kind. Config, which cannot be listed, is asked for.
func list(ctx context.Context, be backend.Backend, t backend.Type) (map[string]int64, error) {
	files := map[string]int64{}
	if t == backend.Config {
		info, err := be.Stat(ctx, backend.Handle{Type: backend.Config})
		if errors.Is(err, backend.ErrNotExist) {
			return files, nil
		}
		files[""] = info.Size
		return files, err
	}
	err := be.List(ctx, t, func(info backend.FileInfo) error {
		files[info.Name] = info.Size
		return nil
	})
	return files, err
}

// each runs do for every task, a few at a time.
func each(ctx context.Context, tasks []task, concurrency int, do func(context.Context, task) error) error {
	if concurrency <= 0 {
		concurrency = defaultConcurrency
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, t := range tasks {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return do(groupCtx, t) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// do copies or verifies one file.
func (p *pull) do(ctx context.Context, t task) error {
	var whole bool
	var err error
	if t.held {
		whole, err = p.verify(ctx, t)
	} else {
		whole, err = p.fetch(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", t.handle, err)
	}
	p.mu.Lock()
	if whole {
		p.counts.Files++
		p.counts.Bytes += t.size
		if !t.held {
			p.counts.NewFiles++
			p.counts.NewBytes += t.size
		}
	} else {
		p.damaged = append(p.damaged, t.handle.String())
	}
	p.mu.Unlock()
	if p.opt.Progress != nil {
		p.opt.Progress(p.done.Add(1), p.total)
	}
	return nil
}

// verify reads a file that the copy holds and tells whether it is whole.
func (p *pull) verify(ctx context.Context, t task) (bool, error) {
	if t.handle.Type == backend.Config {
		return true, nil
	}
	rd, err := p.to.Open(ctx, t.handle, 0, 0)
	if err != nil {
		return false, err
	}
	defer rd.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, rd); err != nil {
		return false, err
	}
	return hex.EncodeToString(hash.Sum(nil)) == t.handle.Name, nil
}

// fetch copies one file in memory, so that nothing stands at the copy before it was compared with its name.
func (p *pull) fetch(ctx context.Context, t task) (bool, error) {
	limit := int64(maxFile)
	if t.handle.Type == backend.Config {
		limit = maxConfig
	}
	if t.size > limit {
		return false, fmt.Errorf("%d bytes, at most %d are copied", t.size, limit)
	}
	rd, err := p.from.Open(ctx, t.handle, 0, 0)
	if errors.Is(err, backend.ErrNotExist) {
		return false, fmt.Errorf("removed from the source while it was copied; run again: %w", err)
	}
	if err != nil {
		return false, err
	}
	defer rd.Close()
	content := make([]byte, t.size)
	if _, err := io.ReadFull(rd, content); err != nil {
		return false, fmt.Errorf("read %d bytes: %w", t.size, err)
	}
	if n, _ := rd.Read(make([]byte, 1)); n > 0 {
		return false, nil // longer than it was listed
	}
	if sum := sha256.Sum256(content); t.handle.Type != backend.Config && hex.EncodeToString(sum[:]) != t.handle.Name {
		return false, nil
	}
	err = p.to.Save(ctx, t.handle, bytes.NewReader(content))
	if errors.Is(err, backend.ErrExist) {
		return true, nil // another pull was faster
	}
	return err == nil, err
}
