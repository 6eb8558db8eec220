package detect_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/detect/ransom"
	"github.com/kedge-project/kedge/internal/detect/web"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// watch is the loop that drives detectors: a snapshot, its difference to the last one, detection.
type watch struct {
	t       *testing.T
	r       *repo.Repository
	dir     string
	watcher *ransom.Watcher
	root    *web.Root
	last    *snapshot.Snapshot
	clock   time.Time
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	r, err := repo.Init(context.Background(), memory.New(), "secret", repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &watch{t: t, r: r, dir: dir, clock: time.Now().Add(-time.Hour)}
	w.watcher = ransom.New("fileserver", "documents", r)
	w.root = web.NewRoot("website", "files", filepath.Join(dir, "www"), nil, r)
	return w
}

func (w *watch) write(name, text string) {
	w.t.Helper()
	full := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.clock = w.clock.Add(time.Second)
	if err := os.Chtimes(full, w.clock, w.clock); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watch) step() []event.Signal {
	w.t.Helper()
	ctx := context.Background()
	w.clock = w.clock.Add(time.Second)
	res, err := archive.Run(ctx, w.r, []string{w.dir}, archive.Options{Host: "london", Time: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	before := blob.ID{}
	if w.last != nil {
		before = w.last.Tree
	}
	var changes []snapshot.Change
	if err := snapshot.Diff(ctx, w.r, before, res.Snapshot.Tree, func(c snapshot.Change) error {
		changes = append(changes, c)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	w.last = res.Snapshot
	w.watcher.Changes(changes)
	w.root.Changes(changes)
	var signals []event.Signal
	for _, d := range []detect.Detector{w.watcher, w.root} {
		found, err := d.Detect(ctx)
		if err != nil {
			w.t.Fatalf("%s: %v", d.Name(), err)
		}
		signals = append(signals, found...)
	}
	return signals
}

func encrypted(text string) string {
	block, err := aes.NewCipher(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(out, []byte(text))
	return string(out)
}

func text(i int) string {
	return strings.Repeat(fmt.Sprintf("Document %d of the committee. ", i), 200+i)
}

func html(i int) string {
	return fmt.Sprintf("<html><head><title>Page %d</title></head><body><p>%s</p></body></html>", i, text(i)[:900])
}

// fill makes what is there before anything happens.
func (w *watch) fill() {
	for i := range 20 {
		w.write(fmt.Sprintf("dept%d/doc%d.txt", i%4, i), text(i))
		w.write(fmt.Sprintf("www/p%d.html", i), html(i))
	}
}

func TestAnAttackOnFilesIsNoticedThroughSnapshotsAlone(t *testing.T) {
	w := newWatch(t)
	w.fill()
	if signals := w.step(); len(signals) != 0 {
		t.Fatalf("the first snapshot raised %+v", signals)
	}
	w.write("dept0/new.txt", text(99))
	w.write("www/p1.html", strings.Replace(html(1), "Page 1", "Page one", 1))
	if signals := w.step(); len(signals) != 0 {
		t.Fatalf("a day's work raised %+v", signals)
	}
	for i := range 20 {
		name := fmt.Sprintf("dept%d/doc%d.txt", i%4, i)
		if i%2 == 0 {
			w.write(name, encrypted(text(i)))
			continue
		}
		w.write(name+".locked", encrypted(text(i)))
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		w.write(fmt.Sprintf("dept%d/README.txt", i), "Your files have been encrypted. Pay us in Bitcoin. Use the Tor Browser.")
	}
	w.write("www/files/view.php", "<?php system($_GET['c']);")
	for i := range 6 {
		w.write(fmt.Sprintf("www/p%d.html", i+5), strings.Replace(html(i+5), "</body>", "<script src=http://203.0.113.66/a.js></script></body>", 1))
	}
	w.write("www/p0.html", "<title>0wned</title><h1>Hacked by the Sea Crew</h1>")
	var got []string
	for _, s := range w.step() {
		got = append(got, fmt.Sprintf("%s %s %s %d", s.Kind, s.Technique, strings.TrimPrefix(s.Subject, w.dir), s.Count))
	}
	slices.Sort(got)
	want := []string{
		"file.encrypted T1486  10", "file.renamed T1486  10", "note.dropped T1486  4", "page.defaced T1491.002 /www/p0.html 1",
		"page.injected T1189 /www 6", "shell.uploaded T1505.003 /www/files/view.php 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("raised\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if signals := w.step(); len(signals) != 0 {
		t.Errorf("an unchanged tree raised %+v", signals)
	}
}
