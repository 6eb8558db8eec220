package web

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// store holds file contents as a repository does.
type store map[blob.ID][]byte

func (s store) LoadBlob(_ context.Context, h blob.Handle, _ []byte) ([]byte, error) {
	data, ok := s[h.ID]
	if !ok {
		return nil, fmt.Errorf("load %v: not there", h)
	}
	return data, nil
}

var born = time.Date(2020, 9, 30, 22, 10, 0, 300, time.UTC)

// file stores text as a file in two blobs.
func (s store) file(text string) *snapshot.Node {
	n := &snapshot.Node{Type: snapshot.File, Size: uint64(len(text)), ChangeTime: born}
	for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
		id := blob.Hash([]byte(piece))
		s[id] = []byte(piece)
		n.Content = append(n.Content, id)
	}
	return n
}

func (s store) added(name, text string) snapshot.Change {
	return snapshot.Change{Path: name, Kind: snapshot.Added, New: s.file(text)}
}

func (s store) modified(name, before, now string) snapshot.Change {
	return snapshot.Change{Path: name, Kind: snapshot.Modified, Old: s.file(before), New: s.file(now)}
}

const webShellText = `<?php if (isset($_POST['k'])) { system($_POST['k']); } ?>`

func TestAShellUnderTheDocumentRootIsNoticedAndItsRequestsToo(t *testing.T) {
	s := store{}
	log := filepath.Join(t.TempDir(), "access.log")
	r := NewRoot("publications", "files", "/srv/pub/html", []string{log}, s)
	r.Changes([]snapshot.Change{
		s.added("/srv/pub/html/up/view.php", webShellText),
		s.added("/srv/pub/html/up/photo.txt", "a text"),
		s.added("/srv/pub/private/view.php", webShellText),
		s.added("/srv/pub/html2/view.php", webShellText),
	})
	signals := detectAll(t, r)
	if len(signals) != 1 || signals[0].Kind != "shell.uploaded" || signals[0].Technique != "T1505.003" || signals[0].Subject != "/srv/pub/html/up/view.php" {
		t.Fatalf("raised %+v, want the one shell below the document root", signals)
	}
	before := signals[0].Strength
	if signals := detectAll(t, r); len(signals) != 0 {
		t.Errorf("the same shell is raised again: %+v", signals)
	}
	lines := []string{
		line(-time.Hour, "192.0.2.1", "/up/view.php"), line(time.Minute, "192.0.2.1", "/up/other.php"), line(time.Minute, "203.0.113.66", "/up/view.php?k=id"),
	}
	if err := os.WriteFile(log, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signals = detectAll(t, r)
	if len(signals) != 1 || signals[0].Strength <= before || signals[0].Evidence["source"] != "203.0.113.66" || signals[0].Evidence["requests"] != 1 {
		t.Errorf("after a request raised %+v, want a stronger signal with its source", signals)
	}
	if signals := detectAll(t, r); len(signals) != 0 {
		t.Errorf("raised a third time: %+v", signals)
	}
}

func line(at time.Duration, source, target string) string {
	return fmt.Sprintf(`%s - - [%s] "GET %s HTTP/1.1" 200 10 "-" "x"`, source, born.Add(at).Format("02/Jan/2006:15:04:05 -0700"), target)
}

func TestAShellWrittenIntoAnOldScriptIsNoticed(t *testing.T) {
	s := store{}
	r := NewRoot("publications", "files", "/srv/www", nil, s)
	form := `<?php mail('a@example.org', 'Form', $_POST['text']);`
	r.Changes([]snapshot.Change{s.modified("/srv/www/form.php", form, form+" @eval($_POST['x']);")})
	if signals := detectAll(t, r); len(signals) != 1 || signals[0].Subject != "/srv/www/form.php" {
		t.Errorf("raised %+v", signals)
	}
}

func TestInjectedPagesAreListedTogether(t *testing.T) {
	s := store{}
	r := NewRoot("website", "files", "/srv/www", nil, s)
	var want []string
	var changes []snapshot.Change
	for i := range 40 {
		name := fmt.Sprintf("/srv/www/pages/%02d/a.html", i)
		before := strings.Replace(home, "Welcome", fmt.Sprint("Page ", i), 1)
		changes = append(changes, s.modified(name, before, strings.Replace(before, "</body>", "<script src=http://203.0.113.66:8080/a.js></script></body>", 1)))
		want = append(want, name)
	}
	changes = append(changes,
		s.modified("/srv/www/pages/news.html", home, strings.Replace(home, "Welcome", "Welcome back", 1)),
		s.modified("/srv/www/index.html", home, "<title>0wned</title><h1>Hacked by the Sea Crew</h1>"))
	r.Changes(changes)
	signals := detectAll(t, r)
	if len(signals) != 2 || signals[0].Kind != "page.defaced" || signals[1].Kind != "page.injected" {
		t.Fatalf("raised %+v, want one defacement and one injection", signals)
	}
	if got := signals[1]; !slices.Equal(got.Touched, want) || got.Count != 40 || got.Subject != "/srv/www/pages" {
		t.Errorf("the injection is about %s, %d pages: %v", got.Subject, got.Count, got.Touched)
	}
	if got := signals[0]; !slices.Equal(got.Touched, []string{"/srv/www/index.html"}) {
		t.Errorf("the defacement is about %v", got.Touched)
	}
}

func TestAnEditorsWorkRaisesNothing(t *testing.T) {
	s := store{}
	r := NewRoot("website", "files", "/srv/www/", nil, s)
	r.Changes([]snapshot.Change{
		s.added("/srv/www/new.html", strings.Replace(home, "</head>", `<script src="https://new.example/a.js"></script></head>`, 1)),
		s.added("/srv/www/form.php", `<?php mail('a@example.org', 'Form', $_POST['text']);`),
		s.modified("/srv/www/a.html", home, strings.Replace(home, "</body>", "<p>More news.</p></body>", 1)),
		s.modified("/srv/www/site.js", "let a = 1", "let a = 2; eval(atob('x'))"),
		{Path: "/srv/www/old.html", Kind: snapshot.Removed, Old: s.file(home)},
		{Path: "/srv/www/dir", Kind: snapshot.Added, New: &snapshot.Node{Type: snapshot.Dir}},
		s.modified("/srv/www/admin.php", webShellText, "<?php // version 2\n?>"+webShellText),
		{Path: "/srv/www/run.php", Kind: snapshot.Metadata, New: s.file(webShellText)},
	})
	if signals := detectAll(t, r); len(signals) != 0 {
		t.Errorf("raised %+v", signals)
	}
}

func TestWhatCouldNotBeReadIsSaidAndTheRestLookedAt(t *testing.T) {
	s := store{}
	r := NewRoot("website", "files", "/srv/www", nil, s)
	r.Changes([]snapshot.Change{
		{Path: "/srv/www/lost.php", Kind: snapshot.Added, New: &snapshot.Node{Type: snapshot.File, Content: []blob.ID{{1}}}},
		s.added("/srv/www/view.php", webShellText),
	})
	signals, err := r.Detect(context.Background())
	if err == nil || !strings.Contains(err.Error(), "/srv/www/lost.php") || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the unread file named", err)
	}
	if len(signals) != 1 {
		t.Errorf("raised %+v, want the other file judged all the same", signals)
	}
}

