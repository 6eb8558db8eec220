// Package offheap gives memory for the few large buffers that a backup or a restore fills again and again. The collector
// does not know it: it neither sets the collector's pace, nor is it cleared, dropped and made anew between two uses.
//
// It promises that a Buffer keeps no more memory between uses than was asked, however much it held, and that memory is
// given back at the latest some time after its Buffer, or the Pool that holds it, is no longer reachable.
package offheap

import (
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Buffer is memory of any size, for one goroutine at a time. Its bytes are valid as long as the Buffer is reachable
// and Room is not called again.
type Buffer struct {
	keep    int // bytes
	used    int // bytes that may have been, since the last Trim
	mapped  []byte
	cleanup runtime.Cleanup
}

// reserve is the least that is mapped, in bytes: the longest chunk and what sealing adds. Only what is used takes memory.
const reserve = 8<<20 + 64<<10

// NewBuffer returns a Buffer that keeps at most so many bytes between uses.
func NewBuffer(keep int) *Buffer { return &Buffer{keep: roundUp(keep)} }

// Room returns n bytes whose content is not defined. Where the system gives no more such memory it comes from the heap.
func (b *Buffer) Room(n int) []byte {
	if n > len(b.mapped) {
		b.free()
		mapped, err := unix.Mmap(-1, 0, roundUp(max(n, reserve)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return make([]byte, n)
		}
		b.mapped = mapped
		b.cleanup = runtime.AddCleanup(b, unmap, mapped)
	}
	b.used = max(b.used, n)
	return b.mapped[:n:n]
}

// All says to Trim that all of the rooms was used.
const All = math.MaxInt

// Trim ends a use of which so many bytes of the rooms were: it gives back those beyond what is kept.
func (b *Buffer) Trim(used int) {
	used, b.used = min(used, b.used), 0
	switch {
	case used <= b.keep || b.mapped == nil:
	case len(b.mapped) > roundUp(reserve):
		b.free()
	case unix.Madvise(b.mapped[b.keep:], unix.MADV_DONTNEED) != nil:
		b.free()
	}
}

func (b *Buffer) free() {
	if b.mapped != nil {
		b.cleanup.Stop()
		unmap(b.mapped)
		b.mapped = nil
	}
}

func unmap(mapped []byte) {
	// It can fail only for what is not mapped.
	_ = unix.Munmap(mapped)
}

func roundUp(n int) int {
	page := os.Getpagesize()
	return (n + page - 1) / page * page
}

// Pool keeps Buffers that nobody uses, up to a number. It is safe for concurrent use.
type Pool struct {
	keep int
	idle chan *Buffer
}

// NewPool returns a Pool of at most n idle Buffers that keep so many bytes each.
func NewPool(n, keep int) *Pool { return &Pool{keep, make(chan *Buffer, n)} }

// Get returns an idle Buffer, or a new one.
func (p *Pool) Get() *Buffer {
	select {
	case b := <-p.idle:
		return b
	default:
		return NewBuffer(p.keep)
	}
}

// Put takes back a Buffer, of which all room there was may have been used. Nobody may use it, or its bytes, any more.
func (p *Pool) Put(b *Buffer) {
	b.Trim(All)
	select {
	case p.idle <- b:
	default:
		b.free()
	}
}
