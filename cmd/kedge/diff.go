package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func newDiffCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var metadata bool
	cmd := &cobra.Command{
		Use:   "diff -r REPOSITORY [flags] SNAPSHOT[:SUBFOLDER] SNAPSHOT[:SUBFOLDER]",
		Short: "Show what changed between two snapshots",
		Long: `Show what changed from the first snapshot to the second, or between directories of them:

  +   was added
  -   was removed
  M   a file's content was modified
  M?  the same, and size, times and inode say that nobody wrote to it
  T   became something else, a file a symbolic link for example
  U   mode, owner, times or attributes were updated (with --metadata)

At the end it says how many files and blobs came and went, and how large these blobs are.`,
		Example: `  kedge diff -r /srv/repository 4bba301e latest
  kedge diff -r /srv/repository --metadata 4bba301e:/srv/files 8d24f0a1:/srv/files`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return runDiff(ctx, term, r, args[0], args[1], metadata)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&metadata, "metadata", false, "show what has other metadata too")
	return cmd
}

// diffChange is restic's line for a path that changed.
type diffChange struct {
	MessageType string `json:"message_type"`
	Path        string `json:"path"`
	Modifier    string `json:"modifier"`
}

// diffStatistics is restic's last line.
type diffStatistics struct {
	MessageType string  `json:"message_type"`
	Source      blob.ID `json:"source_snapshot"`
	Target      blob.ID `json:"target_snapshot"`
	snapshot.Difference
}

func runDiff(ctx context.Context, term *terminal, r *repo.Repository, from, to string, metadata bool) error {
	before, a, _, err := findTree(ctx, r, from, snapshot.Filter{})
	if err != nil {
		return err
	}
	now, b, _, err := findTree(ctx, r, to, snapshot.Filter{})
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(results{term}, 64<<10)
	enc := json.NewEncoder(out)
	if !term.json && !term.quiet {
		fmt.Fprintf(out, "comparing snapshot %s to %s:\n\n", before.ID.Short(), now.ID.Short())
	}
	compared := 0
	d, err := snapshot.Measure(ctx, r, a, b, func(path string, old, new *snapshot.Node) error {
		compared++
		progressBeside(term, "%d paths compared", compared)
		mark := snapshot.Modifier(old, new, metadata)
		if mark == "" {
			return nil
		}
		if n := new; n != nil && n.Type == snapshot.Dir || n == nil && old.Type == snapshot.Dir {
			path += "/"
		}
		if term.json {
			return enc.Encode(diffChange{"change", path, mark})
		}
		_, err := fmt.Fprintf(out, "%-5s%s\n", mark, onScreen(term, path))
		return err
	})
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	if term.json {
		err = enc.Encode(diffStatistics{"statistics", before.ID, now.ID, *d})
	} else {
		writeDifference(out, d)
	}
	return errors.Join(err, out.Flush())
}

func writeDifference(out io.Writer, d *snapshot.Difference) {
	fmt.Fprintf(out, "\nFiles:       %5d new, %5d removed, %5d changed\n", d.Added.Files, d.Removed.Files, d.ChangedFiles)
	for _, row := range []struct {
		name       string
		new, taken int
	}{
		{"Dirs:", d.Added.Dirs, d.Removed.Dirs}, {"Others:", d.Added.Others, d.Removed.Others},
		{"Data Blobs:", d.Added.DataBlobs, d.Removed.DataBlobs}, {"Tree Blobs:", d.Added.TreeBlobs, d.Removed.TreeBlobs},
	} {
		fmt.Fprintf(out, "%-13s%5d new, %5d removed\n", row.name, row.new, row.taken)
	}
	fmt.Fprintf(out, "  Added:   %s\n  Removed: %s\n", wording.Size(int64(d.Added.Bytes)), wording.Size(int64(d.Removed.Bytes)))
}
