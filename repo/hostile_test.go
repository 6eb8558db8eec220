package repo_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// hostile is what somebody writes into a repository's file.
type hostile struct {
	name  string
	plain string
	room  uint64 // bytes that it may cost besides a multiple of its own length
}

// Whatever a file holds, reading it may allocate so many times its length, all reallocations of growing lists counted, and
// a little.
const (
	multiple = 24
	little   = 8 << 20
)

// allocated returns how many bytes fn allocates on the heap, collected since or not: no less than what it ever holds.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// mustRefuse holds a reading of a hostile file to an error that names the file, and to its memory.
func mustRefuse(t *testing.T, h backend.Handle, size int, room uint64, read func() error) {
	t.Helper()
	var err error
	cost := allocated(func() { err = read() })
	if err == nil {
		t.Fatal("no error")
	}
	if name := strings.TrimSuffix(h.String(), "/"); !strings.Contains(err.Error(), name) {
		t.Errorf("the error does not name %s: %.300v", name, err)
	}
	if len(err.Error()) > 4<<10 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	if limit := room + little + multiple*uint64(size); cost > limit {
		t.Errorf("to refuse %d bytes cost %d bytes of memory, at most %d are allowed", size, cost, limit)
	}
}

const zstdFile = "\x02" // the first byte of a compressed document

func frameOf(t *testing.T, plain []byte) string {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(enc.EncodeAll(plain, nil))
}

