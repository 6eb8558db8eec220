package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
)

// postgresEstate declares a running cluster as a service and writes the estate file.
func postgresEstate(t *testing.T, cluster *postgrestest.Cluster) (path, repository, password string) {
	t.Helper()
	dir := t.TempDir()
	path, repository, password = filepath.Join(dir, "kedge.yaml"), filepath.Join(dir, "repository"), filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "nobody"
	}
	port := fmt.Sprint(cluster.Port)
	declared := estate.Estate{
		Name: "office", State: filepath.Join(dir, "state"),
		Sites:        []estate.Site{{Name: "london", Role: "headquarters"}},
		Repositories: []estate.Repository{{Name: "main", Site: "london", Location: repository, PasswordFile: password}},
		Services: []estate.Service{{
			Name: "register", Repository: "main", Objectives: estate.Objectives{RPO: time.Hour, RTO: time.Hour},
			Assets: []estate.Asset{{
				Name: "database", Kind: "postgres", Connect: cluster.Connect, PasswordFile: cluster.PasswordFile,
				Data: cluster.Data, Bin: cluster.Bin,
			}},
			Processes: []estate.Process{{
				Name: "postgres", User: user, StopSignal: "SIGINT", Listen: []string{"127.0.0.1:" + port},
				Argv: []string{
					filepath.Join(cluster.Bin, "postgres"), "-D", cluster.Data, "-c", "port=" + port,
					"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
				},
				PIDFile: filepath.Join(dir, "run", "postgres.pid"), Log: filepath.Join(dir, "run", "postgres.log"),
			}},
			Probes: []estate.Probe{{
				Name: "ships", Kind: "sql", Connect: cluster.Connect, PasswordFile: cluster.PasswordFile,
				Query: "select count(*)::text from ships", Expect: "1000",
			}},
		}},
	}
	data, err := declared.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, repository, password
}

// kedgeCommand runs a command in this process.
func kedgeCommand(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(t.Context(), args, &stdout, &stderr)
	return stdout.String() + stderr.String(), status
}

func TestADatabaseIsBackedUpAndDrilledFromTheCommandLine(t *testing.T) {
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships as select n from generate_series(1, 1000) n; grant select on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)

	if out, status := kedgeCommand(t, "init", "-r", repository, "-p", password); status != 0 {
		t.Fatalf("init: %s", out)
	}
	if out, status := kedgeCommand(t, "drill", "--estate", estateFile); status == 0 {
		t.Errorf("a database that was never backed up passed its drill: %s", out)
	}
	if out, status := kedgeCommand(t, "backup", "--estate", estateFile); status != 0 || !strings.Contains(out, "register/database") {
		t.Fatalf("backup: exit status %d: %s", status, out)
	}
	if out, status := kedgeCommand(t, "drill", "--estate", estateFile); status != 0 || !strings.Contains(out, "passed") {
		t.Fatalf("drill: exit status %d: %s", status, out)
	}
	if out, status := kedgeCommand(t, "check", "-r", repository, "-p", password, "--read-data"); status != 0 {
		t.Errorf("check: %s", out)
	}

	// The restored database is asked, not the live one: rows that came later are not in it.
	cluster.Superuser(t, "insert into ships select n from generate_series(1001, 1500) n")
	if out, status := kedgeCommand(t, "drill", "--estate", estateFile); status != 0 {
		t.Errorf("a drill from the backup of before: exit status %d: %s", status, out)
	}
}

