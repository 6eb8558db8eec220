package live

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/fileevent"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/repo"
)

// scene is a directory with a snapshot, and a watch that is told by the test what happens.
type scene struct {
	t      *testing.T
	dir    string
	w      *Watch
	raised []Alarm
	notes  []string
	wrong  []error
}

// silent is a source that tells nothing by itself.
type silent struct{ events chan []fileevent.Event }

func (s silent) Events() <-chan []fileevent.Event { return s.events }
func (s silent) How() string                      { return "told by the test" }
func (s silent) Close() error                     { return nil }

const prose = "The committee approved the minutes of the last meeting. "

// newScene fills a directory, takes a snapshot if known, and begins to watch.
func newScene(t *testing.T, known bool, canaries Canaries) *scene {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, dir: dir}
	for i := range 24 {
		s.put(fmt.Sprintf("dept%d/paper%02d.txt", i%4, i), strings.Repeat(fmt.Sprint(prose, i), 60+i))
		s.put(fmt.Sprintf("dept%d/sheet%02d.csv", i%4, i), strings.Repeat(fmt.Sprint(i, ";geneva;london\n"), 200+i))
		s.put(fmt.Sprintf("dept%d/page%02d.html", i%4, i), "<html><body>"+strings.Repeat(prose, 30)+"</body></html>")
	}
	for i := range 24 {
		s.put(daily(i), strings.Repeat(prose, 5))
		s.put(fmt.Sprintf("crypt/vault%d", i), encrypted(fmt.Sprint(i), strings.Repeat(prose, 20)))
	}
	for i := range 3 {
		for _, name := range []string{"scan.pdf", "photo.jpg", "report.docx", "sheet.xlsx", "list.txt"} {
			s.put(fmt.Sprintf("case%d/%s", i, name), strings.Repeat(prose, 5+i))
		}
	}
	tree := Tree{Service: "fileserver", Asset: "documents", Paths: []string{dir}, Exclude: []string{dir + "/cache"}}
	if known {
		r, err := repo.Init(t.Context(), memory.New(), "secret", repo.Options{ScryptN: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		res, err := archive.Run(t.Context(), r, []string{dir}, archive.Options{Host: "london"})
		if err != nil {
			t.Fatal(err)
		}
		tree.Former = NewFormer(r, res.Snapshot)
	}
	s.w, err = Open(Options{
		Trees: []Tree{tree}, Canaries: canaries,
		Open:    func([]string, fileevent.Options) (fileevent.Source, error) { return silent{}, nil },
		Raise:   func(_ context.Context, a Alarm) { s.raised = append(s.raised, a) },
		Trouble: func(err error) { s.wrong = append(s.wrong, err) },
		Note:    func(said string) { s.notes = append(s.notes, said) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.w.budget.left = time.Hour // the tests decide what there is time for
	return s
}

func (s *scene) path(name string) string { return s.dir + "/" + name }

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// put writes a file without telling.
func (s *scene) put(name, content string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o700))
	s.must(os.WriteFile(s.path(name), []byte(content), 0o600))
}

func (s *scene) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.path(name))
	s.must(err)
	return string(data)
}

// The doings that are told.

func (s *scene) write(name, content string) {
	s.t.Helper()
	s.put(name, content)
	s.tell(fileevent.Event{Op: fileevent.Created, Path: s.path(name)}, fileevent.Event{Op: fileevent.Closed, Path: s.path(name)})
}

func (s *scene) rename(from, to string) {
	s.t.Helper()
	s.must(os.Rename(s.path(from), s.path(to)))
	s.tell(fileevent.Event{Op: fileevent.Renamed, From: s.path(from), Path: s.path(to)})
}

func (s *scene) remove(name string) {
	s.t.Helper()
	s.must(os.Remove(s.path(name)))
	s.tell(fileevent.Event{Op: fileevent.Deleted, Path: s.path(name)})
}

func (s *scene) tell(events ...fileevent.Event) {
	s.w.takeAll(s.t.Context(), events)
	s.w.raise(s.t.Context(), true)
}

// kinds sums up what was raised: "file.encrypted:3".
func (s *scene) kinds() string {
	var all []string
	for _, a := range s.raised {
		all = append(all, fmt.Sprintf("%s:%d", a.Signal.Kind, a.Signal.Count))
	}
	return strings.Join(all, " ")
}