// documents are what no reader of a JSON document takes.
func documents(t *testing.T) []hostile {
	zeros := frameOf(t, make([]byte, 32<<20))
	header := "\x28\xb5\x2f\xfd\xe0" // of a frame that tells its length in the next eight bytes
	says := func(n uint64) string { return header + string(binary.LittleEndian.AppendUint64(nil, n)) }
	return []hostile{
		{name: "nothing", plain: ""},
		{name: "null", plain: "null"},
		{name: "a list", plain: "[]"},
		{name: "cut short", plain: `{"a":`},
		{name: "two documents", plain: "{} {}"},
		{name: "another encoding", plain: "\x03{}"},
		{name: "lists nested a hundred thousand deep", plain: strings.Repeat("[", 100_000)},
		{name: "objects nested a hundred thousand deep", plain: strings.Repeat(`{"packs":`, 100_000)},
		{name: "nested in a field that nobody knows", plain: `{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"},
		{name: "a text without an end", plain: `{"x":"` + strings.Repeat("x", 1<<20)},
		{name: "no frame", plain: zstdFile + "{}"},
		{name: "a frame of nothing", plain: zstdFile + frameOf(t, nil)},
		{name: "a bomb of nine frames", plain: zstdFile + strings.Repeat(zeros, 9), room: 40 << 20},
		{name: "a frame that says it holds all memory", plain: zstdFile + says(math.MaxUint64)},
		{name: "a frame that says it holds the most allowed, and does not", plain: zstdFile + says(256<<20) + "\x01\x00\x00", room: 260 << 20},
	}
}

// indexes are what only an index file may not hold.
func indexes() []hostile {
	id := strings.Repeat("ab", 32)
	blobs := func(fields string) string {
		return fmt.Sprintf(`{"packs":[{"id":%q,"blobs":[{"id":%q,"type":"data",%s}]}]}`, id, id, fields)
	}
	many := func(s string) string { return strings.Repeat(s+",", 8<<20/(len(s)+1)) + s }
	return []hostile{
		{name: "millions of packs that say nothing", plain: `{"packs":[` + many("{}") + "]}"},
		{name: "millions of packs that are null", plain: `{"packs":[` + many("null") + "]}"},
		{name: "millions of blobs that say nothing", plain: fmt.Sprintf(`{"packs":[{"id":%q,"blobs":[%s]}]}`, id, many("{}"))},
		{name: "millions of files superseded", plain: `{"supersedes":[` + many(`""`) + `],"packs":[{}]}`},
		{name: "a pack without an ID", plain: `{"packs":[{"blobs":[]}]}`},
		{name: "an ID that leads elsewhere", plain: `{"packs":[{"id":"../../../../etc/passwd","blobs":[]}]}`},
		{name: "an ID of 8 MiB", plain: `{"packs":[{"id":"` + strings.Repeat("a", 8<<20) + `"}]}`},
		{name: "a negative offset", plain: blobs(`"offset":-1,"length":40`)},
		{name: "an offset past 4 GiB", plain: blobs(`"offset":4294967296,"length":40`)},
		{name: "an end past 4 GiB", plain: blobs(`"offset":4294967290,"length":40`)},
		{name: "no length", plain: blobs(`"offset":0`)},
		{name: "a length that is no whole number", plain: blobs(`"offset":0,"length":40.5`)},
		{name: "a length beyond all numbers", plain: blobs(`"offset":0,"length":1e999`)},
		{name: "a plain length of 4 GiB", plain: blobs(`"offset":0,"length":40,"uncompressed_length":4294967295`)},
		{name: "a plain length past 4 GiB", plain: blobs(`"offset":0,"length":40,"uncompressed_length":4294967296`)},
		{name: "a type that is none", plain: strings.Replace(blobs(`"offset":0,"length":40`), `"data"`, `"../data"`, 1)},
	}
}

func locks() []hostile {
	return []hostile{
		{name: "a year that is none", plain: `{"time":"99999-01-01T00:00:00Z","exclusive":false}`},
		{name: "a process beyond all numbers", plain: `{"time":"2020-01-01T00:00:00Z","pid":1e300}`},
		{name: "a negative user", plain: `{"time":"2020-01-01T00:00:00Z","uid":-1}`},
		{name: "a host of 2 MiB", plain: `{"time":"2020-01-01T00:00:00Z","hostname":"` + strings.Repeat("h", 2<<20) + `"}`},
	}
}

func configs() []hostile {
	id := strings.Repeat("ab", 32)
	doc := func(version, id, polynomial string) string {
		return fmt.Sprintf(`{"version":%s,"id":%q,"chunker_polynomial":%s}`, version, id, polynomial)
	}
	const good = `"25b468838dcb75"`
	return []hostile{
		{name: "nothing", plain: ""}, {name: "null", plain: "null"}, {name: "a list", plain: "[]"}, {name: "cut short", plain: "{"},
		{name: "nested", plain: strings.Repeat("[", 60_000)},
		{name: "more than a config has", plain: doc("2", id, good) + strings.Repeat(" ", 64<<10)},
		{name: "no version", plain: doc("0", id, good)}, {name: "a version to come", plain: doc("3", id, good)},
		{name: "a negative version", plain: doc("-2", id, good)}, {name: "a version beyond all numbers", plain: doc("1e999", id, good)},
		{name: "no ID", plain: doc("2", "", good)}, {name: "an ID that leads elsewhere", plain: doc("2", "../../"+id[6:], good)},
		{name: "no polynomial", plain: doc("2", id, `"0"`)}, {name: "a polynomial of degree 2", plain: doc("2", id, `"7"`)},
		{name: "a polynomial with factors", plain: doc("2", id, `"25b468838dcb74"`)},
		{name: "a polynomial of 64 bits", plain: doc("2", id, `"ffffffffffffffff"`)},
		{name: "a polynomial of more", plain: doc("2", id, `"1ffffffffffffffff"`)},
		{name: "a polynomial that is a number", plain: doc("2", id, `7`)},
	}
}

// keys are what no key file may hold, in other words than JSON's too.
func keys(t *testing.T) []hostile {
	key := func(change map[string]any) string {
		doc := map[string]any{"kdf": "scrypt", "N": 2, "r": 8, "p": 1, "salt": "c2FsdA==", "data": strings.Repeat("AAAA", 40)}
		for k, v := range change {
			doc[k] = v
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	return []hostile{
		{name: "nothing", plain: ""}, {name: "null", plain: "null"}, {name: "garbage", plain: "\x00\xff\x00"}, {name: "cut short", plain: key(nil)[:40]},
		{name: "nested", plain: strings.Repeat("[", 60_000)},
		{name: "more than a key has", plain: key(map[string]any{"username": strings.Repeat("u", 64<<10)})},
		{name: "64 GiB of memory", plain: key(map[string]any{"N": 1 << 26})},
		{name: "64 GiB of memory in another way", plain: key(map[string]any{"N": 1 << 20, "r": 512})},
		{name: "years of work", plain: key(map[string]any{"N": 1 << 18, "p": 1 << 20})},
		{name: "parameters whose product overflows", plain: key(map[string]any{"N": 1 << 62, "r": 1 << 30, "p": 1 << 30})},
		{name: "a negative parameter", plain: key(map[string]any{"r": -8})}, {name: "a parameter beyond all numbers", plain: strings.Replace(key(nil), `"N":2`, `"N":1e999`, 1)},
		{name: "no work", plain: key(map[string]any{"N": 0})}, {name: "N that is no power of two", plain: key(map[string]any{"N": 1000})},
		{name: "another function", plain: key(map[string]any{"kdf": "none"})},
		{name: "a salt of 40 KiB", plain: key(map[string]any{"salt": strings.Repeat("AAAA", 10<<10)})},
		{name: "a year that is none", plain: key(map[string]any{"created": "99999-01-01T00:00:00Z"})},
	}
}

// openHostile opens a repository that something is wrong with.
func openHostile(t *testing.T, be backend.Backend) error {
	_, err := repo.Open(t.Context(), be, password, cheap)
	return err
}

func TestAHostileIndexFileIsNamedAndBounded(t *testing.T) {
	for _, doc := range append(documents(t), indexes()...) {
		t.Run(doc.name, func(t *testing.T) {
			be := memory.New()
			h, err := create(t, be).SaveSealed(t.Context(), backend.Index, []byte(doc.plain))
			if err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, h, len(doc.plain), doc.room, func() error { return openHostile(t, be) })
		})
	}
}

func TestAHostileLockIsNamedAndBounded(t *testing.T) {
	for _, doc := range append(documents(t), locks()...) {
		t.Run(doc.name, func(t *testing.T) {
			be := memory.New()
			r := create(t, be)
			h, err := r.SaveSealed(t.Context(), backend.Lock, []byte(doc.plain))
			if err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, backend.Handle{Type: backend.Lock, Name: h.Name}, len(doc.plain), 0, func() error {
				_, err := r.Locks(t.Context())
				return err
			})
			// Nobody works beside a lock that cannot be read, and the error says whose it is not.
			if err := r.WithLock(t.Context(), false, nothing); !errors.Is(err, repo.ErrLocked) || !strings.Contains(err.Error(), h.Name) {
				t.Errorf("a shared lock beside it: %v", err)
			}
		})
	}
}

func TestAHostileConfigIsNamedAndBounded(t *testing.T) {
	for _, doc := range configs() {
		t.Run(doc.name, func(t *testing.T) {
			be := memory.New()
			r := create(t, be)
			h := backend.Handle{Type: backend.Config}
			if err := be.Remove(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			if _, err := r.SaveSealed(t.Context(), backend.Config, []byte(doc.plain)); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, h, len(doc.plain), 0, func() error { return openHostile(t, be) })
		})
	}
}

func TestAHostileKeyIsNamedAndBoundedAndHidesNoOther(t *testing.T) {
	for _, doc := range keys(t) {
		t.Run(doc.name, func(t *testing.T) {
			be := memory.New()
			create(t, be)
			good := names(t, be, backend.Key)[0]
			h := backend.Handle{Type: backend.Key, Name: blob.Hash([]byte(doc.plain)).String()}
			if err := be.Save(t.Context(), h, strings.NewReader(doc.plain)); err != nil {
				t.Fatal(err)
			}
			if err := openHostile(t, be); err != nil {
				t.Errorf("beside a good key: %v", err)
			}
			damage(t, be, good, func([]byte) []byte { return nil })
			mustRefuse(t, h, len(doc.plain), 0, func() error { return openHostile(t, be) })
		})
	}
}

// TestWhatHasNotBeenSealedWithTheKeyIsNamed is about whoever can write to the storage, and no more.
func TestWhatHasNotBeenSealedWithTheKeyIsNamed(t *testing.T) {
	content := map[string][]byte{"nothing": {}, "a byte": {7}, "less than encryption adds": make([]byte, 31), "garbage": bytes.Repeat([]byte("garbage "), 1<<17)}
	for name, data := range content {
		for _, honest := range []bool{false, true} { // about its name
			for _, kind := range []backend.Type{backend.Index, backend.Lock, backend.Config} {
				t.Run(fmt.Sprintf("%v of %s, rightly named: %t", kind, name, honest), func(t *testing.T) {
					be := memory.New()
					r := create(t, be)
					h := backend.Handle{Type: kind}
					switch {
					case kind == backend.Config:
						if err := be.Remove(t.Context(), h); err != nil {
							t.Fatal(err)
						}
					case honest:
						h.Name = blob.Hash(data).String()
					default:
						h.Name = strings.Repeat("ab", 32)
					}
					if err := be.Save(t.Context(), h, bytes.NewReader(data)); err != nil {
						t.Fatal(err)
					}
					mustRefuse(t, h, len(data), 0, func() error {
						if kind == backend.Lock {
							_, err := r.Locks(t.Context())
							return err
						}
						return openHostile(t, be)
					})
				})
			}
		}
	}
}

// header returns a plain header of entries as the format has them.
func header(entries ...[]byte) []byte { return bytes.Join(entries, nil) }

func entry(kind byte, lengths ...uint32) []byte {
	e := []byte{kind}
	for _, n := range lengths {
		e = binary.LittleEndian.AppendUint32(e, n)
	}
	return append(e, bytes.Repeat([]byte{0xab}, 32)...)
}

// TestAHostilePackHeaderIsNamedAndBounded makes packs that no index names: a check and a repair of the index read them.
func TestAHostilePackHeaderIsNamedAndBounded(t *testing.T) {
	const body = 100
	tests := []struct {
		name   string
		plain  []byte
		length func(sealed int) uint32 // what the pack says of its header; nil for the truth
	}{
		{name: "no entry"},
		{name: "a type that is none", plain: entry(9, body)},
		{name: "an entry cut short", plain: entry(0, body)[:30]},
		{name: "a blob shorter than encryption", plain: entry(0, 31)},
		{name: "a blob of 4 GiB", plain: entry(0, math.MaxUint32)},
		{name: "a plain length of 4 GiB", plain: entry(2, body, math.MaxUint32)},
		{name: "a compressed blob of nothing", plain: entry(2, body, 0)},
		{name: "blobs past 4 GiB", plain: header(bytes.Repeat(entry(1, 500<<20), 9))},
		{name: "more than the file has", plain: entry(0, body+1)},
		{name: "less than the file has", plain: entry(0, body-1)},
		{name: "one blob many times", plain: header(bytes.Repeat(entry(0, body), 1000))},
		{name: "400,000 blobs", plain: bytes.Repeat(entry(0, 32), 400_000)},
		{name: "a header of nothing", plain: entry(0, body), length: func(int) uint32 { return 0 }},
		{name: "a header larger than its file", plain: entry(0, body), length: func(n int) uint32 { return uint32(n) + body + 1 }},
		{name: "a header of 4 GiB", plain: entry(0, body), length: func(int) uint32 { return math.MaxUint32 }},
		{name: "a header that begins in a blob", plain: entry(0, body), length: func(n int) uint32 { return uint32(n) + 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			be := memory.New()
			r := create(t, be)
			sealed := r.Key().Seal(nil, test.plain)
			length := uint32(len(sealed))
			if test.length != nil {
				length = test.length(len(sealed))
			}
			file := pack.AppendLength(append(make([]byte, body), sealed...), int(length))
			h := backend.Handle{Type: backend.Pack, Name: blob.Hash(file).String()}
			if err := be.Save(t.Context(), h, bytes.NewReader(file)); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, h, len(file), 0, func() error {
				result, err := r.RepairIndex(t.Context(), repo.RepairIndexOptions{})
				if err != nil || len(result.PacksUnreadable) != 1 {
					t.Fatalf("repair index: %+v, %v; want one pack that cannot be read", result, err)
				}
				return fmt.Errorf("%v: %w", result.PacksUnreadable[0].File, result.PacksUnreadable[0].Err)
			})
		})
	}
}

// TestAPackOfABlobManyTimesOrABombIsNamed has headers that are right about sizes, and lie about content.
func TestAPackOfABlobManyTimesOrABombIsNamed(t *testing.T) {
	zeros := make([]byte, 32<<20)
	for name, test := range map[string]struct {
		body  string
		plain uint32
		data  []byte // what the ID is of
	}{
		"a bomb that says less":    {frameOf(t, zeros), 1000, zeros},
		"a bomb that says more":    {frameOf(t, zeros), 64 << 20, zeros},
		"content of another ID":    {"abc", 0, []byte("def")},
		"no frame":                 {"abc", 3, []byte("abc")},
		"a frame without its end":  {frameOf(t, zeros)[:100], 32 << 20, zeros},
		"a frame with another one": {frameOf(t, []byte("abc")) + frameOf(t, []byte("def")), 3, []byte("abc")},
	} {
		t.Run(name, func(t *testing.T) {
			be := memory.New()
			r := create(t, be)
			stored := r.Key().Seal(nil, []byte(test.body))
			one := pack.Blob{Handle: blob.Handle{ID: blob.Hash(test.data), Type: blob.Data}, Length: uint32(len(stored)), Uncompressed: test.plain}
			two := one
			two.Offset = one.Length
			head := r.Key().Seal(nil, pack.AppendHeader(nil, []pack.Blob{one, two})) // and the very same again
			file := pack.AppendLength(append(append(append([]byte{}, stored...), stored...), head...), len(head))
			h := backend.Handle{Type: backend.Pack, Name: blob.Hash(file).String()}
			if err := be.Save(t.Context(), h, bytes.NewReader(file)); err != nil {
				t.Fatal(err)
			}
			if result, err := r.RepairIndex(t.Context(), repo.RepairIndexOptions{}); err != nil || len(result.PacksRead) != 1 {
				t.Fatalf("repair index: %+v, %v", result, err)
			}
			mustRefuse(t, h, len(file), 140<<20, func() error {
				_, err := r.LoadBlob(t.Context(), one.Handle, nil)
				return err
			})
			var found []string
			result, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true}, func(p repo.Problem) {
				if !p.Note {
					found = append(found, p.File.String())
				}
			})
			if err != nil || len(found) == 0 || found[0] != h.String() || len(result.Lost) != 1 || result.Lost[0] != one.Handle {
				t.Errorf("check names %q and has lost %v, %v; want %v in %v", found, result.Lost, err, one.Handle, h)
			}
		})
	}
}
