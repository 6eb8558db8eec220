package snapshot

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
)

func FuzzDecodeSnapshot(f *testing.F) {
	id := blob.Hash([]byte("tree"))
	full, err := json.Marshal(&Snapshot{Time: time.Unix(1, 2).UTC(), Parent: &id, Tree: id, Paths: []string{"/srv"}, Hostname: "h", Username: "u", UID: 1, GID: 2,
		Excludes: []string{"*.tmp"}, Tags: []string{"t"}, Original: &id, ProgramVersion: "kedge", Summary: &Summary{FilesNew: 1, DataAdded: 1 << 60}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"time":"9999-12-31T23:59:59.999999999+14:00","tree":"` + id.String() + `","paths":null}`))
	f.Add([]byte(`{"tree":"` + id.String() + `","tree":null,"summary":{"files_new":-1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sn, err := decode(data)
		if err != nil {
			return
		}
		once, err := json.Marshal(sn)
		if err != nil {
			t.Fatalf("%q is read, and cannot be written: %v", data, err)
		}
		again, err := decode(once)
		if err != nil {
			t.Fatalf("%q is written as %q, which cannot be read: %v", data, once, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q is written as %q, and then as %q, %v", data, once, twice, err)
		}
	})
}

// FuzzReadersAgree holds what a prune learns of a tree to what a restore reads: a blob that the prune does not see is lost.
func FuzzReadersAgree(f *testing.F) {
	id := blob.Hash([]byte("x")).String()
	const times = `"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z"`
	for _, n := range sampleNodes() {
		data, err := (&Tree{Nodes: []*Node{n}}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"nodes":[{"name":"a","type":"file",` + times + `,"content":["` + id + `"],"content":[]}]}`))
	f.Add([]byte(`{ "nodes" : [ {"Content":["` + id + `"],"name":"a","type":"file",` + times + `} ] }`))
	f.Add([]byte(`{"nodes":[{"name":"a","type":"dir","subtree":"` + id + `","subtree":null,` + times + `}]}`))
	f.Add([]byte(`{"nodes":[{"name":"a","type":"file","extended_attributes":[{"name":"a","value":null},{"value":""}],"generic_attributes":{"a":[1],"a":{}},"content":null}]}`))
	f.Add([]byte(`{"nodes":[{"name":"` + strings.Repeat(`\\x61`, 10) + `","type":"symlink","linktarget":"a","linktarget_raw":"/g==",` + times + `}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := decodeTree(data)
		if err != nil {
			return
		}
		want := make(map[blob.ID]bool)
		for _, n := range tree.Nodes {
			for _, id := range n.Content {
				want[id] = true
			}
			if n.Subtree != nil {
				want[*n.Subtree] = true
			}
		}
		var got []blob.ID
		add := func(id blob.ID) { got = append(got, id) }
		if err := scanTree(data, add, add); err != nil {
			t.Fatalf("%q is read by a restore, not by a prune: %v", data, err)
		}
		for id := range want {
			if !slices.Contains(got, id) {
				t.Errorf("%q: a restore needs %v, a prune sees %v", data, id, got)
			}
		}
	})
}
