package archive

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/snapshot"
)

// stdinPath is where the content of Options.Stdin stands in the snapshot.
func stdinPath(name string) string {
	if name == "" {
		name = "stdin"
	}
	return path.Clean("/" + name)
}

// readStdin stores the content of Options.Stdin as a file, with the directories that its name has.
func (a *archiver) readStdin(ctx context.Context, parent *snapshot.Snapshot) error {
	full := stdinPath(a.opt.StdinName)
	names := strings.Split(full[1:], "/")
	last := names[len(names)-1]
	if last == "" {
		return fmt.Errorf("store standard input as %q: name a file", a.opt.StdinName)
	}
	d := &dir{place: place{path: "/"}, made: true, left: 1}
	for _, name := range names[:len(names)-1] {
		d = &dir{place: place{path: d.child(name)}, up: d, made: true, left: 1, node: a.makeNode(name, snapshot.Dir, fs.ModeDir|0o755), begun: a.clock()}
	}
	f := &file{dir: d, path: full, node: a.makeNode(last, snapshot.File, 0o644)}
	if parent != nil {
		if old, err := snapshot.Lookup(ctx, a.r, parent.Tree, full); err == nil && old.Type == snapshot.File {
			f.old = old // if it cannot be found this one counts as new, and that is all
		}
	}
	readErr, err := a.storeContent(ctx, chunker.New(nil, a.r.Config().Polynomial), a.opt.Stdin, nil, f)
	if err != nil {
		return err
	}
	if readErr != nil {
		return fmt.Errorf("read what is to be stored as %s: %w", full, readErr)
	}
	return a.settle(ctx, d, f.node)
}

// makeNode makes a node of what is not in the file system.
func (a *archiver) makeNode(name string, t snapshot.NodeType, mode fs.FileMode) *snapshot.Node {
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	return &snapshot.Node{
		Name: name, Type: t, Mode: mode, ModTime: a.time, AccessTime: a.time, ChangeTime: a.time,
		UID: uid, GID: gid, User: a.names.user(uid), Group: a.names.group(gid),
	}
}
