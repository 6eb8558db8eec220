package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
)

const secret = "correct horse battery staple"

func mustAnswer(t *testing.T, p estate.Probe) {
	t.Helper()
	p.Name = "front page"
	result := Ask(t.Context(), p)
	if !result.OK || result.Detail != "" || result.Probe != p.Name || result.Seconds <= 0 {
		t.Errorf("the %s probe gave %+v, want a right answer", p.Kind, result)
	}
}

func mustFail(t *testing.T, p estate.Probe, want string) {
	t.Helper()
	result := Ask(t.Context(), p)
	if result.OK || !strings.Contains(result.Detail, want) {
		t.Errorf("the %s probe gave %+v, want a failure that tells of %q", p.Kind, result, want)
	}
	if strings.Contains(result.Detail, secret) {
		t.Errorf("the %s probe's result holds the password: %s", p.Kind, result.Detail)
	}
}

func passwordFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHTTPAnswerIsComparedByStatusAndContent(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<h1>Welcome aboard</h1>") })
	mux.HandleFunc("/old", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusMovedPermanently) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for w.Header(); ; {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	mustAnswer(t, estate.Probe{Kind: "http", URL: server.URL, Expect: "Welcome"})
	mustAnswer(t, estate.Probe{Kind: "http", URL: server.URL + "/old", Expect: "Welcome"})
	mustAnswer(t, estate.Probe{Kind: "http", URL: server.URL + "/old", Status: 301})
	mustAnswer(t, estate.Probe{Kind: "http", URL: server.URL + "/gone", Status: 404})
	mustFail(t, estate.Probe{Kind: "http", URL: server.URL + "/gone"}, "status 404, not 200")
	mustFail(t, estate.Probe{Kind: "http", URL: server.URL, Expect: "Owned by"}, `lacks "Owned by"`)
	mustFail(t, estate.Probe{Kind: "http", URL: server.URL + "/endless", Expect: "an end"}, fmt.Sprint(maxAnswer))
	mustFail(t, estate.Probe{Kind: "http", URL: "file:///etc/passwd"}, "http://host")
	mustFail(t, estate.Probe{Kind: "http", URL: "http://host:port/"}, "port")
	server.Close()
	mustFail(t, estate.Probe{Kind: "http", URL: server.URL}, "refused")
}

func TestHTTPSignsInAndKeepsTheCookie(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("user") != "reader" || r.PostFormValue("password") != secret {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "17", Path: "/"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("session"); err != nil {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "the library")
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	p := estate.Probe{
		Kind: "http", URL: server.URL, Expect: "library", SignIn: server.URL + "/login",
		Form: map[string]string{"user": "reader", "password": "{password}"}, PasswordFile: passwordFile(t),
	}
	mustAnswer(t, p)
	mustAnswer(t, p) // with a cookie jar of its own each time
	mustFail(t, estate.Probe{Kind: "http", URL: server.URL}, "401")
	p.Form["user"] = "writer"
	mustFail(t, p, "sign in: "+server.URL+"/login answered with status 403")
	p.PasswordFile = "/no/such/file"
	mustFail(t, p, "read password")
}

func TestTCPReadsTheGreeting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "220 mail ")
			fmt.Fprint(c, "ready\r\n")
			c.Close()
		}
	}()
	address := l.Addr().String()
	mustAnswer(t, estate.Probe{Kind: "tcp", Address: address})
	mustAnswer(t, estate.Probe{Kind: "tcp", Address: address, Expect: "mail ready"})
	mustFail(t, estate.Probe{Kind: "tcp", Address: address, Expect: "SSH-2.0"}, "220 mail ready")
	l.Close()
	mustFail(t, estate.Probe{Kind: "tcp", Address: address}, "refused")
	mustFail(t, estate.Probe{Kind: "tcp"}, "missing address")
}

func TestSilentServerIsGivenUpAtTheTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address, timeout := l.Addr().String(), 50*time.Millisecond
	for _, p := range []estate.Probe{
		{Kind: "http", URL: "http://" + address},
		{Kind: "tcp", Address: address, Expect: "anything"},
		{Kind: "sql", Connect: "host=127.0.0.1 sslmode=disable user=u port=" + strings.Split(address, ":")[1], Query: "select 1"},
		{Kind: "mail", SMTP: address, IMAP: address, User: "a@b.example", PasswordFile: passwordFile(t)},
		{Kind: "command", Argv: []string{"sh", "-c", "sleep 3600 & sleep 3600"}},
	} {
		p.Timeout = timeout
		mustFail(t, p, "within 50ms")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Ask(ctx, estate.Probe{Kind: "http", URL: "http://" + address}); r.OK || strings.Contains(r.Detail, "within") {
		t.Errorf("with an ended context: %+v, want the cancellation and no timeout", r)
	}
}

func TestCommandAnswersWithItsOutputAndStatus(t *testing.T) {
	mustAnswer(t, estate.Probe{Kind: "command", Argv: []string{"echo", "3 nodes up"}, Expect: "3 nodes"})
	mustFail(t, estate.Probe{Kind: "command", Argv: []string{"echo", "2 nodes up"}, Expect: "3 nodes"}, "2 nodes")
	mustFail(t, estate.Probe{Kind: "command", Argv: []string{"sh", "-c", "echo disk on fire >&2; exit 3"}}, "exit status 3: disk on fire")
	mustFail(t, estate.Probe{Kind: "command"}, "argv is empty")
	mustFail(t, estate.Probe{Kind: "command", Argv: []string{"sh", "-c", "yes | head -c 9000000"}, Expect: "no"}, fmt.Sprint(maxAnswer))
}

func TestFilesMustBeThereAndNotEmpty(t *testing.T) {
	dir := t.TempDir()
	full, empty, pipe := filepath.Join(dir, "full"), filepath.Join(dir, "empty"), filepath.Join(dir, "pipe")
	for name, content := range map[string]string{full: "minutes of the meeting", empty: ""} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	mustAnswer(t, estate.Probe{Kind: "files", Path: full, Expect: "minutes"})
	mustAnswer(t, estate.Probe{Kind: "files", Path: dir})
	mustFail(t, estate.Probe{Kind: "files", Path: full, Expect: "hours"}, "lacks")
	mustFail(t, estate.Probe{Kind: "files", Path: empty}, "is empty")
	mustFail(t, estate.Probe{Kind: "files", Path: t.TempDir()}, "is empty")
	mustFail(t, estate.Probe{Kind: "files", Path: pipe}, "neither")
	mustFail(t, estate.Probe{Kind: "files", Path: dir + "/none"}, "no such file")
}

func TestBadDeclarationIsAFailureThatSaysSo(t *testing.T) {
	mustFail(t, estate.Probe{Kind: "carrier pigeon"}, "unknown")
	mustFail(t, estate.Probe{}, "unknown")
	mustFail(t, estate.Probe{Kind: "mail"}, "user is missing")
	mustFail(t, estate.Probe{Kind: "mail", User: "a@b.example"}, "password_file is missing")
	mustFail(t, estate.Probe{Kind: "sql", Connect: "postgres://u:" + strings.ReplaceAll(secret, " ", "%20") + "@[", Query: "select 1"}, "parse")
	long := Ask(t.Context(), estate.Probe{Kind: strings.Repeat("\xffx", 5000)})
	if len(long.Detail) > maxDetail+len("…") {
		t.Errorf("a detail of %d bytes, at most %d are promised", len(long.Detail), maxDetail)
	}
}

func TestAServiceThatWasJustStartedIsAskedAgain(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			http.Error(w, "the database system is starting up", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "welcome")
	}))
	defer server.Close()
	p := estate.Probe{Name: "front page", Kind: "http", URL: server.URL, Expect: "welcome"}
	if result := Await(t.Context(), p); !result.OK || asked != 3 {
		t.Errorf("after %d questions: %+v, want the third answer", asked, result)
	}
	p.Expect, p.Timeout = "never said", 250*time.Millisecond
	if result := Await(t.Context(), p); result.OK || !strings.Contains(result.Detail, "never said") {
		t.Errorf("a wrong answer that stays: %+v", result)
	}
}
