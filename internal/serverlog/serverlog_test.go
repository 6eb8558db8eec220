package serverlog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const exercisePrefix = "%m [%p] user=%u db=%d client=%h xid=%x "

var commit = time.Date(2026, 11, 25, 21, 50, 4, 123_400_000, time.UTC)

// find looks for transaction 812 in a log of these lines.
func find(t *testing.T, name, prefix string, lines ...string) (Who, bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := Find(context.Background(), []string{file}, Format{prefix, "UTC"}, []Transaction{{812, commit}})
	if err != nil {
		t.Fatal(err)
	}
	who, ok := found[812]
	who.Log = ""
	return who, ok
}

func TestTheSessionOfATransactionIsFoundWhateverThePrefix(t *testing.T) {
	for _, c := range []struct {
		what, file, prefix string
		lines              []string
		want               Who
	}{
		{"the exercise's", "postgres.log", exercisePrefix, []string{
			"2026-11-25 21:49:58.001 UTC [77] user=[unknown] db=[unknown] client=203.0.113.9 xid=0 LOG:  connection received: host=203.0.113.9 port=4711",
			"2026-11-25 21:49:58.009 UTC [77] user=gisis db=gisis client=203.0.113.9 xid=0 LOG:  connection authorized: user=gisis database=gisis application_name=psql",
			"2026-11-25 21:50:04.120 UTC [77] user=gisis db=gisis client=203.0.113.9 xid=812 LOG:  duration: 1.1 ms  execute <unnamed>: UPDATE ships SET flag = 'x'",
			"\tWHERE true",
			"2026-11-25 21:50:04.121 UTC [78] user=owner db=gisis client=127.0.0.1 xid=813 LOG:  duration: 1.1 ms  execute <unnamed>: UPDATE ships",
		}, Who{User: "gisis", Database: "gisis", Client: "203.0.113.9", Application: "psql", PID: 77, By: "xid"}},
		{"Debian's, by time alone", "postgres.log", "%m [%p] %q%u@%d ", []string{
			"2026-11-25 21:49:58.001 UTC [77] LOG:  checkpoint complete",
			"2026-11-25 21:50:04.124 UTC [77] app@gisis LOG:  duration: 2.500 ms  statement: UPDATE ships SET flag = 'x'",
			"2026-11-25 21:50:09.124 UTC [79] other@gisis LOG:  duration: 2.500 ms  statement: UPDATE ships SET flag = 'x'",
			"2026-11-25 21:50:04.124 UTC [79] other@gisis LOG:  duration: 0.100 ms  parse <unnamed>: UPDATE ships SET flag = 'x'",
			"2026-11-25 21:50:04.124 UTC [80] reader@gisis LOG:  duration: 90.000 ms  statement: SELECT 1",
		}, Who{User: "app", Database: "gisis", PID: 77, By: "time"}},
		{"every escape", "x.log", "%m|%t|%n|%p|%P|%u|%d|%r|%h|%a|%b|%x|%v|%c|%l|%e|%i|%s|%Q|%%|%-8u|", []string{
			"2026-11-25 21:50:04.120 UTC|2026-11-25 21:50:04 UTC|1795643404.120|77||u 1|d|10.1.2.3(4711)|10.1.2.3|my app|client backend|812|3/17|6565f0a0.4d|12|00000|UPDATE|2026-11-25 21:00:00 UTC|-55|%|u 1     |LOG:  x",
		}, Who{User: "u 1", Database: "d", Client: "10.1.2.3", Application: "my app", PID: 77, By: "xid"}},
		{"CSV", "postgres.csv", "", []string{
			`2026-11-25 21:50:03.120 UTC,"gisis","gisis",77,"203.0.113.9:4711",6565f0a0.4d,2,"UPDATE",2026-11-25 21:00:00 UTC,3/17,0,LOG,00000,"statement: SELECT ""a""`,
			`   2026-11-25 21:50:04.120 UTC,""forged"",812",,,,,,,,,"psql","client backend",,0`,
			`2026-11-25 21:50:04.120 UTC,"gisis","gisis",77,"203.0.113.9:4711",6565f0a0.4d,3,"UPDATE",2026-11-25 21:00:00 UTC,3/17,812,LOG,00000,"duration: 1 ms",,,,,,,,,"psql","client backend",,0`,
		}, Who{User: "gisis", Database: "gisis", Client: "203.0.113.9", Application: "psql", PID: 77, By: "xid"}},
		{"JSON", "postgres.json", "", []string{
			`{"timestamp":"2026-11-25 21:50:04.120 UTC","user":"gisis","dbname":"gisis","pid":77,"remote_host":"203.0.113.9","remote_port":4711,"session_id":"6565f0a0.4d","line_num":3,"txid":812,"error_severity":"LOG","message":"duration: 1 ms","application_name":"psql","backend_type":"client backend"}`,
		}, Who{User: "gisis", Database: "gisis", Client: "203.0.113.9", Application: "psql", PID: 77, By: "xid"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, ok := find(t, c.file, c.prefix, c.lines...)
			if !ok || got != c.want {
				t.Errorf("found %+v (%v), want %+v", got, ok, c.want)
			}
		})
	}
}

