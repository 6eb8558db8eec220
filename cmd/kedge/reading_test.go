package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/restictest"
)

// reading is a repository that both programs read: three snapshots by restic and one by kedge.
type reading struct {
	t    *testing.T
	dir  string // the repository
	home string // what the snapshots hold, by this path
	ids  []string
}

func newReading(t *testing.T) *reading {
	t.Helper()
	t.Setenv("TZ", "UTC") // restic shows local time, without saying so
	flags, _, _ := flagsFor(t)
	x := &reading{t: t, dir: flags.location, home: filepath.Join(t.TempDir(), "home")}
	x.write("deep/"+strings.Repeat("d/", 20)+"bottom.txt", "deep")
	x.write("odd \xff\" name.txt", "odd")
	x.write("empty", "")
	x.write("keep/same", "the same content")
	x.write("calm/same", "what else is in calm only")
	x.write("gone/copy", "what else is in calm only")
	x.write("Notes.TXT", "notes")
	x.write("first", "linked")
	x.write("big", strings.Repeat("0123456789abcdef\n", 150_000))
	for _, err := range []error{
		os.Link(x.path("first"), x.path("keep/second")), os.Symlink("first", x.path("link")), unix.Mkfifo(x.path("pipe"), 0o600),
		os.Chmod(x.path("empty"), 0o4755|os.ModeSetuid), os.Mkdir(x.path("hollow"), 0o700),
	} {
		x.check(err)
	}
	x.restic("backup", x.home, "--host", "fs1", "--tag", "a,b")
	x.write("big", strings.Repeat("0123456789abcdef\n", 150_000)+"more")
	x.write("new/file.txt", "new")
	x.check(os.RemoveAll(x.path("gone")))
	x.check(os.Remove(x.path("pipe")))
	x.check(os.Symlink("elsewhere", x.path("pipe")))
	x.check(os.Chmod(x.path("first"), 0o600))
	x.check(os.Remove(x.path("link")))
	x.check(os.Symlink("empty", x.path("link")))
	x.restic("backup", x.home, "--host", "fs1", "--tag", "b")
	x.restic("backup", x.home, "--host", "fs2")
	x.write("late", "late")
	x.kedge("backup", x.home, "--host", "fs3")
	var list []struct {
		ID string `json:"id"`
	}
	x.check(json.Unmarshal(x.restic("snapshots", "--json"), &list))
	for _, sn := range list {
		x.ids = append(x.ids, sn.ID)
	}
	if len(x.ids) != 4 {
		t.Fatalf("there are %d snapshots", len(x.ids))
	}
	return x
}

// TestReadingCommandsAnswerAsResticDoes asks both programs the same of one repository, which costs most of its time to make.
func TestReadingCommandsAnswerAsResticDoes(t *testing.T) {
	x := newReading(t)
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			x.t = t
			test(t)
		})
	}
	run("LsIsAsResticsIs", x.lsIsAsResticsIs)
	run("LsSortsAndReverses", x.lsSortsAndReverses)
	run("NcduReadsADirectoryAsAnArray", x.ncduReadsADirectoryAsAnArray)
	run("FindIsAsResticsIs", x.findIsAsResticsIs)
	run("FindNamesSnapshotsTheNewestFirst", x.findNamesSnapshotsTheNewestFirst)
	run("FindOfBlobsTreesAndPacksIsAsResticsIs", x.findOfBlobsTreesAndPacksIsAsResticsIs)
	run("DiffIsAsResticsIs", x.diffIsAsResticsIs)
	run("DumpIsAsResticsIs", x.dumpIsAsResticsIs)
}

func (x *reading) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *reading) path(name string) string { return filepath.Join(x.home, name) }

func (x *reading) write(name, content string) {
	x.t.Helper()
	x.check(os.MkdirAll(filepath.Dir(x.path(name)), 0o755))
	x.check(os.WriteFile(x.path(name), []byte(content), 0o644))
}

func (x *reading) restic(args ...string) []byte {
	x.t.Helper()
	return restictest.Run(x.t, x.dir, "correct horse", args...)
}

func (x *reading) kedge(args ...string) []byte {
	x.t.Helper()
	var out, problems bytes.Buffer
	if status := run(context.Background(), append([]string{args[0], "-r", x.dir}, args[1:]...), &out, &problems); status != 0 {
		x.t.Fatalf("kedge %q: status %d\n%s", args, status, &problems)
	}
	return out.Bytes()
}

// both runs the same command line with both programs.
func (x *reading) both(args ...string) (restic, kedge []byte) {
	x.t.Helper()
	return x.restic(args...), x.kedge(args...)
}

// equal compares two listings, line by line.
func (x *reading) equal(what any, want, got []string) {
	x.t.Helper()
	if len(want) == 0 {
		x.t.Errorf("%v: restic printed nothing to compare", what)
	}
	for i := range max(len(want), len(got)) {
		a, b := "nothing", "nothing"
		if i < len(want) {
			a = want[i]
		}
		if i < len(got) {
			b = got[i]
		}
		if a != b {
			x.t.Errorf("%.200v: line %d is\n%.600s\nwant\n%.600s", what, i, b, a)
			return
		}
	}
}

