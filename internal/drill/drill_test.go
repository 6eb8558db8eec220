package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/probe"
	"github.com/kedge-project/kedge/internal/process"
)

// town is an estate of nginx services, with the copies that were taken of their assets.
type town struct {
	estate  *estate.Estate
	live    string
	backup  string // what stood at path p was copied to backup+p
	sandbox string
	asked   []estate.Probe
}

// newTown declares services of "name: need need".
func newTown(t *testing.T, services ...string) *town {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/nginx"); err != nil {
		t.Fatalf("%v: run make test: it installs what is missing", err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // as root, nginx serves as nobody
		t.Fatal(err)
	}
	w := &town{live: filepath.Join(dir, "live"), backup: filepath.Join(dir, "backup"), sandbox: filepath.Join(dir, "box")}
	w.estate = &estate.Estate{
		Name: "town", Sites: []estate.Site{{Name: "london"}, {Name: "geneva"}},
		Repositories: []estate.Repository{{Name: "main", Site: "london", Copy: &estate.Copy{Site: "geneva"}}},
	}
	addresses := freeAddresses(t, len(services))
	for i, text := range services {
		name, needs, _ := strings.Cut(text, ":")
		w.add(t, name, strings.Fields(needs), addresses[i])
	}
	return w
}

func (w *town) add(t *testing.T, name string, needs []string, address string) {
	t.Helper()
	home := filepath.Join(w.live, name)
	conf := filepath.Join(home, "conf", "nginx.conf")
	_, port, _ := strings.Cut(address, ":")
	for file, content := range map[string]string{
		conf: fmt.Sprintf(`daemon off; pid %[1]s/run/nginx.pid; events {} http {
			client_body_temp_path %[1]s/run/b; proxy_temp_path %[1]s/run/p; fastcgi_temp_path %[1]s/run/f;
			uwsgi_temp_path %[1]s/run/u; scgi_temp_path %[1]s/run/s; access_log "%[1]s/log/access.log";
			server { listen 127.0.0.1:%[2]s; root %[1]s/html; } }`, home, port),
		filepath.Join(home, "html", "index.html"):   "Welcome to " + name,
		filepath.Join(home, "html", "port.txt"):     "the page says " + port,
		filepath.Join(home, "deep", "er", "ro.txt"): "read only",
	} {
		write(t, file, content)
	}
	for _, link := range []string{"log", "run"} {
		if err := os.MkdirAll(filepath.Join(home, link), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// A directory that nothing may be removed from, unless one is root, and a link by its full name.
	if err := os.Chmod(filepath.Join(home, "deep", "er"), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(home, "deep", "er"), 0o700) })
	if err := os.Symlink(filepath.Join(home, "html", "index.html"), filepath.Join(home, "html", "home.html")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(w.backup+home, os.DirFS(home)); err != nil {
		t.Fatal(err)
	}
	for _, excluded := range []string{"log", "run"} {
		if err := os.RemoveAll(filepath.Join(w.backup+home, excluded)); err != nil {
			t.Fatal(err)
		}
	}
	w.estate.Services = append(w.estate.Services, estate.Service{
		Name: name, Needs: needs, Repository: "main",
		Assets: []estate.Asset{{Name: "tree", Kind: "files", Paths: []string{home}}},
		Processes: []estate.Process{{
			Name: "nginx", Argv: []string{"nginx", "-e", "stderr", "-c", conf}, Directory: home, Listen: []string{address}, StopSignal: "SIGQUIT",
			Relocate: []string{conf}, PIDFile: filepath.Join(home, "run", "kedge.pid"), Log: filepath.Join(home, "log", "nginx.log"),
			Timeout: 10 * time.Second,
		}},
		Probes: []estate.Probe{
			{Name: "front page", Kind: "http", URL: "http://" + address + "/", Expect: "Welcome to " + name, Timeout: time.Second},
			{Name: "link", Kind: "http", URL: "http://" + address + "/home.html", Expect: "Welcome to " + name, Timeout: time.Second},
			{Name: "port", Kind: "tcp", Address: address, Timeout: time.Second},
			{Name: "page", Kind: "files", Path: filepath.Join(home, "html", "port.txt"), Expect: "the page says " + port},
		},
		Objectives: estate.Objectives{RPO: time.Hour, RTO: time.Hour},
	})
}

func (w *town) service(t *testing.T, name string) *estate.Service {
	t.Helper()
	s, err := w.estate.Service(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *town) restore(_ context.Context, s *estate.Service, a *estate.Asset, target string) (Brought, error) {
	b := Brought{Files: 1, Bytes: 10, Snapshots: []string{s.Name + "-" + a.Name}, Time: time.Now().Add(-time.Minute)}
	for _, p := range append(slices.Clone(a.Paths), a.Data) {
		if p == "" {
			continue
		}
		if err := os.CopyFS(target+p, os.DirFS(w.backup+p)); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (w *town) options() Options {
	return Options{Dir: w.sandbox, Restore: w.restore, Ask: func(ctx context.Context, p estate.Probe) event.ProbeResult {
		w.asked = append(w.asked, p)
		return probe.Await(ctx, p)
	}}
}

// drill runs a drill and checks that nothing is left of it.
func (w *town) drill(t *testing.T, opt Options) map[string]event.DrillFinished {
	t.Helper()
	events, err := Run(t.Context(), w.estate, opt)
	if err != nil {
		t.Fatal(err)
	}
	w.mustBeClear(t)
	facts := make(map[string]event.DrillFinished)
	for _, e := range events {
		fact := e.Fact.(event.DrillFinished)
		if fact.Passed == (fact.Reason != "") || fact.Copy != "geneva" || e.Site != "geneva" {
			t.Errorf("service %s: %+v is no verdict", e.Service, fact)
		}
		facts[e.Service] = fact
	}
	return facts
}

func (w *town) mustBeClear(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat(w.sandbox); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the sandbox is still there: %v", err)
	}
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(w.sandbox)) {
			t.Errorf("%s still runs: %q", name, line)
		}
	}
}

func mustPass(t *testing.T, facts map[string]event.DrillFinished, services ...string) {
	t.Helper()
	for _, name := range services {
		if fact, done := facts[name]; !fact.Passed {
			t.Errorf("service %s (drilled: %v) failed: %s", name, done, fact.Reason)
		}
	}
}

func mustFail(t *testing.T, facts map[string]event.DrillFinished, name, reason string) {
	t.Helper()
	if fact, done := facts[name]; !done || fact.Passed || !strings.Contains(fact.Reason, reason) {
		t.Errorf("service %s (drilled: %v) has reason %q, want %q", name, done, fact.Reason, reason)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freeAddresses are held together, so that none is another.
func freeAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func TestDrillProvesTheCopyBesideTheLiveServiceWithoutTouchingIt(t *testing.T) {
	w := newTown(t, "website")
	s := w.service(t, "website")
	spec, err := process.FromEstate(s.Processes[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := process.Stop(context.Background(), spec); err != nil {
			t.Error(err)
		}
	}()
	// The live page has changed since: a drill that asked the live service would fail.
	write(t, filepath.Join(w.live, "website", "html", "index.html"), "Owned")

	facts := w.drill(t, w.options())
	mustPass(t, facts, "website")
	fact := facts["website"]
	if fact.RPO < 59 || fact.RPO > 70 || fact.RTO <= 0 || fact.RTO > 60 || fact.Files != 1 || fact.Bytes != 10 || len(fact.Probes) != 4 {
		t.Errorf("measured %+v, want an RPO of a minute, an RTO, one file of 10 bytes and four probes", fact)
	}
	if !slices.Equal(fact.Snapshots, []string{"website-tree"}) {
		t.Errorf("snapshots %q", fact.Snapshots)
	}
	for _, p := range w.asked {
		if strings.Contains(p.URL+p.Address, s.Processes[0].Listen[0]) || strings.HasPrefix(p.Path, w.live) {
			t.Errorf("the live service was asked: %+v", p)
		}
	}
	if running, err := process.Running(spec); err != nil || !running {
		t.Errorf("the live service runs: %v, %v", running, err)
	}
	if log, err := os.ReadFile(filepath.Join(w.live, "website", "log", "access.log")); err != nil || len(log) > 0 {
		t.Errorf("the live access log has %q, %v; want nothing", log, err)
	}
}

func TestDrillNeedsNothingOfTheLiveService(t *testing.T) {
	w := newTown(t, "website")
	if err := os.Chmod(filepath.Join(w.live, "website", "deep", "er"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.live); err != nil {
		t.Fatal(err)
	}
	mustPass(t, w.drill(t, w.options()), "website")
	mustPass(t, w.drill(t, w.options()), "website") // a second drill right after
}

func TestServiceWhoseNeedFailedFailsAndOthersDoNot(t *testing.T) {
	w := newTown(t, "portal:register", "website", "register")
	write(t, w.backup+filepath.Join(w.live, "register", "html", "index.html"), "Owned")
	facts := w.drill(t, w.options())
	mustPass(t, facts, "website")
	mustFail(t, facts, "register", `probe front page: the answer lacks "Welcome to register"`)
	mustFail(t, facts, "portal", "service register, which it needs, failed")
	if len(facts["portal"].Snapshots) > 0 {
		t.Error("a service was restored though what it needs had failed")
	}
}

func TestOnlyTheNamedAndWhatTheyNeedAreDrilled(t *testing.T) {
	w := newTown(t, "portal:register", "website", "register")
	opt := w.options()
	opt.Only = []string{"portal"}
	facts := w.drill(t, opt)
	mustPass(t, facts, "register", "portal")
	if len(facts) != 2 {
		t.Errorf("%d services were drilled, want 2", len(facts))
	}
	opt.Only = []string{"printing"}
	if _, err := Run(t.Context(), w.estate, opt); err == nil || !strings.Contains(err.Error(), "printing") {
		t.Errorf("an unknown service: error %v", err)
	}
	w.mustBeClear(t)
}

func TestFailuresSayWhatFailed(t *testing.T) {
	for _, c := range []struct {
		what, reason string
		spoil        func(t *testing.T, w *town, s *estate.Service, opt *Options)
	}{
		{"restore", "restore asset tree: pack 5f is damaged", func(_ *testing.T, _ *town, _ *estate.Service, opt *Options) {
			opt.Restore = func(context.Context, *estate.Service, *estate.Asset, string) (Brought, error) {
				return Brought{}, errors.New("pack 5f is damaged")
			}
		}},
		{"start", `unknown directive "serve"`, func(t *testing.T, w *town, s *estate.Service, _ *Options) {
			write(t, w.backup+s.Processes[0].Relocate[0], "serve;")
		}},
		{"missing configuration", "relocate process nginx", func(t *testing.T, w *town, s *estate.Service, _ *Options) {
			if err := os.Remove(w.backup + s.Processes[0].Relocate[0]); err != nil {
				t.Fatal(err)
			}
		}},
		{"configuration that is a link out", "relocate process nginx", func(t *testing.T, w *town, s *estate.Service, _ *Options) {
			conf := s.Processes[0].Relocate[0]
			if err := os.Remove(w.backup + conf); err != nil {
				t.Fatal(err)
			}
			outside := filepath.Join(t.TempDir(), "nginx.conf")
			write(t, outside, "listen 80;")
			if err := os.Symlink(outside, w.backup+conf); err != nil {
				t.Fatal(err)
			}
		}},
		{"log directory that is a link out", "prepare process nginx", func(t *testing.T, w *town, s *estate.Service, _ *Options) {
			if err := os.Symlink(t.TempDir(), w.backup+filepath.Dir(s.Processes[0].Log)); err != nil {
				t.Fatal(err)
			}
		}},
		{"readiness", "wait until it is ready: still in recovery", func(_ *testing.T, w *town, _ *estate.Service, opt *Options) {
			opt.After = func(_ context.Context, s *estate.Service) error {
				if !strings.HasPrefix(s.Assets[0].Paths[0], w.sandbox) {
					return errors.New("asked about the live service")
				}
				return errors.New("still in recovery")
			}
		}},
		{"probe of the outside", "out.example:80 is not in the sandbox", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) {
			s.Probes[0].URL = "http://out.example/"
		}},
		{"probe of an undeclared port", "127.0.0.1:1 is not in the sandbox", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) {
			s.Probes[2].Address = "127.0.0.1:1"
		}},
		{"SQL probe of the outside", "out of the sandbox", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) {
			s.Probes = append(s.Probes, estate.Probe{Name: "sql", Kind: "sql", Connect: "host=db.example port=5432", Query: "select 1"})
		}},
		{"file that is in no asset", "is in no asset", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) {
			s.Probes[3].Path = "/etc/passwd"
		}},
		{"RPO", "may be lost", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) { s.Objectives.RPO = 30 * time.Second }},
		{"RTO", "is to be back", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) { s.Objectives.RTO = time.Millisecond }},
		{"whole machine", "whole machine", func(_ *testing.T, _ *town, s *estate.Service, _ *Options) {
			s.Assets = append(s.Assets, estate.Asset{Name: "all", Kind: "files", Paths: []string{"/"}})
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newTown(t, "website")
			opt := w.options()
			c.spoil(t, w, w.service(t, "website"), &opt)
			mustFail(t, w.drill(t, opt), "website", c.reason)
		})
	}
}

