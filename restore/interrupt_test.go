package restore_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// The environment that turns this test into a process that restores, and is killed.
const (
	helperRepository = "KEDGE_TEST_RESTORE_REPOSITORY"
	helperTarget     = "KEDGE_TEST_RESTORE_TARGET"
)

func TestMain(m *testing.M) {
	if place := os.Getenv(helperRepository); place != "" {
		if err := restoreAsHelper(place, os.Getenv(helperTarget)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func restoreAsHelper(place, target string) error {
	ctx := context.Background()
	be, err := local.Open(place)
	if err != nil {
		return err
	}
	r, err := repo.Open(ctx, be, password, repo.Options{})
	if err != nil {
		return err
	}
	sn, err := snapshot.Find(ctx, r, "latest", snapshot.Filter{})
	if err != nil {
		return err
	}
	fmt.Println("begin")
	_, err = restore.Run(ctx, r, sn.Tree, restore.Options{Target: target, StripPrefix: sn.Paths[0]})
	return err
}

// TestARestoreThatIsKilledLeavesWholeFilesOnlyAndGoesOn kills restores at moments that are spread over the time that one
// takes: over a standing tree whose files are all damaged, since there a half-written file would be hardest to tell.
func TestARestoreThatIsKilledLeavesWholeFilesOnlyAndGoesOn(t *testing.T) {
	dir, place := sample(t), t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	r := newRepository(t, be)
	sn := backup(t, r, dir)
	want := contents(t, dir)
	target := filepath.Join(t.TempDir(), "target")

	took := killAfter(t, place, target, time.Minute)
	same(t, target, dir)
	seed := rand.Uint64()
	moments := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for round := range 5 {
		damaged := damage(t, target)
		after := time.Duration(moments.Int64N(int64(took)))
		if killAfter(t, place, target, after) == 0 {
			killed++
		}
		for name, id := range contents(t, target) {
			switch {
			case strings.HasPrefix(filepath.Base(name), ".kedge-"):
			case id != want[name] && id != damaged[name]:
				t.Fatalf("seed %d, round %d: killed after %v, %s stands half-written", seed, round, after, name)
			}
		}
		run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
		same(t, target, dir)
		if t.Failed() {
			t.Fatalf("seed %d, round %d: killed after %v, the next restore did not complete it", seed, round, after)
		}
	}
	if killed == 0 {
		t.Errorf("seed %d: no restore was killed while it ran, which takes %v", seed, took)
	}
}

// killAfter restores in another process and kills it some time after it begins. It returns how long the restore took, 0 if it
// was killed.
func killAfter(t *testing.T, place, target string, after time.Duration) time.Duration {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperRepository+"="+place, helperTarget+"="+target)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	try(t, err)
	try(t, cmd.Start())
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatalf("the helper did not begin: %v", err)
	}
	began := time.Now()
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		if !cmd.ProcessState.Exited() {
			return 0
		}
		t.Fatalf("the helper failed: %v", err)
	}
	return time.Since(began)
}

// contents returns what the regular files hold.
func contents(t *testing.T, dir string) map[string]blob.ID {
	t.Helper()
	all := map[string]blob.ID{}
	try(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		all[rel] = blob.Hash(data)
		return err
	}))
	return all
}

// damage writes to every regular file with something in it, and returns what they hold then.
func damage(t *testing.T, dir string) map[string]blob.ID {
	t.Helper()
	try(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("vandals"), 0)
		return err
	}))
	return contents(t, dir)
}
