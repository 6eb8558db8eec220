package database

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/internal/serverlog"
)

var _ detect.Detector = (*Detector)(nil)

// server commits transactions, one every pace, and returns the new ones and some that it returned before.
type server struct {
	log     []Transaction
	read    int
	clock   time.Time
	pace    time.Duration
	now     profile.Profile
	asked   int
	stored  []profile.Profile
	who     map[uint32]serverlog.Who
	err     error
	noLog   error
	changed func(string) bool
}

func newServer() *server {
	s := &server{clock: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), pace: 20 * time.Millisecond}
	s.now = profile.Profile{
		Roles: []profile.Role{{Name: "app", Attributes: []string{"login"}}, {Name: "postgres", Attributes: []string{"login", "superuser"}}},
		Databases: []profile.Database{{Name: "app", OID: 5, Routines: []profile.Routine{{Kind: "function", Name: "public.f()", Digest: "1"}}, Tables: []profile.Table{
			{Name: "public.ships", File: 101, Rows: 104_000, Bytes: 10 << 20, Columns: []profile.Column{text("name", 20, ""), text("flag", 6, "Panama")}},
			{Name: "public.inspections", File: 102, Rows: 7000, Bytes: 1 << 20, Columns: []profile.Column{text("port", 10, "")}},
			{Name: "public.casualties", File: 103, Rows: 24_000, Bytes: 4 << 20, Columns: []profile.Column{text("summary", 200, "")}},
		}}},
	}
	return s
}

// text is a column of plain text, or of one value that is repeated.
func text(name string, length int, repeated string) profile.Column {
	gather := profile.Text{Digest: func(v string) uint64 {
		var n uint64
		for _, c := range v {
			n = n*131 + uint64(c)
		}
		return n
	}}
	for i := range 200 {
		if repeated != "" {
			gather.Add(repeated)
			continue
		}
		value := fmt.Sprintf("%d ", i)
		for len(value) < length+i%5 {
			value += "abcdefgh"[len(value)%8 : len(value)%8+1]
		}
		gather.Add(value)
	}
	return gather.Column(name)
}

func (s *server) commit(tables map[string]Counts) Transaction {
	n := len(s.log) + 1
	s.clock = s.clock.Add(s.pace)
	t := Transaction{XID: uint32(700 + n), LSN: fmt.Sprintf("%X/%X", n/3, 0xF0000000+n), Commit: s.clock, Tables: tables}
	s.log = append(s.log, t)
	return t
}

// change commits a transaction that changed system tables.
func (s *server) change(catalog string, c Counts) Transaction {
	database := "app"
	if catalog == "pg_authid" {
		database = ""
	}
	t := s.commit(nil)
	s.log[len(s.log)-1].Catalogs = map[Catalog]Counts{{database, catalog}: c}
	return t
}

// write is the application's ordinary work: half of it closes inspections, half records casualties.
func (s *server) write(n int) {
	for i := range n {
		if i%2 == 0 {
			s.commit(map[string]Counts{"app.public.inspections": {Update: 1}})
		} else {
			s.commit(map[string]Counts{"app.public.casualties": {Insert: 1}})
		}
	}
}

func (s *server) table(name string) *profile.Table { return s.now.Databases[0].Table(name) }

func (s *server) Transactions(context.Context) ([]Transaction, error) {
	from := max(0, s.read-100)
	s.read = len(s.log)
	return s.log[from:], s.err
}

func (s *server) Profile(_ context.Context, _ *profile.Profile, changed func(string) bool) (profile.Profile, error) {
	s.asked++
	s.changed = changed
	data, err := s.now.Encode()
	if err != nil {
		return profile.Profile{}, err
	}
	p, err := profile.Decode(data)
	p.Time, p.LSN = s.clock, "0/0"
	if n := len(s.log); n > 0 {
		p.LSN = s.log[n-1].LSN
	}
	return p, err
}

func (s *server) Store(_ context.Context, p profile.Profile) error {
	s.stored = append(s.stored, p)
	return nil
}

func (s *server) Sessions(context.Context, *profile.Profile, []serverlog.Transaction) (map[uint32]serverlog.Who, error) {
	return s.who, s.noLog
}

