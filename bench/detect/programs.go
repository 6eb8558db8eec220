package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// do runs a program in the site, with a home of its own beside it.
func (sc *scenario) do(ctx context.Context, argv ...string) error {
	_, err := sc.ask(ctx, nil, argv...)
	return err
}

// ask does the same and returns what it printed.
func (sc *scenario) ask(ctx context.Context, stdin []byte, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = sc.site.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + sc.dir, "GNUPGHOME=" + sc.dir, "LC_ALL=C",
		"GIT_AUTHOR_NAME=Amina", "GIT_AUTHOR_EMAIL=amina@example.org", "GIT_COMMITTER_NAME=Amina", "GIT_COMMITTER_EMAIL=amina@example.org"}
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return out, nil
}

// contentsBelow returns the bytes of all files below a directory.
func (s *site) contentsBelow(dir string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := fs.WalkDir(s.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all[name], err = s.read(name)
		return err
	})
	return all, err
}

func gitInit(ctx context.Context, sc *scenario) error {
	if err := sc.root.MkdirAll("src/project", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "init", "-q", "-b", "main", "src/project"); err != nil {
		return err
	}
	return gitCommits(ctx, sc, 4)
}

// gitCommits makes some commits to a project of sources.
func gitCommits(ctx context.Context, sc *scenario, n int) error {
	return commits(ctx, sc, n, []string{"source", "source", "markdown", "png", "json"})
}

// commits makes some commits, each changing a dozen files of these types.
func commits(ctx context.Context, sc *scenario, n int, kinds []string) error {
	for range n {
		for range 12 {
			kind := one(sc.r, kinds)
			if err := sc.put(ctx, fmt.Sprintf("src/project/%s/%s%s", one(sc.r, latin[:6]), one(sc.r, latin), sc.people.maker(kind).ext), kind); err != nil {
				return err
			}
		}
		if err := sc.do(ctx, "git", "-C", "src/project", "add", "-A"); err != nil {
			return err
		}
		if err := sc.do(ctx, "git", "-C", "src/project", "commit", "-q", "-m", "change"); err != nil {
			return err
		}
	}
	return nil
}

func gitDay(ctx context.Context, sc *scenario, day int) error {
	switch day {
	case 0:
		return sc.do(ctx, "git", "-C", "src/project", "gc", "-q", "--prune=now")
	case 1:
		return sc.do(ctx, "git", "-C", "src/project", "checkout", "-q", "HEAD~3")
	case 2:
		if err := sc.do(ctx, "git", "-C", "src/project", "checkout", "-q", "main"); err != nil {
			return err
		}
		return gitCommits(ctx, sc, 3)
	}
	return sc.do(ctx, "git", "-C", "src/project", "repack", "-q", "-a", "-d", "-f")
}

