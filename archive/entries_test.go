package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/snapshot"
)

// sent makes Options.Entries of a list.
func sent(list ...archive.Entry) func(context.Context, func(archive.Entry) error) error {
	return func(_ context.Context, add func(archive.Entry) error) error {
		for _, e := range list {
			if err := add(e); err != nil {
				return err
			}
		}
		return nil
	}
}

func fileEntry(path string, content []byte, cut int) archive.Entry {
	return archive.Entry{
		Path: path, Mode: 0o600, ModTime: time.Date(2020, 10, 1, 12, 0, 0, 0, time.UTC), UID: 5, GID: 7,
		Content: iotest.HalfReader(bytes.NewReader(content)), Cut: cut,
	}
}

func TestEntriesOfAStreamAreStoredAsFilesAre(t *testing.T) {
	place := filepath.Join(t.TempDir(), "repository")
	be, err := local.Create(place)
	try(t, err)
	r := newRepository(t, be)
	const cut = 128 << 10
	relation := random(3, 10*cut+8192)
	opt := archive.Options{
		Entries: sent(
			fileEntry("/data/base/5/16384", relation, cut), // before its directory, which comes later
			archive.Entry{Path: "/data/base", Mode: fs.ModeDir | 0o700, UID: 5, GID: 7},
			fileEntry("/data/empty", nil, cut),
			fileEntry("/data/PG_VERSION", []byte("15\n"), 0),
			archive.Entry{Path: "/data/pg_wal", Mode: fs.ModeDir | 0o700},
			fileEntry("/data/base/5/late", random(4, 3<<20), 0),
		),
		Finish: func(sn *snapshot.Snapshot) { sn.Tags = append(sn.Tags, "end=0/3000028") },
	}
	res := run(t, r, "/data", opt)
	if tags := res.Snapshot.Tags; len(tags) != 1 || tags[0] != "end=0/3000028" {
		t.Errorf("tags %q, want that which Finish set", tags)
	}
	n := node(t, r, res.Snapshot, "/data/base/5/16384")
	if len(n.Content) != 11 || n.Size != uint64(len(relation)) || n.Mode != 0o600 || n.UID != 5 || n.GID != 7 || n.ModTime.Year() != 2020 {
		t.Errorf("the relation is stored as %d chunks: %+v", len(n.Content), n)
	}
	if !bytes.Equal(content(t, r, n), relation) {
		t.Error("the relation's content is another")
	}
	for path, mode := range map[string]fs.FileMode{"/data": 0o755, "/data/base": 0o700, "/data/base/5": 0o755, "/data/pg_wal": 0o700} {
		if n := node(t, r, res.Snapshot, path); n.Mode != fs.ModeDir|mode || n.Subtree == nil {
			t.Errorf("%s is stored as %+v", path, n)
		}
	}
	restictest.Run(t, place, password, "check", "--read-data")

	// One page of ten chunks changes.
	relation[5*cut+100] ^= 1
	opt.Entries = sent(fileEntry("/data/base/5/16384", relation, cut), fileEntry("/data/PG_VERSION", []byte("15\n"), 0))
	sum := run(t, r, "/data", opt).Snapshot.Summary
	if sum.DataBlobs != 1 || sum.DataAdded-uint64(cut) > 8<<10 {
		t.Errorf("after a change of one page %d blobs were added and %d bytes, want one chunk and its trees", sum.DataBlobs, sum.DataAdded)
	}
	if sum.FilesChanged != 1 || sum.FilesUnmodified != 1 || sum.FilesNew != 0 {
		t.Errorf("%d files changed, %d are unmodified, %d new; want 1, 1, 0", sum.FilesChanged, sum.FilesUnmodified, sum.FilesNew)
	}
}

func TestEntriesThatCannotBeStoredEndTheBackup(t *testing.T) {
	broken := errors.New("the line broke")
	for want, entries := range map[string]func(context.Context, func(archive.Entry) error) error{
		"the line broke":       sent(archive.Entry{Path: "/data/a", Content: io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(broken))}),
		"came twice":           sent(fileEntry("/data/a", nil, 0), fileEntry("/data/a", nil, 0)),
		"absolute and clean":   sent(fileEntry("/data/../../etc/passwd", nil, 0)),
		`"data/a"`:             sent(fileEntry("data/a", nil, 0)),
		"has something below":  sent(fileEntry("/data/a", nil, 0), fileEntry("/data/a/b", nil, 0)),
		"neither a file nor a": sent(archive.Entry{Path: "/data/link", Mode: fs.ModeSymlink | 0o777}),
		"it is gone": func(context.Context, func(archive.Entry) error) error {
			return errors.New("the server: it is gone")
		},
	} {
		r := newRepository(t, memory.New())
		_, err := archive.Run(t.Context(), r, []string{"/data"}, archive.Options{Host: "london", Entries: entries})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if list, err := snapshot.List(t.Context(), r); err != nil || len(list) != 0 {
			t.Errorf("%s: there are snapshots: %v, %v", want, list, err)
		}
	}
}
