package fileevent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ways are all ways to open a Source. Those that this process may not use are said to be left out.
func ways(t *testing.T) map[string]func([]string, Options) (Source, error) {
	t.Helper()
	all := map[string]func([]string, Options) (Source, error){"inotify": OpenInotify}
	s, err := OpenFanotify([]string{t.TempDir()}, Options{Trouble: func(error) {}})
	if errors.Is(err, ErrPrivilege) {
		t.Logf("NOT TESTED: fanotify (%v); inotify alone is", err)
		return all
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all["fanotify"] = OpenFanotify
	all["fanotify before Linux 5.17"] = func(dirs []string, opt Options) (Source, error) { return openFanotify(dirs, opt, halfRenames) }
	return all
}

// eachWay runs a story on every way.
func eachWay(t *testing.T, story func(t *testing.T, w *watched)) {
	for name, open := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, watch(t, open, t.TempDir()))
		})
	}
}

// watched is a directory under watch and all that was told of it.
type watched struct {
	t   *testing.T
	dir string
	src Source

	mu       sync.Mutex
	told     []Event
	troubles []error
	marks    int
}

func watch(t *testing.T, open func([]string, Options) (Source, error), dir string) *watched {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, dir: dir}
	w.src, err = open([]string{dir}, Options{Trouble: func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.troubles = append(w.troubles, err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.src.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range w.troubles {
			t.Errorf("trouble: %v", err)
		}
	})
	return w
}

func (w *watched) path(name string) string { return w.dir + "/" + name }

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) write(name, text string) {
	w.t.Helper()
	w.must(os.WriteFile(w.path(name), []byte(text), 0o600))
}

// until receives events until one of all that were told is the one, or the last that was missing; it returns all so far.
func (w *watched) until(what string, is func(Event) bool) []Event {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for looked := 0; ; {
		for ; looked < len(w.told); looked++ {
			if is(w.told[looked]) {
				return w.told
			}
		}
		select {
		case batch, ok := <-w.src.Events():
			if !ok {
				w.t.Fatalf("the source ended before %s", what)
			}
			w.told = append(w.told, batch...)
		case <-deadline:
			w.t.Fatalf("%s was not told; told was\n%s", what, w.list(w.told))
		}
	}
}

// at makes a condition for until: something of a path, one of ops if any are named.
func (w *watched) at(name string, ops ...Op) func(Event) bool {
	return func(e Event) bool { return e.Path == w.path(name) && (len(ops) == 0 || slices.Contains(ops, e.Op)) }
}

// settled writes one more file, and returns what was told before it, without what looks found.
func (w *watched) settled() []Event {
	w.t.Helper()
	w.marks++
	mark := fmt.Sprintf("zz-mark-%d", w.marks)
	w.write(mark, "")
	told := w.until(mark, w.at(mark))
	var events []Event
	for _, e := range told[:slices.IndexFunc(told, w.at(mark))] {
		if e.Op != Changed && !strings.Contains(e.Path, "zz-mark") {
			e.PID = 0
			events = append(events, e)
		}
	}
	return events
}

func (w *watched) list(events []Event) string {
	var b strings.Builder
	if n := len(events) - 40; n > 0 {
		fmt.Fprintf(&b, "%d more, and then:\n", n)
		events = events[n:]
	}
	for _, e := range events {
		name := func(p string) string { return strings.TrimPrefix(p, w.dir+"/") }
		fmt.Fprintf(&b, "%v %q", e.Op, name(e.Path))
		if e.Op == Renamed {
			fmt.Fprintf(&b, " from %q", name(e.From))
		}
		if e.Dir {
			b.WriteString(" (directory)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// want compares what was told with one line an event.
func (w *watched) want(lines ...string) {
	w.t.Helper()
	if got := w.list(w.settled()); got != strings.Join(lines, "\n")+"\n" {
		w.t.Errorf("told was\n%swant\n%s", got, strings.Join(lines, "\n"))
	}
}

func TestAFileIsToldWhenItComesIsWrittenRenamedAndGoes(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.write("a.txt", "one")
		_ = w.settled() // else the kernel may tell the second writing with the first
		f, err := os.OpenFile(w.path("a.txt"), os.O_WRONLY, 0)
		w.must(err)
		_, err = f.WriteString("two")
		w.must(errors.Join(err, f.Close()))
		w.must(os.Rename(w.path("a.txt"), w.path("b.txt")))
		w.must(os.Remove(w.path("b.txt")))
		got := w.list(w.settled())
		want := `created "a.txt"
closed "a.txt"
closed "a.txt"
renamed "b.txt" from "a.txt"
deleted "b.txt"
`
		if got != want {
			t.Errorf("told was\n%swant\n%s", got, want)
		}
	})
}

func TestARenameOverAnotherFileIsOneEvent(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.write("old", "one")
		w.write("new", "two")
		_ = w.settled()
		w.must(os.Rename(w.path("new"), w.path("old")))
		w.want(`created "old"`, `closed "old"`, `created "new"`, `closed "new"`, `renamed "old" from "new"`)
	})
}

