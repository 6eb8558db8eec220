package snapshot_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Whatever a document holds, reading it may allocate so many times its length, all reallocations of growing lists counted,
// and a little.
const (
	multiple = 32
	little   = 8 << 20
)

// mustCost holds fn to the memory that a document of so many bytes is worth.
func mustCost(t *testing.T, size int, fn func() error) error {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := fn()
	runtime.ReadMemStats(&after)
	if cost, limit := after.TotalAlloc-before.TotalAlloc, uint64(little+multiple*size); cost > limit {
		t.Errorf("%d bytes cost %d bytes of memory, at most %d are allowed", size, cost, limit)
	}
	if err != nil && len(err.Error()) > 4<<10 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	return err
}

// fill repeats an element of a list up to 4 MiB.
func fill(element string) string {
	return strings.Repeat(element+",", 4<<20/(len(element)+1)) + element
}

// hostileDocument is what somebody who has the repository's key stores as a tree or a snapshot.
type hostileDocument struct{ name, text string }

// broken are no JSON objects that anybody reads.
func broken() []hostileDocument {
	return []hostileDocument{
		{"null", "null"}, {"a list", "[]"}, {"cut short", `{"nodes":[{"name":`}, {"two documents", "{} {}"}, {"garbage", "\x00\xff{"},
		{"lists nested a hundred thousand deep", strings.Repeat("[", 100_000)},
		{"objects nested a hundred thousand deep", strings.Repeat(`{"nodes":`, 100_000)},
		{"nested in a field that nobody knows", `{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"},
		{"a text without an end", `{"x":"` + strings.Repeat("x", 8<<20)},
	}
}

// trees that nobody may take for a directory. %s stands for a node's usual fields.
func hostileTrees() []hostileDocument {
	node := func(name, fields string) string { return fmt.Sprintf(`{"name":"%s",%s}`, name, fields) }
	tree := func(nodes ...string) string { return `{"nodes":[` + strings.Join(nodes, ",") + "]}\n" }
	with := func(old, fresh string) string {
		fields := strings.Replace(base, old, fresh, 1)
		if fields == base {
			panic(old + " is no usual field")
		}
		return tree(node("a", fields))
	}
	id := strings.Repeat("ab", 32)
	return append(broken(), []hostileDocument{
		{"nothing", ""}, {"no nodes", "{}"}, {"nodes that are null", `{"nodes":null}`}, {"two lists of nodes", `{"nodes":[],"nodes":[]}`},
		{"something behind it", tree() + tree()},
		{"millions of nodes that say nothing", tree(fill("{}"))}, {"millions of nodes that are null", tree(fill("null"))},
		{"millions of names", tree(fill(`{"name":"a"}`))},
		{"no name", tree(node("", base))}, {"this directory", tree(node(".", base))}, {"the directory above", tree(node("..", base))},
		{"a path", tree(node("../../etc/passwd", base))}, {"an absolute path", tree(node("/etc", base))},
		{"a path in other words", tree(node(`..\\x2fetc`, base))}, {"a path in octal", tree(node(`..\\057etc`, base))},
		{"a zero in a name", tree(node(`a\\x00b`, base))}, {"a zero in a name, by JSON", tree(node(`a\u0000b`, base))},
		{"a name that no quoting yields", tree(node(`a\\q`, base))}, {"a name that ends in the middle", tree(node(`a\\`, base))},
		{"a name of 5,000 bytes", tree(node(strings.Repeat("n", 5000), base))}, {"a name of 8 MiB", tree(node(strings.Repeat("n", 8<<20), base))},
		{"a name twice", tree(node("a", base), node("a", base))}, {"a name twice in two spellings", tree(node("a", base), node(`\\x61`, base))},
		{"names out of order", tree(node("b", base), node("a", base))},
		{"a file with a tree", with(`"content":[]`, `"content":[],"subtree":"`+id+`"`)},
		{"a link with content", strings.Replace(with(`"content":[]`, `"content":["`+id+`"]`), `"file"`, `"symlink"`, 1)},
		{"an ID that leads elsewhere", with(`"content":[]`, `"content":["../../../../etc/passwd"]`)},
		{"a negative size", with(`"content":[]`, `"size":-1,"content":[]`)}, {"a size beyond all numbers", with(`"content":[]`, `"size":1e999,"content":[]`)},
		{"a size past 64 bits", with(`"content":[]`, `"size":18446744073709551616,"content":[]`)},
		{"a mode past 32 bits", with(`"mode":420`, `"mode":4294967296`)}, {"a negative user", with(`"uid":0`, `"uid":-1`)},
		{"a year that is none", with(`"mtime":"2020`, `"mtime":"99999`)}, {"a month that is none", with(`"mtime":"2020-01`, `"mtime":"2020-13`)},
		{"millions of blobs that are null", with(`"content":[]`, `"content":[`+fill("null")+"]")},
		{"millions of blobs that say nothing", with(`"content":[]`, `"content":[`+fill(`""`)+"]")},
		{"millions of attributes that say nothing", with(`"content":[]`, `"extended_attributes":[`+fill("{}")+`],"content":[]`)},
		{"millions of attributes that are null", with(`"content":[]`, `"extended_attributes":[`+fill("null")+`],"content":[]`)},
		{"a million generic attributes", with(`"content":[]`, `"generic_attributes":{`+manyFields(1_000_000)+`},"content":[]`)},
		{"an attribute that is no base64", with(`"content":[]`, `"extended_attributes":[{"name":"a","value":"***"}],"content":[]`)},
	}...)
}

// manyFields are fields of different names.
func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%x":0`, i)
	}
	return b.String()
}

