package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// office is an estate of one service whose processes run, with a repository in memory.
type office struct {
	home    string // of the service's files
	account string // that its programs run as; empty if the test is not root
	agent   *Agent
	service *estate.Service

	mu    sync.Mutex // guards noted: steps run side by side
	noted []event.Event
}

func (o *office) Append(_ context.Context, e event.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noted = append(o.noted, e)
	return nil
}

// newOffice makes the directory of a service that declare is yet to declare.
func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{home: filepath.Join(t.TempDir(), "home")}
	if os.Geteuid() == 0 {
		o.account = "nobody"
		for dir := filepath.Dir(o.home); dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o711); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(o.home, 0o711); err != nil {
		t.Fatal(err)
	}
	return o
}

// declare makes an estate of the service and starts its processes, after prepare.
func (o *office) declare(t *testing.T, s estate.Service, prepare func()) {
	t.Helper()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	write(t, password, "secret\n")
	s.Repository, s.Objectives = "main", estate.Objectives{RPO: time.Hour, RTO: time.Hour}
	for i := range s.Processes {
		p := &s.Processes[i]
		p.User, p.Timeout = o.account, 30*time.Second
		p.PIDFile, p.Log = filepath.Join(o.home, "run", p.Name+".pid"), filepath.Join(o.home, "log", p.Name+".log")
	}
	e := &estate.Estate{
		Name: "town", State: filepath.Join(dir, "state"), Sites: []estate.Site{{Name: "london", Role: "headquarters"}},
		Repositories: []estate.Repository{{Name: "main", Site: "london", Location: "/memory", PasswordFile: password}}, Services: []estate.Service{s},
	}
	if _, err := e.Encode(); err != nil { // it is one that an estate file can declare
		t.Fatal(err)
	}
	be := memory.New()
	if _, err := repo.Init(t.Context(), be, "secret", repo.Options{}); err != nil {
		t.Fatal(err)
	}
	o.agent = Open(e, func(context.Context, string, string) (backend.Backend, error) { return be, nil }, o)
	o.service = &e.Services[0]
	prepare()
	for _, p := range s.Processes {
		spec, err := process.FromEstate(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := process.Stop(context.Background(), spec); err != nil {
				t.Error(err)
			}
		})
		if err := process.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
}

func (o *office) protect(t *testing.T) {
	t.Helper()
	var got []string
	if err := o.agent.Protect(t.Context(), nil, func(p Protected) { got = append(got, p.Asset) }); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, a := range o.service.Assets {
		want = append(want, a.Name)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("protected were %q, want %q", got, want)
	}
}

// recover does what the command does, and returns the plan.
func (o *office) recover(t *testing.T, signals []event.Signal, goals ...Goal) []string {
	t.Helper()
	names := o.agent.Affected([]string{o.service.Name})
	findings, err := o.agent.Investigate(t.Context(), "1", names, signals)
	if err != nil {
		t.Fatal(err)
	}
	for _, goal := range goals {
		if err := o.agent.Aim(t.Context(), &findings, names, goal); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := o.agent.Plan("1", names, findings)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.agent.Shut(t.Context(), "1", names); err != nil {
		t.Fatal(err)
	}
	if err := o.agent.Recover(t.Context(), "1", "J. Smith", names, findings); err != nil {
		t.Fatal(err)
	}
	return plan
}

func (o *office) drill(t *testing.T) {
	t.Helper()
	box := filepath.Join(filepath.Dir(o.home), "box")
	events, err := o.agent.Drill(t.Context(), box, nil, func(string) {})
	if err != nil {
		t.Fatalf("%v\n%+v", err, events)
	}
	if fact := events[0].Fact.(event.DrillFinished); !fact.Passed || len(fact.Snapshots) != len(o.service.Assets) {
		t.Errorf("the drill says %+v", fact)
	}
	if _, err := os.Lstat(box); !os.IsNotExist(err) {
		t.Errorf("the sandbox is still there: %v", err)
	}
}

func freeAddress(t *testing.T) (address, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), port
}

