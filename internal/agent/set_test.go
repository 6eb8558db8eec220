package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
)

func TestARestoreSetTakesThePlaceOfWhatTheInvestigationFound(t *testing.T) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	share, password := filepath.Join(dir, "share"), filepath.Join(dir, "password")
	minutes, note := filepath.Join(share, "minutes.txt"), filepath.Join(share, "NOTE.txt")
	check(os.Mkdir(share, 0o700))
	check(os.WriteFile(password, []byte("secret\n"), 0o600))
	be := memory.New()
	r, err := repo.Init(t.Context(), be, "secret", repo.Options{ScryptN: 1 << 10})
	check(err)
	snapshotOf := func(text, tag string) *archive.Result {
		t.Helper()
		check(os.WriteFile(minutes, []byte(text), 0o600))
		res, err := archive.Run(t.Context(), r, []string{share}, archive.Options{Host: "london", Tags: []string{tag}})
		check(err)
		return res
	}
	tag := asset.Tag("share", "files")
	clean := snapshotOf("minutes", tag).Snapshot
	check(os.WriteFile(note, []byte("pay"), 0o600))
	bad := snapshotOf("%%%", tag).Snapshot
	other := snapshotOf("of another service", asset.Tag("mail", "files")).Snapshot

	e := &estate.Estate{
		Repositories: []estate.Repository{{Name: "main", PasswordFile: password}},
		Services:     []estate.Service{{Name: "share", Repository: "main", Assets: []estate.Asset{{Name: "files", Kind: "files", Paths: []string{share}}}}},
	}
	a := Open(e, func(context.Context, string, string) (backend.Backend, error) { return be, nil }, nil)
	set := &restore.Set{Version: restore.SetVersion, Repository: r.Config().ID, Trees: []restore.SetTree{
		{Base: other.ID},
		{Base: bad.ID, Take: []restore.Take{{Snapshot: clean.ID, Paths: restore.Paths{minutes}}}, LeaveOut: restore.Paths{note}},
	}}
	f := Findings{Trees: map[string]restore.SetTree{"share/files": {Base: clean.ID}}}
	f.DamagedN = 7
	check(a.UseSet(t.Context(), &f, []string{"share"}, set))
	if tree := f.Trees["share/files"]; tree.Base != bad.ID || tree.Taken() != 1 || f.DamagedN != 1 || f.AddedN != 1 {
		t.Errorf("the tree is %+v, %d damaged, %d added", tree, f.DamagedN, f.AddedN)
	}
	done, err := a.restoreFiles(t.Context(), &e.Services[0], f.Trees["share/files"])
	check(err)
	if text, _ := os.ReadFile(minutes); string(text) != "minutes" || done.Files != 1 {
		t.Errorf("%d files are restored; it says %q", done.Files, text)
	}
	if text, _ := os.ReadFile(note); string(text) != "pay" {
		t.Error("what is left out is for the quarantine, and was touched")
	}

	foreign := *set
	foreign.Repository = strings.Repeat("ab", 32)
	if err := a.UseSet(t.Context(), &f, []string{"share"}, &foreign); err == nil || !strings.Contains(err.Error(), "another repository (abababab") {
		t.Errorf("a set of another repository: %v", err)
	}
	for _, gone := range []*archive.Result{{Snapshot: clean}, {Snapshot: bad}} {
		check(r.Remove(t.Context(), backend.Snapshot, gone.Snapshot.ID))
		if err := a.UseSet(t.Context(), &f, []string{"share"}, set); !errors.Is(err, restore.ErrSnapshotGone) || !strings.Contains(err.Error(), gone.Snapshot.ID.Short()) {
			t.Errorf("a snapshot that is gone: %v", err)
		}
	}
}
