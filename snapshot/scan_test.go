package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kedge-project/kedge/blob"
)

// sampleNodes is a node of every kind of field, in the ways they are usually spelled.
func sampleNodes() []*Node {
	at := time.Date(2026, 11, 21, 3, 4, 5, 678900000, time.FixedZone("", 3600))
	id, other := blob.Hash([]byte("a")), blob.Hash([]byte("b"))
	return []*Node{
		{Name: "empty", Type: File, Mode: 0o644, ModTime: at, AccessTime: at, ChangeTime: at, User: "root", Group: "root", Content: []blob.ID{}},
		{Name: "file", Type: File, Mode: 0o600 | fs.ModeSetuid, ModTime: at, AccessTime: at, ChangeTime: at.Add(time.Hour), UID: 1000, GID: 100,
			User: "ada", Group: "users", Inode: 1 << 60, DeviceID: 64769, Size: 3 << 20, Links: 2, Content: []blob.ID{id, other, id},
			ExtendedAttributes: []ExtendedAttribute{{"user.a", []byte{0, 255}}, {"user.b", nil}, {"user.c", []byte{}}}},
		{Name: "link", Type: Symlink, Mode: 0o777 | fs.ModeSymlink, ModTime: at, AccessTime: at, ChangeTime: at, LinkTarget: `a "b" <c>`},
		{Name: "null", Type: CharDev, ModTime: at, AccessTime: at, ChangeTime: at, Device: 259, Error: "lstat: é"},
		{Name: "sub", Type: Dir, Mode: 0o755 | fs.ModeDir, ModTime: at, AccessTime: at.UTC(), ChangeTime: at, Subtree: &id, Inode: 7},
		{Name: "é\xff\n", Type: FIFO, ModTime: at, AccessTime: at, ChangeTime: at},
	}
}

// quoted returns a copy as encoding/json is to write it: JSON cannot hold the bytes that names and targets may have.
func (n *Node) quoted() *Node {
	out := *n
	out.Name = strconv.Quote(n.Name)
	out.Name = out.Name[1 : len(out.Name)-1]
	if !utf8.ValidString(n.LinkTarget) {
		out.LinkTargetRaw = []byte(n.LinkTarget)
	}
	out.ModTime, out.AccessTime, out.ChangeTime = clamp(n.ModTime), clamp(n.AccessTime), clamp(n.ChangeTime)
	return &out
}

func TestTheUsualSpellingIsScanned(t *testing.T) {
	data, err := (&Tree{Nodes: sampleNodes()}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	fast, ok := scanNodes(data)
	if !ok {
		t.Fatalf("the scanner gives up on\n%s", data)
	}
	slow, err := unmarshalNodes(data)
	if err != nil || !reflect.DeepEqual(fast, slow) {
		t.Errorf("scanned\n%+v, encoding/json says\n%+v, %v", fast, slow, err)
	}
	for spelling, data := range map[string][]byte{"usual": data, "other": bytes.Replace(data, []byte(":["), []byte(": ["), 1)} {
		trees, blobs := 0, 0
		if err := scanTree(data, func(blob.ID) { trees++ }, func(blob.ID) { blobs++ }); err != nil || trees != 1 || blobs != 3 {
			t.Errorf("the %s spelling names %d trees and %d data blobs, %v; want 1 and 3", spelling, trees, blobs, err)
		}
	}
}

func TestEveryWayToBreakOffATreeIsRefused(t *testing.T) {
	data, err := (&Tree{Nodes: sampleNodes()}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(blob.ID) {}
	for n := range len(data) - 1 { // the last byte is a line end, which may be missing
		if _, ok := scanNodes(data[:n]); ok || scanIDs(data[:n], nothing, nothing) {
			t.Fatalf("the first %d of %d bytes pass for a tree", n, len(data))
		}
	}
}

func FuzzEncodeNode(f *testing.F) {
	for _, n := range sampleNodes() {
		f.Add(n.Name, string(n.Type), uint32(n.Mode), n.ModTime.UnixNano(), int64(3600), n.Inode, n.User, n.LinkTarget, []byte("x"), `{"a":1}`)
	}
	f.Add("\u2028<&>", "dir", uint32(0), int64(0), int64(1<<50), uint64(0), "\xff", "\xff", []byte(nil), "")
	f.Fuzz(func(t *testing.T, name, kind string, mode uint32, nanos, seconds int64, number uint64, word, target string, value []byte, generic string) {
		n := &Node{Name: name, Type: NodeType(kind), Mode: fs.FileMode(mode), ModTime: time.Unix(seconds, nanos).UTC(), AccessTime: time.Unix(0, nanos),
			ChangeTime: time.Unix(0, nanos).In(time.FixedZone("", int(seconds%100_000))), UID: mode, GID: uint32(number), User: word, Group: name,
			Inode: number, DeviceID: number >> 1, Size: number >> 2, Links: number >> 60, LinkTarget: target, Error: target, Device: number >> 3}
		if value != nil {
			n.ExtendedAttributes = []ExtendedAttribute{{word, value}, {target, nil}}
			n.Content = make([]blob.ID, len(value)%4)
			id := blob.Hash(value)
			n.Subtree = &id
		}
		if json.Valid([]byte(generic)) {
			n.GenericAttributes = map[string]json.RawMessage{word: json.RawMessage(generic)}
		}
		want, wantErr := json.Marshal(n.quoted())
		got, err := n.appendNode(nil)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("encoded\n%s, %v; encoding/json says\n%s, %v", got, err, want, wantErr)
		}
	})
}

func FuzzScanTree(f *testing.F) {
	for _, n := range sampleNodes() {
		data, err := (&Tree{Nodes: []*Node{n}}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"nodes":[{"name":"a","type":"fifo","mtime":"","atime":"","ctime":"","uid":0,"gid":0,"content":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fast, ok := scanNodes(data)
		if !ok {
			return
		}
		slow, err := unmarshalNodes(data)
		if err != nil || len(fast) != len(slow) || len(fast) > 0 && !reflect.DeepEqual(fast, slow) {
			t.Fatalf("%q is scanned as %+v; encoding/json says %+v, %v", data, fast, slow, err)
		}
		var want, got []blob.ID
		for _, n := range slow {
			want = append(want, n.Content...)
			if n.Subtree != nil {
				want = append(want, *n.Subtree)
			}
		}
		add := func(id blob.ID) { got = append(got, id) }
		if !scanIDs(data, add, add) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is scanned for %v; it names %v", data, got, want)
		}
	})
}

func benchmarkTree() *Tree {
	t := new(Tree)
	for i := range 1000 {
		n := *sampleNodes()[i%3]
		n.Name = fmt.Sprintf("file-%04d.txt", i)
		n.LinkTarget = ""
		t.Nodes = append(t.Nodes, &n)
	}
	return t
}

func BenchmarkEncodeTree(b *testing.B) {
	t := benchmarkTree()
	for b.Loop() {
		data, err := t.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
}

func BenchmarkDecodeTree(b *testing.B) {
	data, err := benchmarkTree().Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := decodeTree(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanTreeForIDs(b *testing.B) {
	data, err := benchmarkTree().Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	nothing := func(blob.ID) {}
	for b.Loop() {
		if !scanIDs(data, nothing, nothing) {
			b.Fatal("not scanned")
		}
	}
}
