// Package mirror copies a repository's files without any key: every file but the config is named by the SHA-256 of its
// bytes, so each is compared with its name before it is kept.
//
// It promises that nothing damaged is stored at the copy under a good name, that one damaged file keeps no other from
// being copied, that what the copy holds is never changed or deleted, and that the copy is a sound repository at
// every moment: what a file refers to is copied before it.
package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
)

const (
	// concurrency is how many files are copied side by side: the sites may be far apart.
	concurrency = 4
	// inMemory is the size up to which a file is held in memory while it is compared with its name; a larger one is
	// in a temporary file. Packs are 16 MiB unless someone chose otherwise. Together with concurrency it bounds the memory.
	inMemory = 32 << 20
	// maxConfig bounds the one file that is compared byte by byte.
	maxConfig = 1 << 20
)

// ErrDamaged is returned, wrapped, when a file's bytes are not those of its name.
var ErrDamaged = errors.New("its bytes are not those of its name")

// Options say how to copy.
type Options struct {
	Verify      bool                    // read again what the copy holds already, and compare it with its name
	Progress    func(done, total int64) // may be nil; files; called from one goroutine at a time
	Concurrency int                     // files copied side by side; 0: 4
}

// Result is what was found and done.
type Result struct {
	Files, Bytes       int64    // that the copy holds and the source lists, and the copy's own for Verify
	NewFiles, NewBytes int64    // copied by this call
	Damaged            []string // paths in the repository, sorted: bytes that are not those of the name, on either side
	Removed            []string // paths that the copy holds and the source no longer lists, sorted
}

// Pull copies to `to` every file of `from` that it does not hold: keys and packs first, then indexes, then snapshots. A
// file that cannot be read, or is not what its name says, is an error after everything else was copied: what refers
// to it is copied too, since all else in it can be restored. Nothing at `to` is ever deleted or written over.
func Pull(ctx context.Context, from, to backend.Backend, opt Options) (Result, error) {
	p := &puller{from: from, to: to, opt: opt}
	var lists [len(backend.Types)]difference
	// Backwards: what a file listed here refers to was there before it, and so is in the lists that follow, even
	// while backups run.
	for i, kind := range slices.Backward(backend.Types[:]) {
		var err error
		if lists[i], err = p.compare(ctx, kind); err != nil {
			return p.res, fmt.Errorf("copy repository: %w", err)
		}
		p.total += int64(len(lists[i].missing) + len(lists[i].held))
	}
	for i, kind := range backend.Types {
		g := new(errgroup.Group)
		g.SetLimit(workers(opt.Concurrency))
		for _, f := range lists[i].missing {
			g.Go(func() error { p.do(ctx, backend.Handle{Type: kind, Name: f.Name}, f.Size, p.copy); return nil })
		}
		for _, f := range lists[i].held {
			g.Go(func() error { p.do(ctx, backend.Handle{Type: kind, Name: f.Name}, f.Size, p.inspect); return nil })
		}
		_ = g.Wait() // what failed is in p.errs: every other file is still copied
		if ctx.Err() != nil {
			return p.result(), fmt.Errorf("copy repository: %w", context.Cause(ctx))
		}
	}
	if err := errors.Join(p.errs...); err != nil {
		return p.result(), fmt.Errorf("copy repository: %d files failed: %w", len(p.errs), err)
	}
	return p.result(), nil
}

// Verify reads every file of a repository and compares it with its name. Damaged files are in the result, and an error.
func Verify(ctx context.Context, be backend.Backend, progress func(done, total int64)) (Result, error) {
	p := &puller{from: be, to: be, opt: Options{Verify: true, Progress: progress}}
	var all []backend.Handle
	sizes := map[backend.Handle]int64{}
	for _, kind := range backend.Types {
		if kind == backend.Config {
			continue
		}
		files, err := list(ctx, be, kind)
		if err != nil {
			return p.res, fmt.Errorf("verify repository: %w", err)
		}
		for name, size := range files {
			h := backend.Handle{Type: kind, Name: name}
			all, sizes[h] = append(all, h), size
		}
	}
	p.total = int64(len(all))
	g := new(errgroup.Group)
	g.SetLimit(workers(0))
	for _, h := range all {
		g.Go(func() error { p.do(ctx, h, sizes[h], p.inspect); return nil })
	}
	_ = g.Wait() // what failed is in p.errs
	if ctx.Err() != nil {
		return p.result(), fmt.Errorf("verify repository: %w", context.Cause(ctx))
	}
	if err := errors.Join(p.errs...); err != nil {
		return p.result(), fmt.Errorf("verify repository: %d files failed: %w", len(p.errs), err)
	}
	return p.result(), nil
}

func workers(n int) int {
	if n <= 0 {
		return concurrency
	}
	return n
}

// puller is one call of Pull or Verify.
type puller struct {
	from, to backend.Backend
	opt      Options
	total    int64

	mu   sync.Mutex // guards what follows, and is held while Progress runs
	done int64
	res  Result
	errs []error
}

func (p *puller) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.res.Damaged)
	slices.Sort(p.res.Removed)
	return p.res
}

// difference is what a comparison of the two lists found.
type difference struct {
	missing []backend.FileInfo // at the copy
	held    []backend.FileInfo // by both
}

