package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

const fullDiskPassword = "correct horse"

// lockOnly is what a lock takes, in KiB: a page of a file system in memory.
const lockOnly = 4

// TestAFullDiskLosesNothing fills disks: file systems in memory, which a child of this process mounts in a namespace of
// its own, so that the machine has none of it and they go with the child.
func TestAFullDiskLosesNothing(t *testing.T) {
	if os.Getenv("KEDGE_TEST_FULL_DISK") == "" {
		inNamespace(t, "KEDGE_TEST_FULL_DISK=1")
		return
	}
	t.Setenv("KEDGE_PASSWORD", fullDiskPassword)
	t.Setenv("KEDGE_FROM_PASSWORD", fullDiskPassword)
	t.Setenv("KEDGE_PACK_SIZE", "4")
	t.Setenv("KEDGE_CACHE_DIR", t.TempDir())
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("keep mounts from the machine: %v", err)
	}
	t.Run("backup", backupToAFullDisk)
	t.Run("restore", restoreToAFullDisk)
	t.Run("copy", copyToAFullDisk)
	t.Run("prune", pruneOfAFullDisk)
}

// inNamespace runs the test again in a child that may mount: root needs a namespace of mounts, others one of users too.
func inNamespace(t *testing.T, variable string) {
	t.Helper()
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	group := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	var refused error
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: group},
	} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), variable)
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil && strings.Contains(string(out), "--- PASS: "+t.Name()):
			t.Logf("%s", out)
			return
		case err == nil || errors.As(err, &exit):
			t.Fatalf("in a namespace: %v\n%s", err, out)
		}
		refused = errors.Join(refused, err)
	}
	t.Fatalf("the kernel lets this user mount nothing, so that no disk can be filled: run the test as root with CAP_SYS_ADMIN, "+
		"or allow namespaces of users (sysctl user.max_user_namespaces): %v", refused)
}

