package main

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/backend/s3/s3test"
)

// TestCommandsReachABucket tells a repository's life in S3 storage by the commands alone.
func TestCommandsReachABucket(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("KEDGE_REPOSITORY", server.Location("kedge-commands")+"/office")
	if status, out := kedge(t, "snapshots"); status != exitNoRepository {
		t.Errorf("no repository yet: status %d, want %d\n%s", status, exitNoRepository, out)
	}
	backedUpAndBack(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if status, out := kedge(t, "snapshots"); status != exitFailed {
		t.Errorf("with a wrong key: status %d, want %d\n%s", status, exitFailed, out)
	}
}

// backedUpAndBack stores a file in the repository that the environment names, and restores it.
func backedUpAndBack(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "harbour.txt")
	if err := os.WriteFile(file, []byte("three hundred ships"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	for _, args := range [][]string{{"init"}, {"backup", file}, {"check", "--read-data"}, {"restore", "latest", "--target", target}} {
		if status, out := kedge(t, args...); status != exitDone {
			t.Fatalf("kedge %v ended with status %d:\n%s", args, status, out)
		}
	}
	got, err := os.ReadFile(filepath.Join(target, file))
	if err != nil || string(got) != "three hundred ships" {
		t.Errorf("restored %q, %v", got, err)
	}
}

// kedge runs a command in this process.
func kedge(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	var text bytes.Buffer
	status = run(t.Context(), args, &text, &text)
	return status, text.String()
}

// restServer serves a new directory. answer may answer a request itself, and then returns true.
func restServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) (location string) {
	t.Helper()
	return restServerAround(t, func(files http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !answer(w, r) {
				files.ServeHTTP(w, r)
			}
		})
	})
}

// restServerAround serves a new directory by way of the handler that around makes.
func restServerAround(t *testing.T, around func(files http.Handler) http.Handler) (location string) {
	t.Helper()
	be, err := local.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(around(rest.Handler(be, rest.ReadWrite)))
	t.Cleanup(server.Close)
	return "rest:" + server.URL + "/"
}

// once answers one request with 503 whenever fail was set.
func once(fail *atomic.Bool) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !fail.CompareAndSwap(true, false) {
			return false
		}
		http.Error(w, "closed for a moment", http.StatusServiceUnavailable)
		return true
	}
}

func TestRemoteStorageThatFailsForAMomentIsTriedAgain(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("KEDGE_FROM_PASSWORD", "correct horse")
	var fail atomic.Bool
	flaky := restServer(t, once(&fail))
	for _, args := range [][]string{
		{"init", "-r", flaky},
		{"snapshots", "-r", flaky},
		{"init", "-r", t.TempDir() + "/alike", "--from-repo", flaky, "--copy-chunker-params"},
		{"copy", "-r", t.TempDir() + "/alike", "--from-repo", flaky},
		{"mirror", "--from", flaky, "--to", t.TempDir() + "/mirror"},
	} {
		if args[0] == "copy" {
			if status, out := kedge(t, "init", "-r", args[2]); status != exitDone {
				t.Fatalf("kedge init ended with status %d:\n%s", status, out)
			}
		}
		fail.Store(true)
		status, out := kedge(t, args...)
		if status != exitDone || fail.Load() {
			t.Errorf("kedge %v, with one request answered by 503, ended with status %d:\n%s", args, status, out)
		}
		if strings.Count(out, "trying again in") != 1 || !strings.Contains(out, "503") {
			t.Errorf("kedge %v tells of no try that failed, or of several:\n%s", args, out)
		}
	}
}

