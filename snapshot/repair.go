package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// RepairedTag marks the snapshots that Repair makes.
const RepairedTag = "repaired"

// RepairOptions say what becomes of damaged snapshots.
type RepairOptions struct {
	Forget bool // remove them once their repaired copies are stored
	DryRun bool // change nothing

	// Report is told what is cut out, and where: once for a tree that several snapshots share. May be nil.
	Report func(sn *Snapshot, path string, what error)
}

// Repaired is a damaged snapshot and what became of it.
type Repaired struct {
	Source *Snapshot
	// New is the snapshot of what can still be read; nil if that is nothing, since the snapshot's own tree is gone.
	// With DryRun it has no ID.
	New *Snapshot
}

// Repair makes of every snapshot that needs what is not in the repository another without it: a file loses the pieces that
// are gone, and its size what they had; a directory that cannot be read becomes empty. The new snapshots have the tag
// "repaired" and the old one as their original. Sound snapshots are left alone, and not in the result. With Forget the
// caller holds an exclusive lock, and what the index misses but packs hold is an error. Damaged packs must have been taken
// out of the index before, by RepairPacks.
func Repair(ctx context.Context, r *repo.Repository, list []*Snapshot, opt RepairOptions) ([]Repaired, error) {
	m := mender{r: r, opt: opt, sound: r.NewSet(), mended: make(map[blob.ID]blob.ID)}
	var result []Repaired
	var err error
	if opt.DryRun {
		result, err = m.all(ctx, list)
	} else {
		err = r.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error {
			m.up = up
			result, err = m.all(ctx, list)
			return err
		})
	}
	if err == nil && opt.Forget && !opt.DryRun && len(result) > 0 {
		err = refuseUnindexed(ctx, r)
	}
	if err == nil && !opt.DryRun {
		err = m.store(ctx, result)
	}
	if err != nil {
		return nil, fmt.Errorf("repair snapshots: %w", err)
	}
	return result, nil
}

// refuseUnindexed is for what cannot be undone while index files are missing.
func refuseUnindexed(ctx context.Context, r *repo.Repository) error {
	there, err := r.Unindexed(ctx)
	if err == nil && there {
		err = errors.New("there are packs that no index file names, with blobs that the index does not know; run kedge repair index first, it may bring back what is missing")
	}
	return err
}

// mender finds and stores what trees become. One goroutine uses it.
type mender struct {
	r      *repo.Repository
	up     *repo.Uploader // nil if nothing is to be stored
	opt    RepairOptions
	sn     *Snapshot
	sound  *repo.Set           // trees that stay as they are, with all below
	mended map[blob.ID]blob.ID // those that do not, and what they become; zero if they cannot be read
}

func (m *mender) all(ctx context.Context, list []*Snapshot) ([]Repaired, error) {
	var result []Repaired
	for _, sn := range list {
		m.sn = sn
		tree, err := m.tree(ctx, sn.Tree, "", 0)
		switch {
		case err != nil:
			return nil, err
		case tree == sn.Tree:
		case tree.IsZero():
			result = append(result, Repaired{Source: sn})
		default:
			next := *sn
			next.ID, next.Tree = blob.ID{}, tree
			if next.Original == nil {
				next.Original = &sn.ID
			}
			if !slices.Contains(next.Tags, RepairedTag) {
				next.Tags = append(slices.Clone(next.Tags), RepairedTag)
			}
			result = append(result, Repaired{Source: sn, New: &next})
		}
	}
	return result, nil
}

// store stores the new snapshots, and then removes the old ones if they are to be forgotten.
func (m *mender) store(ctx context.Context, result []Repaired) error {
	for _, s := range result {
		if s.New == nil {
			continue
		}
		if _, err := Save(ctx, m.r, s.New); err != nil {
			return err
		}
	}
	if !m.opt.Forget {
		return nil
	}
	for _, s := range result {
		if err := m.r.Remove(ctx, backend.Snapshot, s.Source.ID); err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (m *mender) report(path string, what error) {
	if m.opt.Report != nil {
		m.opt.Report(m.sn, path, what)
	}
}

// tree returns what a tree becomes: itself if nothing is wrong, zero if it cannot be read.
func (m *mender) tree(ctx context.Context, id blob.ID, path string, depth int) (blob.ID, error) {
	h := blob.Handle{ID: id, Type: blob.Tree}
	if m.sound.Has(h) {
		return id, nil
	}
	if next, known := m.mended[id]; known {
		return next, nil
	}
	if tooDeep(path, depth) {
		return blob.ID{}, fmt.Errorf("%.80q…: %w", path, errDeep)
	}
	t, err := LoadTree(ctx, m.r, id)
	if ctx.Err() != nil {
		return blob.ID{}, context.Cause(ctx)
	}
	if err != nil {
		m.report(path+"/", err)
		m.mended[id] = blob.ID{}
		return blob.ID{}, nil
	}
	changed := false
	for _, n := range t.Nodes {
		c, err := m.node(ctx, n, path+"/"+n.Name, depth)
		if err != nil {
			return blob.ID{}, err
		}
		changed = changed || c
	}
	if !changed {
		m.sound.Add(h)
		return id, nil
	}
	next, err := m.save(ctx, t)
	m.mended[id] = next
	return next, err
}

// node mends an entry of a tree and tells whether it changed.
func (m *mender) node(ctx context.Context, n *Node, path string, depth int) (changed bool, err error) {
	switch n.Type {
	case File:
		return m.file(n, path), nil
	case Dir:
	default:
		return false, nil
	}
	var next blob.ID
	if n.Subtree == nil {
		m.report(path, errors.New("the directory has no tree"))
	} else if next, err = m.tree(ctx, *n.Subtree, path, depth+1); err != nil || next == *n.Subtree {
		return false, err
	}
	if next.IsZero() {
		if next, err = m.save(ctx, &Tree{}); err != nil {
			return false, err
		}
	}
	n.Subtree = &next
	return true, nil
}

// file cuts the pieces that are gone out of a file.
func (m *mender) file(n *Node, path string) (changed bool) {
	kept := make([]blob.ID, 0, len(n.Content))
	var size uint64
	for _, id := range n.Content {
		if at, ok := m.r.Locate(blob.Handle{ID: id, Type: blob.Data}); ok {
			kept = append(kept, id)
			size += uint64(at.Plain)
		}
	}
	if len(kept) == len(n.Content) && size == n.Size {
		return false
	}
	m.report(path, fmt.Errorf("%d of its %d pieces are gone: %d of %d bytes remain", len(n.Content)-len(kept), len(n.Content), size, n.Size))
	n.Content, n.Size = kept, size
	return true
}

func (m *mender) save(ctx context.Context, t *Tree) (blob.ID, error) {
	data, err := t.Encode()
	if err != nil {
		return blob.ID{}, err
	}
	if m.up == nil {
		return blob.Hash(data), nil
	}
	saved, err := m.up.SaveBlob(ctx, blob.Tree, data)
	return saved.ID, err
}
