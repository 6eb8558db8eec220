package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// CopyOptions say who listens to a copy.
type CopyOptions struct {
	// Progress is called from one goroutine at a time with what was looked at so far: blobs, and those of their plain
	// bytes that were new in the target. May be nil.
	Progress func(blobs int, added int64)
}

// Copied is what became of one snapshot.
type Copied struct {
	Source *Snapshot
	ID     blob.ID // in the target
	Again  bool    // it had been copied before: nothing was done
}

// Copy copies snapshots, oldest first, with all their trees and data from one repository to another, which may have
// other keys. A snapshot that was copied before is left out: one whose original is the same snapshot and that agrees in all
// but its parent. Every blob is decrypted and compared with its ID on the way. The snapshots are stored last, when
// everything they need is durable; a copy that is cut short is taken up where the last index file was written.
//
// Content that the target has in chunks cut with another polynomial is stored again: see SamePolynomial.
func Copy(ctx context.Context, from, to *repo.Repository, list []*Snapshot, opt CopyOptions) ([]Copied, error) {
	result, fresh, err := sortOut(ctx, to, list)
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	if len(fresh) == 0 {
		return result, nil
	}
	roots := make([]blob.ID, 0, len(fresh))
	for _, i := range fresh {
		roots = append(roots, result[i].Source.Tree)
	}
	if err := copyTrees(ctx, from, to, roots, opt); err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	for _, i := range fresh {
		sn := *result[i].Source
		sn.Parent = nil // it names a snapshot of the other repository
		if sn.Original == nil {
			sn.Original = &result[i].Source.ID
		}
		if result[i].ID, err = Save(ctx, to, &sn); err != nil {
			return nil, fmt.Errorf("copy: %w", err)
		}
	}
	return result, nil
}

// SamePolynomial tells whether both repositories cut files at the same places, so that what one has stored is not stored
// again when the other's snapshots are copied.
func SamePolynomial(a, b *repo.Repository) bool {
	return a.Config().Polynomial == b.Config().Polynomial
}

// sortOut finds out which of the snapshots were copied before. fresh are the places in result of those that were not.
func sortOut(ctx context.Context, to *repo.Repository, list []*Snapshot) (result []Copied, fresh []int, err error) {
	there, err := List(ctx, to)
	if err != nil {
		return nil, nil, fmt.Errorf("target: %w", err)
	}
	byOrigin := make(map[blob.ID][]*Snapshot)
	for _, sn := range there {
		byOrigin[origin(sn)] = append(byOrigin[origin(sn)], sn)
	}
	list = slices.Clone(list)
	slices.SortFunc(list, byTime)
	for _, sn := range list {
		c := Copied{Source: sn}
		if i := slices.IndexFunc(byOrigin[origin(sn)], sn.sameBackup); i >= 0 {
			c.ID, c.Again = byOrigin[origin(sn)][i].ID, true
		} else {
			fresh = append(fresh, len(result))
		}
		result = append(result, c)
	}
	return result, fresh, nil
}

// origin returns the ID that the snapshot had when it was made.
func origin(sn *Snapshot) blob.ID {
	if sn.Original != nil {
		return *sn.Original
	}
	return sn.ID
}

// sameBackup tells whether two snapshots of one origin agree in what copying keeps.
func (sn *Snapshot) sameBackup(other *Snapshot) bool {
	return sn.Time.Equal(other.Time) && sn.Tree == other.Tree && sn.Hostname == other.Hostname && sn.Username == other.Username &&
		sn.UID == other.UID && sn.GID == other.GID && slices.Equal(sn.Paths, other.Paths) &&
		slices.Equal(sn.Excludes, other.Excludes) && slices.Equal(sn.Tags, other.Tags)
}

const (
	// dataBatch is how many data blobs are asked for at once: it bounds what waits in memory, and lets each pack be read
	// in one go as far as trees name its blobs together.
	dataBatch = 1 << 15
	// copyTreeBatch is how many trees are read before their data is copied.
	copyTreeBatch = 1 << 12
)

// copier copies what trees need. Trees that the target has are read all the same: an interrupted copy leaves trees without
// what they name.
type copier struct {
	from, to *repo.Repository
	up       *repo.Uploader
	opt      CopyOptions
	wanted   *repo.Set // of from
	missing  missingBlobs

	mu    sync.Mutex
	data  []blob.Handle // wanted, not copied yet
	blobs int
	added int64
}

func copyTrees(ctx context.Context, from, to *repo.Repository, roots []blob.ID, opt CopyOptions) error {
	return to.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error {
		c := copier{from: from, to: to, up: up, opt: opt, wanted: from.NewSet()}
		w := treeWalk{r: from, batch: copyTreeBatch, fresh: c.tree, between: func() error { return c.copyData(ctx) }}
		err := w.run(ctx, roots, func(_ blob.ID, data []byte, err error, subtree func(blob.ID)) error {
			if err != nil {
				return err
			}
			if err := scanTree(data, subtree, c.content); err != nil {
				return err
			}
			return c.save(ctx, blob.Tree, data)
		}, nil)
		if err = errors.Join(err, c.missing.err()); err != nil {
			return fmt.Errorf("%w; run kedge check on the source", err)
		}
		return nil
	})
}

func (c *copier) tree(id blob.ID) bool {
	h := blob.Handle{ID: id, Type: blob.Tree}
	added := c.wanted.Add(h)
	if !added {
		c.missing.noteUnless(c.wanted, h)
	}
	return added
}

func (c *copier) content(id blob.ID) {
	h := blob.Handle{ID: id, Type: blob.Data}
	if !c.wanted.Add(h) {
		c.missing.noteUnless(c.wanted, h)
		return
	}
	there := c.to.Has(h)
	c.mu.Lock()
	defer c.mu.Unlock()
	if there {
		c.blobs++
	} else {
		c.data = append(c.data, h)
	}
}

// copyData copies the data that waits.
func (c *copier) copyData(ctx context.Context) error {
	for len(c.data) > 0 {
		batch := c.data[:min(len(c.data), dataBatch)]
		c.data = c.data[len(batch):]
		err := c.from.LoadBlobs(ctx, batch, func(h blob.Handle, data []byte, err error) error {
			if err != nil {
				return err
			}
			return c.save(ctx, h.Type, data)
		})
		if err != nil {
			return err
		}
	}
	c.data = nil
	return nil
}

func (c *copier) save(ctx context.Context, t blob.Type, data []byte) error {
	saved, err := c.up.SaveBlob(ctx, t, data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobs++
	if saved.New {
		c.added += int64(len(data))
	}
	if c.opt.Progress != nil {
		c.opt.Progress(c.blobs, c.added)
	}
	return nil
}
