package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/evidence"
)

func TestMain(m *testing.M) {
	evidence.DriverLog(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// offices is headquarters with a repository, served over HTTP, and a vault that pulls it.
type offices struct {
	london   string // the repository's directory
	vault    *Vault
	dir      string // the vault's
	cfg      Config
	url      string // the vault's server
	operator Client
	reader   string
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func tokenFile(t *testing.T) string {
	t.Helper()
	var raw [24]byte
	rand.Read(raw[:])
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(raw[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newOffices(t *testing.T) *offices {
	t.Helper()
	o := &offices{london: filepath.Join(t.TempDir(), "london"), dir: t.TempDir()}
	be, err := local.Create(o.london)
	if err != nil {
		t.Fatal(err)
	}
	save(t, be, backend.Handle{Type: backend.Config}, []byte("the configuration"))
	for i := range 3 {
		for _, kind := range []backend.Type{backend.Key, backend.Pack, backend.Index, backend.Snapshot} {
			content := bytes.Repeat(fmt.Appendf(nil, "%v %d ", kind, i), 1000)
			save(t, be, backend.Handle{Type: kind, Name: blob.Hash(content).String()}, content)
		}
	}
	sourceToken := tokenFile(t)
	served, err := ServeRepository(o.london, sourceToken)
	if err != nil {
		t.Fatal(err)
	}
	source := serve(t, served)
	o.cfg = Config{
		Dir:           o.dir,
		Sources:       []Source{{Name: "files", Location: "rest:" + source + "/", TokenFile: sourceToken}},
		ReadTokenFile: tokenFile(t), OperatorTokenFile: tokenFile(t),
	}
	if o.reader, err = readToken(o.cfg.ReadTokenFile); err != nil {
		t.Fatal(err)
	}
	if o.vault, err = New(o.cfg, nil, quiet()); err != nil {
		t.Fatal(err)
	}
	o.url = serve(t, o.vault.Handler())
	o.operator = Client{URL: o.url, TokenFile: o.cfg.OperatorTokenFile}
	return o
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func save(t *testing.T, be backend.Backend, h backend.Handle, content []byte) {
	t.Helper()
	if err := be.Save(t.Context(), h, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func (o *offices) copy() string { return filepath.Join(o.dir, "repository", "files") }

// contents returns the files below dir by their paths.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameContents(t *testing.T, want, got map[string]string, what string) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d files, want %d", what, len(got), len(want))
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: %s is missing or differs", what, name)
		}
	}
}

// flip changes one bit in the middle of one pack and returns the pack's name.
func flip(t *testing.T, repository string) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(repository, "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs in %s: %v", repository, err)
	}
	slices.Sort(packs)
	data, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(packs[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(packs[0])
}

func TestAnOperatorHasACopyPulledAndItIsTheSource(t *testing.T) {
	o := newOffices(t)
	fact, err := o.operator.Pull(t.Context(), "files")
	if err != nil {
		t.Fatal(err)
	}
	if fact.Repository != "files" || fact.NewFiles != 13 || fact.Files != 13 || fact.NewBytes == 0 {
		t.Errorf("pulled %+v, want 13 new files", fact)
	}
	sameContents(t, contents(t, o.london), contents(t, o.copy()), "the copy")

	again, err := o.operator.Pull(t.Context(), "files")
	if err != nil || again.NewFiles != 0 || again.Files != 13 {
		t.Errorf("second pull: %+v, %v, want nothing new", again, err)
	}
	verified, err := o.operator.Verify(t.Context(), "files")
	// All but config, which has no name to be compared with.
	if err != nil || verified.Files != 12 {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	st, err := o.operator.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sources[0]; s.Name != "files" || s.Pulled.IsZero() || s.Verified.IsZero() || s.Error != "" || s.Busy || s.Copy.Files != 12 {
		t.Errorf("status %+v", s)
	}
}

func TestADamagedFileAtTheSourceIsRefusedAndNamed(t *testing.T) {
	o := newOffices(t)
	bad := flip(t, o.london)
	fact, err := o.operator.Pull(t.Context(), "files")
	if err == nil || !strings.Contains(strings.Join(fact.Damaged, " "), bad) {
		t.Fatalf("pull of a damaged pack %s: %+v, %v", bad, fact, err)
	}
	for name := range contents(t, o.copy()) {
		if strings.Contains(name, bad) {
			t.Errorf("the damaged pack is in the copy as %s", name)
		}
	}
	if packs, err := filepath.Glob(filepath.Join(o.copy(), "data", "*", "*")); err != nil || len(packs) != 2 {
		t.Errorf("%d packs are in the copy, want the 2 that are sound", len(packs))
	}
	st, err := o.operator.Status(t.Context())
	if err != nil || st.Sources[0].Error == "" || !st.Sources[0].Pulled.IsZero() || len(st.Sources[0].Copy.Damaged) != 1 {
		t.Errorf("status after a damaged pull: %+v, %v", st, err)
	}
}

func TestDamageAndLossAtTheSourceDoNotReachTheCopy(t *testing.T) {
	o := newOffices(t)
	if _, err := o.operator.Pull(t.Context(), "files"); err != nil {
		t.Fatal(err)
	}
	before := contents(t, o.copy())
	flip(t, o.london)
	for _, dir := range []string{"snapshots", "index", "keys"} {
		if err := os.RemoveAll(filepath.Join(o.london, dir)); err != nil {
			t.Fatal(err)
		}
	}
	// Whether the pull calls this an error is not the point: nothing held may change.
	_, pullErr := o.operator.Pull(t.Context(), "files")
	sameContents(t, before, contents(t, o.copy()), fmt.Sprintf("the copy after the source was destroyed (pull: %v)", pullErr))
}

func TestAFlippedBitInTheCopyIsFoundByVerify(t *testing.T) {
	o := newOffices(t)
	if _, err := o.operator.Pull(t.Context(), "files"); err != nil {
		t.Fatal(err)
	}
	bad := flip(t, o.copy())
	fact, err := o.operator.Verify(t.Context(), "files")
	if err == nil || len(fact.Damaged) != 1 || !strings.Contains(fact.Damaged[0], bad) {
		t.Fatalf("verify of a copy with a flipped bit in %s: %+v, %v", bad, fact, err)
	}
}

func TestPullsOfOneCopyWaitForOneAnother(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Sources: []Source{{Name: "files"}}, ReadTokenFile: tokenFile(t), OperatorTokenFile: tokenFile(t)}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var mu sync.Mutex
		opened := 0
		count := func() int { mu.Lock(); defer mu.Unlock(); return opened }
		v, err := New(cfg, func(Source) (backend.Backend, error) {
			mu.Lock()
			opened++
			mu.Unlock()
			<-release
			return nil, errors.New("closed for the night")
		}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = v.Pull(context.Background(), "files") }) // its error is the opener's
		}
		synctest.Wait()
		if n := count(); n != 1 || !v.Status().Sources[0].Busy {
			t.Errorf("%d pulls at the source at once, busy %v; want 1 and true", n, v.Status().Sources[0].Busy)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := v.Pull(impatient, "files"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a fourth pull whose caller waits a minute: %v", err)
		}
		close(release)
		wg.Wait()
		if n := count(); n != 3 {
			t.Errorf("%d pulls in all, want 3", n)
		}
	})
}

func TestItPullsAtOnceAndThenAfterEachInterval(t *testing.T) {
	cfg := Config{
		Dir: t.TempDir(), Sources: []Source{{Name: "files"}}, Interval: time.Hour,
		ReadTokenFile: tokenFile(t), OperatorTokenFile: tokenFile(t),
	}
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		begin := time.Now()
		v, err := New(cfg, func(Source) (backend.Backend, error) {
			times = append(times, time.Since(begin))
			return memory.New(), nil
		}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		v.pullOften(ctx)
		if want := []time.Duration{0, time.Hour, 2 * time.Hour}; !slices.Equal(times, want) {
			t.Errorf("pulled at %v, want %v", times, want)
		}
	})
}

func TestItServesUntilItIsStopped(t *testing.T) {
	o := newOffices(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.vault.Serve(ctx, l) }()
	client := Client{URL: "http://" + l.Addr().String(), TokenFile: o.cfg.OperatorTokenFile}
	if _, err := client.Pull(t.Context(), "files"); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v, want nil", err)
	}
	if _, err := client.Status(t.Context()); err == nil {
		t.Error("it still answers")
	}
}

func TestLongListsOfDamageAreCutAndSaySo(t *testing.T) {
	names := make([]string, 2500)
	if cut := bounded(names); len(cut) != 1000 || cut[999] != "and 1501 more" {
		t.Errorf("cut to %d, the last %q", len(cut), cut[len(cut)-1])
	}
}