func TestAProgramOfTheWebServersOwnIsToldWhenItIsRequested(t *testing.T) {
	const server, editor = 33, 1000
	added := func(s store, name, text string, uid uint32) snapshot.Change {
		c := s.added(name, text)
		c.New.UID = uid
		return c
	}
	harmless := `<?php echo strtoupper('hello');` // for all that its text tells
	for _, c := range []struct {
		name    string
		changes func(s store) []snapshot.Change
		want    bool
	}{
		{"one program that the server wrote", func(s store) []snapshot.Change {
			return []snapshot.Change{added(s, "/srv/www/up/view.php", harmless, server)}
		}, true},
		{"one that an editor wrote", func(s store) []snapshot.Change {
			return []snapshot.Change{added(s, "/srv/www/up/view.php", harmless, editor)}
		}, false},
		{"a picture that the server wrote", func(s store) []snapshot.Change {
			return []snapshot.Change{added(s, "/srv/www/up/view.png", "PNG", server)}
		}, false},
		{"an application that updates itself", func(s store) []snapshot.Change {
			var all []snapshot.Change
			for _, name := range []string{"up/view", "a", "b", "c", "d"} {
				all = append(all, added(s, "/srv/www/"+name+".php", harmless, server))
			}
			return all
		}, false},
	} {
		s := store{}
		log := filepath.Join(t.TempDir(), "access.log")
		r := NewRoot("publications", "files", "/srv/www", []string{log}, s)
		r.WrittenBy(map[uint32]bool{server: true})
		r.Changes(c.changes(s))
		if signals := detectAll(t, r); len(signals) != 0 {
			t.Errorf("%s: raised before anybody asked for it: %+v", c.name, signals)
		}
		lines := line(time.Minute, "203.0.113.66", "/up/view.php?k=id") + "\n" + line(time.Minute, "203.0.113.66", "/up/view.png") + "\n"
		if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		signals := detectAll(t, r)
		if told := len(signals) == 1 && signals[0].Technique == "T1505.003" && signals[0].Evidence["written_by_server"] == true && signals[0].Evidence["source"] == "203.0.113.66"; told != c.want {
			t.Errorf("%s: raised %+v, want a web shell: %v", c.name, signals, c.want)
		}
	}
}

func TestFilesThatWereChangedToBeAsApprovedAreNoAttack(t *testing.T) {
	s := store{}
	now := strings.ReplaceAll(strings.Replace(home, "</head>", `<script src="https://new.example/a.js"></script></head>`, 1), "sets standards", "has set the standards")
	rebuilt := `<html><head><title>A new site</title></head><body><main><h1>All is new</h1><p>Nothing on this page is as it was before the release of today, and all of it was approved.</p></main></body></html>`
	changes := func() []snapshot.Change {
		return []snapshot.Change{s.modified("/srv/www/index.html", home, now), s.modified("/srv/www/other.html", home, rebuilt)}
	}
	before := NewRoot("website", "files", "/srv/www", nil, s)
	before.Changes(changes())
	if signals := detectAll(t, before); len(signals) != 2 {
		t.Fatalf("without a release raised %+v: nothing would be shown", signals)
	}
	server := serve(t, map[string]string{"/": now, "/other.html": rebuilt})
	r := NewRoot("website", "files", "/srv/www", nil, s)
	r.Approved(server.watch(t, "/", "/other.html").Approved())
	r.Changes(changes())
	if signals := detectAll(t, r); len(signals) != 0 {
		t.Errorf("a release that was approved raised %+v", signals)
	}
}