// watched is a detector that has learnt a minute of ordinary work.
func watched(t *testing.T, s *server) *Detector {
	t.Helper()
	d := New("gisis", "database", s, NewJudge("gisis", "database"))
	d.now = func() time.Time { return s.clock }
	s.write(3000)
	if err := d.Learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func detectAll(t *testing.T, d *Detector) []event.Signal {
	t.Helper()
	signals, err := d.Detect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signals
}

// one fails unless exactly one signal was raised, of this kind.
func one(t *testing.T, signals []event.Signal, kind string) event.Signal {
	t.Helper()
	if len(signals) != 1 || signals[0].Kind != kind {
		t.Fatalf("raised %+v, want one %s", signals, kind)
	}
	s := signals[0]
	if s.Technique == "" || s.Service != "gisis" || s.Asset != "database" || s.Subject == "" || len(s.Touched) == 0 || s.Count == 0 {
		t.Errorf("the signal is incomplete: %+v", s)
	}
	return s
}

func about1(t *testing.T, s event.Signal, bad Transaction) {
	t.Helper()
	if s.Evidence["xid"] != bad.XID || s.Evidence["lsn"] != bad.LSN || !bad.Commit.Equal(s.Evidence["commit"].(time.Time)) {
		t.Errorf("the signal is about %v at %v, want transaction %d at %s", s.Evidence["xid"], s.Evidence["lsn"], bad.XID, bad.LSN)
	}
}

func TestOneMassiveUpdateIsNoticedAmongOrdinaryWrites(t *testing.T) {
	s := newServer()
	d := watched(t, s)
	s.write(20)
	bad := s.commit(map[string]Counts{"app.public.ships": {Update: 5000}})
	s.write(20)
	s.who = map[uint32]serverlog.Who{bad.XID: {User: "app", Client: "203.0.113.9", PID: 77, By: "xid"}}
	got := one(t, detectAll(t, d), "rows.altered")
	if got.Technique != "T1565.001" || got.Subject != "app.public.ships" || got.Strength < 0.8 || got.Evidence["rows"] != 5000 {
		t.Errorf("signal %+v", got)
	}
	about1(t, got, bad)
	if got.Evidence["user"] != "app" || got.Evidence["client"] != "203.0.113.9" || got.Evidence["pid"] != uint32(77) {
		t.Errorf("the evidence %v does not say who", got.Evidence)
	}
	if again := detectAll(t, d); len(again) != 0 {
		t.Errorf("the same transaction is raised again: %v", again)
	}
}

func TestThousandsOfRowsChangedOneByOneAreNoticedAtTheNextLook(t *testing.T) {
	for name, odd := range map[string]bool{"of the same look": false, "that became alike": true} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			d := watched(t, s)
			s.write(500)
			if signals := detectAll(t, d); len(signals) != 0 {
				t.Fatalf("ordinary writes raised %+v", signals)
			}
			var first Transaction
			for i := range 3000 {
				s.write(1)
				bad := s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
				if i == 0 {
					first = bad
				}
			}
			if odd {
				s.table("public.ships").Written = []profile.Column{text("name", 20, ""), text("flag", 6, "Tuvalu")}
			}
			got := one(t, detectAll(t, d), "rows.covert")
			about1(t, got, first)
			if got.Subject != "app.public.ships" || got.Evidence["rows"] != 3000 || odd != (got.Strength == 0.9) || !odd && got.Strength != 0.5 {
				t.Errorf("signal %+v", got)
			}
			if odd && fmt.Sprint(got.Evidence["columns"]) != "map[flag:a value that was not among the frequent ones]" {
				t.Errorf("columns %v", got.Evidence["columns"])
			}
			s.write(5000)
			if again := detectAll(t, d); len(again) != 0 {
				t.Errorf("raised again: %+v", again)
			}
			// What goes on is raised again when it has doubled.
			s.table("public.ships").Written = nil
			for _, rows := range []int{1500, 5500} {
				for range rows {
					s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
				}
				if more := detectAll(t, d); (len(more) != 0) != (rows == 5500) {
					t.Errorf("%d more rows raised %+v", rows, more)
				}
			}
		})
	}
}

func TestALateLookSeesWhatAnEarlyOneWouldHave(t *testing.T) {
	s := newServer()
	d := watched(t, s)
	first := s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
	for range 1500 {
		s.write(1)
		s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
	}
	s.write(30_000) // ten minutes
	s.read = 0      // all at once
	about1(t, one(t, detectAll(t, d), "rows.covert"), first)
}

