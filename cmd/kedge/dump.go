package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/dump"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type dumpFlags struct {
	repositoryFlags
	filterFlags
	archive string
	target  string
}

func newDumpCommand(term *terminal) *cobra.Command {
	var flags dumpFlags
	cmd := &cobra.Command{
		Use:   "dump -r REPOSITORY [flags] SNAPSHOT[:SUBFOLDER] PATH",
		Short: "Print a file of a snapshot, or a directory as an archive",
		Long: `Print the content of a file of a snapshot to standard output, or a directory as a tar archive (with
owners, hard links, devices and extended attributes) or a zip archive. "/" is the whole snapshot.
The paths in an archive are those of the snapshot; after ":SUBFOLDER" they begin there. Sockets
are left out of tar archives.`,
		Example: `  kedge dump -r /srv/repository latest /srv/files/legal/treaty.txt
  kedge dump -r /srv/repository latest production.sql | psql
  kedge dump -r /srv/repository latest:/srv/files / | tar -x --xattrs -C /mnt
  kedge dump -r /srv/repository 4bba301e /srv/files --archive zip --target files.zip`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.archive != "tar" && flags.archive != "zip" {
				return fmt.Errorf("--archive %q: want tar or zip", flags.archive)
			}
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return runDump(ctx, term, r, &flags, args[0], args[1])
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	cmd.Flags().StringVarP(&flags.archive, "archive", "a", "tar", "write directories as tar or zip")
	cmd.Flags().StringVarP(&flags.target, "target", "t", "", "write to this file instead of standard output")
	return cmd
}

func runDump(ctx context.Context, term *terminal, r *repo.Repository, flags *dumpFlags, spec, name string) error {
	sn, tree, _, err := findTree(ctx, r, spec, flags.filter())
	if err != nil {
		return err
	}
	name = path.Clean("/" + name)
	n, err := snapshot.Lookup(ctx, r, tree, name)
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
	}
	if n.Type != snapshot.File && n.Type != snapshot.Dir {
		return fmt.Errorf("dump %s: it is a %.20s; only files and directories can be dumped", name, n.Type)
	}
	leftOut := 0
	err = writeTo(term.stdout, flags.target, func(w io.Writer) error {
		w = &counter{w: w, term: term}
		switch {
		case n.Type == snapshot.File:
			return dump.File(ctx, r, n, w)
		case n.Subtree == nil:
			return fmt.Errorf("dump %s: the directory has no tree", name)
		}
		var a dump.Archive = dump.NewTar(w)
		if flags.archive == "zip" {
			a = dump.NewZip(w)
		}
		err := dump.Tree(ctx, r, *n.Subtree, name, a, func(path string, err error) {
			leftOut++
			term.warn("%s is left out: %v", path, err)
		})
		if err != nil {
			return err // without its end, so that nobody takes the archive for whole
		}
		return a.Close()
	})
	if err == nil && leftOut > 0 {
		err = fmt.Errorf("dump %s: %d damaged files are left out, as said above; kedge check says more", name, leftOut)
	}
	return err
}

// writeTo has fn write to a file, which appears when it is whole, or to standard output if none is named. A pipe or a
// device is written to as it is.
func writeTo(stdout io.Writer, target string, fn func(w io.Writer) error) error {
	if target == "" {
		return buffered(stdout, fn)
	}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(target, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open target: %w", err)
		}
		return errors.Join(buffered(f, fn), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".kedge-dump-*")
	if err != nil {
		return fmt.Errorf("create target: %w", err)
	}
	err = errors.Join(buffered(f, fn), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// counter shows how much was written, unless the terminal has the dump itself on it.
type counter struct {
	w    io.Writer
	term *terminal
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	progressBeside(c.term, "%s written", wording.Size(c.n))
	return n, err
}

func buffered(w io.Writer, fn func(w io.Writer) error) error {
	out := bufio.NewWriterSize(w, 1<<20)
	if err := fn(out); err != nil {
		return err
	}
	return out.Flush()
}
