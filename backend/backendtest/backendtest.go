// Package backendtest holds the one suite of tests that every implementation of backend.Backend passes. It
// promises that code which works on one implementation works on all.
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
)

// Run runs the suite. open returns a new, empty, writable Backend at each call.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	tests := map[string]func(t *testing.T, be backend.Backend){
		"an empty repository lists as empty":              emptyLists,
		"what is saved is read back":                      savedIsRead,
		"any part of a file can be read":                  partsAreRead,
		"a file that ends sooner is an error":             shortFile,
		"a file that is not there is ErrNotExist":         missingFile,
		"a name that is taken is left as it is":           takenName,
		"of concurrent saves one wins":                    concurrentSaves,
		"a listing tells what stood while others save":    listWhileSaving,
		"a failed save leaves nothing":                    failedSave,
		"a listing tells each file of its kind":           listing,
		"a listing stops at the callback's error":         listingStops,
		"a removed file is gone":                          removed,
		"names that are not of the format are refused":    badNames,
		"a context that has ended stops every method":     endedContext,
		"content is read from its start wherever it was":  rewound,
		"a large file comes back whole":                   largeFile,
		"a listing's callback may change the repository":  listAndRemove,
		"a negative range is an error":                    negativeRange,
		"a file may hold nothing that its name could say": configIsFree,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var fileTypes = []backend.Type{backend.Key, backend.Lock, backend.Snapshot, backend.Index, backend.Pack}

// save stores data under the name that the format gives it.
func save(t *testing.T, be backend.Backend, kind backend.Type, data string) backend.Handle {
	t.Helper()
	h := backend.Handle{Type: kind, Name: blob.Hash([]byte(data)).String()}
	if kind == backend.Config {
		h.Name = ""
	}
	if err := be.Save(t.Context(), h, strings.NewReader(data)); err != nil {
		t.Fatalf("save %v: %v", h, err)
	}
	return h
}

func read(t *testing.T, be backend.Backend, h backend.Handle, offset, length int64) (string, error) {
	t.Helper()
	rd, err := be.Open(t.Context(), h, offset, length)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(rd)
	if closeErr := rd.Close(); closeErr != nil {
		t.Errorf("close %v: %v", h, closeErr)
	}
	return string(data), err
}

func list(t *testing.T, be backend.Backend, kind backend.Type) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	err := be.List(t.Context(), kind, func(info backend.FileInfo) error {
		if _, twice := found[info.Name]; twice {
			t.Errorf("%v %s is listed twice", kind, info.Name)
		}
		found[info.Name] = info.Size
		return nil
	})
	if err != nil {
		t.Fatalf("list %vs: %v", kind, err)
	}
	return found
}

func emptyLists(t *testing.T, be backend.Backend) {
	for _, kind := range append(fileTypes, backend.Config) {
		if found := list(t, be, kind); len(found) != 0 {
			t.Errorf("%vs of an empty repository: %v", kind, found)
		}
	}
}

func savedIsRead(t *testing.T, be backend.Backend) {
	for _, kind := range append(fileTypes, backend.Config) {
		want := "content of a " + kind.String()
		h := save(t, be, kind, want)
		if got, err := read(t, be, h, 0, 0); err != nil || got != want {
			t.Errorf("read %v: got %q, %v, want %q", h, got, err, want)
		}
		info, err := be.Stat(t.Context(), h)
		if err != nil || info.Name != h.Name || info.Size != int64(len(want)) {
			t.Errorf("stat %v: got %+v, %v, want %d bytes", h, info, err, len(want))
		}
	}
}

func partsAreRead(t *testing.T, be backend.Backend) {
	const text = "0123456789"
	h := save(t, be, backend.Pack, text)
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 1, "0"}, {0, 10, text}, {3, 4, "3456"}, {9, 1, "9"}, {4, 0, "456789"}, {10, 0, ""}} {
		if got, err := read(t, be, h, c.offset, c.length); err != nil || got != c.want {
			t.Errorf("read %d+%d: got %q, %v, want %q", c.offset, c.length, got, err, c.want)
		}
	}
}

func shortFile(t *testing.T, be backend.Backend) {
	h := save(t, be, backend.Pack, "0123456789")
	for _, c := range [][2]int64{{0, 11}, {9, 2}, {10, 1}, {50, 5}} {
		if got, err := read(t, be, h, c[0], c[1]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %d+%d of 10 bytes: got %q, %v, want io.ErrUnexpectedEOF", c[0], c[1], got, err)
		}
	}
}