func TestRowsThatBecameAlikeAreNoticedWithoutAnyHistory(t *testing.T) {
	for name, value := range map[string]string{"a foreign value": "Tuvalu", "one that is frequent": "Panama"} {
		s := newServer()
		d := New("gisis", "database", s, NewJudge("gisis", "database"))
		d.now = func() time.Time { return s.clock }
		if err := d.Learn(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
		for range 1500 {
			s.write(1)
			s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
		}
		s.table("public.ships").Written = []profile.Column{text("name", 20, ""), text("flag", 6, value)}
		s.table("public.inspections").Written = []profile.Column{text("port", 10, "")}
		signals := detectAll(t, d)
		if value == "Panama" {
			if len(signals) != 0 {
				t.Errorf("%s raised %+v", name, signals)
			}
			continue
		}
		got := one(t, signals, "rows.covert")
		about1(t, got, first)
		if got.Strength != 0.6 {
			t.Errorf("strength %v", got.Strength)
		}
	}
}

func TestWithoutHistoryALookIsTakenWhenManyRowsChangedAndNotAtEachLook(t *testing.T) {
	s := newServer()
	d := New("gisis", "database", s, NewJudge("gisis", "database"))
	d.now = func() time.Time { return s.clock }
	if err := d.Learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.pace = 10 * time.Millisecond
	for range 2 * 1500 { // half a minute, a look at every commit
		s.write(1)
		if signals := detectAll(t, d); len(signals) != 0 {
			t.Fatalf("ordinary work raised %+v", signals)
		}
	}
	if s.asked < 2 || s.asked > 8 {
		t.Errorf("%d profiles were taken in half a minute, want few", s.asked)
	}
}

func TestWhatIsWrittenIsHeldAgainstWhatUsuallyIs(t *testing.T) {
	plain, odd := []profile.Column{text("name", 20, ""), text("flag", 6, "Panama")}, []profile.Column{text("name", 20, ""), text("flag", 6, "Tuvalu")}
	for _, c := range []struct {
		name            string
		usually         []profile.Column
		updates, insert int
		now             []profile.Column
		strength        float64 // 0: quiet
	}{
		{"another look than usual", plain, 700, 0, odd, 0.7},
		{"the look that it usually has", odd, 700, 0, odd, 0},
		{"few rows, and nothing is known of them", nil, 700, 0, odd, 0},
		{"many rows, and nothing is known of them", nil, 1200, 0, odd, 0.6},
		{"new rows of another look", nil, 1200, 5000, odd, 0},
	} {
		s := newServer()
		d := watched(t, s)
		// What is done in an hour or so is no unusual number here.
		d.judge.history("app.public.ships").peak = 100_000
		d.judge.history("app.public.ships").written = c.usually
		for range c.updates {
			s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
		}
		if c.insert > 0 {
			s.commit(map[string]Counts{"app.public.ships": {Insert: c.insert}})
		}
		s.table("public.ships").Written = c.now
		s.write(3100)
		signals := detectAll(t, d)
		if c.strength == 0 {
			if len(signals) != 0 {
				t.Errorf("%s raised %+v", c.name, signals)
			}
			continue
		}
		if got := one(t, signals, "rows.covert"); got.Strength != c.strength {
			t.Errorf("%s: strength %v, want %v", c.name, got.Strength, c.strength)
		}
	}
}

func TestABatchDoesNotHideWhatIsDoneOneByOne(t *testing.T) {
	s := newServer()
	s.commit(map[string]Counts{"app.public.ships": {Update: 4000}})
	d := watched(t, s)
	first := s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
	for range 3000 {
		s.write(1)
		s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
	}
	about1(t, one(t, detectAll(t, d), "rows.covert"), first)
}

func TestASlowCovertChangeIsNoticedToo(t *testing.T) {
	s := newServer()
	d := watched(t, s)
	// Three hours at one row in ten seconds, after a day's work.
	s.pace = time.Second
	for range 24 {
		s.write(3600)
		if signals := detectAll(t, d); len(signals) != 0 {
			t.Fatalf("ordinary writes raised %+v", signals)
		}
	}
	s.pace = 5 * time.Second
	var raised []event.Signal
	var first Transaction
	for i := range 1100 {
		bad := s.commit(map[string]Counts{"app.public.ships": {Update: 1}})
		if i == 0 {
			first = bad
		}
		s.write(1)
		if i%10 == 0 {
			raised = append(raised, detectAll(t, d)...)
		}
	}
	about1(t, one(t, raised, "rows.covert"), first)
}

func TestOrdinaryWorkRaisesNothing(t *testing.T) {
	for name, work := range map[string]func(*server){
		"the writer alone": func(s *server) { s.write(20_000) },
		"a load of new rows": func(s *server) {
			s.commit(map[string]Counts{"app.public.ships": {Insert: 90000, Update: 12}})
			s.table("public.ships").Rows += 90000
		},
		"new rows one by one": func(s *server) {
			for range 5000 {
				s.commit(map[string]Counts{"app.public.ships": {Insert: 1}})
			}
		},
		"a correction of 60": func(s *server) { s.commit(map[string]Counts{"app.public.ships": {Update: 60}}) },
		"an editor's day": func(s *server) {
			for range 300 {
				s.write(20)
				s.commit(map[string]Counts{"app.public.ships": {Update: 2}})
			}
		},
		"a rewrite of the table": func(s *server) {
			s.change("pg_class", Counts{Update: 2})
			s.table("public.ships").File = 201
			s.table("public.ships").Bytes /= 3
		},
		"a new column with a default": func(s *server) {
			s.change("pg_class", Counts{Update: 1})
			s.table("public.ships").Columns = append(s.table("public.ships").Columns, text("note", 3, "new"))
		},
		"a new index": func(s *server) {
			s.change("pg_class", Counts{Insert: 1, Update: 1})
			s.table("public.ships").Bytes += 1 << 20
		},
		"temporary tables": func(s *server) {
			for range 50 {
				s.change("pg_class", Counts{Insert: 1, Delete: 1})
			}
		},
		"a changed password": func(s *server) { s.change("pg_authid", Counts{Update: 1}) },
		"a new plain role": func(s *server) {
			s.change("pg_authid", Counts{Insert: 1})
			s.now.Roles = append(s.now.Roles, profile.Role{Name: "reader", Attributes: []string{"login"}})
		},
		"closing what was open": func(s *server) {
			s.write(6000)
			s.table("public.inspections").Written = []profile.Column{text("port", 10, "")}
		},
		"text about markup": func(s *server) { s.write(4000); s.table("public.casualties").Columns[0].Share.Markup = 0.01 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			d := watched(t, s)
			work(s)
			for range 3 {
				if signals := detectAll(t, d); len(signals) != 0 {
					t.Fatalf("raised %+v", signals)
				}
				s.write(3100) // a profile a minute
			}
		})
	}
}