func TestWhatNoSecondTryCanMendFailsAtOnce(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	var refuse atomic.Int32 // the status to answer with
	location := restServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		if status := refuse.Load(); status != 0 {
			w.WriteHeader(int(status))
			return true
		}
		return false
	})
	check := func(name string, want int, args ...string) {
		t.Helper()
		status, out := kedge(t, append(args, "-r", location)...)
		if status != want || strings.Contains(out, "trying again") {
			t.Errorf("%s: kedge %v ended with status %d, want %d and no second try:\n%s", name, args, status, want, out)
		}
	}
	check("no repository", exitNoRepository, "snapshots")
	check("new repository", exitDone, "init")
	check("repository there", exitFailed, "init")
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		refuse.Store(int32(status))
		check(http.StatusText(status), exitFailed, "snapshots")
	}
	refuse.Store(0)
	t.Setenv("KEDGE_PASSWORD", "wrong")
	check("wrong password", exitWrongPassword, "snapshots")
}

// TestTheLimitsBoundTheBytesASecond watches 128 KiB of content go to a server and come back at 256 KiB a second. What
// may be sent at once is a tenth of a second's worth.
func TestTheLimitsBoundTheBytesASecond(t *testing.T) {
	const size, rate, atLeast = 128 << 10, "256", 350 * time.Millisecond
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("KEDGE_FROM_PASSWORD", "correct horse")
	var began atomic.Int64 // when the first request for a pack came, in ns since 1970
	location := restServer(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/data/") && strings.Trim(r.URL.Path, "/") != "data" {
			began.CompareAndSwap(0, time.Now().UnixNano())
		}
		return false
	})
	took := func(args ...string) time.Duration {
		t.Helper()
		began.Store(0)
		status, out := kedge(t, args...)
		if status != exitDone || began.Load() == 0 {
			t.Fatalf("kedge %v ended with status %d, first pack asked for at %d:\n%.300s", args, status, began.Load(), out)
		}
		return time.Since(time.Unix(0, began.Load()))
	}
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	file := filepath.Join(t.TempDir(), "cargo")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := kedge(t, "init", "-r", location); status != exitDone {
		t.Fatalf("kedge init ended with status %d:\n%s", status, out)
	}
	other := filepath.Join(t.TempDir(), "other")
	if status, out := kedge(t, "init", "-r", other); status != exitDone {
		t.Fatalf("kedge init ended with status %d:\n%s", status, out)
	}
	for _, args := range [][]string{
		{"backup", "-r", location, "--limit-upload", rate, file},
		{"dump", "-r", location, "--limit-download", rate, "latest", file},
		{"copy", "-r", other, "--from-repo", location, "--limit-download", rate},
	} {
		if d := took(args...); d < atLeast {
			t.Errorf("kedge %v moved %d bytes in %v, want at least %v", args, size, d, atLeast)
		}
	}
	if status, out := kedge(t, "snapshots", "-r", location, "--limit-download=-1"); status == exitDone || !strings.Contains(out, "limit-download") {
		t.Errorf("a limit below 0 ended with status %d:\n%s", status, out)
	}
}

func TestTheEnvironmentHoldsTheCredentialsOfARESTServer(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	location := restServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "pilot" && password == "s3:cret" {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	check := func(name string, want int, args ...string) {
		t.Helper()
		status, out := kedge(t, args...)
		if status != want || strings.Contains(out, "s3:cret") || want == exitFailed && !strings.Contains(out, "RESTIC_REST_USERNAME") {
			t.Errorf("%s: kedge %v ended with status %d, want %d, no password shown and a remedy if refused:\n%s", name, args, status, want, out)
		}
	}
	check("no credentials", exitFailed, "init", "-r", location)
	t.Setenv("RESTIC_REST_USERNAME", "pilot")
	t.Setenv("RESTIC_REST_PASSWORD", "s3:cret")
	check("credentials of the environment", exitDone, "init", "-r", location)
	check("credentials of the location", exitFailed, "snapshots", "-r", strings.Replace(location, "http://", "http://pilot:wrong@", 1))
	t.Setenv("RESTIC_REST_PASSWORD", "wrong")
	check("wrong password", exitFailed, "snapshots", "-r", location)
	check("right password in the location", exitDone, "snapshots", "-r", strings.Replace(location, "http://", "http://pilot:s3%3Acret@", 1))
}