func TestNobodyIsNamedWhoseLineMayBeForged(t *testing.T) {
	for what, lines := range map[string][]string{
		"a user named like the rest of the prefix": {
			`2026-11-25 21:50:04.120 UTC [66] user=owner db=gisis client=10.0.0.1 xid=812 LOG:  x db=postgres client=203.0.113.9 xid=0 FATAL:  password authentication failed for user "owner db=gisis client=10.0.0.1 xid=812 LOG:  x"`},
		"another century's transaction of that number": {
			`2025-11-25 21:50:04.120 UTC [66] user=owner db=gisis client=10.0.0.1 xid=812 LOG:  duration: 1 ms  statement: UPDATE ships`},
		"two sessions at the time": {
			`2026-11-25 21:50:04.124 UTC [66] user=a db=gisis client=10.0.0.1 xid=0 LOG:  duration: 2 ms  statement: UPDATE ships`,
			`2026-11-25 21:50:04.124 UTC [67] user=b db=gisis client=10.0.0.2 xid=0 LOG:  duration: 2 ms  statement: UPDATE ships`},
		"a session that did nothing then": {
			`2026-11-25 21:50:04.124 UTC [66] user=a db=gisis client=10.0.0.1 xid=0 LOG:  duration: 2 ms  statement: SHOW port`},
	} {
		if got, ok := find(t, "postgres.log", exercisePrefix, lines...); ok {
			t.Errorf("%s: found %+v", what, got)
		}
	}
	// What a statement says of connections is no connection.
	got, ok := find(t, "postgres.log", "%m [%p] xid=%x ",
		"2026-11-25 21:50:00.000 UTC [66] xid=0 LOG:  connection received: host=203.0.113.9 port=1",
		"2026-11-25 21:50:01.000 UTC [66] xid=0 LOG:  statement: SELECT ':  connection received: host=10.0.0.1 port=1'",
		"2026-11-25 21:50:04.000 UTC [66] xid=812 LOG:  duration: 2 ms  execute x: UPDATE ships")
	if !ok || got.Client != "203.0.113.9" {
		t.Errorf("found %+v (%v), want the address that connected", got, ok)
	}
}