func mustRun(t *testing.T, stdin string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s (if it is missing, run make test: it installs it): %v\n%s", argv[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMariaDBIsDumpedDrilledAndBroughtBackByLinesOfTheEstateAlone(t *testing.T) {
	o := newOffice(t)
	data := filepath.Join(o.home, "data")
	address, port := freeAddress(t)
	client := []string{"--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--port=" + port, "--user=root"}
	ask := append(append([]string{"/usr/bin/mariadb"}, client...), "--batch", "--skip-column-names")
	dump := estate.Asset{
		Name: "ledger.sql", Kind: "command", User: o.account, Data: data, Timeout: time.Minute,
		Backup:  append(append([]string{"mariadb-dump"}, client...), "--single-transaction", "--databases", "ledger"),
		Restore: append([]string{"mariadb"}, client...),
		Create:  []string{"mariadb-install-db", "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"},
	}
	const rows = "SELECT count(*), sum(amount), max(note) FROM ledger.entries"
	o.declare(t, estate.Service{
		Name: "register", Assets: []estate.Asset{dump},
		Processes: []estate.Process{{
			Name: "mariadbd", Listen: []string{address},
			Argv: []string{"mariadbd", "--no-defaults", "--datadir=" + data, "--socket=socket", "--pid-file=pid", /* in data: the path of a socket must be short */
				"--bind-address=127.0.0.1", "--port=" + port, "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-method=nosync"},
		}},
		Probes: []estate.Probe{{Name: "entries", Kind: "command", Argv: append(slices.Clone(ask), "--execute="+rows), Expect: "1000\t500500\té 'quoted' 9"}},
	}, func() {
		if err := asset.RenewData(t.Context(), dump); err != nil {
			t.Fatal(err)
		}
	})
	mustRun(t, `CREATE DATABASE ledger CHARACTER SET utf8mb4; USE ledger; CREATE TABLE entries (id INT PRIMARY KEY, amount INT, note VARCHAR(60)) ENGINE=InnoDB;
INSERT INTO entries SELECT seq, seq, concat('é ''quoted'' ', seq MOD 10) FROM seq_1_to_1000;`, ask...)
	before := mustRun(t, "", append(ask, "--execute="+rows)...)
	o.protect(t)

	mustRun(t, "", append(ask, "--execute=DROP TABLE ledger.entries; CREATE TABLE ledger.note (demand TEXT)")...)
	o.drill(t)
	if left := mustRun(t, "", append(ask, "--execute=SHOW TABLES IN ledger")...); left != "note" {
		t.Errorf("after the drill the live server holds %q: it was touched", left)
	}

	plan := o.recover(t, []event.Signal{{Kind: "table.dropped", Service: "register", Asset: "ledger.sql", Time: time.Now()}})
	if want := []string{"renew register/ledger.sql", "start register", "load register/ledger.sql", "probe register"}; !slices.Equal(plan, want) {
		t.Errorf("the plan is %q, want %q", plan, want)
	}
	if after := mustRun(t, "", append(ask, "--execute="+rows)...); after != before {
		t.Errorf("the rows are %q, and were %q", after, before)
	}
	if left := mustRun(t, "", append(ask, "--execute=SHOW TABLES IN ledger")...); left != "entries" {
		t.Errorf("the server that was brought back holds %q", left)
	}
	if _, err := os.Stat(filepath.Join(o.agent.quarantine("1"), data, "ledger", "note.frm")); err != nil {
		t.Errorf("what stood there was not kept as evidence: %v", err)
	}
}

func TestUndamagedDatabasesAreLeftAlone(t *testing.T) {
	o := newOffice(t)
	db := filepath.Join(o.home, "app.db")
	mustRun(t, "CREATE TABLE t(a); INSERT INTO t VALUES ('one');", "/usr/bin/sqlite3", db)
	o.declare(t, estate.Service{
		Name:   "notes",
		Assets: []estate.Asset{{Name: "app.db", Kind: "sqlite", Path: db}, {Name: "list", Kind: "command", Backup: []string{"echo", "rows"}, Restore: []string{"false"}}},
		Probes: []estate.Probe{{Name: "database", Kind: "files", Path: db}},
	}, func() {})
	o.protect(t)
	mustRun(t, "INSERT INTO t VALUES ('two');", "/usr/bin/sqlite3", db)
	// One that was killed at its work is no adversary.
	killed := exec.Command("/usr/bin/sqlite3", "-batch", db)
	killed.Stdin = strings.NewReader("PRAGMA cache_size=1; CREATE TABLE u AS WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<99) SELECT randomblob(1000) FROM n;\nBEGIN; UPDATE u SET rowid=-rowid;\n.shell kill -9 $PPID\n")
	if err := killed.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the writer: %v", err)
	}
	if err := asset.CheckSQLite(t.Context(), db); !errors.Is(err, asset.ErrUnsettled) {
		t.Fatalf("the writer left the database as %v", err)
	}
	if plan := o.recover(t, nil); !slices.Equal(plan, []string{"start notes", "probe notes"}) {
		t.Errorf("the plan is %q", plan)
	}
	if got := mustRun(t, "SELECT group_concat(a) FROM t;", "/usr/bin/sqlite3", db); got != "one,two" {
		t.Errorf("the database holds %q", got)
	}
}

