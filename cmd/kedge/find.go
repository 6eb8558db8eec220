package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/pattern"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type findFlags struct {
	repositoryFlags
	filterFlags
	listing
	snapshots            []string
	ignoreCase           bool
	newest, oldest       string
	blob, tree, pack     bool
	showPackID, reversed bool
}

func newFindCommand(term *terminal) *cobra.Command {
	var flags findFlags
	cmd := &cobra.Command{
		Use:   "find -r REPOSITORY [flags] PATTERN...",
		Short: "Find files in the snapshots, or where a blob, tree or pack is used",
		Long: `Find files and directories in all snapshots, the newest first. A pattern is one of restic's: "*",
"?" and "[a-z]" stay within a name, "**" is any number of directories; one that begins with "/"
is the whole path; what is below a directory that matches, matches too.
With --blob, --tree or --pack the patterns are IDs, or the beginnings of some.
Times are local unless they name a zone: 2026-01-31, "2026-01-31 15:04:05", 2026-01-31T15:04:05Z.`,
		Example: `  kedge find -r /srv/repository treaty.txt
  kedge find -r /srv/repository --ignore-case --long '*.docx' '/srv/files/**/draft*'
  kedge find -r /srv/repository --oldest 2026-01-31 --host fs1 --json '*.php'
  kedge find -r /srv/repository --blob 420f620f --show-pack-id
  kedge find -r /srv/repository --pack 025c1d06`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFind(cmd.Context(), term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	flags.listing.add(cmd)
	own := cmd.Flags()
	own.StringArrayVarP(&flags.snapshots, "snapshot", "s", nil, "search only this snapshot (repeatable)")
	own.BoolVarP(&flags.ignoreCase, "ignore-case", "i", false, "upper and lower case are the same")
	own.StringVarP(&flags.newest, "newest", "N", "", "only what was modified then or before")
	own.StringVarP(&flags.oldest, "oldest", "O", "", "only what was modified then or later")
	own.BoolVarP(&flags.reversed, "reverse", "R", false, "the oldest snapshot first")
	own.BoolVar(&flags.blob, "blob", false, "patterns are IDs of blobs: find the files")
	own.BoolVar(&flags.tree, "tree", false, "patterns are IDs of trees: find the directories")
	own.BoolVar(&flags.pack, "pack", false, "patterns are IDs of packs: find the files and directories in them")
	own.BoolVar(&flags.showPackID, "show-pack-id", false, "with --blob or --tree: show which pack holds them")
	cmd.MarkFlagsMutuallyExclusive("blob", "tree", "pack")
	return cmd
}

func runFind(ctx context.Context, term *terminal, flags *findFlags, args []string) error {
	if flags.blob || flags.tree || flags.pack {
		prefixes, err := parseIDPrefixes(args)
		if err != nil {
			return err
		}
		return flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
			return findObjects(ctx, term, r, flags, prefixes)
		})
	}
	judge, err := flags.matcher(args)
	if err != nil {
		return err
	}
	return flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		return findFiles(ctx, term, r, flags, judge)
	})
}

// matcher returns what tells whether a node is looked for by its path and time.
func (f *findFlags) matcher(patterns []string) (func(path string, n *snapshot.Node) (hit, enter bool), error) {
	list, err := pattern.Parse(patterns, f.ignoreCase)
	if err != nil {
		return nil, err
	}
	newest, err := parseTime("--newest", f.newest)
	if err != nil {
		return nil, err
	}
	oldest, err := parseTime("--oldest", f.oldest)
	if err != nil {
		return nil, err
	}
	return func(path string, n *snapshot.Node) (hit, enter bool) {
		hit = list.Match(path)
		enter = n.Type == snapshot.Dir && (hit || list.MayMatchBelow(path))
		if !newest.IsZero() && n.ModTime.After(newest) || !oldest.IsZero() && n.ModTime.Before(oldest) {
			hit = false
		}
		return hit, enter
	}, nil
}

// timeLayouts are the ways in which a time may be given, as restic takes them, and that in which kedge shows it.
var timeLayouts = []string{
	"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST", time.RFC3339,
	"02.01.2006", "02.01.2006 15:04", "02.01.2006 15:04:05", "02.01.2006 15:04:05 -0700", "02.01.2006 15:04:05 MST",
	"Mon Jan 2 15:04:05 -0700 MST 2006",
}

func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is no time: write it as 2006-01-02, \"2006-01-02 15:04:05\" or 2006-01-02T15:04:05Z", flag, text)
}