func TestReadingIsNoEvent(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.write("a", "one")
		_, err := os.ReadFile(w.path("a"))
		w.must(err)
		_, err = os.ReadDir(w.dir)
		w.must(err)
		w.must(os.Chmod(w.path("a"), 0o640))
		w.want(`created "a"`, `closed "a"`)
	})
}

func TestWhatIsInARenamedDirectoryIsToldUnderItsNewName(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.must(os.MkdirAll(w.path("one/deep/er"), 0o700))
		w.write("one/deep/er/a", "1")
		w.until("the first file", w.at("one/deep/er/a"))
		w.must(os.Rename(w.path("one"), w.path("two")))
		w.must(os.Rename(w.path("two/deep"), w.path("two/deeper")))
		w.write("two/deeper/er/b", "2")
		w.write("two/c", "3")
		told := w.settled()
		for _, want := range []Event{
			{Op: Renamed, Path: w.path("two"), From: w.path("one"), Dir: true},
			{Op: Renamed, Path: w.path("two/deeper"), From: w.path("two/deep"), Dir: true},
			{Op: Closed, Path: w.path("two/deeper/er/b")},
			{Op: Closed, Path: w.path("two/c")},
		} {
			if !slices.Contains(told, want) {
				t.Errorf("not told: %s of\n%s", w.list([]Event{want}), w.list(told))
			}
		}
	})
}

func TestWhatMovesInOrOutHasOneSide(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		outside, err := filepath.EvalSymlinks(t.TempDir())
		w.must(err)
		w.must(os.MkdirAll(outside+"/tree/sub", 0o700))
		w.must(os.WriteFile(outside+"/tree/sub/file", []byte("1"), 0o600))
		w.must(os.WriteFile(outside+"/lone", []byte("1"), 0o600))
		w.must(os.Rename(outside+"/lone", w.path("lone")))
		w.must(os.Rename(outside+"/tree", w.path("tree")))
		w.until("the file in the directory that moved in", w.at("tree/sub/file", Changed))
		w.write("tree/sub/more", "2")
		w.must(os.Rename(w.path("lone"), outside+"/lone"))
		w.must(os.Rename(w.path("tree"), outside+"/tree"))
		w.must(os.WriteFile(outside+"/tree/sub/after", []byte("3"), 0o600))
		told := w.settled()
		for _, want := range []Event{
			{Op: Renamed, Path: w.path("lone")},
			{Op: Renamed, Path: w.path("tree"), Dir: true},
			{Op: Closed, Path: w.path("tree/sub/more")},
			{Op: Renamed, From: w.path("lone")},
			{Op: Renamed, From: w.path("tree"), Dir: true},
		} {
			if !slices.Contains(told, want) {
				t.Errorf("not told: %s of\n%s", w.list([]Event{want}), w.list(told))
			}
		}
		if strings.Contains(w.list(told), "after") {
			t.Errorf("what happens outside was told:\n%s", w.list(told))
		}
	})
}

func TestFilesInDirectoriesMadeAMomentBeforeAreToldAll(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		missing := map[string]bool{}
		for i := range 40 {
			dir := fmt.Sprintf("d%d/e/f/g/h", i)
			w.must(os.MkdirAll(w.path(dir), 0o700))
			for j := range 3 {
				name := fmt.Sprintf("%s/file%d", dir, j)
				w.write(name, "x")
				missing[w.path(name)] = true
			}
		}
		w.until("every file", func(e Event) bool {
			if e.Op == Closed || e.Op == Changed {
				delete(missing, e.Path)
			}
			return len(missing) == 0
		})
	})
}