func lines(text []byte) []string {
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// objects returns JSON lines, or the elements of an array and of arrays within them, in one spelling and without fields of later restics.
func (x *reading) objects(text []byte, later ...string) []string {
	x.t.Helper()
	var all []string
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				add(e)
			}
		case map[string]any:
			for _, name := range later {
				delete(v, name)
			}
			text, err := json.Marshal(v)
			x.check(err)
			all = append(all, string(text))
		}
	}
	for dec.More() {
		var v any
		x.check(dec.Decode(&v))
		add(v)
	}
	return all
}

func (x *reading) lsIsAsResticsIs(t *testing.T) {
	later := []string{"message_type", "inode", "program_version", "summary"}
	for _, args := range [][]string{
		{x.ids[0]}, {x.ids[3]}, {"latest", "--host", "fs2"}, {"latest", "--tag", "a,b"}, {"latest", "--path", x.home, "--tag", "a", "--tag", "b"},
		{x.ids[0], x.home}, {x.ids[0], "--recursive", x.path("keep"), x.path("deep/d")}, {x.ids[0], x.path("first")}, {x.ids[1], "/"},
	} {
		a, b := x.both(append([]string{"ls", "-q"}, args...)...)
		x.equal(args, lines(a), lines(b))
		a, b = x.both(append([]string{"ls", "--json"}, args...)...)
		x.equal(args, x.objects(a, later...), x.objects(b, later...))
	}
	a, b := x.both("ls", "-q", "-l", x.ids[0])
	x.equal("-l", lines(a), lines(bytes.ReplaceAll(b, []byte("Z /"), []byte(" /"))))
}

func (x *reading) lsSortsAndReverses(t *testing.T) {
	at := "latest:" + x.home
	if got := lines(x.kedge("ls", "-q", at, "--sort", "size", "--reverse")); got[0] != "/big" || got[1] != "/calm/same" {
		t.Errorf("the largest first: %q", got)
	}
	if got := lines(x.kedge("ls", "-q", at, "--sort", "extension")); slices.Index(got, "/Notes.TXT") < slices.Index(got, "/pipe") || slices.Index(got, "/Notes.TXT") > slices.Index(got, "/new/file.txt") {
		t.Errorf("by extension: %q", got)
	}
	forward, back := lines(x.kedge("ls", "-q", at)), lines(x.kedge("ls", "-q", at, "--reverse"))
	slices.Reverse(back)
	x.equal("--reverse", forward, back)
}

func (x *reading) ncduReadsADirectoryAsAnArray(t *testing.T) {
	var doc []json.RawMessage
	x.check(json.Unmarshal(x.kedge("ls", "--ncdu", "latest:"+x.home, "/keep"), &doc))
	if len(doc) != 4 || string(doc[0]) != "1" {
		t.Fatalf("%d elements, version %s", len(doc), doc[0])
	}
	var show func(text json.RawMessage) string
	show = func(text json.RawMessage) string {
		var list []json.RawMessage
		if json.Unmarshal(text, &list) == nil {
			var names []string
			for _, e := range list {
				names = append(names, show(e))
			}
			return "[" + strings.Join(names, " ") + "]"
		}
		var e struct {
			Name         string
			Asize, Dsize int
			Hlnkc        bool
		}
		x.check(json.Unmarshal(text, &e))
		return fmt.Sprintf("%s:%d:%d:%t", e.Name, e.Asize, e.Dsize, e.Hlnkc)
	}
	if got, want := show(doc[3]), "[/:0:0:false [keep:0:0:false same:16:512:false second:6:512:true]]"; got != want {
		t.Errorf("ncdu would see %s, want %s", got, want)
	}
}

func (x *reading) findIsAsResticsIs(t *testing.T) {
	for _, args := range [][]string{
		{"-i", "*.txt"}, {x.path("keep")}, {"no such"}, {"first", "s*/", "*odd*", "link"},
		{"-s", x.ids[0], "-s", x.ids[3], "big"}, {"--tag", "b", "-O", "2001-01-01 12:00", "big"}, {"-N", "2001-01-01", "big"},
	} {
		a, b := x.both(append([]string{"find", "--json"}, args...)...)
		want, got := x.objects(a), x.objects(b)
		slices.Sort(want) // restic 0.14 knows no order of snapshots
		slices.Sort(got)
		if args[0] == "no such" || args[0] == "-N" {
			if string(b) != "[]\n" || len(want) > 0 {
				t.Errorf("%q: %s", args, b)
			}
			continue
		}
		x.equal(args, want, got)
	}
}

func (x *reading) findNamesSnapshotsTheNewestFirst(t *testing.T) {
	order := func(args ...string) []string {
		var found []struct{ Snapshot string }
		x.check(json.Unmarshal(x.kedge(append([]string{"find", "--json", "big"}, args...)...), &found))
		var ids []string
		for _, f := range found {
			ids = append(ids, f.Snapshot)
		}
		return ids
	}
	x.equal("--reverse", x.ids, order("--reverse"))
	back := slices.Clone(x.ids)
	slices.Reverse(back)
	x.equal("", back, order())
}

