package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
)

// gate is a way to a repository, through a server, on which programs stand still at a chosen moment: without it, tests of
// what happens at one time would be tests of luck.
type gate struct {
	location string
	arrived  chan struct{} // gets one when the first request is held
	open     func()        // lets all go on
}

// newGate makes a gate that holds the requests that closes names.
func newGate(t *testing.T, repository string, closes func(r *http.Request) bool) *gate {
	t.Helper()
	be, err := local.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	g := &gate{arrived: make(chan struct{}, 1), open: sync.OnceFunc(func() { close(opened) })}
	handler := rest.Handler(be, rest.ReadWrite)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closes(r) {
			select {
			case g.arrived <- struct{}{}:
			default: // another is held already, or was
			}
			select {
			case <-opened:
			case <-r.Context().Done():
			}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(g.open) // before the server waits for its requests
	g.location = "rest:" + server.URL + "/"
	return g
}

// task is a program under way.
type task struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
	done     chan error
}

// start starts the program; it ends with the test.
func (p program) start(t *testing.T, location string, args ...string) *task {
	t.Helper()
	k := &task{cmd: p.command(t, location, interopPassword, args...), done: make(chan error, 1)}
	k.cmd.Stdout, k.cmd.Stderr = &k.out, &k.err
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { k.done <- k.cmd.Wait() }()
	return k
}

// waitsAt returns when the program stands at the gate, and fails the test if it ends before.
func (k *task) waitsAt(t *testing.T, g *gate) {
	t.Helper()
	select {
	case <-g.arrived:
	case err := <-k.done:
		t.Fatalf("%q ended before it came to the gate: %v\n%s%s", k.cmd.Args, err, &k.out, &k.err)
	}
}

// succeeds returns what the program printed.
func (k *task) succeeds(t *testing.T) string {
	t.Helper()
	if err := <-k.done; err != nil {
		t.Fatalf("%q: %v\n%s%s", k.cmd.Args, err, &k.out, &k.err)
	}
	return k.out.String()
}

// onPacks names the requests of one method for packs.
func onPacks(method string) func(r *http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.HasPrefix(r.URL.Path, "/data/") }
}

// While one program needs the repository for itself, the other is kept out, and nothing is lost on either side.
func TestInteropNobodyWritesWhileTheOtherPrunesOrChecks(t *testing.T) {
	dir := interopTree(t)
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := emptyRepository(t)
		gone := b.backup(t, repository, dir, "--tag", "gone")
		kept := a.backup(t, repository, filepath.Join(dir, "deep"))
		b.run(t, repository, "forget", gone.SnapshotID)
		locked := exitLocked
		if b.old {
			locked = exitFailed // the status came later
		}
		for _, c := range []struct {
			args   []string
			closes func(r *http.Request) bool
		}{
			{[]string{"check", "--read-data"}, onPacks(http.MethodGet)},
			{[]string{"prune", "--max-unused", "0"}, onPacks(http.MethodDelete)},
		} {
			g := newGate(t, repository, c.closes)
			k := a.start(t, g.location, c.args...)
			k.waitsAt(t, g)
			for _, args := range [][]string{{"backup", dir}, {"prune"}, {"check"}, {"forget", "--keep-last", "1"}} {
				if status, _, stderr := b.try(t, repository, interopPassword, args...); status != locked {
					t.Errorf("%s %s during %s of %s: status %d, want %d: %s", b.name, args[0], c.args[0], a.name, status, locked, stderr)
				}
			}
			g.open()
			k.succeeds(t)
		}
		b.readsAll(t, repository)
		b.restores(t, a, repository, kept.SnapshotID, filepath.Join(dir, "deep"))
		if s := b.backup(t, repository, dir); s.DataBlobs == 0 {
			t.Errorf("%s finds all data in the repository, though %s pruned it", b.name, a.name)
		}
	})
}

// Two backups of trees by each program meet before the first index names any pack: none knows what the others have stored.
func TestInteropBackupsOfTreesByBothAtOneTime(t *testing.T) {
	kedge, restic := bothPrograms(t)
	repository := emptyRepository(t)
	writers := []program{kedge, restic, kedge, restic}
	var dirs []string
	shared := interopTree(t)
	for i := range writers {
		dirs = append(dirs, []string{shared, shared, filepath.Join(shared, "deep"), interopTree(t)}[i])
	}
	var gates []*gate
	var tasks []*task
	for i, p := range writers {
		g := newGate(t, repository, onPacks(http.MethodPost))
		gates, tasks = append(gates, g), append(tasks, p.start(t, g.location, "backup", dirs[i], "--json"))
	}
	for i, k := range tasks {
		k.waitsAt(t, gates[i])
	}
	kedge.run(t, repository, "check", "--no-lock") // what is half done harms nobody
	restic.run(t, repository, "check", "--no-lock")
	for _, g := range gates {
		g.open()
	}
	var snapshots []stored
	for _, k := range tasks {
		snapshots = append(snapshots, summaryOf(t, k.succeeds(t)))
	}
	kedge.readsAll(t, repository)
	restic.readsAll(t, repository)
	for i, s := range snapshots {
		if s.DataBlobs == 0 {
			t.Errorf("%s stored no data: it knew what another stored", writers[i].name)
		}
		writers[(i+1)%2].restores(t, writers[i], repository, s.SnapshotID, dirs[i])
	}
	// What was stored several times is stored once after a prune, and all is there.
	restic.run(t, repository, "prune", "--max-unused", "0")
	kedge.readsAll(t, repository)
	kedge.restores(t, restic, repository, snapshots[1].SnapshotID, dirs[1])
}
