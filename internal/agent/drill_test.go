package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
)

// recorder keeps events in memory.
type recorder []event.Event

func (r *recorder) Append(_ context.Context, e event.Event) error {
	*r = append(*r, e)
	return nil
}

// harbour is an estate of one service: a PostgreSQL cluster, with a repository in memory.
type harbour struct {
	postgres *postgres.Cluster
	agent    *Agent
	record   recorder
	repo     *repo.Repository
}

func newHarbour(t *testing.T, c *postgrestest.Cluster) *harbour {
	t.Helper()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	write(t, password, "secret\n")
	h := &harbour{}
	database := estate.Asset{Name: "database", Kind: "postgres", Connect: c.Connect, PasswordFile: c.PasswordFile, Data: c.Data, Bin: c.Bin}
	account := ""
	if os.Geteuid() == 0 {
		account = "nobody"
	}
	e := &estate.Estate{
		Name: "harbour", State: filepath.Join(dir, "state"), Sites: []estate.Site{{Name: "london"}},
		Repositories: []estate.Repository{{Name: "main", Site: "london", PasswordFile: password}},
		Services: []estate.Service{{
			Name: "gisis", Repository: "main", Assets: []estate.Asset{database},
			Processes: []estate.Process{{
				Name: "postgres", User: account, StopSignal: "SIGINT", Listen: []string{fmt.Sprintf("127.0.0.1:%d", c.Port)},
				Argv:    []string{filepath.Join(c.Bin, "postgres"), "-D", c.Data, "-c", fmt.Sprintf("port=%d", c.Port)},
				PIDFile: filepath.Join(dir, "run", "postgres.pid"), Log: filepath.Join(dir, "log", "postgres.log"),
			}},
			Probes: []estate.Probe{{
				Name: "query", Kind: "sql", Connect: c.Connect, PasswordFile: c.PasswordFile, Query: "SELECT name FROM ships WHERE imo = 7", Expect: "ship 000007",
			}},
		}},
	}
	be := memory.New()
	var err error
	if h.repo, err = repo.Init(t.Context(), be, "secret", repo.Options{}); err != nil {
		t.Fatal(err)
	}
	h.agent = Open(e, func(context.Context, string, string) (backend.Backend, error) { return be, nil }, &h.record)
	if h.postgres, err = postgres.Open(t.Context(), "gisis", database, filepath.Join(dir, "spool")); err != nil {
		t.Fatal(err)
	}
	return h
}

// capture takes a base backup and all WAL.
func (h *harbour) capture(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.postgres.Stream(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stream: %v", err)
		}
	}()
	if _, err := h.postgres.Base(t.Context(), h.repo, "main"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.postgres.Flush(t.Context(), h.repo, "main"); err != nil {
		t.Fatal(err)
	}
}

// drill runs one and returns the fact that is on the record.
func (h *harbour) drill(t *testing.T) (event.DrillFinished, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kedge-drill-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	h.record = nil
	_, err = h.agent.Drill(t.Context(), filepath.Join(dir, "sandbox"), nil, nil)
	if len(h.record) != 1 {
		t.Fatalf("%d facts are on the record: %v", len(h.record), err)
	}
	return h.record[0].Fact.(event.DrillFinished), err
}

// ships is a cluster with a table that the probe asks for its row 7.
func ships(t *testing.T) *postgrestest.Cluster {
	t.Helper()
	c := postgrestest.Start(t)
	c.Superuser(t, `CREATE TABLE ships (imo int PRIMARY KEY, name text NOT NULL); CREATE INDEX ships_name ON ships (name);
		INSERT INTO ships SELECT g, 'ship ' || to_char(g, 'FM000000') FROM generate_series(1, 1000) g; GRANT SELECT ON ships TO kedge`)
	return c
}

func TestADrillExaminesADatabaseInAllItsPartsAndLetsItReachOutToNobody(t *testing.T) {
	c := ships(t)
	h := newHarbour(t, c)
	service := &h.agent.estate.Services[0]
	service.Probes = append(service.Probes, estate.Probe{
		Name: "subscriptions", Kind: "sql", Connect: c.Connect, PasswordFile: c.PasswordFile,
		Query: "SELECT current_setting('max_logical_replication_workers')", Expect: "0",
	})
	h.capture(t)
	fact, err := h.drill(t)
	if err != nil || !fact.Passed {
		t.Fatalf("%v, %+v", err, fact)
	}
	if len(fact.Structure) != 1 || fact.Structure[0].Rows != 1000 || fact.Structure[0].Indexes != 2 || !fact.Structure[0].Checksums || fact.Structure[0].Asset != "database" {
		t.Errorf("examined %+v; want 1,000 rows and 2 indexes of asset database, with checksums", fact.Structure)
	}
}

func TestADrillFailsWhenAnIndexDoesNotKnowARowThatNoProbeAsksFor(t *testing.T) {
	c := ships(t)
	damage(t, c)
	h := newHarbour(t, c)
	h.capture(t)
	fact, err := h.drill(t)
	if !errors.Is(err, ErrDrillFailed) || fact.Passed {
		t.Fatalf("%v, %+v", err, fact)
	}
	for _, want := range []string{"database app, index public.ships_name", "lacks matching index tuple"} {
		if !strings.Contains(fact.Reason, want) {
			t.Errorf("the reason does not say %q: %s", want, fact.Reason)
		}
	}
	if len(fact.Probes) != 1 || !fact.Probes[0].OK {
		t.Errorf("the probe asks for another row, and is answered: %+v", fact.Probes)
	}
	if len(fact.Structure) != 1 || fact.Structure[0].DamagedN != 1 {
		t.Errorf("examined %+v, want one damage", fact.Structure)
	}
}

// damage changes a row on the disk. The cluster loses its checksums, which would stop the capture already.
func damage(t *testing.T, c *postgrestest.Cluster) {
	t.Helper()
	c.Stop()
	if out, err := exec.Command(filepath.Join(c.Bin, "pg_checksums"), "--disable", "--no-sync", "-D", c.Data).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(c.Data, "base", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The table's rows have the text's short header before it, as in the index, and the number before that.
		row := append([]byte{0xf4, 0x01, 0, 0, 2*12 + 1}, "ship 000500"...)
		if at := bytes.Index(content, row); at >= 0 {
			found++
			content[at+len(row)-1] = 'X'
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found != 1 {
		t.Fatalf("the row is in %d files, want the table's alone", found)
	}
	c.Restart(t)
}