func TestRubbishInALogIsPassedOver(t *testing.T) {
	good := "2026-11-25 21:50:04.120 UTC [77] user=gisis db=gisis client=203.0.113.9 xid=812 LOG:  x"
	rubbish := []string{"", "\x00\xff\xfe812\x80", strings.Repeat("812 ", MaxLine), "2026-99-25 21:50:04.120 UTC [77] user=a db=b client=c xid=812 LOG:  x",
		"2026-11-25 21:50:04.120 UTC [99999999999999] user=a db=b client=c xid=812 LOG:  x"}
	for _, name := range []string{"postgres.log", "postgres.csv", "postgres.json"} {
		if got, ok := find(t, name, exercisePrefix, rubbish...); ok {
			t.Errorf("%s: found %+v in rubbish", name, got)
		}
	}
	if got, ok := find(t, "postgres.log", exercisePrefix, append(rubbish, good)...); !ok || got.PID != 77 {
		t.Errorf("found %+v (%v) after rubbish", got, ok)
	}
	// An open quote ends at the bound of a record.
	record := `2026-11-25 21:50:04.120 UTC,"gisis","gisis",77,"203.0.113.9:1",6565f0a0.4d,3,"UPDATE",2026-11-25 21:00:00 UTC,3/17,812,LOG,00000,"x",,,,,,,,,"psql"`
	lines := []string{`"`}
	for range 2*MaxLine/1024 + 1 {
		lines = append(lines, strings.Repeat("x", 1023))
	}
	if got, ok := find(t, "postgres.csv", "", append(lines, record, record)...); !ok || got.PID != 77 {
		t.Errorf("found %+v (%v) after a quote that is never closed", got, ok)
	}
}

func TestALogThatIsNotThereIsAnError(t *testing.T) {
	wanted := []Transaction{{812, commit}}
	if _, err := Find(context.Background(), []string{"/nonexistent/postgres*.log"}, Format{LinePrefix: exercisePrefix}, wanted); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log that is not there: %v", err)
	}
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(context.Background(), []string{file}, Format{LinePrefix: "hello "}, wanted); err == nil || !strings.Contains(err.Error(), "log_line_prefix") {
		t.Errorf("a prefix that says nothing: %v", err)
	}
	if _, err := Find(context.Background(), []string{file}, Format{LinePrefix: exercisePrefix, Timezone: "Nowhere/Land"}, wanted); err == nil {
		t.Error("a time zone that is none was accepted")
	}
}

func TestTimesAreOfTheServersZone(t *testing.T) {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePrefix("%m [%p] ", zone)
	if err != nil {
		t.Fatal(err)
	}
	line, ok := p.parse("2026-07-25 22:50:04.123 BST [77] LOG:  x")
	if want := time.Date(2026, 7, 25, 21, 50, 4, 123_000_000, time.UTC); !ok || !line.Time.Equal(want) {
		t.Errorf("read %v (%v), want %v", line.Time, ok, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(exercisePrefix, "2026-11-25 21:50:04.120 UTC [77] user=gisis db=gisis client=203.0.113.9 xid=812 LOG:  duration: 1 ms  statement: UPDATE x")
	f.Add("%m|%-8u|%n|%%|%", "2026-11-25 21:50:04 UTC|u|1.2|%|")
	f.Add("%q%a%a%a", `{"timestamp":"2026-11-25 21:50:04.120 UTC","pid":1}`)
	f.Fuzz(func(t *testing.T, setting, text string) {
		s := search{wanted: []Transaction{{812, commit}}, zone: time.UTC, near: map[uint32][]near{}, found: map[uint32]Line{}, sessions: map[uint32]Line{}}
		for _, parse := range []parser{
			func(r string) (Line, bool) { return parseCSV(r, time.UTC) },
			func(r string) (Line, bool) { return parseJSON(r, time.UTC) },
		} {
			s.take(parse)([]byte(text))
		}
		p, err := parsePrefix(setting, time.UTC)
		if err != nil {
			return
		}
		s.take(p.parse)([]byte(text))
		if line, ok := p.parse(text); ok && !strings.HasSuffix(text, line.Message) {
			t.Errorf("%q read with %q gives %+v", text, setting, line)
		}
		for _, line := range s.found {
			if line.XID != 812 {
				t.Errorf("%q was kept as %+v", text, line)
			}
		}
	})
}