// disk is a small file system.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, kib int) *disk {
	t.Helper()
	d := &disk{t, t.TempDir()}
	d.try(unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)))
	t.Cleanup(func() { d.try(unix.Unmount(d.dir, unix.MNT_DETACH)) })
	return d
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// grow makes space.
func (d *disk) grow(kib int) {
	d.t.Helper()
	d.try(unix.Mount("", d.dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%dk", kib)))
}

// free returns how many KiB are left.
func (d *disk) free() int {
	d.t.Helper()
	var st unix.Statfs_t
	d.try(unix.Statfs(d.dir, &st))
	return int(st.Bavail) * int(st.Bsize) >> 10
}

// leave fills the disk until so many KiB are left.
func (d *disk) leave(kib int) {
	d.t.Helper()
	if n := d.free() - kib; n > 0 {
		d.try(os.WriteFile(d.path(fmt.Sprintf("ballast%d", d.free())), make([]byte, n<<10), 0o600))
	}
	if d.free() != kib {
		d.t.Fatalf("%d KiB are left, want %d", d.free(), kib)
	}
}

// release takes the ballast away.
func (d *disk) release() {
	d.t.Helper()
	ballast, err := filepath.Glob(d.path("ballast*"))
	d.try(err)
	for _, path := range ballast {
		d.try(os.Remove(path))
	}
}

// initialise makes a repository whose password costs nothing to try.
func (d *disk) initialise(dir string, polynomial chunker.Pol) chunker.Pol {
	d.t.Helper()
	be, err := local.Create(dir)
	d.try(err)
	r, err := repo.Init(d.t.Context(), be, fullDiskPassword, repo.Options{ScryptN: 2, Polynomial: polynomial})
	d.try(errors.Join(err, backend.Close(be)))
	return r.Config().Polynomial
}

func (d *disk) try(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// succeeds runs kedge and wants it to.
func (d *disk) succeeds(args ...string) {
	d.t.Helper()
	if status, stdout, stderr := command(d.t, args...); status != exitDone {
		d.t.Fatalf("kedge %v: status %d\n%s%s", args, status, stdout, stderr)
	}
}

// namesFile matches an error that names a file of a repository, or one that stands or is written below a directory.
var namesFile = regexp.MustCompile(`(tmp|data|index|locks|snapshots)/[0-9A-Za-z]+|/[^ ]+/f\d`)

// fails runs kedge and wants it to say that there is no space, and for which file.
func (d *disk) fails(args ...string) {
	d.t.Helper()
	status, stdout, stderr := command(d.t, args...)
	if status != exitFailed || !strings.Contains(stderr, "no space left on device") || !namesFile.MatchString(stderr) {
		d.t.Errorf("kedge %v on a full disk: status %d, want %d and the file that has no space left on device\n%s%s", args, status, exitFailed, stdout, stderr)
	}
}

// sound checks a repository with all its data, without a lock: it may be that there is no space for one.
func (d *disk) sound(repository string, snapshots int) {
	d.t.Helper()
	d.succeeds("check", "-r", repository, "--read-data", "--no-lock")
	entries, err := os.ReadDir(filepath.Join(repository, "snapshots"))
	if err != nil || len(entries) != snapshots {
		d.t.Errorf("%s has %d snapshots, want %d: %v", repository, len(entries), snapshots, err)
	}
}

// holds restores a snapshot elsewhere and compares it with what was backed up.
func (d *disk) holds(repository, snapshot string, want map[string][32]byte) {
	d.t.Helper()
	target := d.t.TempDir()
	d.succeeds("restore", "-r", repository, "--no-lock", snapshot, "--target", target)
	if got := sums(d.t, target); !maps.Equal(got, want) {
		d.t.Errorf("%s of %s does not hold what was backed up: %d files, want %d", snapshot, repository, len(got), len(want))
	}
}

// sums returns the hashes of all files below dir by their paths there; what is half-written, and says so by its name, is
// left out.
func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := make(map[string][32]byte)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".kedge-") {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fill writes n files of 512 KiB that do not compress, and returns the hashes of all there are.
func fill(t *testing.T, source string, seed byte, n int) map[string][32]byte {
	t.Helper()
	random := rand.NewChaCha8([32]byte{seed})
	for i := range n {
		content := make([]byte, 512<<10)
		random.Read(content)
		path := filepath.Join(source, fmt.Sprintf("d%d", seed), fmt.Sprintf("f%02d", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return sums(t, source)
}

func backupToAFullDisk(t *testing.T) {
	d, source := newDisk(t, 12<<10), t.TempDir()
	repository := d.path("repository")
	first := fill(t, source, 1, 4)
	d.initialise(repository, 0)
	backup := []string{"backup", "-r", repository, source}
	d.succeeds(backup...)
	inSource := "latest:" + source

	second := fill(t, source, 2, 24)
	d.fails(backup...)
	d.sound(repository, 1)
	d.holds(repository, inSource, first)
	d.leave(0) // there is no space for as much as a lock
	d.fails(backup...)
	d.sound(repository, 1)
	restictest.Run(t, repository, fullDiskPassword, "check", "--read-data", "--no-lock")
	d.holds(repository, inSource, first)

	d.grow(64 << 10)
	d.succeeds(backup...)
	d.sound(repository, 2)
	restictest.Run(t, repository, fullDiskPassword, "check", "--read-data")
	d.holds(repository, inSource, second)
}

func restoreToAFullDisk(t *testing.T) {
	d, source, repository := newDisk(t, 5<<10), t.TempDir(), filepath.Join(t.TempDir(), "repository")
	fill(t, source, 1, 20)
	large := make([]byte, 6<<20) // of several blobs
	rand.NewChaCha8([32]byte{2}).Read(large)
	d.try(os.WriteFile(filepath.Join(source, "large"), large, 0o600))
	want := sums(t, source)
	d.initialise(repository, 0)
	d.succeeds("backup", "-r", repository, source)
	restore := []string{"restore", "-r", repository, "latest:" + source, "--target", d.dir}

	former := []byte("what stood there before")
	d.try(os.Mkdir(d.path("d1"), 0o700))
	for name := range want {
		d.try(os.WriteFile(d.path(name), former, 0o600))
	}
	d.fails(restore...)
	whole, left := 0, sums(t, d.dir)
	for name, sum := range want {
		switch left[name] {
		case sum:
			whole++
		case sha256.Sum256(former):
		default:
			t.Errorf("%s is neither what stood there nor what was backed up", name)
		}
	}
	if whole == 0 || whole == len(want) {
		t.Errorf("%d of %d files fit, so that the test proves nothing", whole, len(want))
	}
	d.nothingHalfWritten()
	d.sound(repository, 1)

	d.grow(64 << 10)
	d.succeeds(restore...)
	if got := sums(t, d.dir); !maps.Equal(got, want) {
		t.Errorf("the second restore did not complete: %d of %d files", len(got), len(want))
	}
	d.nothingHalfWritten()
}

// nothingHalfWritten finds none of the files that a restore writes before they get their names: they would take space for
// nothing.
func (d *disk) nothingHalfWritten() {
	d.t.Helper()
	for _, dir := range []string{d.dir, d.path("d1")} {
		if left, err := filepath.Glob(filepath.Join(dir, ".kedge-*")); err != nil || len(left) > 0 {
			d.t.Errorf("half-written files are left: %v, %v", left, err)
		}
	}
}

func copyToAFullDisk(t *testing.T) {
	d, source, from := newDisk(t, 8<<10), t.TempDir(), filepath.Join(t.TempDir(), "repository")
	to := d.path("repository")
	first := fill(t, source, 1, 4)
	d.initialise(to, d.initialise(from, 0))
	d.succeeds("backup", "-r", from, source)
	copying := []string{"copy", "-r", to, "--from-repo", from}
	d.succeeds(copying...)

	second := fill(t, source, 2, 20)
	d.succeeds("backup", "-r", from, source)
	d.fails(copying...)
	d.sound(to, 1)
	d.sound(from, 2)
	d.holds(to, "latest:"+source, first)

	d.grow(64 << 10)
	d.succeeds(copying...)
	d.sound(to, 2)
	restictest.Run(t, to, fullDiskPassword, "check", "--read-data")
	d.holds(to, "latest:"+source, second)
}

// pruneOfAFullDisk is how one gets out of a full disk. A prune that writes packs anew has no space for them; one that is
// kept from it by --max-repack-size 0 needs no more than the space of a lock and an index, and frees what nothing needs at
// all. Packs that a backup left which found the disk full give even the space for the index.
func pruneOfAFullDisk(t *testing.T) {
	d, source := newDisk(t, 32<<10), t.TempDir()
	repository := d.path("repository")
	backup := []string{"backup", "-r", repository, source}
	d.initialise(repository, 0)
	fill(t, source, 1, 16) // packs of which all goes
	d.succeeds(backup...)
	d.try(os.RemoveAll(filepath.Join(source, "d1")))
	fill(t, source, 2, 16) // packs of which some goes
	d.succeeds(backup...)
	for i := range 8 {
		d.try(os.Remove(filepath.Join(source, "d2", fmt.Sprintf("f%02d", 2*i))))
	}
	want := sums(t, source)
	d.succeeds(backup...)
	d.succeeds("forget", "-r", repository, "--keep-last", "1")
	inSource := "latest:" + source

	for _, left := range []int{0, 100, 3 << 10} { // no space for a lock, for any of a pack, for all packs
		d.leave(left)
		d.fails("prune", "-r", repository, "--max-unused", "0")
		d.sound(repository, 1)
		d.holds(repository, inSource, want)
		d.release()
	}

	d.addUnnamedPack(repository, 1<<20)
	d.leave(lockOnly)
	before := d.free()
	d.succeeds("prune", "-r", repository, "--max-repack-size", "0")
	if freed := d.free() - before; freed < 8<<10 {
		t.Errorf("a prune that writes no pack anew freed %d KiB", freed)
	}
	d.sound(repository, 1)
	d.succeeds("prune", "-r", repository, "--max-unused", "0")
	d.sound(repository, 1)
	restictest.Run(t, repository, fullDiskPassword, "check", "--read-data")
	d.holds(repository, inSource, want)
}

// addUnnamedPack leaves in a repository what a backup leaves that is stopped between a pack and its index file.
func (d *disk) addUnnamedPack(repository string, size int) {
	d.t.Helper()
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{9}).Read(content)
	name := fmt.Sprintf("%x", sha256.Sum256(content))
	d.try(os.WriteFile(filepath.Join(repository, "data", name[:2], name), content, 0o600))
}
