package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/repo"
)

// register is a cluster with a ship register in it, protected by an agent.
type register struct {
	t       *testing.T
	cluster *postgrestest.Cluster
	agent   *Agent
	record  *recorder
	service *estate.Service
	app     *pgconn.PgConn // as the application connects
	closed  int            // inspections
}

// newRegister starts a cluster whose log names sessions and transactions.
func newRegister(t *testing.T) *register {
	t.Helper()
	c := postgrestest.Start(t)
	for _, setting := range []string{
		"logging_collector = on", "log_filename = 'server.log'", "log_min_duration_statement = 0", "log_connections = on",
		"log_line_prefix = '%m [%p] user=%u db=%d client=%h xid=%x '",
	} {
		c.Superuser(t, "ALTER SYSTEM SET "+setting)
	}
	c.Restart(t)
	c.Superuser(t, `
CREATE TABLE ships (imo int PRIMARY KEY, name text, flag text);
INSERT INTO ships SELECT g, 'MV ' || md5(g::text), (ARRAY['Panama', 'Liberia', 'Malta'])[1 + g % 3] FROM generate_series(1, 50000) g;
CREATE TABLE inspections (id int PRIMARY KEY, port text, closed date);
INSERT INTO inspections SELECT g, 'Port ' || g % 90, NULL FROM generate_series(1, 9000) g;
CREATE TABLE casualties (id serial, summary text);
INSERT INTO casualties (summary) SELECT 'The vessel touched bottom off buoy ' || g FROM generate_series(1, 3000) g;
CREATE ROLE app LOGIN PASSWORD 'anchor and chain';
GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app; GRANT CREATE ON SCHEMA public TO app;
GRANT pg_read_all_data TO kedge; ANALYZE`)
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	declared := &estate.Estate{
		Name: "office", State: filepath.Join(dir, "state"),
		Repositories: []estate.Repository{{Name: "main", Site: "london", Location: "memory", PasswordFile: password}},
		Services: []estate.Service{{
			Name: "gisis", Repository: "main", Watch: estate.Watch{DatabaseLogs: []string{filepath.Join(c.Data, "log", "*.log")}},
			Assets: []estate.Asset{{Name: "database", Kind: "postgres", Connect: c.Connect, PasswordFile: c.PasswordFile, Data: c.Data, Bin: c.Bin}},
		}},
	}
	storage := memory.New()
	if _, err := repo.Init(t.Context(), storage, "secret", repo.Options{}); err != nil {
		t.Fatal(err)
	}
	r := &register{t: t, cluster: c, record: &recorder{}, service: &declared.Services[0]}
	r.agent = Open(declared, func(context.Context, string, string) (backend.Backend, error) { return storage, nil }, r.record)
	t.Cleanup(r.agent.Close)
	r.app = r.connect("app")
	r.protect()
	return r
}

