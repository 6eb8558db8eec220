package example

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/drill"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/exercise/attack"
	"github.com/kedge-project/kedge/internal/probe"
)

func TestNumbersOfKnownShipsAndCompanies(t *testing.T) {
	for _, imo := range []int{9074729, 7625811, 9176187, 7654329} {
		if got := ShipNumber(imo / 10); got != imo {
			t.Errorf("ship number of %d is %d, want %d", imo/10, got, imo)
		}
	}
	if got := CompanyNumber(204199); got != 2041999 {
		t.Errorf("company number of 204199 is %d, want 2041999", got)
	}
}

func TestNumbersOfTheRegisterAreDistinctAndValid(t *testing.T) {
	g := register{seed: 1}
	g.size(200_000)
	seen := map[int]bool{}
	for n := range g.ships {
		imo := g.shipNumber(n)
		sum := 0
		for i, digit := range strconv.Itoa(imo)[:6] {
			sum += int(digit-'0') * (7 - i)
		}
		if imo < 1_000_000 || imo > 9_999_999 || sum%10 != imo%10 {
			t.Fatalf("ship %d has number %d: its check digit should be %d", n, imo, sum%10)
		}
		if seen[imo] {
			t.Fatalf("number %d is given twice", imo)
		}
		seen[imo] = true
	}
	if total := g.companies + g.ships + g.facilities + g.casualties + g.inspections; total < 200_000 {
		t.Errorf("the register has %d rows, want 200,000", total)
	}
}

// buildSmall builds and starts an estate, and stops it at the end of the test.
func buildSmall(t *testing.T) *Estate {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// As long a path as people have: sockets below it must not need a short one.
	dir, err := os.MkdirTemp("", "the-estate-of-an-organisation-with-a-long-name-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := attack.Mark(dir); err != nil {
		t.Fatal(err)
	}
	e, err := Build(t.Context(), Options{Dir: dir, Seed: 1, Files: 300, Bytes: 8 << 20, Rows: 2000, Kedge: self})
	if err != nil {
		t.Fatalf("%v (if software is missing, run make test: it installs it)", err)
	}
	t.Cleanup(func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnEstateIsBuiltAnswersAndIsWorkedWith(t *testing.T) {
	e := buildSmall(t)

	for _, s := range e.Config.Services {
		for _, p := range s.Probes {
			if r := probe.Ask(t.Context(), p); !r.OK {
				t.Errorf("service %s, probe %s: %s", s.Name, r.Probe, r.Detail)
			}
		}
	}
	checkSize(t, e)
	checkPrivate(t, e)

	w, err := e.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for range 2 {
		if _, err := e.Work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The writer outlives its database, and keeps on while the comparison runs.
	awaitCommits(t, w, 20)
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	drillAll(t, e)
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitCommits(t, w, 20)
	result, err := e.Reference.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("writer: %v", err)
	}
	if !result.Clean() || result.RowsLost != 0 || result.FilesLost != 0 {
		t.Errorf("an untouched estate does not compare clean: %+v", result)
	}
	if result.RowsCompared < 2000+20 || result.FilesCompared < 300 {
		t.Errorf("too little was compared: %+v", result)
	}
}

// drillAll shows that a drill can move every service to other paths and ports. The estate stands still, so that its
// files, the cluster's too, can be copied.
func drillAll(t *testing.T, e *Estate) {
	t.Helper()
	events, err := drill.Run(t.Context(), e.Config, drill.Options{
		Dir: filepath.Join(e.Dir, "sandbox"), Ask: probe.Await,
		Restore: func(_ context.Context, _ *estate.Service, a *estate.Asset, target string) (drill.Brought, error) {
			from := a.Data
			if a.Kind == "files" {
				from = a.Paths[0]
			}
			err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if slices.Contains(a.Exclude, path) {
					return fs.SkipDir
				}
				return copyTo(path, filepath.Join(target, path), d)
			})
			return drill.Brought{Time: time.Now()}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != len(e.Config.Services) {
		t.Errorf("%d services were drilled, want %d", len(events), len(e.Config.Services))
	}
	for _, ev := range events {
		if fact := ev.Fact.(event.DrillFinished); !fact.Passed {
			t.Errorf("service %s does not start in a sandbox: %s", ev.Service, fact.Reason)
		}
	}
}

func copyTo(from, to string, d fs.DirEntry) error {
	if d.IsDir() {
		return os.MkdirAll(to, 0o700)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// awaitCommits waits until the writer has done so many transactions more.
func awaitCommits(t *testing.T, w *Writer, more int64) {
	t.Helper()
	for until, limit := w.Acknowledged()+more, time.After(20*time.Second); w.Acknowledged() < until; {
		select {
		case <-limit:
			t.Fatalf("the writer did %d transactions, want %d", w.Acknowledged(), until)
		case <-time.After(writeInterval):
		}
	}
}

func TestTheSameSeedGivesTheSameRowsAndDocuments(t *testing.T) {
	rows := func(seed uint64) string {
		g := register{seed: seed}
		g.size(500)
		var all strings.Builder
		for _, table := range gisisOrder {
			if err := g.write(&all, table); err != nil {
				t.Fatal(err)
			}
		}
		if err := planLibrary(Options{Seed: seed, Files: 4000}).write(&all, "documents"); err != nil {
			t.Fatal(err)
		}
		return all.String()
	}
	first, again := rows(1), rows(1)
	if first != again {
		t.Error("seed 1 gives different rows each time")
	}
	if first == rows(2) {
		t.Error("seeds 1 and 2 give the same rows")
	}
	if strings.Count(first, "\n") < 500 || strings.ContainsAny(first, "\r\x00") {
		t.Error("rows are missing, or hold what COPY writes otherwise")
	}
}

// checkSize counts what the file server and the web site hold.
func checkSize(t *testing.T, e *Estate) {
	t.Helper()
	files, bytes := 0, int64(0)
	if err := filepath.WalkDir(e.Departments(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			t.Errorf("%s is no regular file", path)
		}
		info, err := d.Info()
		files++
		bytes += info.Size()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 300 || bytes < 8<<20 {
		t.Errorf("the file server has %d files and %d bytes, want 300 and 8 MiB", files, bytes)
	}
	site, err := e.Config.Service("website")
	if err != nil {
		t.Fatal(err)
	}
	if len(site.Watch.Pages) < 60 {
		t.Errorf("the web site has %d pages, want 60", len(site.Watch.Pages))
	}
}

// checkPrivate looks at the modes of files with passwords, and that none of their contents is declared.
func checkPrivate(t *testing.T, e *Estate) {
	t.Helper()
	declared, err := os.ReadFile(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, pattern := range []string{"london/*.password", "london/*/conf/*"} {
		secrets, err := filepath.Glob(filepath.Join(e.Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range secrets {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			if filepath.Ext(path) != ".password" {
				continue
			}
			found++
			secret, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(declared), strings.TrimSpace(string(secret))) {
				t.Errorf("the password in %s stands in kedge.yaml", path)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d password files were found: the check proves little", found)
	}
}