func TestARemovedTreeIsToldFileByFile(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.must(os.MkdirAll(w.path("a/b"), 0o700))
		for i := range 5 {
			w.write(fmt.Sprintf("a/b/%d", i), "x")
		}
		_ = w.settled()
		w.must(os.RemoveAll(w.path("a")))
		told := w.settled()
		for _, name := range []string{"a/b/0", "a/b/1", "a/b/2", "a/b/3", "a/b/4"} {
			if !slices.Contains(told, Event{Op: Deleted, Path: w.path(name)}) {
				t.Errorf("%s was not told to be gone:\n%s", name, w.list(told))
			}
		}
	})
}

func TestATreeThatWasThereBeforeIsToldFileByFileToo(t *testing.T) {
	for name, open := range ways(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 5 {
				if err := errors.Join(os.MkdirAll(fmt.Sprintf("%s/a/b%d", dir, i), 0o700), os.WriteFile(fmt.Sprintf("%s/a/b%d/f", dir, i), nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			w := watch(t, open, dir)
			w.must(os.RemoveAll(w.path("a")))
			told := w.settled()
			for i := range 5 {
				if !slices.Contains(told, Event{Op: Deleted, Path: w.path(fmt.Sprintf("a/b%d/f", i))}) {
					t.Errorf("a/b%d/f was not told to be gone:\n%s", i, w.list(told))
				}
			}
		})
	}
}

func TestOddNamesAreToldByteForByte(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		for _, name := range []string{"new\nline", "in\xffvalid\xc3", " blank ", "…", strings.Repeat("x", 255), "(deleted)", "a (deleted)"} {
			w.write(name, "x")
			w.must(os.Mkdir(w.path(name[:min(len(name), 200)]+".d"), 0o700))
			within := name[:min(len(name), 200)] + ".d/" + name
			w.write(within, "x")
			w.until(fmt.Sprintf("%q", name), w.at(name, Closed, Changed))
			w.until(fmt.Sprintf("%q", within), w.at(within, Closed, Changed))
		}
	})
}

func TestABurstOfTenThousandFilesIsToldWhole(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		w.must(os.Mkdir(w.path("burst"), 0o700))
		const files = 10000
		made := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < files && err == nil; i++ {
				err = os.WriteFile(w.path(fmt.Sprintf("burst/%05d", i)), []byte("x"), 0o600)
			}
			made <- err
		}()
		seen := map[string]bool{}
		w.until("every file of the burst", func(e Event) bool {
			if !e.Dir && (e.Op == Closed || e.Op == Changed) {
				seen[e.Path] = true
			}
			return len(seen) == files
		})
		w.must(<-made)
	})
}

func TestAfterALossAllThatChangedIsFound(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		const renames = 40000 // batches, and above the kernel's default for both queues, 16384
		w.write("0", "x")
		_ = w.settled()
		old := time.Now().Add(-time.Hour)
		for i := range renames {
			// Nobody receives meanwhile: batches fill, then the kernel's queue. Each name is new: the kernel tells the same once.
			w.must(os.Rename(w.path(strconv.Itoa(i)), w.path(strconv.Itoa(i+1))))
		}
		w.must(os.Mkdir(w.path("late"), 0o700))
		w.write("late/file", "written when the queue was full")
		w.must(os.Chtimes(w.path("late/file"), old, old)) // a forged time does not hide it
		told := w.until("the file written during the loss", w.at("late/file"))
		lost := slices.ContainsFunc(told, func(e Event) bool { return e.Op == Lost && !e.Since.IsZero() })
		if !lost {
			t.Fatal("the queue never overflowed: the test proves nothing; is max_queued_events above 16384?")
		}
		_ = w.settled()
		w.write("late/after", "and all goes on")
		w.until("what happens after", w.at("late/after", Closed))
	})
}

func TestADirectoryThatVanishesAndComesBackIsWatchedAgain(t *testing.T) {
	for name, open := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t, open, t.TempDir())
			root := w.dir
			w.must(os.Rename(root, root+".away"))
			defer os.RemoveAll(root + ".away")
			w.until("that the directory is gone", func(e Event) bool { return e.Op == Deleted && e.Path == root || e.Op == Renamed && e.From == root })
			w.must(os.Mkdir(root, 0o700))
			w.write("again", "x")
			w.until("a file in the directory that is back", w.at("again"))
			w.troubles = nil // that it was gone, where the kernel tells no more of it
		})
	}
}