func (r *register) protect() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := r.agent.Protect(ctx, nil, func(Protected) {}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *register) connect(user string) *pgconn.PgConn {
	r.t.Helper()
	config, err := pgconn.ParseConfig(strings.Replace(r.cluster.Connect, "user=kedge", "user="+user, 1))
	if err != nil {
		r.t.Fatal(err)
	}
	config.Password = "anchor and chain"
	conn, err := pgconn.ConnectConfig(r.t.Context(), config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// do runs a statement as a transaction of its own, and returns the first value it returns.
func (r *register) do(conn *pgconn.PgConn, statement string) string {
	r.t.Helper()
	result := conn.ExecParams(r.t.Context(), statement, nil, nil, nil, nil).Read()
	if result.Err != nil {
		r.t.Fatalf("%s: %v", statement, result.Err)
	}
	if len(result.Rows) == 0 {
		return ""
	}
	return string(result.Rows[0][0])
}

// work is the application's ordinary work: by turns an inspection closed, and a casualty.
func (r *register) work(n int) {
	r.t.Helper()
	for i := range n {
		if i%2 == 1 {
			r.do(r.app, "INSERT INTO casualties (summary) VALUES ('The vessel lost power in fog')")
			continue
		}
		r.closed++
		r.do(r.app, fmt.Sprintf("UPDATE inspections SET closed = '2026-11-25' WHERE id = %d", r.closed))
	}
}

// remember stores what an earlier watch would have: that inspections are closed fast, for hours.
func (r *register) remember() {
	r.t.Helper()
	p, err := postgres.ReadProfile(r.t.Context(), r.service.Assets[0], postgres.ProfileOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	table := p.Database("app").Table("public.inspections")
	table.Log = &profile.Log{Seconds: 10 * 3600, Transactions: 1e7, Update: 1e7, Largest: 1, Busiest: 60_000}
	storage, err := r.agent.repository(r.t.Context(), "main")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := postgres.StoreProfile(r.t.Context(), storage, "main", "gisis", r.service.Assets[0], p); err != nil {
		r.t.Fatal(err)
	}
}

func (r *register) cycle(w *Watch) []event.Signal {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	signals, err := w.Cycle(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return signals
}

// kinds are the signals' kinds, sorted.
func kinds(signals []event.Signal) string {
	var list []string
	for _, s := range signals {
		list = append(list, s.Kind)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func kindOf(t *testing.T, signals []event.Signal, kind string) event.Signal {
	t.Helper()
	for _, s := range signals {
		if s.Kind == kind {
			return s
		}
	}
	t.Fatalf("no signal %s in %+v", kind, signals)
	return event.Signal{}
}

func (r *register) number(xid string) uint32 {
	r.t.Helper()
	n, err := strconv.ParseUint(xid, 10, 32)
	if err != nil {
		r.t.Fatal(err)
	}
	return uint32(n)
}

const returningXID = " RETURNING pg_current_xact_id()::text"

func TestAnIntruderInADatabaseIsNoticedAtTheNextLook(t *testing.T) {
	r := newRegister(t)
	r.remember()
	r.work(100)
	w, err := r.agent.NewWatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.work(1500)
	if signals := r.cycle(w); len(signals) != 0 {
		t.Fatalf("ordinary work raised %+v", signals)
	}
	// Maintenance and a deployment: the new function makes the watch look at all of it at once.
	r.cluster.Superuser(t, "INSERT INTO ships SELECT g, 'MV new ' || g, 'Malta' FROM generate_series(50001, 90000) g")
	r.cluster.Superuser(t, "VACUUM FULL ships")
	r.cluster.Superuser(t, "ALTER TABLE ships ADD COLUMN note text DEFAULT 'none', ADD COLUMN stamped double precision DEFAULT random(); CREATE INDEX ON ships (flag)")
	r.cluster.Superuser(t, "CREATE FUNCTION tonnage(int) RETURNS int LANGUAGE sql AS 'SELECT $1'")
	signals := r.cycle(w)
	if kinds(signals) != "function.new" || signals[0].Strength >= counted {
		t.Fatalf("a deployment raised %+v, want a weak signal about its function", signals)
	}

	// The intruder changes rows one by one among the application's.
	intruder := r.connect("app")
	var first string
	for i := range 1500 {
		r.work(1)
		xid := r.do(intruder, fmt.Sprintf("UPDATE ships SET flag = 'Tuvalu' WHERE imo = %d", 7+2*i)+returningXID)
		if i == 0 {
			first = xid
		}
	}
	covert := r.cycle(w)
	if kinds(covert) != "rows.covert" {
		t.Fatalf("raised %+v, want rows.covert", covert)
	}
	s := covert[0]
	if s.Subject != "app.public.ships" || s.Strength < attackStrength || s.Evidence["xid"] != r.number(first) || s.Evidence["rows"] != 1500 {
		t.Errorf("the signal is %+v, the first transaction %s", s, first)
	}
	if s.Evidence["user"] != "app" || s.Evidence["client"] != "127.0.0.1" || s.Evidence["database"] != "app" || s.Evidence["pid"] != intruder.PID() {
		t.Errorf("the evidence %v does not say who: process %d", s.Evidence, intruder.PID())
	}

	// Then a script, a superuser, and a function that is gone at once.
	script := r.do(intruder, "INSERT INTO casualties (summary) VALUES ('<script src=//203.0.113.66/a.js></script>')"+returningXID)
	r.cluster.Superuser(t, "CREATE FUNCTION backdoor() RETURNS int LANGUAGE sql AS 'SELECT 1'; ")
	r.cluster.Superuser(t, "DROP FUNCTION backdoor()")
	r.cluster.Superuser(t, "CREATE ROLE backup2 SUPERUSER LOGIN")
	r.work(10)
	more := r.cycle(w)
	if kinds(more) != "function.new role.privileged text.script" {
		t.Fatalf("raised %s: %+v", kinds(more), more)
	}
	if s := kindOf(t, more, "text.script"); s.Subject != "app.public.casualties.summary" || s.Evidence["xid"] != r.number(script) || s.Evidence["pid"] != intruder.PID() {
		t.Errorf("the script was brought by transaction %s: %+v", script, s)
	}
	if s := kindOf(t, more, "role.privileged"); s.Subject != "role backup2" || s.Evidence["user"] != "postgres" || s.Evidence["lsn"] == nil {
		t.Errorf("the superuser: %+v", s)
	}
	if s := kindOf(t, more, "function.new"); s.Evidence["gone"] != true {
		t.Errorf("the function that is gone: %+v", s)
	}
	if again := r.cycle(w); len(again) != 0 {
		t.Errorf("raised again: %+v", again)
	}

	// All of it together: back to just before the first, and not to before the deployment.
	findings, err := r.agent.Investigate(t.Context(), "i", []string{"gisis"}, append(covert, more...))
	if err != nil {
		t.Fatal(err)
	}
	if point, bad := findings.cleanPoint("gisis", "database"); !bad || point.XID != r.number(first) || point.LSN == "" {
		t.Errorf("the last clean point is %+v, want before transaction %s", point, first)
	}
}

func TestTheHistoryOfADatabaseIsAssessedFromTheRepositoryAlone(t *testing.T) {
	r := newRegister(t)
	r.work(50)
	r.protect()
	clean, err := r.agent.Assess(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	series := clean.Series[0].(ClusterSeries)
	if len(series.Snapshots) != 2 || series.FirstBad != nil || series.LastClean == nil || series.LastClean.Snapshot == "" || series.Snapshots[1].Verdict != "clean" {
		t.Fatalf("an untouched database is %+v", series)
	}

	r.work(20)
	intruder := r.connect("app")
	first := r.do(intruder, "UPDATE ships SET name = 'PWNED' WHERE imo % 10 = 3"+returningXID)
	r.work(20)
	r.cluster.Superuser(t, "CREATE ROLE backup2 SUPERUSER LOGIN")
	r.protect()
	r.work(20)
	r.protect()
	r.agent.Close()
	r.cluster.Stop() // nothing but the copy, and the log that was kept

	result, err := r.agent.Assess(t.Context(), []string{"gisis"})
	if err != nil {
		t.Fatal(err)
	}
	series = result.Series[0].(ClusterSeries)
	var verdicts []string
	for _, s := range series.Snapshots {
		verdicts = append(verdicts, string(s.Verdict))
	}
	if strings.Join(verdicts, " ") != "clean clean compromised compromised" || len(series.Snapshots[2].Signals) != 2 || len(series.Snapshots[3].Signals) != 0 {
		t.Errorf("verdicts %q: %+v", verdicts, series.Snapshots)
	}
	bad := series.FirstBad
	if bad == nil || bad.XID != r.number(first) || bad.User != "app" || bad.Client != "127.0.0.1" || bad.PID != intruder.PID() || series.LastClean.XID != bad.XID {
		t.Errorf("first bad %+v, last clean %+v; want transaction %s of process %d", bad, series.LastClean, first, intruder.PID())
	}
	// Without a signal on the record the recovery finds the same point.
	findings, err := r.agent.Investigate(t.Context(), "i", []string{"gisis"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if point, found := findings.cleanPoint("gisis", "database"); !found || point.XID != r.number(first) {
		t.Errorf("the last clean point is %+v, want before transaction %s", point, first)
	}
}

func TestARunningAgentWatchesWhatItKeeps(t *testing.T) {
	r := newRegister(t)
	r.agent.Close() // Run keeps it itself
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	signals := make(chan string, 100)
	wal := make(chan bool, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- r.agent.Run(ctx, RunOptions{Interval: time.Hour, BaseInterval: time.Hour, Within: time.Second, Look: 50 * time.Millisecond, Say: func(s Said) {
			switch s.Kind {
			case "signal", "trouble":
				signals <- s.Text
			case "wal":
				select {
				case wal <- true:
				default:
				}
			}
		}})
	}()
	<-wal
	r.cluster.Superuser(t, "CREATE ROLE backup2 SUPERUSER LOGIN")
	select {
	case got := <-signals:
		if got != "T1136 role.privileged role backup2, strength 0.85" {
			t.Errorf("the agent says %q", got)
		}
	case <-ctx.Done():
		t.Error("the agent does not notice a new superuser")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, e := range *r.record {
		if s, ok := e.Fact.(event.SignalRaised); ok && s.Signal.Kind == "role.privileged" && e.Service == "gisis" && e.Asset == "database" {
			return
		}
	}
	t.Error("the signal is not on the record")
}

func TestARoleThatMayOnlyReplicateHasItsBackupAndIsToldWhatIsNotSeen(t *testing.T) {
	r := newRegister(t)
	r.cluster.Superuser(t, "ALTER DATABASE app OWNER TO postgres")
	r.cluster.Superuser(t, "REVOKE CONNECT ON DATABASE app FROM PUBLIC")
	r.protect()
	result, err := r.agent.Assess(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	series := result.Series[0].(ClusterSeries)
	if len(series.Snapshots) != 1 || series.FirstBad != nil || len(series.LeftOut) != 1 || series.LeftOut[0].What != "the cluster" || !strings.Contains(series.LeftOut[0].Reason, "let role kedge connect") {
		t.Errorf("a cluster that may not be looked at any more is assessed as %+v", series)
	}
}

func TestACovertChangeIsNoticedRightAfterTheFirstBackup(t *testing.T) {
	r := newRegister(t)
	w, err := r.agent.NewWatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.work(1400) // 700 of 9,000 inspections, which nobody is known to close
	if signals := r.cycle(w); len(signals) != 0 {
		t.Fatalf("ordinary work raised %+v", signals)
	}
	intruder := r.connect("app")
	var first string
	for i := range 700 {
		r.work(1)
		xid := r.do(intruder, fmt.Sprintf("UPDATE ships SET flag = 'Tuvalu' WHERE imo = %d", 7+2*i)+returningXID)
		if i == 0 {
			first = xid
		}
	}
	signals := r.cycle(w)
	if kinds(signals) != "rows.covert" || signals[0].Subject != "app.public.ships" || signals[0].Evidence["xid"] != r.number(first) {
		t.Errorf("raised %+v, want one about transaction %s", signals, first)
	}
}