func TestADatabaseIsRecoveredToJustBeforeTheBadTransactionOnTheRecord(t *testing.T) {
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships as select n from generate_series(1, 900) n; grant select on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)
	for _, args := range [][]string{{"init", "-r", repository, "-p", password}, {"backup", "--estate", estateFile}} {
		if out, status := kedgeCommand(t, args...); status != 0 {
			t.Fatalf("%s: %s", args[0], out)
		}
	}
	// Legitimate work after the backup, then the adversary; the next backup captures both.
	cluster.Superuser(t, "insert into ships select n from generate_series(901, 1000) n")
	bad := badTransaction(t, cluster, "update ships set n = -n")
	if out, status := kedgeCommand(t, "backup", "--estate", estateFile); status != 0 {
		t.Fatalf("backup: %s", out)
	}
	raiseSignal(t, estateFile, bad)

	cluster.Stop()
	out, status := kedgeCommand(t, "recover", "--estate", estateFile, "--approver", "J. Smith", "--incident", "2026-1", "register")
	t.Cleanup(func() { stopService(t, estateFile) })
	if status != 0 || !strings.Contains(out, "restore register/database") {
		t.Fatalf("recover: exit status %d: %s", status, out)
	}
	// The probe of the estate asks for the 1,000 ships; that none is negative is asked here.
	if got := query(t, cluster, "select count(*)::text from ships where n > 0"); got != "1000" {
		t.Errorf("%s ships are as they were before the bad transaction, want 1000", got)
	}
}

func TestADatabaseIsRecoveredAndRestoredToAMomentThatSomebodyNames(t *testing.T) {
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships as select n from generate_series(1, 1000) n; grant select on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)
	for _, args := range [][]string{{"init", "-r", repository, "-p", password}, {"backup", "--estate", estateFile}} {
		if out, status := kedgeCommand(t, args...); status != 0 {
			t.Fatalf("%s: %s", args[0], out)
		}
	}
	moment := query(t, cluster, "select clock_timestamp()::text")
	mistake := badTransaction(t, cluster, "delete from ships where n > 10")
	if out, status := kedgeCommand(t, "backup", "--estate", estateFile); status != 0 {
		t.Fatalf("backup: %s", out)
	}

	// Beside the original: each way to name the state, in a directory of its own.
	for to, want := range map[string]string{"latest": "10", moment: "1000", strconv.FormatUint(uint64(mistake), 10): "10"} {
		target := filepath.Join(t.TempDir(), "restored")
		out, status := kedgeCommand(t, "restore", "--estate", estateFile, "register/database", "--target", target, "--to", to)
		if status != 0 || !strings.Contains(out, filepath.Join(cluster.Bin, "pg_ctl")+" -D "+target) {
			t.Fatalf("restore to %s: exit status %d: %s", to, status, out)
		}
		restored := cluster.Open(t, target)
		restored.Superuser(t, "do $$ begin while pg_is_in_recovery() loop perform pg_sleep(0.05); end loop; end $$")
		if got := query(t, restored, "select count(*)::text from ships"); got != want {
			t.Errorf("restored to %s: %s ships, want %s", to, got, want)
		}
		restored.Stop()
	}
	for _, to := range []string{"2026-11-25 14:03:00", "tomorrow", "1"} {
		if out, status := kedgeCommand(t, "recover", "--estate", estateFile, "--approver", "J. Smith", "--to", to, "register"); status != exitFailed || !strings.Contains(out, "--to") {
			t.Errorf("recover --to %s: exit status %d: %s", to, status, out)
		}
	}

	// In its place: no signal was raised, a person names the mistake.
	cluster.Stop()
	out, status := kedgeCommand(t, "recover", "--estate", estateFile, "--approver", "J. Smith", "--incident", "2026-1",
		"--to", strconv.FormatUint(uint64(mistake), 10), "--before", "register")
	t.Cleanup(func() { stopService(t, estateFile) })
	if status != 0 || !strings.Contains(out, "restore register/database to just before") {
		t.Fatalf("recover: exit status %d: %s", status, out)
	}
	if got := query(t, cluster, "select count(*)::text from ships"); got != "1000" {
		t.Errorf("%s ships are back, want 1000", got)
	}
}