func TestABatchThatWasSeenBeforeRaisesNothing(t *testing.T) {
	s := newServer()
	s.commit(map[string]Counts{"app.public.ships": {Update: 4000}}) // last night's
	d := watched(t, s)
	s.write(100)
	s.commit(map[string]Counts{"app.public.ships": {Update: 5000}})
	if signals := detectAll(t, d); len(signals) != 0 {
		t.Errorf("tonight's batch raised %+v", signals)
	}
	// Another table has no such batch; and after a restart the stored profiles tell.
	s.commit(map[string]Counts{"app.public.casualties": {Update: 4000}})
	one(t, detectAll(t, d), "rows.altered")

	s2 := newServer()
	judge := NewJudge("gisis", "database")
	p, _ := s2.Profile(t.Context(), nil, nil)
	p.Databases[0].Tables[0].Log = &profile.Log{Seconds: 86400, Transactions: 10, Update: 4000, Largest: 4000, Busiest: 4000}
	judge.Remember(p)
	d2 := New("gisis", "database", s2, judge)
	d2.now = func() time.Time { return s2.clock }
	s2.write(100)
	if err := d2.Learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	s2.commit(map[string]Counts{"app.public.ships": {Update: 5000}})
	if signals := detectAll(t, d2); len(signals) != 0 {
		t.Errorf("after a restart the batch raised %+v", signals)
	}
}