func TestDrillThatIsBrokenOffLeavesNothing(t *testing.T) {
	w := newTown(t, "register", "portal:register", "website:portal")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt := w.options()
	opt.Ask = func(_ context.Context, p estate.Probe) event.ProbeResult {
		if strings.Contains(p.Expect, "portal") {
			response, err := http.Get(p.URL) // it does run
			if err != nil {
				t.Error(err)
			} else {
				response.Body.Close()
			}
			cancel()
		}
		return event.ProbeResult{Probe: p.Name, OK: true}
	}
	events, err := Run(ctx, w.estate, opt)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if len(events) != 1 || events[0].Service != "register" {
		t.Errorf("events %v, want that of the one service that was finished", events)
	}
	w.mustBeClear(t)
}

func TestWhatServicesLeaveIsExaminedWhenAllAreStopped(t *testing.T) {
	w := newTown(t, "register", "portal:register", "library")
	opt := w.options()
	var examined []string
	opt.Verify = func(_ context.Context, s *estate.Service) ([]event.StructureCheck, error) {
		examined = append(examined, s.Name)
		for _, p := range s.Processes {
			if _, err := net.Dial("tcp", p.Listen[0]); err == nil {
				t.Errorf("%s still serves", s.Name)
			}
		}
		if _, err := os.Stat(filepath.Join(s.Assets[0].Paths[0], "html", "index.html")); err != nil || !strings.HasPrefix(s.Assets[0].Paths[0], w.sandbox) {
			t.Errorf("%s is examined at %s: %v", s.Name, s.Assets[0].Paths[0], err)
		}
		checks := []event.StructureCheck{{Asset: "tree", Tables: 7}}
		if s.Name == "register" {
			return checks, errors.New("a page is torn")
		}
		return checks, nil
	}
	facts := w.drill(t, opt)
	mustFail(t, facts, "register", "a page is torn")
	mustFail(t, facts, "portal", "service register, which it needs, failed")
	mustPass(t, facts, "library")
	if !slices.Equal(examined, []string{"register", "portal", "library"}) {
		t.Errorf("examined %q, want each once", examined)
	}
	for name, fact := range facts {
		if len(fact.Structure) != 1 || fact.Structure[0].Tables != 7 || len(fact.Probes) != 4 {
			t.Errorf("%s: the fact is %+v", name, fact)
		}
	}
}