// chosen returns the snapshots to search, in order. If some cannot be read, it returns the others and an error that names those.
func (f *findFlags) chosen(ctx context.Context, r *repo.Repository) ([]*snapshot.Snapshot, error) {
	var list []*snapshot.Snapshot
	var bad error
	for _, spec := range f.snapshots {
		sn, err := snapshot.Find(ctx, r, spec, f.filter())
		if err != nil {
			return nil, err
		}
		list = append(list, sn)
	}
	if len(f.snapshots) == 0 {
		if list, bad = snapshot.List(ctx, r); ctx.Err() != nil {
			return nil, bad
		}
		filter := f.filter()
		list = slices.DeleteFunc(list, func(sn *snapshot.Snapshot) bool { return !filter.Match(sn) })
	}
	slices.SortStableFunc(list, func(a, b *snapshot.Snapshot) int { return b.Time.Compare(a.Time) })
	if f.reversed {
		slices.Reverse(list)
	}
	return list, bad
}

// search runs the search over the chosen snapshots and calls fn after each. What cannot be read is said, and the rest
// searched.
func (f *findFlags) search(ctx context.Context, term *terminal, r *repo.Repository, judge func(string, *snapshot.Node) (bool, bool),
	hit func(sn *snapshot.Snapshot, path string, tree blob.ID, n *snapshot.Node) error, after func(sn *snapshot.Snapshot) error) error {
	list, err := f.chosen(ctx, r)
	if err != nil {
		term.warn("%v", err)
	}
	unread := err != nil
	s := snapshot.NewSearch(r, judge)
	for i, sn := range list {
		term.progress("%d of %d snapshots searched", i, len(list))
		var failed error
		err := s.Run(ctx, sn.Tree, func(path string, tree blob.ID, n *snapshot.Node) error {
			failed = hit(sn, path, tree, n)
			return failed
		})
		switch {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			term.warn("snapshot %s: %v", sn.ID.Short(), err)
			unread = true
		}
		if err := after(sn); err != nil {
			return err
		}
	}
	if unread {
		return errors.New("find: not everything could be read, as said above; run kedge check")
	}
	return nil
}

// findMatch is restic's object for a node that was found.
type findMatch struct {
	Path        string            `json:"path"`
	Permissions string            `json:"permissions"`
	Type        snapshot.NodeType `json:"type"`
	Mode        uint32            `json:"mode,omitempty"`
	ModTime     time.Time         `json:"mtime"`
	AccessTime  time.Time         `json:"atime"`
	ChangeTime  time.Time         `json:"ctime"`
	UID         uint32            `json:"uid"`
	GID         uint32            `json:"gid"`
	User        string            `json:"user,omitempty"`
	Group       string            `json:"group,omitempty"`
	DeviceID    uint64            `json:"device_id,omitempty"`
	Size        uint64            `json:"size,omitempty"`
	Links       uint64            `json:"links,omitempty"`
	LinkTarget  string            `json:"linktarget,omitempty"`
}

type findResult struct {
	Matches  []findMatch `json:"matches"`
	Hits     int         `json:"hits"`
	Snapshot blob.ID     `json:"snapshot"`
}

func findFiles(ctx context.Context, term *terminal, r *repo.Repository, flags *findFlags, judge func(string, *snapshot.Node) (bool, bool)) error {
	out := bufio.NewWriterSize(results{term}, 64<<10)
	list := array{out: out}
	var matches []findMatch
	hits := 0
	hit := func(sn *snapshot.Snapshot, path string, _ blob.ID, n *snapshot.Node) error {
		hits++
		if term.json {
			matches = append(matches, findMatch{
				Path: path, Permissions: n.Mode.String(), Type: n.Type, Mode: uint32(n.Mode),
				ModTime: n.ModTime, AccessTime: n.AccessTime, ChangeTime: n.ChangeTime,
				UID: n.UID, GID: n.GID, User: n.User, Group: n.Group, DeviceID: n.DeviceID, Size: n.Size, Links: n.Links, LinkTarget: n.LinkTarget,
			})
			return nil
		}
		if hits == 1 {
			if list.n++; list.n > 1 {
				fmt.Fprintln(out)
			}
			fmt.Fprintf(out, "Found matching entries in snapshot %s from %s\n", sn.ID.Short(), forPeople(sn.Time))
		}
		return flags.listing.write(term, out, entry{path, n})
	}
	after := func(sn *snapshot.Snapshot) error {
		defer func() { matches, hits = nil, 0 }()
		if !term.json || hits == 0 {
			return out.Flush()
		}
		return list.add(findResult{matches, hits, sn.ID})
	}
	err := flags.search(ctx, term, r, judge, hit, after)
	if term.json {
		err = errors.Join(err, list.end())
	}
	return errors.Join(err, out.Flush())
}

// array writes a JSON array, one element at a time.
type array struct {
	out *bufio.Writer
	n   int // elements written
}

func (a *array) add(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	a.out.WriteString(map[bool]string{true: "[", false: ","}[a.n == 0])
	a.n++
	_, err = a.out.Write(text)
	return err
}

func (a *array) end() error {
	if a.n == 0 {
		a.out.WriteByte('[')
	}
	_, err := a.out.WriteString("]\n")
	return err
}
