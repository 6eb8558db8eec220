package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

func newReader(data []byte) io.ReadSeeker { return bytes.NewReader(data) }

// operations returns all that a repository can be asked. Each opens the repository, as a command does.
func (w *failingWorld) operations(t *testing.T) []failingOperation {
	nothing := func(context.Context, *repo.Repository) error { return nil }
	third := copyStorage(t, w.third) // which "copy to" locks, while others have their base copied
	return []failingOperation{
		{name: "init", run: initialise, complete: hasOneKey},
		{name: "backup", base: w.empty, run: backUpTo(w.source, 100), complete: w.backedUp},
		{name: "second backup", restic: true, base: w.history, run: backUpTo(w.source, 100), complete: w.backedUp},
		{name: "forget", base: w.history, run: forgetOldest(2), complete: hasSnapshots(1), forgets: true},
		{name: "prune", restic: true, base: w.fewer, run: pruneAll, complete: nothingToPrune},
		{name: "copy to", restic: true, base: w.history, run: func(ctx context.Context, be backend.Backend) error {
			return copyBetween(ctx, third, be)
		}, complete: w.backedUp},
		{name: "copy from", base: w.third, run: func(ctx context.Context, be backend.Backend) error {
			target := copyStorage(t, w.history)
			err := copyBetween(ctx, be, target)
			r, openErr := repo.Open(ctx, target, failingPassword, failingOptions)
			if openErr != nil {
				t.Fatalf("open the copy: %v", openErr)
			}
			w.sound(t, failingOperation{base: w.history}, r, fmt.Sprintf("the copy, which ended with %v", err))
			if err == nil {
				err = w.backedUp(ctx, r)
			}
			return err
		}, complete: nothing},
		{name: "repair index", base: w.cut, restic: true, run: exclusively(repairIndex(repo.RepairIndexOptions{})), complete: allIndexed},
		{name: "repair index of all packs", base: w.history, run: exclusively(repairIndex(repo.RepairIndexOptions{ReadAllPacks: true})), complete: allIndexed},
		{name: "check", base: w.history, run: opened(func(ctx context.Context, r *repo.Repository) error {
			var found []error
			_, err := snapshot.Check(ctx, r, snapshot.CheckOptions{ReadData: true}, func(f snapshot.Finding) { found = append(found, errors.New(f.String())) })
			return errors.Join(append(found, err)...)
		}), complete: nothing},
		{name: "restore", base: w.third, run: w.restores(t), complete: nothing},
		{name: "key add", base: w.history, run: opened(func(ctx context.Context, r *repo.Repository) error {
			_, err := r.AddKey(ctx, "battery staple", repo.KeyOptions{})
			return err
		}), complete: func(ctx context.Context, r *repo.Repository) error {
			_, err := repo.Open(ctx, r.Backend(), "battery staple", failingOptions)
			return err
		}},
		{name: "tag", base: w.history, run: exclusively(tagAll), complete: allTagged, retags: true},
		{name: "lock", base: w.history, run: exclusively(nothing), complete: nothing},
		{name: "unlock", base: w.locked, run: opened(func(ctx context.Context, r *repo.Repository) error {
			_, err := r.Unlock(ctx, true)
			return err
		}), complete: func(ctx context.Context, r *repo.Repository) error {
			if locks, err := r.Locks(ctx); err != nil || len(locks) > 0 {
				return fmt.Errorf("%d locks are left: %w", len(locks), err)
			}
			return nil
		}},
	}
}

type storageFunc func(ctx context.Context, be backend.Backend) error

// opened runs fn on a repository.
func opened(fn func(ctx context.Context, r *repo.Repository) error) storageFunc {
	return func(ctx context.Context, be backend.Backend) error {
		r, err := repo.Open(ctx, be, failingPassword, failingOptions)
		if err != nil {
			return err
		}
		return fn(ctx, r)
	}
}

func exclusively(fn func(ctx context.Context, r *repo.Repository) error) storageFunc {
	return opened(func(ctx context.Context, r *repo.Repository) error {
		return r.WithLock(ctx, true, func(ctx context.Context) error { return fn(ctx, r) })
	})
}

// backUpTo backs the source up. The second of its time is given, so that the clock of a bubble does not matter.
func backUpTo(source string, second int64) storageFunc {
	return opened(func(ctx context.Context, r *repo.Repository) error {
		return r.WithLock(ctx, false, func(ctx context.Context) error {
			result, err := archive.Run(ctx, r, []string{source}, archive.Options{Time: time.Unix(second, 0)})
			if err == nil && len(result.Unreadable) > 0 {
				err = result.Unreadable[0]
			}
			return err
		})
	})
}

func initialise(ctx context.Context, be backend.Backend) error {
	_, err := repo.Init(ctx, be, failingPassword, failingOptions)
	return err
}

// hasOneKey says so unless there is one key: of two with the same password it is chance which one opens the repository.
func hasOneKey(ctx context.Context, r *repo.Repository) error {
	keys, err := r.Keys(ctx)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("there are %d keys", len(keys))
	}
	return err
}

