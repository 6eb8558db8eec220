// Package fault breaks storage on purpose, for tests: a Backend does what its script says at the call that the script
// says, and is the storage below it otherwise.
//
// It promises that a plan is kept or missed visibly: Verify fails the test if a planned fault never fired, so that no
// test passes because nothing went wrong.
package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/backend"
)

// Op is a method of backend.Backend.
type Op string

// The methods. Any stands for each of them.
const (
	Any    Op = ""
	Save   Op = "save"
	Open   Op = "open"
	Stat   Op = "stat"
	List   Op = "list"
	Remove Op = "remove"
)

// Effect is what goes wrong.
type Effect string

// The effects. Those that name a method do to others what Before does.
const (
	Before Effect = "error before" // the call is not made, and fails
	After  Effect = "error after"  // the call is made, and its success is told as failure
	Break  Effect = "break"        // Open: reading fails after N bytes; List: the listing fails after N files
	Short  Effect = "short read"   // Open: the content ends after N bytes, as if that were all
	Torn   Effect = "torn write"   // Save: the first half of the content stands under the name, and the call fails
	Hang   Effect = "hang"         // the call does nothing until its context ends, and returns the context's error
)

// Err is what fails with, unless a Fault names another error.
var Err = errors.New("scripted fault")

// Fault is one line of a script.
type Fault struct {
	Op     Op           // which method; zero: Any
	Type   backend.Type // of which files; zero: all
	Call   int          // the how-manieth call that Op and Type match, from 1; zero: the first
	Lasts  bool         // all matching calls from that one on
	Effect Effect       // zero: Before
	N      int64        // for Break and Short: bytes or files that still come through
	Err    error        // zero: Err
}

// String tells the fault in words.
func (f Fault) String() string {
	op, of := string(f.Op), "any file"
	if f.Op == Any {
		op = "any method"
	}
	if f.Type != 0 {
		of = f.Type.String()
	}
	return fmt.Sprintf("%s at call %d of %s on %s", f.Effect, f.Call, op, of)
}

// Backend is storage that fails as scripted. It is safe for concurrent use; calls are counted in the order in which
// they begin.
type Backend struct {
	be backend.Backend

	mu     sync.Mutex
	script []*planned
	calls  int
}

type planned struct {
	Fault
	seen  int // matching calls so far
	fired bool
}

var _ backend.Backend = (*Backend)(nil)

// New returns be with the faults of a script. Of several that match a call, the first fires.
func New(be backend.Backend, script ...Fault) *Backend {
	b := &Backend{be: be}
	for _, f := range script {
		f.Call = max(f.Call, 1)
		if f.Effect == "" {
			f.Effect = Before
		}
		if f.Err == nil {
			f.Err = Err
		}
		b.script = append(b.script, &planned{Fault: f})
	}
	return b
}

// Calls returns how many calls there were: a test that fails each call in turn counts them on a first run without
// faults.
func (b *Backend) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// Fired returns the faults that happened.
func (b *Backend) Fired() []Fault { return b.faults(true) }

// Unfired returns the faults that have not happened.
func (b *Backend) Unfired() []Fault { return b.faults(false) }

func (b *Backend) faults(fired bool) []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Fault
	for _, p := range b.script {
		if p.fired == fired {
			list = append(list, p.Fault)
		}
	}
	return list
}

// Verify fails the test for every planned fault that never happened.
func Verify(t testing.TB, b *Backend) {
	t.Helper()
	for _, f := range b.Unfired() {
		t.Errorf("a planned fault never happened, so that the test proves nothing about it: %v", f)
	}
}

// next counts a call and returns the fault that it meets, nil if none.
func (b *Backend) next(op Op, t backend.Type) *Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	var met *planned
	for _, p := range b.script {
		if p.Op != Any && p.Op != op || p.Type != 0 && p.Type != t {
			continue
		}
		p.seen++
		if met == nil && (p.seen == p.Call || p.Lasts && p.seen > p.Call) {
			met = p
		}
	}
	if met == nil {
		return nil
	}
	met.fired = true
	f := met.Fault
	return &f
}

// call makes a call, unless f keeps it from being made, and says what came of it.
func call(ctx context.Context, op Op, what string, f *Fault, fn func() error) error {
	if f == nil {
		return fn()
	}
	switch f.Effect {
	case Hang:
		<-ctx.Done()
		return fmt.Errorf("%s %s: %w", op, what, ctx.Err())
	case After:
		if err := fn(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s %s: %w", op, what, f.Err)
}

// Save implements backend.Backend.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	f := b.next(Save, h.Type)
	if f != nil && f.Effect == Torn {
		if err := b.saveHalf(ctx, h, content); err != nil {
			return err
		}
	}
	return call(ctx, Save, h.String(), f, func() error { return b.be.Save(ctx, h, content) })
}

func (b *Backend) saveHalf(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return b.be.Save(ctx, h, bytes.NewReader(data[:len(data)/2]))
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (rd io.ReadCloser, err error) {
	f := b.next(Open, h.Type)
	open := func() error {
		rd, err = b.be.Open(ctx, h, offset, length)
		return err
	}
	if f == nil || f.Effect != Break && f.Effect != Short {
		if err := call(ctx, Open, h.String(), f, open); err != nil {
			if rd != nil {
				rd.Close()
			}
			return nil, err
		}
		return rd, nil
	}
	if err := open(); err != nil {
		return nil, err
	}
	end := io.EOF
	if f.Effect == Break {
		end = fmt.Errorf("read %v: %w", h, f.Err)
	}
	return &cutReader{ReadCloser: rd, left: f.N, end: end}, nil
}

// cutReader returns left bytes, then end.
type cutReader struct {
	io.ReadCloser
	left int64
	end  error
}

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.end
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (info backend.FileInfo, err error) {
	f := b.next(Stat, h.Type)
	err = call(ctx, Stat, h.String(), f, func() (err error) {
		info, err = b.be.Stat(ctx, h)
		return err
	})
	if err != nil {
		return backend.FileInfo{}, err
	}
	return info, nil
}

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	f := b.next(List, t)
	if f == nil || f.Effect != Break {
		return call(ctx, List, t.Dir(), f, func() error { return b.be.List(ctx, t, fn) })
	}
	broken := fmt.Errorf("list %s: %w", t.Dir(), f.Err)
	err := b.be.List(ctx, t, func(info backend.FileInfo) error {
		if f.N <= 0 {
			return broken
		}
		f.N--
		return fn(info)
	})
	if err != nil {
		return err
	}
	return broken // after the last file
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	f := b.next(Remove, h.Type)
	return call(ctx, Remove, h.String(), f, func() error { return b.be.Remove(ctx, h) })
}

// Close closes the storage below.
func (b *Backend) Close() error { return backend.Close(b.be) }
