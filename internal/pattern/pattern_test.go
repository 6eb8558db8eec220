package pattern_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/pattern"
)

func parse(t testing.TB, fold bool, list ...string) *pattern.List {
	t.Helper()
	l, err := pattern.Parse(list, fold)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPatternsMatchAsTheManualSays(t *testing.T) {
	for _, c := range []struct {
		patterns string // separated by spaces
		matched  string
		not      string
	}{
		{"foo", "/dir1/foo/dir2/file /dir/foo /foo", "/dir/foobar /barfoo / /FOO"},
		{"foo/", "/dir/foo /dir/foo/x", "/foobar"},
		{"/bin", "/bin /bin/bash", "/usr/bin/restic /bins"},
		{"b*ash", "/bin/bash", "/bin/ash /b/ash"},
		{"foo/**/bar", "/dir1/foo/dir2/bar/file /foo/bar/file /tmp/foo/bar /foo/a/b/c/bar", "/foo /bar/foo /foo/x"},
		{"*.go", "/a.go /x/.go /x/a.go/y", "/go /a.goo"},
		{"~*", "/x/~lock", "/x/lock~"},
		{"a?c", "/abc /aéc", "/ac /abbc"},
		{"[a-c]1", "/b1", "/d1"},
		{`\*`, "/*", "/x"},
		{"x/y x", "/x /x/z", "/y"},
		{"/", "/ /a", ""},
		{"**", "/ /a", ""},
		{"a/**", "/a /a/b", "/b"},
		{"/**/b", "/b /x/b /x/y/b/c", "/x"},
		{"a/b", "/a/b /a/a/b /a/b/c", "/a/x/b /b/a"},
		{"a/**/b/**/c", "/a/b/c /x/a/1/b/2/b/c", "/a/c/b /b/c"},
		{"*.o !keep.o", "/a.o /x/b.o", "/keep.o"},
		{"*.o !keep.o keep.o", "/keep.o", "/keep"},
		{"!keep.o", "", "/keep.o /x"},
		{"/home/**/* !/home/docs", "/home/x /home/x/y", "/home/docs /home/docs/a"},
		{"foo/../bar", "/bar", "/foo"},
		{"a//b", "/a/b", "/a"},
		{". ..", "", "/ /a /a/b"},
	} {
		l := parse(t, false, strings.Fields(c.patterns)...)
		for _, p := range strings.Fields(c.matched) {
			if !l.Match(p) {
				t.Errorf("%q does not match %s", c.patterns, p)
			}
		}
		for _, p := range strings.Fields(c.not) {
			if l.Match(p) {
				t.Errorf("%q matches %s", c.patterns, p)
			}
		}
	}
}

func TestCaseIsIgnoredWhenAsked(t *testing.T) {
	l := parse(t, true, "*.JPG", "Straße", "[A-C]x")
	for _, p := range []string{"/a.jpg", "/A.Jpg", "/STRAßE/x", "/bX"} {
		if !l.Match(p) {
			t.Errorf("%s is not matched", p)
		}
	}
	if parse(t, false, "*.JPG").Match("/a.jpg") {
		t.Error("case is ignored without being asked")
	}
}

func TestAPatternThatIsWrongIsNamed(t *testing.T) {
	_, err := pattern.Parse([]string{"fine", "[a", `x\`, "a/[]/b"}, false)
	if err == nil {
		t.Fatal("patterns that are wrong are accepted")
	}
	for _, name := range []string{`"[a"`, `"x\\"`, `"a/[]/b"`} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "fine") {
		t.Errorf("the error names a pattern that is right: %v", err)
	}
}

func TestEmptyPatternsMatchNothing(t *testing.T) {
	var none *pattern.List
	for _, l := range []*pattern.List{none, parse(t, false), parse(t, false, "", "!")} {
		if !l.Empty() || l.Match("/a") || l.Match("/") || l.MayMatchBelow("/") {
			t.Error("an empty list matches")
		}
	}
}

func TestADirectoryIsEnteredOnlyWhereSomethingMayMatch(t *testing.T) {
	for _, c := range []struct {
		patterns string
		yes, no  string
	}{
		{"/srv/www/*.html", "/ /srv /srv/www /srv/www/a.html/below", "/etc /srv/ftp /srv/www/sub"},
		{"/srv/**/x", "/ /srv /srv/a/b/c", "/etc"},
		{"*.html", "/ /any/where", ""},
		{"/srv !/srv/tmp", "/ /srv /srv/a", "/srv/tmp /srv/tmp/x /etc"},
		{"!/srv/tmp /srv", "/srv/tmp", "/etc"},
		{"!a", "", "/ /a"},
	} {
		l := parse(t, false, strings.Fields(c.patterns)...)
		for _, p := range strings.Fields(c.yes) {
			if !l.MayMatchBelow(p) {
				t.Errorf("%q: %s is not entered", c.patterns, p)
			}
		}
		for _, p := range strings.Fields(c.no) {
			if l.MayMatchBelow(p) {
				t.Errorf("%q: %s is entered", c.patterns, p)
			}
		}
	}
}

func TestAFileOfPatternsIsReadAsTheManualSays(t *testing.T) {
	t.Setenv("WHO", "bob")
	file := filepath.Join(t.TempDir(), "excludes")
	for _, c := range []struct{ text, want string }{
		{"# comment\n*.go\n\n  \t foo bar.txt \r\n#x\n!y", "*.go|foo bar.txt|!y"},
		{"\ufeff/home/$WHO/x\n${WHO}s\n$$WHO\n$NOSUCHVARIABLE/x", "/home/bob/x|bobs|$WHO|/x"},
		{"\xff\xfea\x00\n\x00\xe9\x00", "a|é"},
		{"\xfe\xff\x00a\x00\n\xd8\x3d\xde\x00", "a|😀"},
		{"\xff latin", "\xff latin"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := pattern.ReadFile(file)
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%q is read as %q, %v; want %q", c.text, got, err, c.want)
		}
	}
	if err := os.WriteFile(file, []byte("\xff\xfea"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pattern.ReadFile(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("half a character is accepted: %v", err)
	}
	if _, err := pattern.Lines(strings.NewReader("12345"), 4); err == nil {
		t.Error("a text larger than allowed is read")
	}
}

// naive says what patterns mean in as few words as possible.
func naive(list []string, fold bool, p string) (matched bool) {
	if fold {
		p = strings.ToLower(p)
	}
	names := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	for _, text := range list {
		text, negated := strings.CutPrefix(text, "!")
		if text == "" {
			continue
		}
		text = path.Clean(text)
		if fold {
			text = strings.ToLower(text)
		}
		parts := strings.FieldsFunc(text, func(r rune) bool { return r == '/' })
		hit := false
		for from := 0; from <= len(names) && !hit; from++ {
			hit = naiveFrom(parts, names[from:])
			if text[0] == '/' {
				break
			}
		}
		if hit {
			matched = !negated
		}
	}
	return matched
}

func naiveFrom(parts, names []string) bool {
	if len(parts) == 0 {
		return true
	}
	if parts[0] == "**" {
		return naiveFrom(parts[1:], names) || len(names) > 0 && naiveFrom(parts, names[1:])
	}
	if len(names) == 0 {
		return false
	}
	ok, _ := path.Match(parts[0], names[0])
	return ok && naiveFrom(parts[1:], names[1:])
}

func FuzzMatchAgreesWithTheNaiveMatcher(f *testing.F) {
	f.Add("*.go\n!a/**/b\n/x/[a-z]?\n**/y", "/a/c/b/y", false)
	f.Add("Foo*\n*É\n\\**", "/FOO/é", true)
	f.Add("a/**/b/**/c\n/**", "/a/b/b/c", false)
	f.Fuzz(func(t *testing.T, text, p string, fold bool) {
		if len(text) > 200 || len(p) > 200 {
			return // the naive matcher takes exponential time
		}
		list := strings.Split(text, "\n")
		l, err := pattern.Parse(list, fold)
		if err != nil {
			return
		}
		got := l.Match(p)
		if want := naive(list, fold, p); got != want {
			t.Fatalf("%q fold %v: match of %q is %v, want %v", list, fold, p, got, want)
		}
		for dir := path.Dir("/" + p); got && p != "" && p[0] == '/' && dir != path.Dir(dir); dir = path.Dir(dir) {
			if !l.MayMatchBelow(dir) {
				t.Fatalf("%q fold %v: %q is matched, and nothing below %q may be", list, fold, p, dir)
			}
		}
	})
}

func TestRandomPatternsAgreeWithTheNaiveMatcher(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	from := func(words []string, atMost int) string {
		var b strings.Builder
		for n := range 1 + random.IntN(atMost) {
			if n > 0 {
				b.WriteByte('/')
			}
			b.WriteString(words[random.IntN(len(words))])
		}
		return b.String()
	}
	hits := 0
	for range 50_000 {
		var list []string
		for range 1 + random.IntN(3) {
			list = append(list, []string{"", "!", "/", "!/"}[random.IntN(4)]+from([]string{"a", "b", "*", "**", "a*", "*b", "?", "[ab]", "..", "B"}, 5))
		}
		p, fold := "/"+from([]string{"a", "b", "ab", "B"}, 6), random.IntN(2) == 0
		got := parse(t, fold, list...).Match(p)
		if want := naive(list, fold, p); got != want {
			t.Fatalf("%q fold %v: match of %s is %v, want %v", list, fold, p, got, want)
		}
		if got {
			hits++
		}
	}
	if hits < 5_000 || hits > 45_000 {
		t.Errorf("%d of 50,000 match: the test proves little", hits)
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	l := parse(t, false, "*.go", "/srv/**/cache", "!keep", "tmp[0-9]")
	p := "/srv/" + strings.Repeat("directory/", 18) + "file"
	if n := testing.AllocsPerRun(100, func() { l.Match(p) }); n != 0 {
		t.Errorf("a match allocates %v times", n)
	}
}

// BenchmarkMatch matches 100,000 paths against 100 patterns.
func BenchmarkMatch(b *testing.B) {
	var list, paths []string
	for n := range 20 {
		list = append(list, fmt.Sprintf("name%d", n), fmt.Sprintf("*.x%d", n), fmt.Sprintf("/srv/home/u%d/cache", n),
			fmt.Sprintf("a%d/**/b", n), fmt.Sprintf("tmp%d*", n))
	}
	for n := range 100_000 {
		paths = append(paths, fmt.Sprintf("/srv/home/user%d/project%d/src/file%d.go", n%50, n%1000, n))
	}
	slices.Sort(paths)
	l := parse(b, false, list...)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range paths {
			if l.Match(p) {
				b.Fatalf("%s is matched", p)
			}
		}
	}
}