func TestAHostileTreeIsNamedAndBounded(t *testing.T) {
	for _, doc := range hostileTrees() {
		t.Run(doc.name, func(t *testing.T) {
			s := newTrees(t)
			id := blob.Hash([]byte(doc.text))
			s.blobs[id] = []byte(doc.text)
			err := mustCost(t, len(doc.text), func() error {
				tree, err := snapshot.LoadTree(t.Context(), s, id)
				if err == nil {
					t.Errorf("it is read as %d nodes", len(tree.Nodes))
				}
				return err
			})
			if err != nil && !strings.Contains(err.Error(), "tree "+id.Short()) {
				t.Errorf("the error does not name tree %s: %.300v", id.Short(), err)
			}
		})
	}
}

// TestAFieldThatStandsTwiceMeansTheSameToEveryReader: a prune that reads another list of blobs than a restore would remove what
// is needed.
func TestAFieldThatStandsTwiceMeansTheSameToEveryReader(t *testing.T) {
	one, two := blob.Hash([]byte("one")), blob.Hash([]byte("two"))
	text := fmt.Sprintf(`{"nodes":[{"name":"a",%s,"content":["%v"],"content":["%v"]}]}`, strings.TrimSuffix(base, `,"content":[]`), one, two)
	s := newTrees(t)
	id := blob.Hash([]byte(text))
	s.blobs[id] = []byte(text)
	tree, err := snapshot.LoadTree(t.Context(), s, id)
	try(t, err)
	read := tree.Nodes[0].Content

	r, _ := newRepository(t)
	try(t, r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		_, err := up.SaveBlob(ctx, blob.Tree, []byte(text))
		for _, data := range []string{"one", "two"} {
			if err == nil {
				_, err = up.SaveBlob(ctx, blob.Data, []byte(data))
			}
		}
		return err
	}))
	used := r.NewSet()
	try(t, snapshot.Used(t.Context(), r, []blob.ID{id}, used, nil))
	for _, data := range []blob.ID{one, two} {
		h := blob.Handle{ID: data, Type: blob.Data}
		if used.Has(h) != slices.Contains(read, data) {
			t.Errorf("%v is needed by a prune: %t, by a restore: %t", h, used.Has(h), slices.Contains(read, data))
		}
	}
}

func TestAHostileSnapshotIsNamedAndBoundedAndHidesNoOther(t *testing.T) {
	id := strings.Repeat("ab", 32)
	with := func(fields string) string {
		return fmt.Sprintf(`{"time":"2020-01-01T00:00:00Z","tree":%q,"paths":["/srv"],%s}`, id, fields)
	}
	docs := append(broken(), []hostileDocument{
		{"nothing in it", "{}"}, {"no tree", `{"time":"2020-01-01T00:00:00Z","tree":null,"paths":["/srv"]}`},
		{"a tree that leads elsewhere", strings.Replace(with(`"uid":0`), id, "../../../../etc/passwd", 1)},
		{"a year that is none", strings.Replace(with(`"uid":0`), "2020", "99999", 1)},
		{"a negative user", with(`"uid":-1`)}, {"a user beyond all numbers", with(`"uid":1e999`)},
		{"a negative count", with(`"summary":{"files_new":-1}`)}, {"a count past 64 bits", with(`"summary":{"data_added":18446744073709551616}`)},
		{"a parent that is none", with(`"parent":"latest"`)}, {"paths that are none", with(`"paths":[1,2]`)},
		{"a host that is a list", with(`"hostname":["a"]`)},
	}...)
	for _, doc := range docs {
		t.Run(doc.name, func(t *testing.T) {
			r, _ := newRepository(t)
			good, err := snapshot.Save(t.Context(), r, &snapshot.Snapshot{Time: time.Now(), Tree: blob.ID{1}, Paths: []string{"/srv"}})
			try(t, err)
			bad, err := r.SaveUnpacked(t.Context(), backend.Snapshot, []byte(doc.text))
			try(t, err)
			err = mustCost(t, len(doc.text), func() error {
				list, err := snapshot.List(t.Context(), r)
				if len(list) != 1 || list[0].ID != good {
					t.Errorf("listed %d snapshots, want the good one", len(list))
				}
				return err
			})
			if err == nil || !strings.Contains(err.Error(), bad.Short()) || !strings.Contains(err.Error(), "snapshot") {
				t.Errorf("the error does not name snapshot %s: %.300v", bad.Short(), err)
			}
			named := false
			_, err = snapshot.Check(t.Context(), r, snapshot.CheckOptions{}, func(f snapshot.Finding) {
				named = named || f.File == backend.Handle{Type: backend.Snapshot, Name: bad.String()}
			})
			if err != nil || !named {
				t.Errorf("check does not name it, %v", err)
			}
		})
	}
}