func TestWhatRolesAndCodeBecameIsRaisedWithItsTransaction(t *testing.T) {
	add := func(r profile.Routine) func(*server) {
		return func(s *server) { s.now.Databases[0].Routines = append(s.now.Databases[0].Routines, r) }
	}
	for _, c := range []struct {
		name, catalog     string
		did               Counts
		then              func(*server)
		kind, subject     string
		technique         string
		strength, atLeast float64
	}{
		{"a new superuser", "pg_authid", Counts{Insert: 1}, func(s *server) {
			s.now.Roles = append(s.now.Roles, profile.Role{Name: "backup2", Attributes: []string{"login", "superuser"}})
		}, "role.privileged", "role backup2", "T1136", 0.85, 0},
		{"an application that became one", "pg_authid", Counts{Update: 1}, func(s *server) { s.now.Roles[0].Attributes = []string{"login", "superuser"} }, "role.privileged", "role app", "T1098", 0.85, 0},
		{"a member of those who run programs", "pg_auth_members", Counts{Insert: 1}, func(s *server) { s.now.Roles[0].Member = []string{"pg_execute_server_program"} }, "role.privileged", "role app", "T1098", 0.75, 0},
		{"a superuser that is gone again", "pg_authid", Counts{Insert: 1, Delete: 1}, func(*server) {}, "role.privileged", "a role that is gone", "T1136", 0.5, 0},
		{"a plain function, as deployments bring", "pg_proc", Counts{Insert: 1}, add(profile.Routine{Kind: "function", Name: "public.g()", Digest: "2"}), "function.new", "app: public.g()", "T1505.001", 0.3, 0},
		{"a function that runs as a superuser", "pg_proc", Counts{Insert: 1}, add(profile.Routine{Kind: "function", Name: "public.g()", Digest: "2", Powerful: true}), "function.new", "app: public.g()", "T1505.001", 0.6, 0},
		{"an event trigger", "pg_event_trigger", Counts{Insert: 1}, add(profile.Routine{Kind: "event trigger", Name: "e", Digest: "2", Powerful: true}), "function.new", "app: e", "T1505.001", 0.6, 0},
		{"another function under the same name", "pg_proc", Counts{Update: 1}, func(s *server) { s.now.Databases[0].Routines[0].Digest = "2" }, "function.changed", "app: public.f()", "T1505.001", 0.4, 0},
		{"a function that is gone again", "pg_proc", Counts{Insert: 1, Delete: 1}, func(*server) {}, "function.new", "app: a function that is gone", "T1505.001", 0.4, 0},
		{"an emptied table", "pg_class", Counts{Update: 1}, func(s *server) { *s.table("public.ships") = profile.Table{Name: "public.ships", File: 301} }, "rows.altered", "app.public.ships", "T1485", 0.6, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer()
			d := watched(t, s)
			s.write(50)
			if signals := detectAll(t, d); len(signals) != 0 {
				t.Fatalf("ordinary writes raised %+v", signals)
			}
			bad := s.change(c.catalog, c.did)
			if c.catalog == "pg_auth_members" {
				s.log[len(s.log)-1].Catalogs = map[Catalog]Counts{{"", "pg_auth_members"}: c.did}
			}
			c.then(s)
			s.write(50)
			if c.catalog == "pg_class" {
				s.write(3000) // nothing but the profile of the next minute tells
			}
			got := one(t, detectAll(t, d), c.kind)
			if got.Subject != c.subject || got.Technique != c.technique || got.Strength != c.strength {
				t.Errorf("signal %+v", got)
			}
			about1(t, got, bad)
			if again := detectAll(t, d); len(again) != 0 {
				t.Errorf("raised again: %+v", again)
			}
		})
	}
}

func TestAScriptInAColumnThatHadNoneIsRaised(t *testing.T) {
	script := func(s *server, xid uint32) {
		c := &s.table("public.casualties").Columns[0]
		c.Scripts, c.Whole, c.ScriptXID = 1, true, xid
	}
	s := newServer()
	d := watched(t, s)
	s.write(3000)
	bad := s.commit(map[string]Counts{"app.public.casualties": {Insert: 1}})
	script(s, bad.XID)
	s.write(20)
	got := one(t, detectAll(t, d), "text.script")
	about1(t, got, bad)
	if got.Subject != "app.public.casualties.summary" || got.Technique != "T1189" || got.Strength < 0.8 || got.Evidence["exact"] != true {
		t.Errorf("signal %+v", got)
	}
	s.write(3100)
	if again := detectAll(t, d); len(again) != 0 {
		t.Errorf("raised again: %+v", again)
	}

	// A row that was changed tells its last change: the first that may have brought it counts.
	s = newServer()
	d = watched(t, s)
	first := s.commit(map[string]Counts{"app.public.casualties": {Update: 1}})
	s.write(3000)
	second := s.commit(map[string]Counts{"app.public.casualties": {Update: 1}})
	script(s, second.XID)
	got = one(t, detectAll(t, d), "text.script")
	about1(t, got, first)
	if got.Evidence["exact"] != false {
		t.Errorf("evidence %v", got.Evidence)
	}
}