func TestLostSQLiteAndAnOfflineDumpComeBackBeforeTheServiceStarts(t *testing.T) {
	o := newOffice(t)
	address, port := freeAddress(t)
	site, conf, db := filepath.Join(o.home, "site"), filepath.Join(o.home, "conf", "nginx.conf"), filepath.Join(o.home, "site-data", "app.db")
	write(t, conf, fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log stderr; events {} http { access_log off;
client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen 127.0.0.1:%[2]s; root %[3]s; } }`, filepath.Dir(conf), port, site))
	write(t, filepath.Join(site, "index.html"), "Welcome")
	write(t, db, "")
	if o.account != "" {
		mustRun(t, "", "chown", "-R", o.account, o.home)
	}
	mustRun(t, "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES ('kept');", "/usr/bin/sqlite3", db)
	o.declare(t, estate.Service{
		Name: "website",
		Assets: []estate.Asset{
			{Name: "files", Kind: "files", Paths: []string{filepath.Dir(conf), filepath.Dir(db)}, Exclude: []string{filepath.Join(filepath.Dir(conf), "nginx.pid")}},
			{Name: "app.db", Kind: "sqlite", Path: db},
			{
				Name: "site.tar", Kind: "command", Offline: true, User: o.account, Data: site,
				Backup: []string{"tar", "-C", site, "-cf", "-", "."}, Restore: []string{"tar", "-C", site, "-xf", "-"},
			},
		},
		Processes: []estate.Process{{Name: "nginx", Argv: []string{"nginx", "-e", "stderr", "-c", conf}, Listen: []string{address}, StopSignal: "SIGQUIT", Relocate: []string{conf}}},
		Probes: []estate.Probe{
			{Name: "page", Kind: "http", URL: "http://" + address + "/", Expect: "Welcome"},
			{Name: "row", Kind: "command", Argv: []string{"/usr/bin/sqlite3", db, "SELECT a FROM t"}, Expect: "kept"},
		},
	}, func() {})
	o.protect(t)
	if files := o.noted[0].Fact.(event.SnapshotTaken); files.Files != 1 {
		t.Errorf("the file asset has %d files, want the configuration alone: the database has an asset of its own", files.Files)
	}

	write(t, filepath.Join(site, "index.html"), "Pay us")
	if err := os.RemoveAll(site); err != nil {
		t.Fatal(err)
	}
	const garbage = "\xA7encrypted"
	write(t, db, garbage)
	write(t, db+"-wal", garbage)
	o.drill(t)
	plan := o.recover(t, nil)
	if want := []string{"restore website/app.db", "restore website/site.tar", "start website", "probe website"}; !slices.Equal(plan, want) {
		t.Errorf("the plan is %q, want %q", plan, want)
	}
	for _, name := range []string{db, db + "-wal"} {
		if kept, err := os.ReadFile(filepath.Join(o.agent.quarantine("1"), name)); err != nil || string(kept) != garbage {
			t.Errorf("in quarantine %s is %q (%v)", name, kept, err)
		}
	}
}

func TestALogicalDumpFollowsTheBaseBackup(t *testing.T) {
	c := postgrestest.Start(t)
	h := newHarbour(t, c)
	h.agent.estate.Services[0].Assets[0].Logical = true
	defer h.agent.Close()
	var took []string
	if err := h.agent.Protect(t.Context(), nil, func(p Protected) { took = append(took, p.Fact.Snapshot) }); err != nil {
		t.Fatal(err)
	}
	if len(took) != 2 {
		t.Fatalf("%d snapshots were told of, want the base backup and the dump", len(took))
	}
	sn, err := snapshot.Find(t.Context(), h.repo, took[1], snapshot.Filter{})
	if err != nil || !slices.Contains(sn.Tags, "kedge:logical") {
		t.Fatalf("the second is %+v, %v", sn, err)
	}
	if _, err := snapshot.Lookup(t.Context(), h.repo, sn.Tree, "/gisis/database/app.dump"); err != nil {
		t.Error(err)
	}
}

func TestOpenLDAPIsLoadedOfflineByItsOwnTools(t *testing.T) {
	o := newOffice(t)
	address, port := freeAddress(t)
	conf, data := filepath.Join(o.home, "conf", "slapd.conf"), filepath.Join(o.home, "data")
	write(t, conf, fmt.Sprintf(`include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
database mdb
maxsize 10485760
suffix dc=office
rootdn cn=admin,dc=office
rootpw secret
directory %[1]s
`, data))
	directory := estate.Asset{
		Name: "directory.ldif", Kind: "command", Offline: true, User: o.account, Data: data,
		Backup: []string{"slapcat", "-f", conf}, Restore: []string{"slapadd", "-q", "-f", conf},
	}
	search := []string{"/usr/bin/ldapsearch", "-x", "-LLL", "-H", "ldap://127.0.0.1:" + port, "-b", "dc=office", "(ou=*)", "ou"}
	o.declare(t, estate.Service{
		Name: "directory", Assets: []estate.Asset{{Name: "conf", Kind: "files", Paths: []string{filepath.Dir(conf)}}, directory},
		Processes: []estate.Process{{Name: "slapd", Argv: []string{"slapd", "-d", "0", "-h", "ldap://127.0.0.1:" + port, "-f", conf}, Listen: []string{address}, Relocate: []string{conf}}},
		Probes:    []estate.Probe{{Name: "unit", Kind: "command", Argv: search, Expect: "ou: fleet"}},
	}, func() {
		if err := asset.RenewData(t.Context(), directory); err != nil {
			t.Fatal(err)
		}
	})
	change := []string{"-x", "-H", "ldap://127.0.0.1:" + port, "-D", "cn=admin,dc=office", "-w", "secret"}
	mustRun(t, "dn: dc=office\nobjectClass: dcObject\nobjectClass: organization\no: office\n\ndn: ou=fleet,dc=office\nobjectClass: organizationalUnit\n", append([]string{"/usr/bin/ldapadd"}, change...)...)
	o.protect(t)
	o.drill(t)
	mustRun(t, "", append(append([]string{"/usr/bin/ldapdelete"}, change...), "ou=fleet,dc=office")...)
	o.recover(t, []event.Signal{{Kind: "entries.deleted", Service: "directory", Asset: "directory.ldif", Time: time.Now()}})
	if got := mustRun(t, "", search...); !strings.Contains(got, "ou: fleet") {
		t.Errorf("the directory that came back holds\n%s", got)
	}
}

func TestDatabasesGoBackToTheNewestSnapshotThatIsNotLaterThanAChosenTime(t *testing.T) {
	o := newOffice(t)
	db, list := filepath.Join(o.home, "app.db"), filepath.Join(o.home, "list")
	insert := func(what string) {
		mustRun(t, "INSERT INTO t VALUES ('"+what+"');", "/usr/bin/sqlite3", db)
		write(t, list, what)
	}
	mustRun(t, "CREATE TABLE t(a);", "/usr/bin/sqlite3", db)
	o.declare(t, estate.Service{
		Name:   "notes",
		Assets: []estate.Asset{{Name: "app.db", Kind: "sqlite", Path: db}, {Name: "list", Kind: "command", Backup: []string{"cat", list}, Restore: []string{"tee", list}}},
		Probes: []estate.Probe{{Name: "list", Kind: "files", Path: list}},
	}, func() {})
	insert("one")
	o.protect(t)
	noon := time.Now()
	insert("two")
	o.protect(t)
	insert("three")

	plan := o.recover(t, nil, Goal{To: postgres.Target{Time: noon}, Name: "noon", FromCopy: true})
	if want := []string{"restore notes/app.db to noon", "start notes", "load notes/list to noon", "probe notes"}; !slices.Equal(plan, want) {
		t.Errorf("the plan is %q, want %q", plan, want)
	}
	content := func() string {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		return mustRun(t, "SELECT group_concat(a) FROM t;", "/usr/bin/sqlite3", db) + " " + string(text)
	}
	if got := content(); got != "one one" {
		t.Errorf("at noon it was %q, want one one", got)
	}
	o.recover(t, nil, Goal{To: postgres.Target{Latest: true}, Name: "latest"})
	if got := content(); got != "one,two two" {
		t.Errorf("the latest is %q, want one,two two", got)
	}
	for want, to := range map[string]postgres.Target{
		"bring notes/app.db back to then: there is no snapshot": {Time: noon.Add(-time.Hour)},
		"has a database with such a state":                      {XID: 731},
	} {
		if err := o.agent.Aim(t.Context(), &Findings{}, []string{"notes"}, Goal{To: to, Name: "then"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", to, err, want)
		}
	}
}