func (x *reading) findOfBlobsTreesAndPacksIsAsResticsIs(t *testing.T) {
	var trees, data []string
	for _, line := range lines(x.restic("list", "blobs", "-q")) {
		kind, id, _ := strings.Cut(line, " ")
		if kind == "tree" {
			trees = append(trees, id)
		} else {
			data = append(data, id)
		}
	}
	compare := func(want, got []byte, args ...string) int {
		t.Helper()
		a, b := x.objects(want), x.objects(got)
		b = slices.DeleteFunc(b, func(o string) bool { return strings.Contains(o, `"path":"/"`) }) // restic 0.14 does not find roots
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%q:\n%.1000q, want\n%.1000q", args, b, a)
		}
		return len(a)
	}
	found := 0
	// Of several trees restic 0.14 does not find all.
	for _, args := range [][]string{{"--blob", data[0]}, {"--blob", data[0][:8], data[1]}, {"--tree", trees[0][:8]}, {"--tree", trees[1]}} {
		a, b := x.both(append([]string{"find", "--json"}, args...)...)
		found += compare(a, b, args...)
	}
	packs := 0
	for _, pack := range lines(x.restic("list", "packs", "-q")) { // by ID: which are of trees is chance
		a, b := x.both("find", "--json", "--pack", pack)
		if string(bytes.TrimSpace(a)) != "[]" { // restic 0.14 finds no trees so
			packs += compare(a, b, pack)
		} else if string(b) == "[]\n" {
			t.Errorf("nothing was found of pack %s", pack)
		}
	}
	if found < 4 || packs < 1 {
		t.Errorf("only %d blobs and %d blobs of packs were compared", found, packs)
	}
	if out := string(x.kedge("find", "--blob", data[0], "--show-pack-id")); !strings.Contains(out, "Object belongs to pack ") || !strings.Contains(out, " ... in file "+x.home) {
		t.Errorf("with its pack: %s", out)
	}
}

func (x *reading) diffIsAsResticsIs(t *testing.T) {
	for _, args := range [][]string{{x.ids[0], x.ids[1]}, {x.ids[1], x.ids[0], "--metadata"}, {x.ids[0], x.ids[3], "--metadata"}, {x.ids[2], x.ids[2]}} {
		a, b := x.both(append([]string{"diff", "--json"}, args...)...)
		x.equal(args, x.objects(a), x.objects(b))
	}
	a, b := x.both("diff", x.ids[0], x.ids[1])
	sizes := func(line string) bool { return strings.HasPrefix(line, "  ") } // in other units
	x.equal("text", slices.DeleteFunc(lines(a), sizes), slices.DeleteFunc(lines(b), sizes))
	got := string(x.kedge("diff", x.ids[0]+":"+x.path("keep"), x.ids[0]+":"+x.path("gone")))
	if !strings.Contains(got, "-    /same\n") || !strings.Contains(got, "+    /copy\n") || strings.Contains(got, x.home) {
		t.Errorf("between subfolders: %s", got)
	}
}

func (x *reading) dumpIsAsResticsIs(t *testing.T) {
	for _, name := range []string{"big", "empty", "odd \xff\" name.txt"} {
		a, b := x.both("dump", x.ids[0], x.path(name))
		if !bytes.Equal(a, b) || name != "empty" && len(a) == 0 {
			t.Errorf("%q: %d bytes, restic has %d", name, len(b), len(a))
		}
	}
	a, b := x.both("dump", x.ids[3], x.home)
	// restic 0.14 leaves out pipes, and writes every name of a file as a file.
	x.equal("tar", tarLines(t, a), tarLines(t, b))
	a, b = x.both("dump", "-a", "zip", x.ids[3], x.path("keep"))
	x.equal("zip", zipLines(t, a), zipLines(t, b))
	target := filepath.Join(t.TempDir(), "out.tar")
	x.kedge("dump", x.ids[3]+":"+x.home, "/", "--target", target)
	data, err := os.ReadFile(target)
	x.check(err)
	if got := tarLines(t, data); len(got) < 10 || strings.Contains(strings.Join(got, "\n"), strings.Trim(x.home, "/")) {
		t.Errorf("from a subfolder: %q", got)
	}
}

func tarLines(t *testing.T, data []byte) []string {
	t.Helper()
	sums := map[string]string{}
	var all []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		if h.Typeflag == tar.TypeLink {
			text, h.Typeflag, h.Linkname = sums[h.Linkname], tar.TypeReg, ""
		}
		sums[h.Name] = text
		all = append(all, fmt.Sprintf("%c %q %o %d:%d %s:%s %d %q %d bytes %.20q", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime.Round(time.Second).Unix(), h.Linkname, len(text), text))
	}
}

func zipLines(t *testing.T, data []byte) []string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, f := range r.File {
		rd, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(rd)
		if err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprintf("%q %v %d %.20q", f.Name, f.Mode(), f.Modified.Unix(), content)] = true
	}
	return slices.Sorted(maps.Keys(all))
}