func missingFile(t *testing.T, be backend.Backend) {
	for _, kind := range append(fileTypes, backend.Config) {
		h := backend.Handle{Type: kind, Name: blob.Hash(nil).String()}
		if kind == backend.Config {
			h.Name = ""
		}
		if _, err := read(t, be, h, 0, 0); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("open missing %v: %v", h, err)
		}
		if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("stat missing %v: %v", h, err)
		}
		if err := be.Remove(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("remove missing %v: %v", h, err)
		}
	}
}

func takenName(t *testing.T, be backend.Backend) {
	for _, kind := range []backend.Type{backend.Config, backend.Snapshot, backend.Pack} {
		h := save(t, be, kind, "first")
		err := be.Save(t.Context(), h, strings.NewReader("first"))
		if !errors.Is(err, backend.ErrExist) {
			t.Errorf("save %v again: %v, want ErrExist", h, err)
		}
		if got, err := read(t, be, h, 0, 0); err != nil || got != "first" {
			t.Errorf("after a second save %v holds %q, %v", h, got, err)
		}
	}
}

func concurrentSaves(t *testing.T, be backend.Backend) {
	const text = "raced for"
	h := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(text)).String()}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = be.Save(t.Context(), h, strings.NewReader(text)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, backend.ErrExist) {
			t.Errorf("a save that lost: %v, want ErrExist", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d saves won, want 1", won, len(errs))
	}
	if got, err := read(t, be, h, 0, 0); err != nil || got != text {
		t.Errorf("read %q, %v", got, err)
	}
}

var errBroken = errors.New("the source broke")

// broken fails after some bytes of what it is asked for.
type broken struct{ io.ReadSeeker }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.ReadSeeker.Read(p)
	if err == io.EOF {
		err = errBroken
	}
	return n, err
}

func failedSave(t *testing.T, be backend.Backend) {
	const text = "never finished"
	h := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(text + "!")).String()}
	if err := be.Save(t.Context(), h, broken{strings.NewReader(text)}); err == nil {
		t.Error("save of a broken source succeeded")
	}
	if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("stat after a failed save: %v, want ErrNotExist", err)
	}
	if found := list(t, be, backend.Pack); len(found) != 0 {
		t.Errorf("a failed save left %v", found)
	}
	if err := be.Save(t.Context(), h, strings.NewReader(text+"!")); err != nil {
		t.Errorf("save after a failed save: %v", err)
	}
}

func listing(t *testing.T, be backend.Backend) {
	for _, kind := range fileTypes {
		want := make(map[string]int64)
		for _, s := range []string{"a", "bc", "def", "many more bytes"} {
			s = kind.String() + s
			want[save(t, be, kind, s).Name] = int64(len(s))
		}
		if got := list(t, be, kind); !maps.Equal(got, want) {
			t.Errorf("list %vs:\ngot  %v\nwant %v", kind, got, want)
		}
	}
}

