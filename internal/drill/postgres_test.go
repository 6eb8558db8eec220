package drill

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/process"
)

// own gives a tree to an account.
func own(t *testing.T, top string, account *syscall.Credential) {
	t.Helper()
	if account == nil {
		return
	}
	err := filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(account.Uid), int(account.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPostgreSQLIsDrilledOnAnotherPortBesideTheLiveOne(t *testing.T) {
	const bin = "/usr/lib/postgresql/15/bin"
	w := newTown(t)
	var account *syscall.Credential
	name := ""
	if os.Getuid() == 0 { // which PostgreSQL refuses
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		name, account = "nobody", &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	home := filepath.Join(w.live, "db")
	data, run := filepath.Join(home, "data"), filepath.Join(home, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, home, account)
	initdb := exec.CommandContext(t.Context(), bin+"/initdb", "-D", data, "-N", "-A", "trust", "-U", "kedge")
	initdb.Dir, initdb.SysProcAttr = home, &syscall.SysProcAttr{Credential: account}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb (if it is missing, run make test: it installs it): %v\n%s", err, out)
	}
	if err := os.CopyFS(w.backup+data, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	address := freeAddresses(t, 1)[0]
	_, port, _ := net.SplitHostPort(address)
	w.estate.Services = []estate.Service{{
		Name: "db", Repository: "main",
		Assets: []estate.Asset{{Name: "cluster", Kind: "postgres", Data: data, Bin: bin, Connect: "host=127.0.0.1 user=kedge dbname=postgres port=" + port}},
		Processes: []estate.Process{{
			Name: "postgres", User: name, StopSignal: "SIGINT", Listen: []string{address}, Timeout: 20 * time.Second,
			Argv:    []string{bin + "/postgres", "-D", data, "-c", "port=" + port, "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"},
			PIDFile: filepath.Join(run, "kedge.pid"), Log: filepath.Join(home, "log", "postgres.log"),
		}},
		Probes: []estate.Probe{
			{Name: "directory", Kind: "sql", Connect: "host=127.0.0.1 sslmode=disable user=kedge dbname=postgres port=" + port, Query: "show data_directory", Expect: w.sandbox + data},
			{Name: "port", Kind: "sql", Connect: fmt.Sprintf("postgres://kedge@%s/postgres", address), Query: "select inet_server_port() <> " + port, Expect: "t"},
		},
	}}
	spec, err := process.FromEstate(w.estate.Services[0].Processes[0])
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
	opt := w.options()
	opt.Restore = func(ctx context.Context, s *estate.Service, a *estate.Asset, target string) (Brought, error) {
		b, err := w.restore(ctx, s, a, target)
		own(t, target+data, account)
		if err == nil {
			err = os.Chmod(target+data, 0o700)
		}
		return b, err
	}
	after := ""
	opt.After = func(_ context.Context, s *estate.Service) error {
		after = s.Assets[0].Connect
		return nil
	}
	mustPass(t, w.drill(t, opt), "db")
	if after == "" || after == w.estate.Services[0].Assets[0].Connect {
		t.Errorf("After was told to connect by %q, want the sandbox's string", after)
	}
	if running, err := process.Running(spec); err != nil || !running {
		t.Errorf("the live server runs: %v, %v", running, err)
	}
}
