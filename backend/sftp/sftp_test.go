package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/retry"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

const serverProgram = "/usr/lib/openssh/sftp-server"

// server is OpenSSH's own, without ssh before it.
func server(t testing.TB, args ...string) Options {
	t.Helper()
	if _, err := os.Stat(serverProgram); err != nil {
		t.Fatalf("OpenSSH's sftp-server is not installed: %v; run make test, which installs what is missing", err)
	}
	return Options{Command: append([]string{serverProgram}, args...)}
}

func location(dir string) string { return "sftp:here:" + dir }

func closing(t *testing.T, be *Backend, err error) *Backend {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := be.Close(); err != nil {
			t.Error(err)
		}
	})
	return be
}

func create(t *testing.T, dir string, opt Options) *Backend {
	t.Helper()
	be, err := Create(t.Context(), location(dir), opt)
	return closing(t, be, err)
}

func open(t *testing.T, dir string, opt Options) *Backend {
	t.Helper()
	be, err := Open(t.Context(), location(dir), opt)
	return closing(t, be, err)
}

func TestSFTPConforms(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, t.TempDir(), server(t)) })
}

func TestAMissingDirectoryIsErrNotExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	be, err := Open(t.Context(), location(dir), server(t))
	if !errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, %v; want ErrNotExist that names %s", be, err, dir)
	}
}

func put(t *testing.T, be backend.Backend, kind backend.Type, content string) backend.Handle {
	t.Helper()
	h := backend.Handle{Type: kind, Name: blob.Hash([]byte(content)).String()}
	if err := be.Save(t.Context(), h, strings.NewReader(content)); err != nil {
		t.Fatalf("save: %v", err)
	}
	return h
}

func list(t *testing.T, be backend.Backend, kind backend.Type) (names []string) {
	t.Helper()
	if err := be.List(t.Context(), kind, func(info backend.FileInfo) error { names = append(names, info.Name); return nil }); err != nil {
		t.Fatalf("list: %v", err)
	}
	return names
}

func TestFilesArePrivateAndNothingElseIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep/repo")
	be := create(t, dir, server(t, "-u", "000")) // the server's umask would let everyone in
	put(t, be, backend.Pack, "a pack")
	put(t, be, backend.Snapshot, "a snapshot")
	files, dirs := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(fileMode)
		if d.IsDir() {
			dirs++
			want = fs.ModeDir | dirMode
		} else {
			files++
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		return nil
	})
	if err != nil || files != 2 || dirs != 1+5+256 {
		t.Errorf("found %d files and %d directories, %v; want the two that were saved, no temporary ones, and 262", files, dirs, err)
	}
}

func TestWhatIsNotAFileOfTheFormatIsNotListed(t *testing.T) {
	dir := t.TempDir()
	be := open(t, dir, server(t))
	h := put(t, be, backend.Pack, "a pack")
	key := put(t, be, backend.Key, "a key")
	inData := filepath.Join(dir, "data", h.Name[:2])
	for _, path := range []string{
		filepath.Join(inData, h.Name+".tmp-LEFTBYADEADPROCESS"),
		filepath.Join(inData, "0"+h.Name[1:]+"-restic-temp-123"),
		filepath.Join(inData, strings.Repeat("0", 63)+"1"), // stands in the wrong directory
		filepath.Join(dir, "keys", "notes.txt"),
	} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "keys", strings.Repeat("a", 64))); err != nil {
		t.Fatal(err)
	}
	if names := list(t, be, backend.Pack); len(names) != 1 || names[0] != h.Name {
		t.Errorf("listed packs %v", names)
	}
	if names := list(t, be, backend.Key); len(names) != 1 || names[0] != key.Name {
		t.Errorf("listed keys %v", names)
	}
}

// unread fails the test when it is read.
type unread struct {
	*strings.Reader
	t *testing.T
}

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a file whose name is taken is sent to the server")
	return 0, io.EOF
}

func TestANameThatIsTakenIsFoundBeforeTheContentIsSent(t *testing.T) {
	be := open(t, t.TempDir(), server(t))
	h := put(t, be, backend.Key, "a key")
	if err := be.Save(t.Context(), h, unread{strings.NewReader("a key"), t}); !errors.Is(err, backend.ErrExist) {
		t.Errorf("got %v", err)
	}
}

func TestAFailedSaveLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	be := open(t, dir, server(t))
	errBroken := errors.New("the source broke")
	h := backend.Handle{Type: backend.Key, Name: blob.Hash(nil).String()}
	err := be.Save(t.Context(), h, struct {
		io.Reader
		io.Seeker
	}{iotest.ErrReader(errBroken), strings.NewReader("ten bytes.")})
	if !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "keys")); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestAReadOnlyServerSaysSo(t *testing.T) {
	dir := t.TempDir()
	h := put(t, open(t, dir, server(t)), backend.Key, "a key")
	be := open(t, dir, server(t, "-R"))
	if err := be.Save(t.Context(), backend.Handle{Type: backend.Lock, Name: h.Name}, strings.NewReader("x")); !errors.Is(err, backend.ErrReadOnly) {
		t.Errorf("save: %v", err)
	}
	if err := be.Remove(t.Context(), h); !errors.Is(err, backend.ErrReadOnly) {
		t.Errorf("remove: %v", err)
	}
	if names := list(t, be, backend.Key); len(names) != 1 {
		t.Errorf("listed %v", names)
	}
}

func TestWhatTheProgramSaysIsInTheError(t *testing.T) {
	for name, c := range map[string]struct {
		command []string
		want    []string
	}{
		"refused":   {[]string{"sh", "-c", "printf 'Warning: x\\r\\nuser@host: Permission denied\\033[1m' >&2; exit 255"}, []string{"exit status 255", "user@host: Permission denied[1m"}},
		"not SFTP":  {[]string{"sh", "-c", "echo Welcome to this machine"}, []string{"connect to here"}},
		"not there": {[]string{"/nonexistent/ssh"}, []string{"/nonexistent/ssh", "no such file"}},
	} {
		_, err := Open(t.Context(), location("/x"), Options{Command: c.command})
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want it to hold %q", name, err, want)
			}
		}
		if strings.ContainsAny(err.Error(), "\x1b\r\n") {
			t.Errorf("%s: the error holds control characters: %q", name, err)
		}
	}
}

func TestAProgramThatNeverAnswersEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, location("/x"), Options{Command: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// interrupt sends a signal to the server process of be.
func interrupt(t *testing.T, be *Backend, sig syscall.Signal) {
	t.Helper()
	if err := be.conn.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatStopsAnsweringIsGivenUpAfterTheContext(t *testing.T) {
	be := open(t, t.TempDir(), server(t))
	be.conn.grace = 10 * time.Millisecond
	interrupt(t, be, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := be.Stat(ctx, backend.Handle{Type: backend.Config}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := be.Stat(t.Context(), backend.Handle{Type: backend.Config}); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the next call: %v; want the answer of a new server", err)
	}
}

func TestARequestThatIsAnsweredLeavesTheConnectionAlone(t *testing.T) {
	be := open(t, t.TempDir(), server(t))
	be.conn.grace = 0
	first := be.conn
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		_, _ = be.Stat(ctx, backend.Handle{Type: backend.Config})
		cancel()
	}
	h := put(t, be, backend.Key, "a key")
	ctx, cancel := context.WithCancel(t.Context())
	rd, err := be.Open(ctx, h, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := rd.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	select {
	case <-first.lost:
		t.Error("the connection was ended after its last request was answered")
	case <-time.After(20 * time.Millisecond): // that nothing happens can only be waited for
	}
}

func TestTheLastWordsAreKeptOfMany(t *testing.T) {
	var said tail
	for range 1000 {
		fmt.Fprintln(&said, "a line that is not the last")
	}
	fmt.Fprintln(&said, "the last")
	if got := said.String(); len(got) > 2*stderrMax || !strings.HasSuffix(got, "; the last") {
		t.Errorf("kept %d bytes that end in %.40q", len(got), got[max(0, len(got)-40):])
	}
}

func TestALostConnectionIsAnErrorThatSaysSoAndTheNextCallConnectsAgain(t *testing.T) {
	be := open(t, t.TempDir(), server(t))
	content := strings.Repeat("0123456789abcdef", 1<<16) // more than is read ahead
	h := put(t, be, backend.Pack, content)
	rd, err := be.Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	interrupt(t, be, syscall.SIGKILL)
	_, err = io.ReadAll(rd)
	if err == nil || !strings.Contains(err.Error(), "connection to here lost") || !strings.Contains(err.Error(), "killed") {
		t.Errorf("read over a lost connection: %v", err)
	}
	if info, err := be.Stat(t.Context(), h); err != nil || info.Size != int64(len(content)) {
		t.Errorf("the next call: %+v, %v", info, err)
	}
}

func TestARetriedReadOutlivesTheConnection(t *testing.T) {
	be := open(t, t.TempDir(), server(t))
	content := strings.Repeat("0123456789abcdef", 1<<16)
	h := put(t, be, backend.Pack, content)
	failures := 0
	rd, err := retry.New(be, retry.Options{Notify: func(string, error, time.Duration) { failures++ }}).Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(rd, head); err != nil {
		t.Fatal(err)
	}
	interrupt(t, be, syscall.SIGKILL)
	rest, err := io.ReadAll(rd)
	if got := string(head) + string(rest); err != nil || got != content || failures == 0 {
		t.Errorf("read %d bytes, %v, after %d failures; want all %d after one or more", len(got), err, failures, len(content))
	}
}

func TestTheProgramEndsWithClose(t *testing.T) {
	be, err := Open(t.Context(), location(t.TempDir()), server(t))
	if err != nil {
		t.Fatal(err)
	}
	process := be.conn.cmd.Process
	for range 2 {
		if err := be.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := process.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after Close the program %d is there: %v", process.Pid, err)
	}
	if _, err := be.Stat(t.Context(), backend.Handle{Type: backend.Config}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a call after Close: %v", err)
	}
}

// TestResticAndKedgeShareARepository proves that the layout is restic's, from either side.
func TestResticAndKedgeShareARepository(t *testing.T) {
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "paper.txt"), []byte(strings.Repeat("committee paper\n", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"restic", "kedge"} {
		dir := filepath.Join(t.TempDir(), "repo")
		restic := func(args ...string) string {
			return string(restictest.Run(t, "sftp:x:"+dir, "test", append([]string{"-o", "sftp.command=" + serverProgram}, args...)...))
		}
		var be *Backend
		if first == "restic" {
			restic("init")
			be = open(t, dir, server(t))
		} else {
			be = create(t, dir, server(t))
			if _, err := repo.Init(t.Context(), be, "test", repo.Options{ScryptN: 2}); err != nil {
				t.Fatal(err)
			}
		}
		restic("backup", source)
		if names := list(t, be, backend.Pack); len(names) < 2 {
			t.Errorf("made by %s: kedge lists the packs %v that restic stored", first, names)
		}
		r, err := repo.Open(t.Context(), be, "test", repo.Options{})
		if err != nil {
			t.Fatalf("made by %s: %v", first, err)
		}
		if _, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true}, func(p repo.Problem) { t.Errorf("made by %s: %v", first, p) }); err != nil {
			t.Error(err)
		}
		h := put(t, be, backend.Lock, "held by kedge")
		if out := restic("--no-lock", "list", "locks"); !strings.Contains(out, h.Name) {
			t.Errorf("made by %s: restic lists the locks %q, want the one that kedge saved", first, out)
		}
		if err := be.Remove(t.Context(), h); err != nil {
			t.Error(err)
		}
		restic("check", "--read-data")
	}
}

func BenchmarkSaveAndLoad(b *testing.B) {
	be, err := Create(b.Context(), location(b.TempDir()), server(b))
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	content := make([]byte, 16<<20)
	b.SetBytes(int64(len(content)))
	for i := range b.N {
		h := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(strconv.Itoa(i))).String()}
		if err := be.Save(b.Context(), h, strings.NewReader(string(content))); err != nil {
			b.Fatal(err)
		}
		rd, err := be.Open(b.Context(), h, 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(rd, content); err != nil {
			b.Fatal(err)
		}
		rd.Close()
	}
}