func TestAnAttackWhileNobodyWatchedIsSeenAtTheStart(t *testing.T) {
	s := newServer()
	judge := NewJudge("gisis", "database")
	s.write(3000)
	stored, err := s.Profile(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	judge.Resume(stored)
	s.write(50)
	bad := s.change("pg_authid", Counts{Insert: 1})
	s.now.Roles = append(s.now.Roles, profile.Role{Name: "backup2", Attributes: []string{"superuser"}})
	d := New("gisis", "database", s, judge)
	d.now = func() time.Time { return s.clock }
	if err := d.Learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	about1(t, one(t, detectAll(t, d), "role.privileged"), bad)
}

func TestProfilesAreTakenAndKeptNowAndThen(t *testing.T) {
	s := newServer()
	d := watched(t, s)
	if s.asked != 1 || len(s.stored) != 1 {
		t.Fatalf("learning took %d profiles and kept %d, want one", s.asked, len(s.stored))
	}
	for range 100 { // two seconds
		s.write(1)
		detectAll(t, d)
	}
	if s.asked != 1 {
		t.Errorf("two seconds of work took %d profiles more", s.asked-1)
	}
	s.pace = time.Second
	for range 7200 {
		s.write(1)
		detectAll(t, d)
	}
	if s.asked < 110 || s.asked > 125 || len(s.stored) != 3 {
		t.Errorf("two hours of work took %d profiles and kept %d, want one a minute and one an hour", s.asked-1, len(s.stored)-1)
	}
	log := s.stored[1].Databases[0].Table("public.inspections").Log
	if log == nil || log.Update < 25 || log.Largest != 1 || s.stored[1].Databases[0].Table("public.ships").Log != nil {
		t.Errorf("the stored profile says of the log %+v", log)
	}
	if !s.changed("app.public.inspections") || s.changed("app.public.ships") {
		t.Error("the source was not told which tables changed")
	}
}

func TestAnUnreadableLogIsAnError(t *testing.T) {
	gone := errors.New("gone")
	s := newServer()
	s.err = gone
	if _, err := New("a", "b", s, NewJudge("a", "b")).Detect(t.Context()); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
	s = newServer()
	s.log = []Transaction{{XID: 1, LSN: "nonsense"}}
	if _, err := New("a", "b", s, NewJudge("a", "b")).Detect(t.Context()); err == nil {
		t.Error("a position that is none was accepted")
	}
	// The server's own log is another matter: the signal stands without it.
	s = newServer()
	d := watched(t, s)
	s.noLog = gone
	s.commit(map[string]Counts{"app.public.ships": {Update: 5000}})
	if got := one(t, detectAll(t, d), "rows.altered"); got.Evidence["session_unknown"] != "gone" {
		t.Errorf("evidence %v", got.Evidence)
	}
}

func FuzzParseLSN(f *testing.F) {
	f.Add("16/B374D848")
	f.Add("/")
	f.Fuzz(func(t *testing.T, s string) { parseLSN(s) })
}

func TestEmptiedStagingTablesAndDroppedPartitionsAreNoAlarm(t *testing.T) {
	s := newServer()
	s.now.Databases[0].Tables = append(s.now.Databases[0].Tables, profile.Table{Name: "public.log_2020", File: 104, Rows: 500_000, Bytes: 90 << 20, Partition: true})
	d := watched(t, s)
	s.change("pg_class", Counts{Delete: 1})
	s.now.Databases[0].Tables = s.now.Databases[0].Tables[:3]
	s.write(3100)
	if got := one(t, detectAll(t, d), "rows.altered"); got.Strength >= 0.5 {
		t.Errorf("a dropped partition is %+v", got)
	}
	// A table that is emptied again and again is raised once.
	ships := *s.table("public.ships")
	for i := range 3 {
		s.change("pg_class", Counts{Update: 1})
		*s.table("public.ships") = profile.Table{Name: "public.ships", File: uint32(400 + i)}
		s.write(3100)
		if signals := detectAll(t, d); len(signals) != 1 && i == 0 || len(signals) != 0 && i > 0 {
			t.Errorf("emptied for the %d. time raised %+v", i+1, signals)
		}
		*s.table("public.ships") = ships
		s.write(3100)
		detectAll(t, d)
	}
}