func TestASymbolicLinkIsNotFollowed(t *testing.T) {
	eachWay(t, func(t *testing.T, w *watched) {
		outside := t.TempDir()
		w.must(os.Symlink(outside, w.path("link")))
		w.must(os.WriteFile(outside+"/secret", []byte("x"), 0o600))
		if told := w.list(w.settled()); strings.Contains(told, "secret") {
			t.Errorf("the link was followed:\n%s", told)
		}
	})
}

func TestOwnDoingsAreNotToldAndOthersAreNamed(t *testing.T) {
	if ways(t)["fanotify"] == nil {
		return // said above
	}
	dir := t.TempDir()
	var mu sync.Mutex
	seen := map[int]bool{}
	s, err := OpenFanotify([]string{dir}, Options{Ignore: os.Getpid(), Trouble: func(err error) { t.Error(err) }, Seen: func(pid int) {
		mu.Lock()
		defer mu.Unlock()
		seen[pid] = true
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.WriteFile(dir+"/own", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/bin/touch", []string{"touch", dir + "/other"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	e := (<-s.Events())[0]
	if filepath.Base(e.Path) != "other" || e.PID != p.Pid {
		t.Errorf("told was %v %s by %d, want other by %d", e.Op, e.Path, e.PID, p.Pid)
	}
	mu.Lock()
	defer mu.Unlock()
	if !seen[p.Pid] || len(seen) != 1 {
		t.Errorf("processes seen: %v", seen)
	}
}

func TestAFileSystemMountedLaterIsWatchedAndMayBeUnmounted(t *testing.T) {
	if ways(t)["fanotify"] == nil {
		return // said above
	}
	w := watch(t, OpenFanotify, t.TempDir())
	w.must(os.Mkdir(w.path("mnt"), 0o700))
	if err := unix.Mount("none", w.path("mnt"), "tmpfs", 0, "size=1m"); err != nil {
		t.Logf("NOT TESTED: file systems mounted later: mount: %v", err)
		return
	}
	mounted := true
	defer func() {
		if mounted {
			_ = unix.Unmount(w.path("mnt"), unix.MNT_DETACH)
		}
	}()
	w.write("mnt/first", "x")
	w.until("the file there", w.at("mnt/first"))
	w.write("mnt/second", "x")
	w.until("the next file there", w.at("mnt/second", Closed))
	if err := unix.Unmount(w.path("mnt"), 0); err != nil {
		t.Fatalf("a watched file system cannot be unmounted: %v", err)
	}
	mounted = false
	w.write("after", "x")
	w.until("that watching goes on", w.at("after"))
}

func TestADirectoryWhoseFileSystemIsUnmountedIsWatchedOnTheOneBelow(t *testing.T) {
	for name, open := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Logf("NOT TESTED: unmounting: mount: %v", err)
				return
			}
			defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
			w := watch(t, open, dir)
			w.write("above", "x")
			w.until("a file on it", w.at("above", Closed))
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			w.write("below", "x")
			w.until("a file below it", w.at("below"))
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.troubles) == 0 {
				t.Error("nothing was said of it")
			}
			w.troubles = nil
		})
	}
}

func TestMountPointsAreReadAsTheKernelWritesThem(t *testing.T) {
	got := mountPoints(`22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 27 0:28 / /mnt/two\040words rw master:2 - tmpfs tmpfs rw
`)
	if len(got) != 2 || !got["/"] || !got["/mnt/two words"] {
		t.Errorf("read %v, want / and /mnt/two words", got)
	}
}

func TestRootsAreResolvedAndSortedAndMustBeDirectories(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.MkdirAll(dir+"/b/c", 0o700), os.Mkdir(dir+"/a", 0o700), os.Symlink(dir+"/b", dir+"/link"), os.WriteFile(dir+"/file", nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := Roots([]string{dir + "/link", dir + "/b/c", dir + "/a"})
	if want := []string{dir + "/a", dir + "/b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("roots %v (%v), want %v", got, err, want)
	}
	if _, err := Roots([]string{dir + "/file"}); err == nil {
		t.Error("a file was taken for a directory")
	}
	if _, err := Roots([]string{dir + "/none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := Roots(nil); err == nil {
		t.Error("nothing to watch is no error")
	}
}
