package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Finding is one thing that Check found. It is about a file of the repository, or about what snapshots hold at a path.
type Finding struct {
	File      backend.Handle // zero if it is about a path
	Snapshots []*Snapshot    // those that the path is damaged in, the oldest first
	Path      string         // absolute, as stored; a directory that cannot be read ends with a slash
	Err       error
	Note      bool // nothing is lost or wrong, but space is
}

// String tells the finding in one line.
func (f Finding) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%v: %v", f.File, f.Err)
	}
	ids := make([]string, 0, len(f.Snapshots))
	for _, sn := range f.Snapshots {
		ids = append(ids, sn.ID.Short())
	}
	return fmt.Sprintf("%s in snapshot %s: %v", f.Path, strings.Join(ids, ", "), f.Err)
}

// CheckOptions say how much Check reads, and who listens.
type CheckOptions struct {
	ReadData bool        // read packs, and compare each blob with its ID
	Subset   repo.Subset // with ReadData, which packs; the zero value is all

	PackProgress func(done, total int64) // bytes of packs read; may be nil; called from one goroutine at a time
	TreeProgress func(trees int)         // trees read; may be nil; called from one goroutine at a time
}

// CheckResult sums up a check.
type CheckResult struct {
	repo.CheckResult
	Errors    int // findings that are no notes
	Notes     int
	Snapshots int
	Trees     int // distinct ones
}

// Check finds what is damaged in a repository: keys, the index, packs (see repo.Check), snapshots, trees, and files whose
// blobs are missing or do not make up their size. Every damage of content is told with the paths and all snapshots
// that it concerns. The Repository may have been opened with AllowDamagedIndex. report is called from one goroutine at
// a time. The error says that the check could not finish.
func Check(ctx context.Context, r *repo.Repository, opt CheckOptions, report func(Finding)) (*CheckResult, error) {
	result := new(CheckResult)
	tell := func(f Finding) {
		if f.Note {
			result.Notes++
		} else {
			result.Errors++
		}
		report(f)
	}
	files, err := r.Check(ctx, repo.CheckOptions{ReadData: opt.ReadData, Subset: opt.Subset, Progress: opt.PackProgress}, func(p repo.Problem) {
		tell(Finding{File: p.File, Err: p.Err, Note: p.Note})
	})
	if err != nil {
		return nil, err
	}
	result.CheckResult = *files
	list, err := checkedList(ctx, r, tell)
	if err != nil {
		return nil, fmt.Errorf("check snapshots: %w", err)
	}
	result.Snapshots = len(list)
	c := checker{r: r, seen: r.NewSet(), lost: make(map[blob.Handle]struct{}), bad: make(map[blob.ID][]flaw)}
	for _, h := range files.Lost {
		c.lost[h] = struct{}{}
	}
	err = c.walk(ctx, list, func(trees int) {
		result.Trees = trees
		if opt.TreeProgress != nil {
			opt.TreeProgress(trees)
		}
	})
	if err == nil && len(c.bad) > 0 {
		err = c.locate(ctx, list, tell)
	}
	if c.missing.Load() && files.Unnamed > 0 {
		// What is missing may well be there. A repair of snapshots, or a prune, would do away with it.
		result.RepairIndex, result.Prune = true, false
	}
	if err != nil {
		return nil, fmt.Errorf("check snapshots: %w", err)
	}
	return result, nil
}

// checkedList returns the snapshots that can be read, and reports the others.
func checkedList(ctx context.Context, r *repo.Repository, tell func(Finding)) ([]*Snapshot, error) {
	var ids []blob.ID
	err := r.List(ctx, backend.Snapshot, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var list []*Snapshot
	for _, id := range ids {
		sn, err := load(ctx, r, id)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			tell(Finding{File: backend.Handle{Type: backend.Snapshot, Name: id.String()}, Err: err})
			continue
		}
		list = append(list, sn)
	}
	slices.SortFunc(list, byTime)
	return list, nil
}
