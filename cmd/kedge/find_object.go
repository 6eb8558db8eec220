package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// objectHit is restic's object for a place where a blob is used.
type objectHit struct {
	ObjectType string    `json:"object_type"` // "blob" or "tree"
	ID         blob.ID   `json:"id"`
	Path       string    `json:"path"`
	ParentTree string    `json:"parent_tree,omitempty"` // of a blob: the directory that the file stands in
	Snapshot   blob.ID   `json:"snapshot"`
	Time       time.Time `json:"time"`
}

// objects tells which blobs are looked for.
type objects struct {
	data, tree func(id blob.ID) bool
}

func (o *objects) of(n *snapshot.Node) []blob.Handle {
	var found []blob.Handle
	for _, id := range n.Content {
		if h := (blob.Handle{ID: id, Type: blob.Data}); o.data(id) && !slices.Contains(found, h) {
			found = append(found, h)
		}
	}
	if n.Subtree != nil && o.tree(*n.Subtree) {
		found = append(found, blob.Handle{ID: *n.Subtree, Type: blob.Tree})
	}
	return found
}

// wanted returns what tells the blobs that the prefixes name.
func (f *findFlags) wanted(ctx context.Context, r *repo.Repository, prefixes idPrefixes) (*objects, error) {
	none := func(blob.ID) bool { return false }
	switch {
	case f.blob:
		return &objects{data: prefixes.match, tree: none}, nil
	case f.tree:
		return &objects{data: none, tree: prefixes.match}, nil
	}
	packs, err := findPacks(ctx, r, prefixes)
	if err != nil {
		return nil, err
	}
	inPack := func(t blob.Type) func(blob.ID) bool {
		return func(id blob.ID) bool {
			at, ok := r.Locate(blob.Handle{ID: id, Type: t})
			return ok && packs[at.Pack]
		}
	}
	return &objects{data: inPack(blob.Data), tree: inPack(blob.Tree)}, nil
}

// findPacks returns the packs that the prefixes name; one that names none is an error.
func findPacks(ctx context.Context, r *repo.Repository, prefixes idPrefixes) (map[blob.ID]bool, error) {
	packs := make(map[blob.ID]bool)
	used := make(map[string]bool)
	err := r.List(ctx, backend.Pack, func(id blob.ID, _ int64) error {
		text := id.String()
		for _, p := range prefixes {
			if strings.HasPrefix(text, p) {
				packs[id], used[p] = true, true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find packs: %w", err)
	}
	missing := slices.DeleteFunc(slices.Clone(prefixes), func(p string) bool { return used[p] })
	if len(missing) > 0 {
		return nil, fmt.Errorf("find packs: there is none that begins with %v", missing)
	}
	return packs, nil
}

// findObjects tells where blobs are used: in which files, directories and snapshots.
func findObjects(ctx context.Context, term *terminal, r *repo.Repository, flags *findFlags, prefixes idPrefixes) error {
	want, err := flags.wanted(ctx, r, prefixes)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(results{term}, 64<<10)
	list := array{out: out}
	located := make(map[blob.Handle]bool)
	tell := func(h objectHit, found blob.Handle) error {
		located[found] = true
		if term.json {
			return list.add(h)
		}
		return writeObject(term, out, h)
	}
	hit := func(sn *snapshot.Snapshot, path string, tree blob.ID, n *snapshot.Node) error {
		for _, found := range want.of(n) {
			h := objectHit{ObjectType: "tree", ID: found.ID, Path: path, Snapshot: sn.ID, Time: sn.Time}
			if found.Type == blob.Data {
				h.ObjectType, h.ParentTree = "blob", tree.String()
			}
			if err := tell(h, found); err != nil {
				return err
			}
		}
		return nil
	}
	after := func(sn *snapshot.Snapshot) error {
		if want.tree(sn.Tree) {
			return tell(objectHit{ObjectType: "tree", ID: sn.Tree, Path: "/", Snapshot: sn.ID, Time: sn.Time}, blob.Handle{ID: sn.Tree, Type: blob.Tree})
		}
		return out.Flush()
	}
	judge := func(_ string, n *snapshot.Node) (bool, bool) { return len(want.of(n)) > 0, true }
	err = flags.search(ctx, term, r, judge, hit, after)
	if term.json {
		err = errors.Join(err, list.end())
	} else if flags.showPackID {
		writePacks(out, r, located)
	}
	return errors.Join(err, out.Flush())
}

func writeObject(term *terminal, out *bufio.Writer, h objectHit) error {
	fmt.Fprintf(out, "Found %s %v\n", h.ObjectType, h.ID)
	if h.ObjectType == "blob" {
		fmt.Fprintf(out, " ... in file %s\n     (tree %s)\n", onScreen(term, h.Path), h.ParentTree)
	} else {
		fmt.Fprintf(out, " ... path %s\n", onScreen(term, h.Path))
	}
	_, err := fmt.Fprintf(out, " ... in snapshot %s (%s)\n", h.Snapshot.Short(), forPeople(h.Time))
	return err
}

// writePacks tells where the found blobs are stored.
func writePacks(out *bufio.Writer, r *repo.Repository, located map[blob.Handle]bool) {
	var handles []blob.Handle
	for h := range located {
		handles = append(handles, h)
	}
	slices.SortFunc(handles, func(a, b blob.Handle) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	for _, h := range handles {
		at, ok := r.Locate(h)
		if !ok {
			fmt.Fprintf(out, "Object %v is in no pack: the index does not name it\n", h)
			continue
		}
		fmt.Fprintf(out, "Object belongs to pack %v\n ... Pack %s: <Blob (%v) %s, offset %d, length %d, uncompressed length %d>\n",
			at.Pack, at.Pack.Short(), h.Type, h.ID.Short(), at.Offset, at.Length, at.Plain)
	}
}

// idPrefixes are IDs, or the beginnings of some.
type idPrefixes []string

func parseIDPrefixes(list []string) (idPrefixes, error) {
	var prefixes idPrefixes
	for _, text := range list {
		p := strings.ToLower(text)
		if p == "" || len(p) > 64 || strings.Trim(p, "0123456789abcdef") != "" {
			return nil, fmt.Errorf("%q is no ID: want at most 64 hexadecimal digits", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func (p idPrefixes) match(id blob.ID) bool {
	text := id.String()
	return slices.ContainsFunc(p, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}
