package investigate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

var born = time.Date(2020, 9, 30, 22, 10, 0, 0, time.UTC)

func line(at time.Duration, source, method, target string, status int) string {
	return fmt.Sprintf(`%s - - [%s] "%s %s HTTP/1.1" %d 10 "-" "x"`, source, born.Add(at).Format("02/Jan/2006:15:04:05 -0700"), method, target, status)
}

func logOf(t *testing.T, lines ...string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{name}
}

const (
	reader, editor, attacker = "192.0.2.10", "192.0.2.20", "203.0.113.66"
)

func TestTheUploadOfAShellIsFoundAmongOtherTraffic(t *testing.T) {
	logs := logOf(t,
		line(-8*time.Minute, attacker, "GET", "/login", 200),
		line(-5*time.Minute, editor, "POST", "/upload?name=agenda.pdf", 201),
		line(-3*time.Minute, attacker, "POST", "/login", 303),
		line(-2*time.Second, editor, "POST", "/search", 200),
		line(-1*time.Second, attacker, "POST", "/upload?name=view.php", 201),
		"garbage \x00\x01",
		line(2*time.Second, reader, "GET", "/index.html", 200),
		line(20*time.Second, attacker, "GET", "/files/view.php?c=id", 200),
		line(40*time.Second, attacker, "POST", "/files/view.php", 200),
	)
	found, err := Entry(context.Background(), logs, []Shell{{Path: "/srv/pub/files/view.php", Born: born}})
	if err != nil {
		t.Fatal(err)
	}
	if found.Source != attacker || found.Entry == nil || found.Entry.Path != "/upload?name=view.php" || found.Confidence < 0.9 {
		t.Fatalf("found %+v, want the attacker's upload", found)
	}
	if found.Entry.Log != logs[0]+":5" || found.Skipped != 1 {
		t.Errorf("entry stands at %s and %d lines were skipped, want line 5 and one", found.Entry.Log, found.Skipped)
	}
	if found.RelatedN != 5 || len(found.Related) != 5 || found.Related[0].Path != "/login" {
		t.Errorf("related requests %+v, want all five of the attacker", found.Related)
	}
	var fact event.InvestigationFinished
	found.Fill(&fact)
	if fact.Source != attacker || fact.Entry != found.Entry || len(fact.Related) != 5 {
		t.Errorf("the fact says %+v", fact)
	}
}

func TestWithoutANameTheLaterVisitorIsBelieved(t *testing.T) {
	logs := logOf(t,
		line(-2*time.Second, attacker, "POST", "/forms/attach", 200),
		line(-1*time.Second, editor, "POST", "/forms/attach", 200),
		line(time.Minute, attacker, "GET", "/files/a.php", 200),
	)
	found, err := Entry(context.Background(), logs, []Shell{{Path: "/srv/files/a.php", URLPath: "/files/a.php", Born: born}})
	if err != nil || found.Source != attacker || found.Entry == nil || found.Entry.Source != attacker {
		t.Errorf("found %+v (error %v), want the source that requested the shell", found, err)
	}
}

func TestConfidenceFollowsTheEvidence(t *testing.T) {
	shell := []Shell{{Path: "/srv/files/a.php", After: born.Add(-time.Minute), Born: born}}
	for name, c := range map[string]struct {
		lines    []string
		source   string
		entry    bool
		low, top float64
	}{
		"nothing":                 {[]string{line(0, reader, "GET", "/", 200)}, "", false, 0, 0},
		"only near in time":       {[]string{line(0, editor, "POST", "/x", 200)}, editor, true, 0.2, 0.4},
		"two, near in time":       {[]string{line(0, editor, "POST", "/x", 200), line(0, reader, "POST", "/x", 200)}, "", true, 0.1, 0.2},
		"only requested":          {[]string{line(9, attacker, "GET", "/a.php", 200)}, attacker, false, 0.5, 0.7},
		"refused":                 {[]string{line(0, editor, "PUT", "/a.php2", 403)}, "", false, 0, 0},
		"before it could be":      {[]string{line(-2*time.Minute, editor, "POST", "/x", 200)}, "", false, 0, 0},
		"named, never requested":  {[]string{line(0, editor, "PUT", "/dav/tmp?to=a.php", 201)}, editor, true, 0.5, 0.7},
		"put there by WebDAV":     {[]string{line(0, attacker, "PUT", "/files/a.php", 201), line(9, attacker, "GET", "/files/a.php", 200)}, attacker, true, 0.9, 1},
		"after it was there long": {[]string{line(time.Hour, editor, "POST", "/x", 200)}, "", false, 0, 0},
	} {
		found, err := Entry(context.Background(), logOf(t, c.lines...), shell)
		if err != nil {
			t.Fatal(err)
		}
		if c.source != "" && found.Source != c.source || (found.Entry != nil) != c.entry || found.Confidence < c.low || found.Confidence > c.top {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestAnUnreadableLogIsAnError(t *testing.T) {
	if _, err := Entry(context.Background(), []string{filepath.Join(t.TempDir(), "gone.log")}, nil); err == nil {
		t.Error("a log that is not there passes as empty")
	}
}

func TestRequestsAreBounded(t *testing.T) {
	long := "/" + strings.Repeat("é", 2000)
	var lines []string
	for range event.MaxTouched + 5 {
		lines = append(lines, line(0, attacker, "PUT", long+"?a.php", 200))
	}
	found, err := Entry(context.Background(), logOf(t, lines...), []Shell{{Path: "/srv/a.php", Born: born}})
	if err != nil || len(found.Related) != event.MaxTouched || found.RelatedN != len(lines) {
		t.Fatalf("%d related of %d (error %v)", len(found.Related), found.RelatedN, err)
	}
	fact := event.InvestigationFinished{}
	found.Fill(&fact)
	if _, err := event.New(born, fact).Encode(); err != nil {
		t.Errorf("the fact does not fit on the record: %v", err)
	}
}

func TestOfRequestsInTheSameSecondTheLastBeforeTheShellWasServedBroughtIt(t *testing.T) {
	logs := logOf(t,
		line(-time.Second, attacker, "GET", "/files/a.php", 404), // is it there already?
		line(-time.Second, attacker, "POST", "/sign-in", 303),
		line(-time.Second, attacker, "POST", "/covers", 303),
		line(-time.Second, attacker, "GET", "/files/a.php", 200),
		line(-time.Second, attacker, "POST", "/sign-out", 303),
	)
	found, err := Entry(context.Background(), logs, []Shell{{Path: "/srv/files/a.php", URLPath: "/files/a.php", Born: born}})
	if err != nil || found.Entry == nil || found.Entry.Path != "/covers" {
		t.Errorf("found %+v (error %v), want the request before the shell was served", found.Entry, err)
	}
}
