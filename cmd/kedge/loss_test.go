package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
)

// agentProcess is a real kedge agent.
type agentProcess struct {
	t       *testing.T
	command *exec.Cmd

	mu      sync.Mutex
	said    []agent.Said
	changed chan struct{}
	stderr  strings.Builder
}

// startAgent runs kedge agent until the test ends.
func startAgent(t *testing.T, kedge, estateFile string, args ...string) *agentProcess {
	t.Helper()
	a := &agentProcess{t: t, changed: make(chan struct{})}
	a.command = exec.Command(kedge, append([]string{"agent", "--json", "--estate", estateFile}, args...)...)
	a.command.Stderr = &a.stderr
	out, err := a.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.listen(out)
	}()
	t.Cleanup(func() {
		_ = a.command.Process.Kill()
		<-read
		_ = a.command.Wait() // it was killed
	})
	return a
}

func (a *agentProcess) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s agent.Said
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			a.t.Errorf("kedge agent said %q: %v", lines.Text(), err)
		}
		a.mu.Lock()
		a.said = append(a.said, s)
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
	}
}

// await returns when the agent has said something of a kind, from the given line on, and the number of the next.
func (a *agentProcess) await(kind string, from int) int {
	a.t.Helper()
	deadline := time.After(time.Minute)
	for {
		a.mu.Lock()
		said, changed := a.said, a.changed
		a.mu.Unlock()
		for ; from < len(said); from++ {
			if said[from].Kind == kind {
				return from + 1
			}
		}
		select {
		case <-changed:
		case <-deadline:
			a.t.Fatalf("kedge agent did not say %q, but %+v\n%s", kind, said, a.stderr.String())
		}
	}
}

// commit is one that the server acknowledged.
type commit struct {
	n  int
	at time.Time
}

// writeCommits commits rows 1, 2 and so on until ctx ends or the server is gone, and returns those that were acknowledged.
func writeCommits(ctx context.Context, t *testing.T, cluster *postgrestest.Cluster) []commit {
	config, err := pgconn.ParseConfig(cluster.Connect)
	if err != nil {
		t.Error(err)
		return nil
	}
	password, err := os.ReadFile(cluster.PasswordFile)
	if err != nil {
		t.Error(err)
		return nil
	}
	config.Password = strings.TrimSpace(string(password))
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close(context.Background())
	var done []commit
	for n := 1; ; n++ {
		if _, err := conn.Exec(ctx, "INSERT INTO ships VALUES ("+strconv.Itoa(n)+")").ReadAll(); err != nil {
			return done
		}
		done = append(done, commit{n, time.Now()})
	}
}

// loss is what was acknowledged and is gone.
type loss struct {
	commits, of int
	span        time.Duration // from the last commit that is kept to the last that was acknowledged
}

// loseHost protects a cluster by a real agent, commits all the time, and kills server and agent and removes all that they had but for the
// repository at a moment that rnd chooses within the given time; then it restores from the repository.
func loseHost(t *testing.T, kedge string, rnd *rand.Rand, synchronous bool, moment time.Duration, args ...string) loss {
	t.Helper()
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships (n int primary key); grant all on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)
	e, err := estate.Load(estateFile)
	if err != nil {
		t.Fatal(err)
	}
	if synchronous {
		e.Services[0].Assets[0].Synchronous = true
		text, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(estateFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cluster.Superuser(t, "alter system set synchronous_standby_names = 'kedge_register_database'")
		cluster.Superuser(t, "select pg_reload_conf()")
	}
	if out, status := kedgeCommand(t, "init", "-r", repository, "-p", password); status != 0 {
		t.Fatalf("init: %s", out)
	}
	process := startAgent(t, kedge, estateFile, args...)
	process.await("wal", process.await("captured", 0))

	written := make(chan []commit, 1)
	go func() { written <- writeCommits(t.Context(), t, cluster) }()
	pause := time.Duration(rnd.Int64N(int64(moment)))
	<-time.After(pause)
	if err := process.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cluster.Kill(t)
	commits := <-written
	for _, dir := range []string{cluster.Data, e.State} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}

	target := filepath.Join(t.TempDir(), "restored")
	if out, status := kedgeCommand(t, "restore", "--estate", estateFile, "register/database", "--target", target, "--to", "latest"); status != 0 {
		t.Fatalf("restore: exit status %d: %s", status, out)
	}
	restored := cluster.Open(t, target)
	restored.Superuser(t, "do $$ begin while pg_is_in_recovery() loop perform pg_sleep(0.05); end loop; end $$")
	kept, err := strconv.Atoi(query(t, restored, "select coalesce(max(n), 0)::text from ships"))
	if err != nil {
		t.Fatal(err)
	}
	if rows := query(t, restored, "select count(*)::text from ships"); rows != strconv.Itoa(kept) {
		t.Errorf("%s rows came back up to number %d: some between are gone", rows, kept)
	}
	lost := loss{of: len(commits)}
	if len(commits) == 0 {
		t.Fatalf("nothing was committed within %v", pause)
	}
	last := commits[len(commits)-1]
	if kept < last.n {
		lost.commits = last.n - kept
		lost.span = last.at.Sub(commits[max(kept-1, 0)].at)
	}
	t.Logf("host lost %v after the writer began: %d of %d acknowledged commits lost, the last %.2f s", pause.Round(time.Millisecond), lost.commits, lost.of, lost.span.Seconds())
	return lost
}

func TestWhatALostHostTakesWithItIsBounded(t *testing.T) {
	kedge := buildKedge(t)
	for _, test := range lossTests {
		t.Run(test.name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range test.times {
				lost := loseHost(t, kedge, rnd, test.synchronous, test.moment, "--within", test.within.String())
				if test.synchronous && lost.commits > 0 {
					t.Errorf("%d commits that waited for the repository are not in it", lost.commits)
				}
				if lost.span > test.within {
					t.Errorf("commits of %v are lost, want at most %v", lost.span, test.within)
				}
			}
		})
	}
}

type lossTest struct {
	name           string
	synchronous    bool
	times          int
	within, moment time.Duration
}

// What was committed before SIGTERM is stored, the exit status is 0, and other commands use the record meanwhile.
func TestAnAgentStoresTheLastWhenItIsStopped(t *testing.T) {
	kedge := buildKedge(t)
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships as select n from generate_series(1, 999) n; grant select on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)
	if out, status := kedgeCommand(t, "init", "-r", repository, "-p", password); status != 0 {
		t.Fatalf("init: %s", out)
	}
	process := startAgent(t, kedge, estateFile)
	process.await("wal", process.await("captured", 0))
	if out, status := kedgeCommand(t, "drill", "--estate", estateFile); status == 0 || !strings.Contains(out, "FAILED") {
		t.Errorf("a drill beside the agent, of 999 ships where 1000 are asked for: exit status %d: %s", status, out)
	}
	cluster.Superuser(t, "insert into ships values (1000)")
	if err := process.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := process.command.Wait(); err != nil {
		t.Errorf("kedge agent after SIGTERM: %v\n%s", err, process.stderr.String())
	}
	if out, status := kedgeCommand(t, "drill", "--estate", estateFile); status != 0 {
		t.Errorf("drill after the agent ended: exit status %d: %s", status, out)
	}
}