func (s *scene) want(kinds string) {
	s.t.Helper()
	if got := s.kinds(); got != kinds {
		s.t.Errorf("raised %q, want %q", got, kinds)
	}
	for _, err := range s.wrong {
		s.t.Errorf("trouble: %v", err)
	}
}

// encrypted is what an attacker makes of a text.
func encrypted(name, content string) string {
	block, err := aes.NewCipher(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		panic(err)
	}
	iv := make([]byte, aes.BlockSize)
	copy(iv, filepath.Base(name))
	out := make([]byte, len(content))
	cipher.NewCTR(block, iv).XORKeyStream(out, []byte(content))
	return string(out)
}

func paper(i int) string { return fmt.Sprintf("dept%d/paper%02d.txt", i%4, i) }

// daily names a file that programs empty every day.
func daily(i int) string { return fmt.Sprintf("log/%d%s", i, []string{".log", ".tmp", ".bak"}[i%3]) }

func TestEncryptionInPlaceIsNoticedAtTheThirdFile(t *testing.T) {
	s := newScene(t, true, nil)
	for i := range 2 {
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	s.want("")
	s.write(paper(2), encrypted(paper(2), s.read(paper(2))))
	s.want("file.encrypted:3")
	a := s.raised[0].Signal
	if a.Technique != "T1486" || a.Service != "fileserver" || a.Asset != "documents" || a.Subject != s.dir || a.Strength < 0.75 || len(a.Touched) != 3 {
		t.Errorf("the signal is %+v", a)
	}
	if a.Evidence["processes_unknown"] == nil {
		t.Errorf("evidence %v does not say that the process is not known", a.Evidence)
	}
	s.write(paper(3), encrypted(paper(3), s.read(paper(3))))
	s.want("file.encrypted:3 file.encrypted:1")
}

func TestAFileWrittenSinceTheSnapshotIsJudgedByItself(t *testing.T) {
	s := newScene(t, false, nil)
	for i := range 3 {
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	s.want("file.encrypted:3")
	s = newScene(t, true, nil)
	for i := range 3 { // what the names promise, pictures, is not there
		s.write(fmt.Sprintf("new/photo%d.jpg", i), encrypted("x", strings.Repeat(prose, 100+i)))
	}
	s.want("file.encrypted:3")
}

func TestEveryWayToANewNameIsFollowed(t *testing.T) {
	for way, hit := range map[string]func(s *scene, name string, i int){
		"encrypted, then renamed": func(s *scene, name string, i int) {
			s.write(name, encrypted(name, s.read(name)))
			s.rename(name, name+".locked")
		},
		"renamed, then encrypted": func(s *scene, name string, i int) {
			s.rename(name, name+".locked")
			s.write(name+".locked", encrypted(name, s.read(name+".locked")))
		},
		"renamed at random, then encrypted": func(s *scene, name string, i int) {
			s.rename(name, fmt.Sprintf("dept0/%x", i))
			s.write(fmt.Sprintf("dept0/%x", i), encrypted(name, s.read(fmt.Sprintf("dept0/%x", i))))
		},
		"new file, then deleted": func(s *scene, name string, i int) {
			s.write(name+".enc", encrypted(name, s.read(name)))
			s.remove(name)
		},
		"new file with its head encrypted, then deleted": func(s *scene, name string, i int) {
			content := s.read(name)
			s.write(name+".akira", encrypted(name, content[:1024])+content[1024:])
			s.remove(name)
		},
		"deleted, then new file": func(s *scene, name string, i int) {
			content := s.read(name)
			s.remove(name)
			s.write(name+".zzz", encrypted(name, content))
		},
		"new file elsewhere, then deleted": func(s *scene, name string, i int) {
			s.write("vault/"+filepath.Base(name)+".x1", encrypted(name, s.read(name)))
			s.remove(name)
		},
		"copy on top": func(s *scene, name string, i int) {
			s.write(name+".tmp", encrypted(name, s.read(name)))
			s.rename(name+".tmp", name)
		},
	} {
		t.Run(way, func(t *testing.T) {
			s := newScene(t, true, nil)
			n := 0
			for ; n < 10 && len(s.raised) == 0; n++ {
				hit(s, paper(n), n)
			}
			if n > 3 {
				t.Errorf("noticed after %d files, want 3", n)
			}
			if k := s.kinds(); !strings.HasPrefix(k, "file.renamed:") && !strings.HasPrefix(k, "file.encrypted:") {
				t.Errorf("raised %q", k)
			}
			for _, err := range s.wrong {
				t.Error(err)
			}
		})
	}
}

// someOf names a paper, a sheet and a page of two departments in turn.
func someOf(i int) string {
	return fmt.Sprintf("dept%d/"+[]string{"paper%02d.txt", "sheet%02d.csv", "page%02d.html"}[i%3], i/3%2, i/3%2+4*(i/6))
}

// ofCase names the files of one case after the other.
func ofCase(i int) string {
	return fmt.Sprintf("case%d/%s", i/5, []string{"scan.pdf", "photo.jpg", "report.docx", "sheet.xlsx", "list.txt"}[i%5])
}

// pixels is a picture of as many pixels as content has bytes.
func pixels(content string) string {
	side := int(math.Ceil(math.Sqrt(float64(len(content)))))
	img := image.NewGray(image.Rect(0, 0, side, side))
	copy(img.Pix, content)
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.String()
}

func TestWhatOneProgramDoesToFilesOfSeveralSortsIsNoticed(t *testing.T) {
	stem := func(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }
	former := map[int]string{}
	for way, hit := range map[string]func(s *scene, i int){
		"made a picture, then renamed": func(s *scene, i int) {
			s.write(someOf(i), pixels(encrypted(someOf(i), s.read(someOf(i)))))
			s.rename(someOf(i), stem(someOf(i))+".png")
		},
		"a picture beside it, then deleted": func(s *scene, i int) {
			s.write(stem(someOf(i))+".png", pixels(encrypted(someOf(i), s.read(someOf(i)))))
			s.remove(someOf(i))
		},
		"one picture for all": func(s *scene, i int) { s.write(someOf(i), pixels(strings.Repeat(prose, 40))) },
		"three quarters left": func(s *scene, i int) { s.write(someOf(i), s.read(someOf(i))[:len(s.read(someOf(i)))*3/4]) },
		"the first 100 bytes gone": func(s *scene, i int) { // mostly of texts, which look well without
			name := someOf(i)
			if i%4 == 3 {
				name = ofCase(i / 4 * 7)
			}
			s.write(name, s.read(name)[100:])
		},
		"as OpenSSL encrypts them": func(s *scene, i int) {
			s.write(ofCase(i)+".enc", "Salted__"+encrypted(ofCase(i), s.read(ofCase(i))+prose))
			s.remove(ofCase(i))
		},
		"the next one's content": func(s *scene, i int) {
			if i == 0 {
				for k := range 13 {
					former[k] = s.read(someOf(k))
				}
			}
			s.write(someOf(i), former[i+1])
		},
	} {
		t.Run(way, func(t *testing.T) {
			s := newScene(t, true, nil)
			n := 0
			for ; n < 12 && len(s.raised) == 0; n++ {
				hit(s, n)
			}
			if len(s.raised) == 0 || n > 10 {
				t.Errorf("%d files raised %q, want a signal after ten at most", n, s.kinds())
			}
			for _, err := range s.wrong {
				t.Error(err)
			}
		})
	}
}

func TestADirectoryPackedIntoNoiseIsNoticed(t *testing.T) {
	names := []string{"scan.pdf", "photo.jpg", "report.docx", "sheet.xlsx", "list.txt"}
	s := newScene(t, true, nil)
	all := ""
	for _, name := range names {
		all += s.read("case0/" + name)
	}
	s.write("case0/volume", encrypted("volume", all))
	for _, name := range names {
		s.remove("case0/" + name)
	}
	s.want("file.archived:5")

	s = newScene(t, true, nil)
	s.write("case0/volume", encrypted("volume", strings.Repeat(all, 500))) // which is no archive of so little
	for _, name := range names {
		s.remove("case0/" + name)
	}
	s.want("")
}

func TestWipingIsNoticed(t *testing.T) {
	s := newScene(t, true, nil)
	for i := range 3 {
		s.write(paper(i), strings.Repeat("\x00", len(s.read(paper(i)))))
	}
	s.want("file.wiped:3")
	if s.raised[0].Signal.Technique != "T1485" {
		t.Errorf("technique %s", s.raised[0].Signal.Technique)
	}
	s = newScene(t, true, nil)
	for i := range 4 {
		for _, kind := range []string{"paper%02d.txt", "sheet%02d.csv", "page%02d.html"} {
			s.write(fmt.Sprintf("dept%d/"+kind, i, i), "")
		}
	}
	if s.kinds() == "" || s.raised[0].Signal.Kind != "file.wiped" || s.raised[0].Signal.Count != minEmptied {
		t.Errorf("twelve files emptied raised %q, want file.wiped at the %dth", s.kinds(), minEmptied)
	}
	s = newScene(t, true, nil)
	clear := func(dept int) {
		for i := dept; i < 24; i += 4 {
			for _, kind := range []string{"paper%02d.txt", "sheet%02d.csv", "page%02d.html"} {
				s.remove(fmt.Sprintf("dept%d/"+kind, dept, i))
			}
		}
	}
	clear(0)
	s.want("") // people clear directories
	for i := 1; i < 12; i += 4 {
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	s.want("file.encrypted:3 file.deleted:18")
	clear(2)
	s.want("file.encrypted:3 file.deleted:18 file.deleted:18")
}

// clearCase deletes all files of a case by a process.
func (s *scene) clearCase(i, pid int) {
	s.t.Helper()
	for _, name := range []string{"scan.pdf", "photo.jpg", "report.docx", "sheet.xlsx", "list.txt"} {
		name = fmt.Sprintf("case%d/%s", i, name)
		s.must(os.Remove(s.path(name)))
		s.tell(fileevent.Event{Op: fileevent.Deleted, Path: s.path(name), PID: pid})
	}
}

func TestWhoDeletesTheFilesOfDirectoryAfterDirectoryIsNoticed(t *testing.T) {
	s := newScene(t, true, nil)
	s.clearCase(0, 4711)
	s.want("") // people clear a directory
	s.clearCase(1, 4711)
	s.want("file.deleted:10")
	if a := s.raised[0].Signal; a.Technique != "T1485" || a.Strength >= 0.75 || a.Evidence["bare_directories"] != 2 {
		t.Errorf("the signal is %+v", a)
	}

	s = newScene(t, true, nil)
	s.clearCase(0, 4711)
	s.clearCase(1, 4712)
	s.want("") // two people clear a directory each

	s = newScene(t, true, nil)
	s.clearCase(0, 4711)
	s.must(os.Remove(s.path("case0")))
	s.clearCase(1, 4711)
	s.must(os.Remove(s.path("case1")))
	s.clearCase(2, 4711)
	s.want("") // they are cleared away

	s = newScene(t, true, nil)
	for i := range 3 {
		s.write(fmt.Sprintf("archive/case%d.tar.gz", i), "\x1f\x8b\x08"+encrypted("x", prose))
		s.clearCase(i, 4711)
	}
	s.want("") // they are packed

	s = newScene(t, true, nil)
	for i := range 2 {
		for k := range 4 {
			s.put(fmt.Sprintf("store/%d-%d", i, k), prose)
			s.tell(fileevent.Event{Op: fileevent.Closed, Path: s.path(fmt.Sprintf("store/%d-%d", i, k)), PID: 4711})
		}
		s.clearCase(i, 4711)
	}
	s.want("") // other files came in their place

	s = newScene(t, true, nil)
	s.write("archive/"+path.Base(s.dir)+".tar.gz", "\x1f\x8b\x08"+encrypted("x", prose))
	s.clearCase(0, 4711)
	s.clearCase(1, 4711)
	s.want("") // all that they are in is packed

	s = newScene(t, true, nil)
	s.w.detectors[0].tree.Former.time = time.Now().Add(365 * 24 * time.Hour)
	s.clearCase(0, 4711)
	s.clearCase(1, 4711)
	s.want("") // all of it is old
}

func TestWhatOneProgramDoesToManyFilesIsTakenTogether(t *testing.T) {
	for what, hit := range map[string]struct {
		kind string
		do   func(s *scene, i int, name string)
	}{
		"cut to one length": {"file.wiped", func(s *scene, _ int, name string) { s.write(name, s.read(name)[:100]) }},
		"written into one directory, each original deleted then": {"file.renamed", func(s *scene, i int, name string) {
			content := s.read(name)
			s.write(fmt.Sprintf("vault/%d.bin", i), encrypted(name, content[:len(content)/3]))
			s.remove(name)
		}},
		"packed into an archive that gpg encrypted, and deleted": {"file.archived", func(s *scene, i int, name string) {
			if i == 0 {
				s.write("backup.tar.gpg", "\x85\x01\x0c\x03\x01\x02\x03\x04\x05\x06\x07\x08\x01"+encrypted("x", strings.Repeat(prose, 900)))
			}
			s.remove(name)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t, true, nil)
			n := 0
			for ; n < 24 && len(s.raised) == 0; n++ {
				hit.do(s, n, fmt.Sprintf([]string{"dept%d/paper%02d.txt", "dept%d/sheet%02d.csv", "dept%d/page%02d.html"}[n%3], n%4, n))
			}
			if n > 10 || !strings.HasPrefix(s.kinds(), hit.kind+":") {
				t.Errorf("raised %q after %d files, want %s after 10 at most", s.kinds(), n, hit.kind)
			}
			for _, err := range s.wrong {
				t.Error(err)
			}
		})
	}
}

func TestFilesThatWereEncryptedOneByOneAreInNoArchiveWhoeverMadeIt(t *testing.T) {
	s := newScene(t, true, nil)
	d, now := s.w.detectors[0], time.Now()
	for i := range 2 * minPacked {
		name, by := fmt.Sprintf("/srv/paper%02d.txt", i), doing{at: now} // it had ended before it was asked who it was
		if i == 0 {
			by.group = 7
		}
		d.locked[name+".gpg"] = by
		d.gone[name] = loss{doing: doing{group: 7, at: now}, worth: true}
	}
	d.promotePacked(now)
	for name, f := range d.found {
		t.Errorf("%s is %s", name, f.kind)
	}
}

func TestDocumentsThatOneProgramTurnsIntoSomethingElseAreNoticed(t *testing.T) {
	s := newScene(t, true, nil)
	d := s.w.detectors[0]
	for i := range 8 {
		name := fmt.Sprintf("/srv/paper%d%s", i, []string{".pdf", ".jpg", ".docx", ".txt"}[i%4])
		d.instead[name], d.news = instead{share: 0.5 + float64(i)/100}, true
	}
	s.w.raise(t.Context(), true)
	s.want("file.encrypted:8")
}

func TestNotesAreNoticedInThreeDirectoriesAndOneBesideDamage(t *testing.T) {
	const ransom = "All your files have been encrypted. Pay 2 Bitcoin for the decryption key. Contact us by Tor Browser within 72 hours or it will be deleted forever."
	s := newScene(t, true, nil)
	for i := range 3 {
		s.want("")
		s.write(fmt.Sprintf("dept%d/READ_ME.txt", i), ransom)
	}
	s.want("note.dropped:3")
	s = newScene(t, true, nil)
	s.write("dept0/READ_ME.txt", ransom)
	for i := range 3 {
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	s.want("file.encrypted:3 note.dropped:1")
	s.write("dept1/READ_ME.txt", ransom)
	s.want("file.encrypted:3 note.dropped:1 note.dropped:1")
}

func TestADaysWorkRaisesNothing(t *testing.T) {
	zipped := func(content string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for what, day := range map[string]func(s *scene){
		"an editor saves by a copy": func(s *scene) {
			for i := range 24 {
				s.write(paper(i)+"~", s.read(paper(i))+prose)
				s.rename(paper(i)+"~", paper(i))
			}
		},
		"files are compressed": func(s *scene) {
			for i := range 24 {
				s.write(paper(i)+".gz", zipped(s.read(paper(i))))
				s.remove(paper(i))
			}
		},
		"logs are emptied": func(s *scene) {
			for i := range 24 {
				s.write(daily(i), "")
			}
		},
		"gpg encrypts a directory": func(s *scene) {
			for i := range 24 {
				s.write(paper(i)+".gpg", "\x85\x01\x0c\x03\x01\x02\x03\x04\x05\x06\x07\x08\x01"+encrypted(paper(i), s.read(paper(i))))
				s.remove(paper(i))
			}
		},
		"files are renamed in bulk": func(s *scene) {
			for i := range 24 {
				s.rename(paper(i), fmt.Sprintf("dept%d/2026-%02d.txt", i%4, i))
			}
		},
		"a backup program keeps its packs": func(s *scene) {
			for i := range 24 {
				s.write(fmt.Sprintf("repo/data/%02x/%064x", i, i), encrypted(fmt.Sprint(i), strings.Repeat(prose, 500)))
			}
			for i := range 12 {
				s.remove(fmt.Sprintf("repo/data/%02x/%064x", i, i))
			}
		},
		"pointers come in the place of large files": func(s *scene) {
			for i := range 8 {
				for k, kind := range []string{"paper%02d.txt", "sheet%02d.csv", "page%02d.html"} {
					s.write(fmt.Sprintf("dept%d/"+kind, i%4, i), fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%064x\nsize 4000\n", 3*i+k))
				}
			}
		},
		"a directory moves into a vault": func(s *scene) {
			for i := 0; i < 24; i += 4 {
				for k, name := range []string{"paper%02d.txt", "sheet%02d.csv", "page%02d.html"} {
					name = fmt.Sprintf("dept0/"+name, i)
					s.write(fmt.Sprintf("safe/d/%d/%c%c.c9r", i, 'a'+i, 'k'+k), encrypted(name, s.read(name)+prose))
					s.remove(name)
				}
			}
		},
		"an encrypted directory is in use": func(s *scene) {
			for i := range 24 {
				s.write(fmt.Sprintf("crypt/vault%d", i), encrypted(fmt.Sprint(2*i), strings.Repeat(prose, 20)))
				s.rename(fmt.Sprintf("crypt/vault%d", i), fmt.Sprintf("crypt/%x", 100+i))
			}
		},
		"old files are removed": func(s *scene) {
			for i := range 24 {
				s.remove(paper(i))
			}
		},
		"two files are encrypted": func(s *scene) {
			for i := range 2 {
				s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
			}
		},
		"what is left out is encrypted": func(s *scene) {
			for i := range 24 {
				s.write(fmt.Sprintf("cache/%d.jpg", i), encrypted("x", strings.Repeat(prose, 100)))
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t, true, nil)
			day(s)
			s.want("")
		})
	}
}

func TestOddFilesNeitherBlockNorLeadOut(t *testing.T) {
	s := newScene(t, true, nil)
	outside := t.TempDir()
	s.must(os.WriteFile(outside+"/secret.txt", []byte(encrypted("x", strings.Repeat(prose, 100))), 0o600))
	s.must(unix.Mkfifo(s.path("fifo.txt"), 0o600))
	s.must(os.Symlink(outside+"/secret.txt", s.path("link.txt")))
	s.must(os.Symlink(outside, s.path("tree")))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"fifo.txt", "link.txt", "tree/secret.txt", "none.txt", "dept0"} {
			s.tell(fileevent.Event{Op: fileevent.Closed, Path: s.path(name)})
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a fifo blocks the watch")
	}
	s.want("")
	for _, name := range []string{"fifo.txt", "link.txt", "tree/secret.txt"} {
		if f, _, err := openFile(s.path(name)); !errors.Is(err, errNoFile) {
			f.Close()
			t.Errorf("%s was opened (%v)", name, err)
		}
	}
}

// forgetful is a repository that can be read no more.
type forgetful struct{ Repository }

func (forgetful) LoadBlob(context.Context, blob.Handle, []byte) ([]byte, error) {
	return nil, errors.New("the disk is gone")
}

func TestWithoutTheRepositoryFilesAreJudgedByThemselvesAndItIsSaidOnce(t *testing.T) {
	s := newScene(t, true, nil)
	f := s.w.detectors[0].tree.Former
	for i := range 2 { // these directories are remembered, the third is not
		if _, err := f.Lookup(t.Context(), s.path(paper(i))); err != nil {
			t.Fatal(err)
		}
	}
	f.repository = forgetful{f.repository}
	for i := range 3 {
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	if len(s.wrong) != 1 || !strings.Contains(s.wrong[0].Error(), "the disk is gone") {
		t.Errorf("said %v, want one word about the repository", s.wrong)
	}
	s.wrong = nil
	s.want("file.encrypted:3")
}

func TestLookingLeavesTheAccessTimeAlone(t *testing.T) {
	s := newScene(t, true, nil)
	old := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Second)
	s.must(os.Chtimes(s.path(paper(0)), old, time.Now()))
	s.tell(fileevent.Event{Op: fileevent.Closed, Path: s.path(paper(0))})
	var st unix.Stat_t
	s.must(unix.Stat(s.path(paper(0)), &st))
	if at := time.Unix(st.Atim.Unix()); !at.Equal(old) {
		t.Errorf("it was accessed at %v, as files are that somebody reads; before the look it was %v", at, old)
	}
}

func TestWithoutTimeFilesAreGlancedAtAndComparedLater(t *testing.T) {
	s := newScene(t, true, nil)
	s.w.budget.left = -time.Hour
	base64ish := func(i int) string { return strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkw", 90+i) }
	for i := range 3 { // plainly noise: noticed all the same
		s.write(paper(i), encrypted(paper(i), s.read(paper(i))))
	}
	s.want("file.encrypted:3")
	s.write(paper(5), base64ish(1))
	if len(s.w.later) == 0 || len(s.notes) != 1 || s.w.sum.Close != 0 {
		t.Errorf("waiting %v, said %q, compared %d", s.w.later, s.notes, s.w.sum.Close)
	}
	s.w.budget.left = time.Hour
	s.w.catchUp(t.Context())
	if len(s.w.later) != 0 || s.w.sum.Close != 4 || s.w.sum.Skipped != 0 {
		t.Errorf("still waiting %v, compared %d, skipped %d", s.w.later, s.w.sum.Close, s.w.sum.Skipped)
	}
}

func TestAfterALossDeletionsAreFoundToo(t *testing.T) {
	s := newScene(t, true, nil)
	name := paper(0)
	content := s.read(name)
	s.must(os.Remove(s.path(name)))
	s.put(name+".locked", encrypted(name, content))
	s.tell(fileevent.Event{Op: fileevent.Lost, Since: time.Now()}, fileevent.Event{Op: fileevent.Changed, Path: s.path("dept0"), Dir: true},
		fileevent.Event{Op: fileevent.Changed, Path: s.path(name + ".locked")})
	d := s.w.detectors[0]
	if _, gone := d.gone[s.path(name)]; !gone {
		t.Error("the deleted file was not missed")
	}
	if f, found := d.found[s.path(name+".locked")]; !found || f.former != s.path(name) {
		t.Errorf("found %+v", d.found)
	}
	if len(s.notes) != 1 || s.w.sum.Losses != 1 {
		t.Errorf("said %q, counted %d", s.notes, s.w.sum.Losses)
	}
}

// bait is one canary.
type bait struct {
	path   string
	intact bool
	heals  int
}

func (b *bait) Is(path string) (string, string, bool) {
	return "fileserver", "documents", path == b.path
}
func (b *bait) Intact(string) bool { return b.intact }
func (b *bait) Touched(string)     { b.heals++ }

func TestACanarySaysItAtOnce(t *testing.T) {
	b := &bait{intact: true}
	s := newScene(t, true, b)
	b.path = s.path("dept0/000.docx")
	s.write("dept0/000.docx", "as it was")
	s.want("")
	b.intact = false
	s.write("dept0/000.docx", "changed")
	s.want("canary.touched:1")
	a := s.raised[0].Signal
	if a.Strength < 0.9 || a.Subject != b.path || a.Evidence["how"] != "changed" || b.heals != 1 {
		t.Errorf("the signal is %+v, to be healed %d times", a, b.heals)
	}
	s.rename("dept0/000.docx", "dept0/000.docx.locked")
	s.put("dept0/000.docx", "x")
	s.remove("dept0/000.docx")
	if len(s.raised) != 3 || s.raised[1].Signal.Evidence["how"] != "renamed" || s.raised[1].Signal.Evidence["now"] != b.path+".locked" || s.raised[2].Signal.Evidence["how"] != "deleted" {
		t.Fatalf("raised %s", s.kinds())
	}
	s.write(paper(1), encrypted(paper(1), s.read(paper(1))))
	if !strings.HasSuffix(s.kinds(), " file.encrypted:1") {
		t.Errorf("raised %q: after a canary every damaged file counts", s.kinds())
	}
}

func TestWhatAnotherKedgeDoesIsNoAttack(t *testing.T) {
	b := &bait{}
	s := newScene(t, true, b)
	b.path = s.path("dept0/000.docx")
	s.w.actors.see(os.Getpid())
	s.tell(fileevent.Event{Op: fileevent.Deleted, Path: b.path, PID: os.Getpid()})
	s.want("")
	s.w.actors.see(os.Getppid())
	s.tell(fileevent.Event{Op: fileevent.Deleted, Path: b.path, PID: os.Getppid()})
	s.want("canary.touched:1")
}

func TestAWebShellThatTheServersUserWritesIsNoticedAtOnce(t *testing.T) {
	const shell = `<?php system($_GET["c"]); ?>`
	s := newScene(t, true, nil)
	d := s.w.detectors[0]
	d.tree.Documents, d.tree.Servers = s.path("dept0"), map[uint32]bool{uint32(os.Getuid()): true}
	s.w.actors.see(os.Getppid()) // works as this user
	write := func(name, content string, pid int) {
		s.put(name, content)
		s.tell(fileevent.Event{Op: fileevent.Closed, Path: s.path(name), PID: pid})
	}
	write("dept0/upload/photo.php.jpg", strings.Repeat(prose, 20), os.Getppid())
	write("dept1/x.php", shell, os.Getppid()) // nobody serves that
	write("dept0/y.php", shell, 0)            // by whom is not known
	s.want("")
	write("dept0/upload/x.php", shell, os.Getppid())
	write("dept0/upload/x.php", shell+"\n", os.Getppid())
	s.want("shell.uploaded:1")
	if a := s.raised[0]; a.Signal.Technique != "T1505.003" || a.Signal.Strength < 0.9 || a.Signal.Subject != s.path("dept0/upload/x.php") || len(a.Who) != 1 {
		t.Errorf("the signal is %+v", a)
	}
	d.tree.Servers = map[uint32]bool{4711: true}
	write("dept0/upload/z.php", shell, os.Getppid()) // by somebody who deploys
	s.want("shell.uploaded:1")
}

func TestARealAttackIsNoticedAndItsProcessNamed(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var raised []Alarm
	enough := make(chan struct{}, 100)
	open := func(fn func([]string, fileevent.Options) (fileevent.Source, error)) (*Watch, error) {
		return Open(Options{
			Trees: []Tree{{Paths: []string{dir}}}, Open: fn,
			Raise: func(_ context.Context, a Alarm) {
				mu.Lock()
				defer mu.Unlock()
				raised = append(raised, a)
				enough <- struct{}{}
			},
			Trouble: func(err error) { t.Error(err) }, Note: func(string) {},
		})
	}
	w, err := open(fileevent.OpenFanotify)
	named := err == nil
	if errors.Is(err, fileevent.ErrPrivilege) {
		t.Logf("NOT TESTED: the name of the process: %v", err)
		w, err = open(fileevent.OpenInotify)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan Summary)
	go func() {
		sum, err := w.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- sum
	}()
	for i := range 4 {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), []byte(encrypted(fmt.Sprint(i), strings.Repeat(prose, 100))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", "for i in 0 1 2 3; do cat $i > $i.pdf; done; read wait")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-enough:
	case <-time.After(20 * time.Second):
		t.Error("nothing was raised")
	}
	_ = in.Close()
	_ = cmd.Wait()
	cancel()
	if sum := <-ended; sum.Files < 3 || sum.Signals == 0 {
		t.Errorf("the summary says %+v", sum)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(raised) == 0 || raised[0].Signal.Kind != "file.encrypted" {
		t.Fatalf("raised %+v", raised)
	}
	if named && !slices.ContainsFunc(raised[0].Who, func(a process.Actor) bool { return a.Group == raised[0].Who[0].Group && a.Name != "" }) {
		t.Errorf("who did it is not named: %+v", raised[0].Who)
	}
	if named && Blamed(raised[0].Signal) == "" {
		t.Errorf("evidence %v blames nobody", raised[0].Signal.Evidence)
	}
}