func tagAll(ctx context.Context, r *repo.Repository) error {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return err
	}
	return changeTags(ctx, &terminal{stdout: io.Discard, stderr: io.Discard}, r, list, func([]string) []string { return []string{"tagged"} })
}

// allTagged says so unless every snapshot has the tag.
func allTagged(ctx context.Context, r *repo.Repository) error {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return err
	}
	for _, sn := range list {
		if len(sn.Tags) != 1 {
			return fmt.Errorf("snapshot %s has tags %v", sn.ID.Short(), sn.Tags)
		}
	}
	return nil
}

// forgetOldest forgets the oldest snapshot if there are so many.
func forgetOldest(many int) storageFunc {
	return exclusively(func(ctx context.Context, r *repo.Repository) error {
		list, err := snapshot.List(ctx, r)
		if err != nil || len(list) < many {
			return err
		}
		return r.Remove(ctx, backend.Snapshot, list[0].ID)
	})
}

func hasSnapshots(many int) func(ctx context.Context, r *repo.Repository) error {
	return func(ctx context.Context, r *repo.Repository) error {
		list, err := snapshot.List(ctx, r)
		if err == nil && len(list) != many {
			err = fmt.Errorf("there are %d snapshots, want %d", len(list), many)
		}
		return err
	}
}

func planOfPrune(ctx context.Context, r *repo.Repository, dryRun bool) (*repo.PruneResult, error) {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, err
	}
	var roots []blob.ID
	for _, sn := range list {
		roots = append(roots, sn.Tree)
	}
	used := r.NewSet()
	if err := snapshot.Used(ctx, r, roots, used, nil); err != nil {
		return nil, err
	}
	none, err := repo.ParseUnusedLimit("0")
	if err != nil {
		return nil, err
	}
	return r.Prune(ctx, used, repo.PruneOptions{MaxUnused: none, DryRun: dryRun})
}

func pruneAll(ctx context.Context, be backend.Backend) error {
	return exclusively(func(ctx context.Context, r *repo.Repository) error {
		_, err := planOfPrune(ctx, r, false)
		return err
	})(ctx, be)
}

func nothingToPrune(ctx context.Context, r *repo.Repository) error {
	plan, err := planOfPrune(ctx, r, true)
	if err == nil && plan.TotalPrune() != (repo.Amount{}) {
		err = fmt.Errorf("there is more to prune: %+v", plan.TotalPrune())
	}
	return err
}

func copyBetween(ctx context.Context, from, to backend.Backend) error {
	return opened(func(ctx context.Context, source *repo.Repository) error {
		return source.WithLock(ctx, false, func(ctx context.Context) error {
			return opened(func(ctx context.Context, target *repo.Repository) error {
				return target.WithLock(ctx, false, func(ctx context.Context) error {
					list, err := snapshot.List(ctx, source)
					if err != nil {
						return err
					}
					_, err = snapshot.Copy(ctx, source, target, list, snapshot.CopyOptions{})
					return err
				})
			})(ctx, to)
		})
	})(ctx, from)
}

// backedUp says so unless some snapshot holds what the source does.
func (w *failingWorld) backedUp(ctx context.Context, r *repo.Repository) error {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return err
	}
	for _, sn := range list {
		held, err := contentIn(ctx, r, sn)
		if err != nil {
			return err
		}
		if maps.Equal(held, w.now) {
			return nil
		}
	}
	return fmt.Errorf("none of %d snapshots holds the source", len(list))
}

// restores restores the newest snapshot, and fails the test if a file at the target is not whole.
func (w *failingWorld) restores(t *testing.T) storageFunc {
	return func(ctx context.Context, be backend.Backend) error {
		target := t.TempDir()
		err := opened(func(ctx context.Context, r *repo.Repository) error {
			sn, err := snapshot.Find(ctx, r, "latest", snapshot.Filter{})
			if err != nil {
				return err
			}
			result, err := restore.Run(ctx, r, sn.Tree, restore.Options{Target: target})
			if err == nil && len(result.Errors) > 0 {
				err = result.Errors[0]
			}
			return err
		})(ctx, be)
		for path, want := range w.now {
			data, readErr := os.ReadFile(target + path)
			if readErr == nil && blob.Hash(data) != want {
				t.Errorf("after a restore that ended with %v, %s is not what was backed up", err, path)
			}
			if err == nil && readErr != nil {
				t.Errorf("after a restore that told no error: %v", readErr)
			}
		}
		return err
	}
}

// repairIndex fails, too, where something could not be read.
func repairIndex(opt repo.RepairIndexOptions) func(ctx context.Context, r *repo.Repository) error {
	return func(ctx context.Context, r *repo.Repository) error {
		result, err := r.RepairIndex(ctx, opt)
		if err == nil && len(result.PacksUnreadable)+len(result.PacksKept)+len(result.IndexUnreadable) > 0 {
			err = fmt.Errorf("unreadable: packs %v and %v, index files %v", result.PacksUnreadable, result.PacksKept, result.IndexUnreadable)
		}
		return err
	}
}

func allIndexed(ctx context.Context, r *repo.Repository) error {
	left, err := r.Unindexed(ctx)
	if err == nil && left {
		err = errors.New("there are packs that the index does not name")
	}
	return err
}
