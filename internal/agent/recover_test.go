package agent

import (
	"slices"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/restore"
)

func TestNothingIsRestoredBeforeAllEvidenceIsAside(t *testing.T) {
	files := func(path string) []estate.Asset {
		return []estate.Asset{{Name: "files", Kind: "files", Paths: []string{path}}}
	}
	a := &Agent{estate: &estate.Estate{Services: []estate.Service{
		{Name: "registry", Assets: []estate.Asset{{Name: "database", Kind: "postgres"}}},
		{Name: "website", Needs: []string{"registry"}, Assets: files("/srv/website")},
		{Name: "share", Assets: files("/srv/share")},
	}}}
	clean, shell := blob.Hash([]byte("clean")), "/srv/website/shell.php"
	left := "/srv/share/report.pdf.locked"
	plan, err := a.plan("2026-1", []string{"registry", "website", "share"}, Findings{
		InvestigationFinished: event.InvestigationFinished{CleanPoints: []event.CleanPoint{{Service: "registry", Asset: "database", XID: 7}}},
		Trees: map[string]restore.SetTree{
			"website/files": {LeaveOut: restore.Paths{shell}, Take: []restore.Take{{Snapshot: clean, Paths: restore.Paths{"/srv/website/index.html"}}}},
			"share/files":   {LeaveOut: restore.Paths{left}, Take: []restore.Take{{Snapshot: clean, Paths: restore.Paths{"/srv/share/report.pdf"}}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	restores := 0
	for _, s := range plan.Steps {
		if s.Name != "restore registry/database" && s.Name != "restore website/files" && s.Name != "restore share/files" {
			continue
		}
		restores++
		for _, aside := range []string{"quarantine website/files", "quarantine share/files"} {
			if !slices.Contains(s.Needs, aside) {
				t.Errorf("step %q waits for %q, not for %q", s.Name, s.Needs, aside)
			}
		}
	}
	if restores != 3 {
		t.Errorf("the plan restores %d assets, want 3: %+v", restores, stepNames(plan))
	}
}