func gpgFiles(ctx context.Context, sc *scenario, day int) error {
	for i, name := range pick(sc.r, sc.of("docx", "pdf", "text", "xlsx", "csv", "jpeg"), 5) {
		argv := []string{"gpg", "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "example", "--s2k-count", "1024", "-c"}
		if i == 4 && day%2 == 0 {
			argv = append(argv, "--armor")
		}
		if err := sc.do(ctx, append(argv, name)...); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

func ageKey(ctx context.Context, sc *scenario) error {
	return sc.do(ctx, "age-keygen", "-o", filepath.Join(sc.dir, "key"))
}

func ageFiles(ctx context.Context, sc *scenario, _ int) error {
	for _, name := range pick(sc.r, sc.of("docx", "pdf", "text", "xlsx", "csv", "jpeg"), 5) {
		if err := sc.do(ctx, "age", "-e", "-i", filepath.Join(sc.dir, "key"), "-o", name+".age", name); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

func vacuum(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("sqlite") {
		change := fmt.Sprintf("DELETE FROM person WHERE id %% 4 = %d; VACUUM;", day)
		if err := sc.do(ctx, "sqlite3", sc.full(name), change); err != nil {
			return err
		}
	}
	return nil
}

// serverRewrites is what a database server does to its files: a table is written anew under another number and the old
// file emptied and then removed; indexes are built; pages change.
func serverRewrites(ctx context.Context, sc *scenario, day int) error {
	files := sc.of("relation")
	for i, name := range files {
		switch {
		case i%4 == day:
			if err := sc.put(ctx, fmt.Sprintf("%s/%d", path.Dir(name), 20000+100*day+i), "relation"); err != nil {
				return err
			}
			delete(sc.kinds, name)
			if err := sc.write(name, nil); err != nil {
				return err
			}
		default:
			if err := sc.people.edit(ctx, sc.site, name); err != nil {
				return err
			}
		}
	}
	// A table of digests and ciphertext: pgcrypto.
	data := relation(sc.r, sc.people.languages[0], 64<<10)
	for at := 0; at < len(data); at += 8192 {
		copy(data[at+4000:at+8192], noise(sc.r, 4192))
	}
	return sc.write("data/cluster/base/16384/30001", data)
}

func writeProgram(_ context.Context, sc *scenario) error {
	for i := range 15 {
		if err := sc.write(fmt.Sprintf("src/c/part%d.c", i), cSource(sc, i)); err != nil {
			return err
		}
	}
	return sc.write("src/c/main.c", []byte("int part0(int);\nint main(void) { return part0(1); }\n"))
}

func cSource(sc *scenario, i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "static const char *words[] = {\n")
	for range 50 {
		fmt.Fprintf(&b, "\t%q,\n", sc.people.languages[0].prose(sc.r, 60))
	}
	fmt.Fprintf(&b, "};\nint part%d(int n) {\n\tint sum = %d;\n", i, sc.r.IntN(1000))
	for range 40 {
		fmt.Fprintf(&b, "\tsum = sum * %d + words[(n + %d) %% 50][%d];\n", sc.r.IntN(90), sc.r.IntN(90), sc.r.IntN(9))
	}
	b.WriteString("\treturn sum;\n}\n")
	return b.Bytes()
}

func buildProgram(ctx context.Context, sc *scenario, _ int) error {
	var objects []string
	for i := range 15 {
		name := fmt.Sprintf("src/c/part%d.c", i)
		if sc.r.IntN(3) == 0 {
			if err := sc.write(name, cSource(sc, i)); err != nil {
				return err
			}
		}
		object := fmt.Sprintf("src/c/part%d.o", i)
		if err := sc.do(ctx, "gcc", "-g", "-O1", "-c", "-o", object, name); err != nil {
			return err
		}
		objects = append(objects, object)
	}
	if err := sc.do(ctx, append([]string{"ar", "rcs", "src/c/libparts.a"}, objects...)...); err != nil {
		return err
	}
	return sc.do(ctx, "gcc", "-o", "src/c/main", "src/c/main.c", "src/c/libparts.a")
}

// rsyncMirror copies part of the tree beside it, as rsync does: to temporary names that are renamed.
func rsyncMirror(ctx context.Context, sc *scenario, _ int) error {
	if err := sc.root.MkdirAll("mirror", 0o755); err != nil {
		return err
	}
	return sc.do(ctx, "rsync", "-a", "--delete", "finance", "legal", "projects", "media", "mirror/")
}

// compressFiles does what people do to save space: each file is replaced by its compressed self.
func compressFiles(ctx context.Context, sc *scenario, day int) error {
	kind := []string{"csv", "log", "json", "sqlite"}[day]
	for i, name := range sc.of(kind) {
		program := []string{"gzip", "xz"}[(i+day)%2]
		if err := sc.do(ctx, program, sc.full(name)); err != nil {
			return err
		}
		delete(sc.kinds, name)
	}
	return nil
}

func utf16LE(text []byte) []byte {
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
