package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

func TestACovertChangeIsAssessedFromNightlyBackupsAlone(t *testing.T) {
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, `
create table ships as select n as imo, 'MV ' || md5(n::text) as name, (array['Panama', 'Liberia', 'Malta'])[1 + n % 3] as flag from generate_series(1, 20000) n;
create table inspections as select n as id, 'Port ' || n % 90 as port, null::date as closed from generate_series(1, 9000) n;
create index on ships (imo); create index on inspections (id); grant select on all tables in schema public to kedge; analyze`)
	// closing closes inspections, each in a transaction of its own, and does something else after each.
	closing := func(which, then string) string {
		return "do $$ begin for i in " + which + " loop update inspections set closed = '2026-11-25' where id = i; commit; " + then + " end loop; end $$"
	}
	estateFile, repository, password := postgresEstate(t, cluster)
	kedge := func(args ...string) string {
		t.Helper()
		out, status := kedgeCommand(t, args...)
		if status != 0 {
			t.Fatalf("%s: exit status %d: %s", strings.Join(args, " "), status, out)
		}
		return out
	}
	kedge("init", "-r", repository, "-p", password)
	kedge("backup", "--estate", estateFile)
	cluster.Superuser(t, closing("1..800", ""))
	kedge("backup", "--estate", estateFile)
	if out := kedge("assess", "--estate", estateFile); strings.Contains(out, "suspect") || !strings.Contains(out, "clean") {
		t.Errorf("ordinary work is assessed as %s", out)
	}

	bad := badTransaction(t, cluster, "update ships set flag = 'Stateless' where imo = 1")
	cluster.Superuser(t, closing("801..1600", "update ships set flag = 'Stateless' where imo = i; commit;"))
	kedge("backup", "--estate", estateFile)
	if out := kedge("assess", "--estate", estateFile, "register"); !strings.Contains(out, "suspect") || !strings.Contains(out, "rows.covert (T1565.001) app.public.ships") || !strings.Contains(out, "it began with transaction") {
		t.Errorf("the assessment says %s", out)
	}
	var result struct {
		Series []struct {
			Service, Asset, Kind string
			Snapshots            []struct{ ID, Time, LSN, Verdict string }
			FirstBad             struct {
				XID       uint32
				LSN, Time string
			} `json:"first_bad"`
			LastClean struct {
				XID       uint32
				LSN, Time string
			} `json:"last_clean"`
		}
	}
	out := kedge("assess", "--estate", estateFile, "register", "--json")
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.Series) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	s := result.Series[0]
	if s.Service != "register" || s.Asset != "database" || s.Kind != "postgres" || len(s.Snapshots) != 3 || s.Snapshots[1].Verdict != "clean" || s.Snapshots[2].Verdict != "suspect" {
		t.Errorf("series %+v", s)
	}
	if s.FirstBad.XID != bad || s.LastClean.XID != bad || s.FirstBad.LSN == "" || s.FirstBad.Time == "" {
		t.Errorf("first bad %+v, last clean %+v, want transaction %d", s.FirstBad, s.LastClean, bad)
	}
	if out, status := kedgeCommand(t, "assess", "-r", repository, "register"); status == 0 || !strings.Contains(out, "--estate") {
		t.Errorf("a service without its estate: %s", out)
	}
}
