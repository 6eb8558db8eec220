package asset

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func newRepository(t *testing.T) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), memory.New(), "secret", repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFilesAreCapturedWithoutWhatTheAssetExcludes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"site/index.html", "site/log/access.log", "site/logbook.txt", "other/page.html"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := newRepository(t)
	a := estate.Asset{Name: "pages", Kind: "files", Paths: []string{filepath.Join(dir, "site")}, Exclude: []string{filepath.Join(dir, "site/log") + "/"}}
	captured, err := CaptureFiles(t.Context(), r, "main", "website", a, CaptureOptions{Host: "london", Tags: []string{"nightly"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = snapshot.Walk(t.Context(), r, captured.Snapshot.Tree, func(path string, n *snapshot.Node) error {
		if n.Type == snapshot.File {
			got = append(got, strings.TrimPrefix(path, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if list := strings.Join(got, " "); list != "/site/index.html /site/logbook.txt" {
		t.Errorf("captured %s", list)
	}
	if tags := strings.Join(captured.Snapshot.Tags, " "); tags != "kedge:asset=website/pages nightly" || Tag("website", "pages") != captured.Snapshot.Tags[0] {
		t.Errorf("tags are %s", tags)
	}
	if captured.Snapshot.Hostname != "london" {
		t.Errorf("host is %s, want london", captured.Snapshot.Hostname)
	}
	fact := captured.Fact
	if fact.Repository != "main" || fact.Snapshot != captured.Snapshot.ID.String() || fact.Files != 2 || fact.Bytes != int64(len("site/index.html")+len("site/logbook.txt")) || fact.Added == 0 {
		t.Errorf("the fact is %+v", fact)
	}

	again, err := CaptureFiles(t.Context(), r, "main", "website", a, CaptureOptions{Host: "london"})
	if err != nil || again.Fact.Files != 2 {
		t.Fatalf("a second capture: %+v, %v; want 2 files", again.Fact, err)
	}
	// Of the directories above others may change the times meanwhile.
	if s := again.Snapshot.Summary; s.DataBlobs != 0 || s.FilesUnmodified != 2 {
		t.Errorf("a second capture stored %d data blobs anew and left %d files as they were; want 0 and 2", s.DataBlobs, s.FilesUnmodified)
	}
}

func TestCaptureOfFilesRefusesADatabase(t *testing.T) {
	_, err := CaptureFiles(t.Context(), newRepository(t), "main", "gisis", estate.Asset{Name: "database", Kind: "postgres"}, CaptureOptions{})
	if err == nil || !strings.Contains(err.Error(), "want files") {
		t.Errorf("got %v", err)
	}
}
