package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type lsFlags struct {
	repositoryFlags
	filterFlags
	listing
	recursive bool
	reverse   bool
	ncdu      bool
	sort      string
}

func newLsCommand(term *terminal) *cobra.Command {
	var flags lsFlags
	cmd := &cobra.Command{
		Use:   "ls -r REPOSITORY [flags] SNAPSHOT[:SUBFOLDER] [DIRECTORY...]",
		Short: "List the files of a snapshot",
		Long: `List the files of a snapshot, or of some of its directories: with --recursive also what is
below these. The snapshot is an ID, the beginning of one, or "latest", which --host, --tag and
--path choose among. Paths are those that the snapshot holds; after ":SUBFOLDER" they begin there.`,
		Example: `  kedge ls -r /srv/repository latest
  kedge ls -r /srv/repository 4bba301e --long --recursive /srv/files/legal
  kedge ls -r /srv/repository latest --sort size --reverse --human-readable --long
  kedge ls -r /srv/repository latest --ncdu | ncdu -f -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return runLs(ctx, term, r, &flags, args[0], args[1:])
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	flags.listing.add(cmd)
	cmd.Flags().BoolVar(&flags.recursive, "recursive", false, "list what is below the directories too, not only what is in them")
	cmd.Flags().BoolVar(&flags.ncdu, "ncdu", false, "print what ncdu -f reads")
	cmd.Flags().StringVarP(&flags.sort, "sort", "s", "name", "sort by name, size, time (or mtime), atime, ctime or extension")
	cmd.Flags().BoolVar(&flags.reverse, "reverse", false, "sort the other way round")
	return cmd
}

// entry is a node and its path.
type entry struct {
	path string
	node *snapshot.Node
}

// orders are what --sort may name. Equal ones stay in the order of the walk.
var orders = map[string]func(a, b entry) int{
	"name":      func(a, b entry) int { return 0 }, // that of the walk
	"size":      func(a, b entry) int { return cmp.Compare(a.node.Size, b.node.Size) },
	"time":      func(a, b entry) int { return a.node.ModTime.Compare(b.node.ModTime) },
	"mtime":     func(a, b entry) int { return a.node.ModTime.Compare(b.node.ModTime) },
	"atime":     func(a, b entry) int { return a.node.AccessTime.Compare(b.node.AccessTime) },
	"ctime":     func(a, b entry) int { return a.node.ChangeTime.Compare(b.node.ChangeTime) },
	"extension": func(a, b entry) int { return strings.Compare(path.Ext(a.path), path.Ext(b.path)) },
}

func runLs(ctx context.Context, term *terminal, r *repo.Repository, flags *lsFlags, spec string, dirs []string) error {
	order, ok := orders[flags.sort]
	sorted := flags.sort != "name" || flags.reverse
	switch {
	case !ok:
		return fmt.Errorf("--sort %q: want name, size, time, mtime, atime, ctime or extension", flags.sort)
	case sorted && flags.ncdu:
		return errors.New("--ncdu goes without --sort and --reverse: ncdu sorts itself")
	}
	for i, dir := range dirs {
		if !strings.HasPrefix(dir, "/") {
			return fmt.Errorf("directory %q: begin it with \"/\", as the paths of the snapshot", dir)
		}
		dirs[i] = path.Clean(dir)
	}
	sn, tree, _, err := findTree(ctx, r, spec, flags.filter())
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(term.stdout, 64<<10)
	p := lsPrinter(term, &flags.listing, flags.ncdu, out)
	if err := p.begin(sn, dirs); err != nil {
		return err
	}
	var kept []entry
	err = snapshot.Walk(ctx, r, tree, func(at string, n *snapshot.Node) error {
		listed, enter := chosen(at, dirs, flags.recursive)
		switch {
		case listed && sorted:
			kept = append(kept, entry{at, n})
		case listed || enter && flags.ncdu:
			if err := p.node(entry{at, n}); err != nil {
				return err
			}
		}
		if n.Type == snapshot.Dir && !enter {
			return snapshot.SkipDir
		}
		return nil
	})
	slices.SortStableFunc(kept, order)
	if flags.reverse {
		slices.Reverse(kept)
	}
	for _, e := range kept {
		err = errors.Join(err, p.node(e))
	}
	return errors.Join(err, p.end(), out.Flush())
}

// chosen tells whether ls lists a path, and whether it looks into it if it is a directory.
func chosen(at string, dirs []string, recursive bool) (listed, enter bool) {
	if len(dirs) == 0 {
		return true, true
	}
	for _, dir := range dirs {
		below := dir == "/" || strings.HasPrefix(at, dir+"/")
		switch {
		case at == dir:
			return true, true
		case below && recursive:
			return true, true
		case path.Dir(at) == dir:
			listed = true
		case strings.HasPrefix(dir, at+"/"):
			enter = true
		}
	}
	return listed, enter
}

// printer writes the nodes of a listing. node is called in the order of the walk if the format has the shape of a tree.
type printer struct {
	begin func(sn *snapshot.Snapshot, dirs []string) error
	node  func(e entry) error
	end   func() error
}

func lsPrinter(term *terminal, how *listing, ncdu bool, out *bufio.Writer) printer {
	done := func() error { return nil }
	if ncdu {
		n := ncduWriter{out: out}
		return printer{n.begin, n.node, n.end}
	}
	if term.json {
		enc := json.NewEncoder(out)
		return printer{
			begin: func(sn *snapshot.Snapshot, _ []string) error {
				return enc.Encode(lsSnapshot{snapshotObject{sn, sn.ID.String(), sn.ID.Short()}, "snapshot", "snapshot"})
			},
			node: func(e entry) error { return enc.Encode(newLsNode(e)) },
			end:  done,
		}
	}
	return printer{
		begin: func(sn *snapshot.Snapshot, dirs []string) error {
			if !term.quiet {
				title := fmt.Sprintf("snapshot %s of %v at %s by %s@%s", sn.ID.Short(), sn.Paths, forPeople(sn.Time), sn.Username, sn.Hostname)
				if len(dirs) > 0 {
					title += fmt.Sprintf(" filtered by %v", dirs)
				}
				term.printf("%s:", onScreen(term, title))
			}
			return nil
		},
		node: func(e entry) error { return how.write(term, out, e) },
		end:  done,
	}
}

type lsSnapshot struct {
	snapshotObject
	MessageType string `json:"message_type"`
	StructType  string `json:"struct_type"`
}

// lsNode is restic's line for a node.
type lsNode struct {
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	Path        string    `json:"path"`
	UID         uint32    `json:"uid"`
	GID         uint32    `json:"gid"`
	Size        *uint64   `json:"size,omitempty"` // files only, also empty ones
	Mode        uint32    `json:"mode,omitempty"`
	Permissions string    `json:"permissions,omitempty"`
	ModTime     time.Time `json:"mtime"`
	AccessTime  time.Time `json:"atime"`
	ChangeTime  time.Time `json:"ctime"`
	Inode       uint64    `json:"inode,omitempty"`
	MessageType string    `json:"message_type"`
	StructType  string    `json:"struct_type"`
}

func newLsNode(e entry) lsNode {
	n := e.node
	line := lsNode{
		Name: n.Name, Type: string(n.Type), Path: e.path, UID: n.UID, GID: n.GID,
		Mode: uint32(n.Mode), Permissions: n.Mode.String(), Inode: n.Inode,
		ModTime: n.ModTime, AccessTime: n.AccessTime, ChangeTime: n.ChangeTime,
		MessageType: "node", StructType: "node",
	}
	if n.Type == snapshot.File {
		line.Size = &n.Size
	}
	return line
}

// listing is how ls and find show a node to people.
type listing struct {
	long, humanReadable bool
}

func (l *listing) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&l.long, "long", "l", false, "show mode, owner, size and modification time too")
	cmd.Flags().BoolVar(&l.humanReadable, "human-readable", false, "show sizes with units")
}

func (l *listing) write(term *terminal, out io.Writer, e entry) error {
	name := onScreen(term, e.path)
	if !l.long {
		_, err := fmt.Fprintln(out, name)
		return err
	}
	n := e.node
	size := strconv.FormatUint(n.Size, 10)
	if l.humanReadable {
		size = wording.Size(int64(n.Size))
	}
	target := ""
	if n.Type == snapshot.Symlink {
		target = " -> " + onScreen(term, n.LinkTarget)
	}
	_, err := fmt.Fprintf(out, "%s %5d %5d %6s %s %s%s\n", n.Mode, n.UID, n.GID, size, forPeople(n.ModTime), name, target)
	return err
}

// results is standard output for what is written at once and in whole lines: a progress line makes way.
type results struct{ term *terminal }

func (r results) Write(p []byte) (int, error) {
	r.term.mu.Lock()
	defer r.term.mu.Unlock()
	r.term.clear()
	return r.term.stdout.Write(p)
}

// progressBeside shows progress where standard output is not on the same screen.
func progressBeside(term *terminal, format string, args ...any) {
	if !isTerminal(term.stdout) {
		term.progress(format, args...)
	}
}

// forPeople writes a time as people read it: in UTC, and saying so.
func forPeople(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// onScreen returns a name as it is for programs, and made safe for a terminal: names come from outside.
func onScreen(term *terminal, name string) string {
	if isTerminal(term.stdout) {
		return wording.Plain(name)
	}
	return name
}
