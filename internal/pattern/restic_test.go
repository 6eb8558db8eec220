package pattern_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

// questions are lists of patterns, separated by spaces; BASE stands for the directory of the tree.
var questions = []string{
	"*.go", "*.GO", "*", "a", "a/", "/a", "BASE/a", "BASE/a/", "BASE//a", "BASE/*", "BASE/*/*", "BASE/**/b", "BASE/a/**",
	"a/b", "a/*/c", "a/**/c", "a/**", "**/c", "**/*.go", "**.go", "***", "***/c", "a/**/**/c", "b/**/b", "*/*/*/c", "?", "??", "[ab]",
	"[^ab]", "[a-c]", "[!ab]", `\[x]`, "[[]x]", `a\b`, `\a`, "é*", "?clair", "e*r", "*", "* !BASE", "*.go !*.go", "*.go !main.go",
	"*.go !main.go main.go", "!main.go", "!main.go main.go", "BASE/a/** !BASE/a/b", "BASE/a/* !BASE/a/b", "a !a/b", "a/b !a", "a/../c", "./a", "../a", "..", ".",
	"a//b", "a/./b", "/..", "BASE/../a", "#hash", "~", "*~", "A", "deep/**/x/y", "**/y", "/**/y", "y/**/z", "$HOME", "spa*e", "c/b !c", "!!a",
}

var treeOfNames = []string{
	"main.go", "x.GO", ".go", "a/main.go", "a/b/c/file", "a/b/b/x.c", "a/c/f", "b/c/ab", "b/x/b/f", "c/b/a/c", "deep/1/2/3/x/y/z", "deep/x/y", "y/z",
	"[x]", "éclair", "e/r", "er", "#hash", "save~", "~", "$HOME", "space here", "A/b", "!a", `a\b`, "foobar/foo", "..a/...",
}

// TestResticLeavesOutTheSameFiles asks Debian's restic about every list.
func TestResticLeavesOutTheSameFiles(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	for _, name := range treeOfNames {
		file := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(filepath.Dir(base), "1") // so that something is stored whatever is left out
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	repository := newRepository(t)
	parts := make(chan struct{}, 4)
	t.Run("ask", func(t *testing.T) {
		for n, question := range questions {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				parts <- struct{}{}
				defer func() { <-parts }()
				list := strings.Fields(strings.ReplaceAll(question, "BASE", base))
				got, want := keptBy(t, list, base), keptByRestic(t, repository, list, base, outside)
				if !slices.Equal(got, want) {
					t.Errorf("%q keeps\n%s\nand restic keeps\n%s", question, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			})
		}
	})
}

func newRepository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repository")
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Init(t.Context(), be, "secret", repo.Options{ScryptN: 2}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// keptBy walks as a backup does: what is below a directory left out is never asked about.
func keptBy(t *testing.T, list []string, base string) (kept []string) {
	t.Helper()
	l := parse(t, false, list...)
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case l.Match(path) && d.IsDir():
			return fs.SkipDir
		case !l.Match(path) && !d.IsDir():
			kept = append(kept, strings.TrimPrefix(path, base))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(kept)
	return kept
}

func keptByRestic(t *testing.T, repository string, list []string, base, outside string) (kept []string) {
	t.Helper()
	args := []string{"backup", "--no-lock", "--dry-run", "--json", "-vv", base, outside}
	for _, p := range list {
		args = append(args, "--exclude", p)
	}
	args = append(args, "--exclude", "!"+outside)
	out := restictest.Run(t, repository, "secret", args...)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var line struct {
			MessageType string `json:"message_type"`
			Item        string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		name, below := strings.CutPrefix(line.Item, base)
		if line.MessageType == "verbose_status" && below && !strings.HasSuffix(name, "/") {
			kept = append(kept, name)
		}
	}
	slices.Sort(kept)
	return kept
}