func TestASnapshotOfMillionsOfEmptyPathsCostsAMultipleOfItsLength(t *testing.T) {
	r, _ := newRepository(t)
	text := fmt.Sprintf(`{"time":"2020-01-01T00:00:00Z","tree":%q,"paths":[%s],"tags":[%s]}`, strings.Repeat("ab", 32), fill(`""`), fill("null"))
	_, err := r.SaveUnpacked(t.Context(), backend.Snapshot, []byte(text))
	try(t, err)
	err = mustCost(t, len(text), func() error {
		_, err := snapshot.List(t.Context(), r)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := r.SaveUnpacked(t.Context(), backend.Snapshot, make([]byte, 64<<20+1)); err == nil {
		t.Error("a snapshot is stored that is too large to be read")
	}
}

// store stores trees and snapshots of them, and data.
func store(t *testing.T, s *trees, data string, roots ...blob.ID) *repo.Repository {
	t.Helper()
	r, _ := newRepository(t)
	try(t, r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for _, text := range s.blobs {
			if _, err := up.SaveBlob(ctx, blob.Tree, text); err != nil {
				return err
			}
		}
		_, err := up.SaveBlob(ctx, blob.Data, []byte(data))
		return err
	}))
	for _, root := range roots {
		_, err := snapshot.Save(t.Context(), r, &snapshot.Snapshot{Time: time.Now(), Tree: root})
		try(t, err)
	}
	return r
}

// findings are what a check says, one line each.
func findings(t *testing.T, r *repo.Repository) (found []string) {
	t.Helper()
	_, err := snapshot.Check(t.Context(), r, snapshot.CheckOptions{}, func(f snapshot.Finding) { found = append(found, f.String()) })
	try(t, err)
	return found
}

// TestDirectoriesTenThousandDeepAreNamedByEveryReader: no system makes them, and who enters them step by step needs memory
// for each.
func TestDirectoriesTenThousandDeepAreNamedByEveryReader(t *testing.T) {
	s := newTrees(t)
	root := s.add(file("f", "x"))
	for range 10_000 {
		root = s.add(dir("d", root))
	}
	r := store(t, s, "x", root)
	if found := findings(t, r); len(found) != 1 || !strings.Contains(found[0], "/d/d/d") || !strings.Contains(found[0], "nest deeper than 4096") {
		t.Errorf("check found %d things, want the directory that is too deep: %.200q", len(found), found)
	}
	list, err := snapshot.List(t.Context(), r)
	try(t, err)
	nothing := func(string, *snapshot.Node) error { return nil }
	for name, read := range map[string]func() error{
		"walk": func() error { return snapshot.Walk(t.Context(), r, root, nothing) },
		"used": func() error { return snapshot.Used(t.Context(), r, []blob.ID{root}, r.NewSet(), nil) },
		"repair": func() error {
			_, err := snapshot.Repair(t.Context(), r, list, snapshot.RepairOptions{DryRun: true})
			return err
		},
		"stats": func() error { _, err := snapshot.Stats(t.Context(), r, list, snapshot.RestoreSize, nil); return err },
		"search": func() error {
			return snapshot.NewSearch(r, byName("f")).Run(t.Context(), root, func(string, blob.ID, *snapshot.Node) error { return nil })
		},
	} {
		if err := read(); err == nil || !strings.Contains(err.Error(), "nest deeper than 4096") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// TestACheckOfAHostileRepositoryEnds gives it what stands in more places than there are atoms, and names a blob a million
// times.
func TestACheckOfAHostileRepositoryEnds(t *testing.T) {
	s := newTrees(t)
	sound, lost := s.add(file("f", "x")), s.add(file("g", "never stored"))
	for range 100 { // each twice in the next: 2^100 paths
		sound = s.add(dir("a", sound), dir("b", sound))
	}
	million := &snapshot.Node{Name: "million", Type: snapshot.File, Size: 1_000_000, Content: slices.Repeat([]blob.ID{blob.Hash([]byte("x"))}, 1_000_000)}
	root := s.add(dir("lost", lost), dir("sound", sound), million)
	r := store(t, s, "x", root, root)
	found := findings(t, r)
	if len(found) != 1 || !strings.HasPrefix(found[0], "/lost/g in snapshot ") {
		t.Errorf("check found %.300q, want the one file whose blob is lost", found)
	}
	used := r.NewSet()
	if err := snapshot.Used(t.Context(), r, []blob.ID{sound}, used, nil); err != nil || used.Len() != 102 {
		t.Errorf("a prune needs %d blobs, %v; want 101 trees and a data blob", used.Len(), err)
	}
}
