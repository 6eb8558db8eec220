// Package s3test starts a real S3 server for tests: versitygw, over a temporary directory, with versions and Object
// Lock. Its module is pinned in server/go.mod, apart from kedge's own. The first test of a machine builds it, which
// takes a minute or two and needs the Go module proxy; from then on it comes from Go's build cache.
package s3test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// The credentials of every server.
const (
	AccessKey = "kedge-test"
	SecretKey = "kedge-test-secret"
)

// startTimeout bounds the wait for a server that was started.
const startTimeout = 30 * time.Second

// Server is a running S3 server. It ends with the test.
type Server struct {
	Endpoint string // host:port on the loopback interface
	Objects  string // directory in which a bucket is a directory, and an object a file below it

	listener net.Listener
	socket   string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	gone  bool
	dying bool
	left  int64 // bytes until it vanishes, if dying
}

// Start starts a server with no bucket.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"objects", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// A socket's path must be short, which a test's directory is not.
	short, err := os.MkdirTemp("", "s3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	s := &Server{Objects: filepath.Join(dir, "objects"), socket: filepath.Join(short, "s3"), conns: make(map[net.Conn]struct{})}

	var log bytes.Buffer
	cmd := exec.Command(path, "--port", s.socket, "--access", AccessKey, "--secret", SecretKey, "--health", "/health", "--keep-alive", "--quiet",
		"posix", "--versioning-dir", filepath.Join(dir, "versions"), s.Objects)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start S3 server: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed in the end
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Endpoint = s.listener.Addr().String()
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		s.forward()
	}()
	t.Cleanup(func() {
		s.listener.Close()
		s.Vanish()
		<-accepting
	})
	s.await(t, ended, &log)
	return s
}

// Location returns the location of a repository in a bucket, which need not be there.
func (s *Server) Location(bucket string) string { return "s3:http://" + s.Endpoint + "/" + bucket }

// Env returns the environment by which restic and kedge find the server's credentials.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey}
}

// Vanish breaks all connections, and new ones as they are made, until Return.
func (s *Server) Vanish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.dying = true, false
	for c := range s.conns {
		c.Close()
	}
}

// Return ends Vanish.
func (s *Server) Return() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = false
}

// VanishAfter vanishes once n more bytes went through, in both directions together.
func (s *Server) VanishAfter(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.dying = n, true
}

// program is the path of the server's program in Go's build cache, found once a process.
var program = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "tool", "-n", "versitygw")
	cmd.Dir = filepath.Join(filepath.Dir(here), "server")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off") // one build, whatever flags the tests are built with
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the S3 server in %s: %w\n%s", cmd.Dir, err, problems.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
})

// await returns when the server answers.
func (s *Server) await(t testing.TB, ended <-chan struct{}, log *bytes.Buffer) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(startTimeout)
	for {
		resp, err := http.Get("http://" + s.Endpoint + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %s", resp.Status)
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("the S3 server ended at once:\n%s", log.Bytes())
		case <-timeout:
			t.Fatalf("the S3 server did not answer in %v: %v", startTimeout, err)
		}
	}
}

// forward connects each client with the server's socket, until the server vanishes.
func (s *Server) forward() {
	var pairs sync.WaitGroup
	defer pairs.Wait()
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		pairs.Go(func() { s.pair(client) })
	}
}

func (s *Server) pair(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", s.socket)
	if err != nil {
		return
	}
	defer server.Close()
	if !s.hold(client, server) {
		return
	}
	defer s.release(client, server)
	var both sync.WaitGroup
	both.Go(func() { s.copy(server, client) })
	both.Go(func() { s.copy(client, server) })
	both.Wait()
}

func (s *Server) copy(to, from net.Conn) {
	_, _ = io.Copy(meter{to, s}, from)
	to.Close()
	from.Close()
}

func (s *Server) hold(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		s.conns[c] = struct{}{}
	}
	return !s.gone
}

func (s *Server) release(conns ...net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		delete(s.conns, c)
	}
}

// meter counts what goes through.
type meter struct {
	io.Writer
	s *Server
}

func (m meter) Write(p []byte) (int, error) {
	m.s.mu.Lock()
	if m.s.dying {
		p = p[:min(int64(len(p)), max(m.s.left, 0))]
		if m.s.left -= int64(len(p)); m.s.left <= 0 {
			defer m.s.Vanish()
		}
	}
	m.s.mu.Unlock()
	return m.Writer.Write(p)
}