func (p *puller) compare(ctx context.Context, kind backend.Type) (difference, error) {
	if kind == backend.Config {
		return p.compareConfig(ctx)
	}
	theirs, err := list(ctx, p.from, kind)
	if err != nil {
		return difference{}, fmt.Errorf("at the source: %w", err)
	}
	ours, err := list(ctx, p.to, kind)
	if err != nil {
		return difference{}, fmt.Errorf("at the copy: %w", err)
	}
	var d difference
	for name, size := range theirs {
		if _, ok := ours[name]; ok {
			d.held = append(d.held, backend.FileInfo{Name: name, Size: ours[name]})
			delete(ours, name)
		} else {
			d.missing = append(d.missing, backend.FileInfo{Name: name, Size: size})
		}
	}
	for name := range ours {
		p.res.Removed = append(p.res.Removed, backend.Handle{Type: kind, Name: name}.String())
	}
	return d, nil
}

// compareConfig compares the one file that has no hash for a name. Another config means another repository: an error
// before anything is mixed.
func (p *puller) compareConfig(ctx context.Context) (difference, error) {
	h := backend.Handle{Type: backend.Config}
	theirs, err := readSmall(ctx, p.from, h)
	if err != nil {
		return difference{}, fmt.Errorf("read the source's config: %w", err)
	}
	info := backend.FileInfo{Size: int64(len(theirs))}
	ours, err := readSmall(ctx, p.to, h)
	if errors.Is(err, backend.ErrNotExist) {
		return difference{missing: []backend.FileInfo{info}}, nil
	}
	if err != nil {
		return difference{}, fmt.Errorf("read the copy's config: %w", err)
	}
	if !bytes.Equal(theirs, ours) {
		return difference{}, errors.New("the copy is of another repository: their configs differ; choose another place for the copy")
	}
	return difference{held: []backend.FileInfo{info}}, nil
}

func readSmall(ctx context.Context, be backend.Backend, h backend.Handle) ([]byte, error) {
	rd, err := be.Open(ctx, h, 0, 0)
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	data, err := io.ReadAll(io.LimitReader(rd, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("over %d bytes", maxConfig)
	}
	return data, err
}

func list(ctx context.Context, be backend.Backend, kind backend.Type) (map[string]int64, error) {
	files := map[string]int64{}
	err := be.List(ctx, kind, func(f backend.FileInfo) error {
		files[f.Name] = f.Size
		return nil
	})
	return files, err
}

// do handles one file and notes what came of it.
func (p *puller) do(ctx context.Context, h backend.Handle, size int64, handle func(ctx context.Context, h backend.Handle, size int64) (copied int64, err error)) {
	if ctx.Err() != nil {
		return
	}
	copied, err := handle(ctx, h, size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	switch {
	case err != nil:
		p.errs = append(p.errs, fmt.Errorf("%v: %w", h, err))
		if errors.Is(err, ErrDamaged) {
			p.res.Damaged = append(p.res.Damaged, h.String())
		}
	case copied >= 0:
		p.res.NewFiles++
		p.res.NewBytes += copied
		size = copied
		fallthrough
	default:
		p.res.Files++
		p.res.Bytes += size
	}
	if p.opt.Progress != nil {
		p.opt.Progress(p.done, p.total)
	}
}

const notCopied = -1

// copy stores a file at the copy once its bytes have proven to be those of its name.
func (p *puller) copy(ctx context.Context, h backend.Handle, size int64) (int64, error) {
	rd, err := p.from.Open(ctx, h, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("read at the source: %w", err)
	}
	defer rd.Close()
	held := spool{mem: make([]byte, 0, min(max(size, 0), inMemory))}
	defer held.discard()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(hash, &held), rd)
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	if h.Type != backend.Config && hex.EncodeToString(hash.Sum(nil)) != h.Name {
		return 0, fmt.Errorf("at the source: %w", ErrDamaged)
	}
	content, err := held.content()
	if err != nil {
		return 0, err
	}
	err = p.to.Save(ctx, h, content)
	if errors.Is(err, backend.ErrExist) {
		return notCopied, nil // another copier was quicker
	}
	if err != nil {
		return 0, fmt.Errorf("store at the copy: %w", err)
	}
	return n, nil
}

// inspect reads a file of the copy again, if that was asked for.
func (p *puller) inspect(ctx context.Context, h backend.Handle, _ int64) (int64, error) {
	if !p.opt.Verify || h.Type == backend.Config {
		return notCopied, nil
	}
	rd, err := p.to.Open(ctx, h, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("read at the copy: %w", err)
	}
	defer rd.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, rd); err != nil {
		return 0, fmt.Errorf("read at the copy: %w", err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != h.Name {
		return 0, fmt.Errorf("at the copy: %w", ErrDamaged)
	}
	return notCopied, nil
}

// spool holds a file until it is known to be good: in memory, and from some size on in a temporary file without a name.
type spool struct {
	mem  []byte
	file *os.File
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.mem)+len(p) <= inMemory {
		s.mem = append(s.mem, p...)
		return len(p), nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "kedge-mirror-*")
		if err != nil {
			return 0, fmt.Errorf("make a temporary file: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, fmt.Errorf("make a temporary file: %w", err)
		}
		if _, err := f.Write(s.mem); err != nil {
			return 0, fmt.Errorf("write a temporary file: %w", err)
		}
		s.mem = nil
	}
	n, err := s.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write a temporary file: %w", err)
	}
	return n, nil
}

func (s *spool) content() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.mem), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read a temporary file: %w", err)
	}
	return s.file, nil
}

func (s *spool) discard() {
	if s.file != nil {
		s.file.Close()
	}
}