func TestTimeToExamineIsNoTimeToRecover(t *testing.T) {
	w := newTown(t, "website")
	opt := w.options()
	began := time.Now()
	var asked time.Duration // until the examination began
	opt.Verify = func(context.Context, *estate.Service) ([]event.StructureCheck, error) {
		asked = time.Since(began)
		return nil, nil
	}
	if fact := w.drill(t, opt)["website"]; fact.RTO <= 0 || fact.RTO > asked.Seconds() {
		t.Errorf("an RTO of %.3f s was measured, though the service had been asked %v after the beginning", fact.RTO, asked)
	}
}

func TestServiceThatFailedIsExaminedForTheReason(t *testing.T) {
	w := newTown(t, "website")
	opt := w.options()
	w.service(t, "website").Probes[0].Expect = "what no page says"
	opt.Verify = func(context.Context, *estate.Service) ([]event.StructureCheck, error) {
		return nil, errors.New("a page is torn")
	}
	fact := w.drill(t, opt)["website"]
	if !strings.Contains(fact.Reason, "probe front page") || !strings.HasSuffix(fact.Reason, "; a page is torn") {
		t.Errorf("reason %q, want the probe's and the examination's", fact.Reason)
	}
}

func TestDrillThatIsBrokenOffWhileItExaminesClaimsNothing(t *testing.T) {
	w := newTown(t, "register", "website")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt := w.options()
	opt.Verify = func(_ context.Context, s *estate.Service) ([]event.StructureCheck, error) {
		if s.Name == "website" {
			cancel()
		}
		return nil, ctx.Err()
	}
	events, err := Run(ctx, w.estate, opt)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if len(events) != 1 || events[0].Service != "register" {
		t.Errorf("events %v, want that of the one service that was examined", events)
	}
	w.mustBeClear(t)
}