func listWhileSaving(t *testing.T, be backend.Backend) {
	stood := []string{save(t, be, backend.Pack, "one").Name, save(t, be, backend.Pack, "three").Name}
	size := map[string]int64{stood[0]: 3, stood[1]: 5}
	var wg sync.WaitGroup
	defer wg.Wait()
	const savers, each = 4, 5
	for saver := range savers {
		var texts []string
		for i := range each {
			texts = append(texts, fmt.Sprintf("file %d of saver %d", i, saver))
			size[blob.Hash([]byte(texts[i])).String()] = int64(len(texts[i]))
		}
		wg.Go(func() {
			for _, text := range texts {
				h := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(text)).String()}
				if err := be.Save(t.Context(), h, strings.NewReader(text)); err != nil {
					t.Errorf("save among others: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for saving := true; saving; {
		select {
		case <-done:
			saving = false
		default:
		}
		found := list(t, be, backend.Pack)
		for _, name := range stood {
			if _, listed := found[name]; !listed {
				t.Errorf("%s stood before, and is not listed while others save", name)
			}
		}
		for name, got := range found {
			if got != size[name] {
				t.Errorf("%s is listed with %d bytes, want all %d", name, got, size[name])
			}
		}
		if !saving && len(found) != len(size) {
			t.Errorf("%d files are listed in the end, want %d", len(found), len(size))
		}
	}
}

func listingStops(t *testing.T, be backend.Backend) {
	save(t, be, backend.Key, "one")
	save(t, be, backend.Key, "two")
	calls := 0
	err := be.List(t.Context(), backend.Key, func(backend.FileInfo) error { calls++; return errBroken })
	if !errors.Is(err, errBroken) || calls != 1 {
		t.Errorf("list returned %v after %d calls, want the callback's error after 1", err, calls)
	}
}

func removed(t *testing.T, be backend.Backend) {
	h, kept := save(t, be, backend.Lock, "gone"), save(t, be, backend.Lock, "kept")
	if err := be.Remove(t.Context(), h); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("stat of a removed file: %v", err)
	}
	if found := list(t, be, backend.Lock); len(found) != 1 || found[kept.Name] != 4 {
		t.Errorf("after remove the list is %v", found)
	}
	save(t, be, backend.Lock, "gone")
}

func badNames(t *testing.T, be backend.Backend) {
	long := strings.Repeat("a", 64)
	for _, h := range []backend.Handle{
		{}, {Type: 99, Name: long}, {Type: backend.Pack}, {Type: backend.Pack, Name: "../../etc/passwd"},
		{Type: backend.Key, Name: strings.ToUpper(long)}, {Type: backend.Key, Name: long + "a"},
		{Type: backend.Snapshot, Name: long[:61] + "/.."}, {Type: backend.Config, Name: long},
	} {
		if err := be.Save(t.Context(), h, strings.NewReader("x")); err == nil {
			t.Errorf("save %v: no error", h)
		}
		if _, err := read(t, be, h, 0, 0); err == nil {
			t.Errorf("open %v: no error", h)
		}
		if _, err := be.Stat(t.Context(), h); err == nil {
			t.Errorf("stat %v: no error", h)
		}
		if err := be.Remove(t.Context(), h); err == nil {
			t.Errorf("remove %v: no error", h)
		}
	}
}

func endedContext(t *testing.T, be backend.Backend) {
	h := save(t, be, backend.Key, "there")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := backend.Handle{Type: backend.Key, Name: blob.Hash([]byte("x")).String()}
	if err := be.Save(ctx, other, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("save: %v", err)
	}
	if rd, err := be.Open(ctx, h, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, %v", rd, err)
	}
	if _, err := be.Stat(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("stat: %v", err)
	}
	if err := be.List(ctx, backend.Key, func(backend.FileInfo) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if err := be.Remove(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("remove: %v", err)
	}
	if found := list(t, be, backend.Key); len(found) != 1 {
		t.Errorf("an ended context changed the repository: %v", found)
	}
}

func rewound(t *testing.T, be backend.Backend) {
	const text = "read before"
	content := strings.NewReader(text)
	if _, err := io.ReadAll(content); err != nil {
		t.Fatal(err)
	}
	h := backend.Handle{Type: backend.Index, Name: blob.Hash([]byte(text)).String()}
	if err := be.Save(t.Context(), h, content); err != nil {
		t.Fatalf("save: %v", err)
	}
	if got, err := read(t, be, h, 0, 0); err != nil || got != text {
		t.Errorf("read %q, %v", got, err)
	}
}

func largeFile(t *testing.T, be backend.Backend) {
	data := make([]byte, 5<<20+7)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	h := save(t, be, backend.Pack, string(data))
	got, err := read(t, be, h, 0, 0)
	if err != nil || !bytes.Equal([]byte(got), data) {
		t.Errorf("read %d bytes, %v; want the %d that were saved", len(got), err, len(data))
	}
	part, err := read(t, be, h, 1<<20+3, 2<<20)
	if err != nil || !bytes.Equal([]byte(part), data[1<<20+3:3<<20+3]) {
		t.Errorf("read of a large part: %d bytes, %v", len(part), err)
	}
}

func listAndRemove(t *testing.T, be backend.Backend) {
	save(t, be, backend.Lock, "one")
	save(t, be, backend.Lock, "two")
	err := be.List(t.Context(), backend.Lock, func(info backend.FileInfo) error {
		return be.Remove(t.Context(), backend.Handle{Type: backend.Lock, Name: info.Name})
	})
	if err != nil {
		t.Errorf("remove while listing: %v", err)
	}
	if found := list(t, be, backend.Lock); len(found) != 0 {
		t.Errorf("left: %v", found)
	}
}

func negativeRange(t *testing.T, be backend.Backend) {
	h := save(t, be, backend.Key, "0123456789")
	for _, c := range [][2]int64{{-1, 1}, {1, -1}} {
		if got, err := read(t, be, h, c[0], c[1]); err == nil {
			t.Errorf("read %d+%d: got %q, want an error", c[0], c[1], got)
		}
	}
}

func configIsFree(t *testing.T, be backend.Backend) {
	h := save(t, be, backend.Config, "any bytes")
	if found := list(t, be, backend.Config); len(found) != 1 || found[""] != 9 {
		t.Errorf("the config lists as %v, want one file of 9 bytes", found)
	}
	if err := be.Remove(t.Context(), h); err != nil {
		t.Errorf("remove config: %v", err)
	}
}