// badTransaction runs a statement and returns its transaction.
func badTransaction(t *testing.T, cluster *postgrestest.Cluster, statement string) uint32 {
	t.Helper()
	cluster.Superuser(t, "begin; "+statement+"; create table bad as select pg_current_xact_id()::text as xid; commit; grant select on bad to kedge")
	xid, err := strconv.ParseUint(query(t, cluster, "select xid from bad"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(xid)
}

func query(t *testing.T, cluster *postgrestest.Cluster, statement string) string {
	t.Helper()
	config, err := pgconn.ParseConfig(cluster.Connect)
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(cluster.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = strings.TrimSpace(string(password))
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	result := conn.ExecParams(t.Context(), statement, nil, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) != 1 {
		t.Fatalf("%s: %v, %d rows", statement, result.Err, len(result.Rows))
	}
	return string(result.Rows[0][0])
}

// raiseSignal puts on the record what a watch would have.
func raiseSignal(t *testing.T, estateFile string, xid uint32) {
	t.Helper()
	e, err := estate.Load(estateFile)
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := openRecord(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	now := time.Now()
	signal := event.New(now, event.SignalRaised{Signal: event.Signal{
		Kind: "rows.altered", Technique: "T1565.001", Time: now, Service: "register", Asset: "database", Strength: 0.99,
		Evidence: map[string]any{"xid": xid, "lsn": "", "commit": now}, Touched: []string{"public.ships"}, Count: 1,
	}})
	if err := record.Append(t.Context(), signal); err != nil {
		t.Fatal(err)
	}
}

// stopService stops what the recovery started.
func stopService(t *testing.T, estateFile string) {
	e, err := estate.Load(estateFile)
	if err != nil {
		t.Error(err)
		return
	}
	spec, err := process.FromEstate(e.Services[0].Processes[0])
	if err == nil {
		err = process.Stop(context.Background(), spec)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestAPolicyDoesNotForgetTheWALThatABaseBackupNeeds(t *testing.T) {
	cluster := postgrestest.Start(t)
	cluster.Superuser(t, "create table ships as select n from generate_series(1, 1000) n; grant select on ships to kedge")
	estateFile, repository, password := postgresEstate(t, cluster)
	if out, status := kedgeCommand(t, "init", "-r", repository, "-p", password); status != 0 {
		t.Fatalf("init: %s", out)
	}
	moments := make([]string, 3)
	for i := range moments {
		for range 33 { // WAL from before a base backup is dropped by the directory, of 16 segments
			cluster.Superuser(t, "create table if not exists filler (n int); insert into filler values (1); select pg_switch_wal()")
		}
		if out, status := kedgeCommand(t, "backup", "--estate", estateFile); status != 0 {
			t.Fatalf("backup: %s", out)
		}
		moments[i] = query(t, cluster, "select clock_timestamp()::text")
		cluster.Superuser(t, "insert into ships values (0)")
	}
	if out, status := kedgeCommand(t, "forget", "-r", repository, "-p", password, "--tag", "kedge:wal", "--keep-last", "1", "--prune"); status != 0 || !strings.Contains(out, "needed by base backup") {
		t.Fatalf("forget: exit status %d: %s", status, out)
	}
	for i, moment := range moments[:2] {
		target := filepath.Join(t.TempDir(), "restored")
		if out, status := kedgeCommand(t, "restore", "--estate", estateFile, "register/database", "--target", target, "--to", moment); status != 0 {
			t.Fatalf("restore to %s: exit status %d: %s", moment, status, out)
		}
		restored := cluster.Open(t, target)
		restored.Superuser(t, "do $$ begin while pg_is_in_recovery() loop perform pg_sleep(0.05); end loop; end $$")
		if got := query(t, restored, "select count(*)::text from ships where n = 0"); got != strconv.Itoa(i) {
			t.Errorf("at the moment %d there are %s ships of number 0", i, got)
		}
		restored.Stop()
	}
	if out, status := kedgeCommand(t, "check", "-r", repository, "-p", password, "--read-data"); status != 0 {
		t.Errorf("check: %s", out)
	}
}