func TestSandboxThatHoldsAnythingIsRefusedAndLeftAlone(t *testing.T) {
	w := newTown(t, "website")
	treasure := filepath.Join(w.sandbox, "treasure")
	write(t, treasure, "gold")
	if _, err := Run(t.Context(), w.estate, w.options()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v, want a refusal", err)
	}
	if _, err := os.Stat(treasure); err != nil {
		t.Error(err)
	}
	opt := w.options()
	for dir, want := range map[string]string{
		filepath.Join(w.live, "website", "box"): "belongs to service website",
		"box":                                   "absolute",
		"/":                                     "absolute",
	} {
		opt.Dir = dir
		if _, err := Run(t.Context(), w.estate, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("sandbox %s: error %v, want %q", dir, err, want)
		}
	}
}

func TestEveryListeningAddressIsMoved(t *testing.T) {
	w := newTown(t, "website")
	s := w.service(t, "website")
	_, port, _ := net.SplitHostPort(s.Processes[0].Listen[0])
	s.Processes[0].Listen = []string{"0.0.0.0:" + port, "[::1]:" + port}
	s.Probes[0].URL = "http://localhost:" + port + "/"
	s.Probes[1].URL = "http://0.0.0.0:" + port + "/home.html"
	pl, err := newPlace(w.estate, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer pl.close()
	there, err := pl.service(s)
	if err != nil {
		t.Fatal(err)
	}
	ours := pl.ports[port]
	if want := []string{"127.0.0.1:" + ours, "[::1]:" + ours}; !slices.Equal(there.Processes[0].Listen, want) {
		t.Errorf("it listens on %q, want %q", there.Processes[0].Listen, want)
	}
	if there.Probes[0].URL != "http://localhost:"+ours+"/" || there.Probes[1].URL != "http://127.0.0.1:"+ours+"/home.html" {
		t.Errorf("probes ask %s and %s", there.Probes[0].URL, there.Probes[1].URL)
	}
	if s.Processes[0].Listen[0] != "0.0.0.0:"+port {
		t.Error("the declared service was changed")
	}
	s.Processes[0].Listen = []string{"10.0.0.1:" + port, "10.0.0.2:" + port}
	if _, err := newPlace(w.estate, t.TempDir()); err == nil || !strings.Contains(err.Error(), "different ports") {
		t.Errorf("two addresses that would be one: error %v", err)
	}
}
