package ransom

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"image"
	"image/jpeg"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

var _ detect.Detector = (*Watcher)(nil)

// tree is a file tree that is snapshotted into a watcher: a repository, an archiver and a difference in one.
type tree struct {
	t       *testing.T
	w       *Watcher
	now     map[string][]byte
	last    map[string]*snapshot.Node
	blobs   map[blob.ID][]byte
	stored  map[blob.ID]repo.Location
	lookups int
}

func newTree(t *testing.T) *tree {
	tr := &tree{t: t, now: map[string][]byte{}, last: map[string]*snapshot.Node{}, blobs: map[blob.ID][]byte{}, stored: map[blob.ID]repo.Location{}}
	tr.w = New("fileserver", "documents", tr)
	return tr
}

func (tr *tree) Locate(h blob.Handle) (repo.Location, bool) {
	data, ok := tr.blobs[h.ID]
	at, known := tr.stored[h.ID]
	if !known {
		at = repo.Location{Length: uint32(min(len(data), len(gzipped(data))) + overhead), Plain: uint32(len(data))}
		tr.stored[h.ID] = at
	}
	return at, ok
}

func (tr *tree) LoadBlob(_ context.Context, h blob.Handle, _ []byte) ([]byte, error) {
	tr.lookups++
	return tr.blobs[h.ID], nil
}

// snapshot takes one and returns what the watcher raises.
func (tr *tree) snapshot() []event.Signal {
	tr.t.Helper()
	var changes []snapshot.Change
	next := map[string]*snapshot.Node{}
	for name, data := range maps.Clone(tr.now) {
		id := blob.Hash(data)
		n := &snapshot.Node{Name: path.Base(name), Type: snapshot.File, Size: uint64(len(data)), Content: []blob.ID{id}}
		next[name] = n
		old := tr.last[name]
		if old != nil && old.Content[0] == id {
			continue
		}
		tr.blobs[id] = data
		kind := snapshot.Modified
		if old == nil {
			kind = snapshot.Added
		}
		changes = append(changes, snapshot.Change{Path: name, Kind: kind, Old: old, New: n})
		stream := tr.w.Observe(name, old, n)
		for piece := range slices.Chunk(data, 10000) {
			if _, err := stream.Write(piece); err != nil {
				tr.t.Fatal(err)
			}
		}
		if err := stream.Close(); err != nil {
			tr.t.Fatal(err)
		}
	}
	for name, old := range tr.last {
		if next[name] == nil {
			changes = append(changes, snapshot.Change{Path: name, Kind: snapshot.Removed, Old: old})
		}
	}
	slices.SortFunc(changes, func(a, b snapshot.Change) int { return strings.Compare(a.Path, b.Path) })
	tr.last = next
	tr.w.Changes(changes)
	signals, err := tr.w.Detect(context.Background())
	if err != nil {
		tr.t.Fatal(err)
	}
	return signals
}

// fill makes an ordinary departmental tree.
func (tr *tree) fill() {
	for i := range 30 {
		dir := fmt.Sprintf("/srv/files/dept%d/", i%6)
		tr.now[dir+fmt.Sprintf("minutes%d.txt", i)] = prose(uint64(i), 300+i)
		tr.now[dir+fmt.Sprintf("paper%d.docx", i)] = office(uint64(i))
		tr.now[dir+fmt.Sprintf("photo%d.jpg", i)] = photo(uint64(i))
		tr.now[dir+fmt.Sprintf("src%d.go", i)] = append([]byte("package main\n"), prose(uint64(i), 40)...)
		tr.now[dir+fmt.Sprintf("data%d", i)] = bytes.Repeat([]byte{0, 0, 1, byte(i)}, 2000)
	}
}

func prose(seed uint64, words int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	list := strings.Fields("the committee noted that ships of five hundred gross tonnage and above shall carry a certificate issued by the administration")
	var b bytes.Buffer
	for range words {
		fmt.Fprintf(&b, "%s ", list[rng.IntN(len(list))])
	}
	return b.Bytes()
}

func office(seed uint64) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, part := range []string{"[Content_Types].xml", "word/document.xml"} {
		f, err := w.Create(part)
		if err != nil {
			panic(err)
		}
		f.Write(prose(seed, 2000))
	}
	w.Close()
	return b.Bytes()
}

func photo(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 4))
	m := image.NewGray(image.Rect(0, 0, 120, 120))
	for i := range m.Pix {
		m.Pix[i] = byte(i/120) + byte(rng.IntN(60))
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func encrypt(name string, plain []byte) []byte {
	key := blob.Hash([]byte(name))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(plain))
	cipher.NewCTR(block, key[:aes.BlockSize]).XORKeyStream(out, plain)
	return out
}

const noteText = "All your files have been encrypted. Pay us 3 Bitcoin. Use the Tor Browser. Do not rename files."

func kinds(signals []event.Signal) string {
	var all []string
	for _, s := range signals {
		all = append(all, fmt.Sprintf("%s:%d", s.Kind, s.Count))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestEncryptionInPlaceIsNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	if signals := tr.snapshot(); len(signals) != 0 {
		t.Fatalf("the first snapshot raised %s", kinds(signals))
	}
	var hit []string
	for name, data := range maps.Clone(tr.now) {
		if strings.HasPrefix(name, "/srv/files/dept1/") {
			tr.now[name] = encrypt(name, data)
			hit = append(hit, name)
		}
	}
	slices.Sort(hit)
	signals := tr.snapshot()
	if len(signals) != 1 || signals[0].Kind != "file.encrypted" || signals[0].Technique != "T1486" || signals[0].Subject != "/srv/files/dept1" {
		t.Fatalf("raised %s: %+v", kinds(signals), signals)
	}
	s := signals[0]
	if !slices.Equal(s.Touched, hit) || s.Count != len(hit) || s.Strength < 0.8 {
		t.Errorf("touched %v (%d) at strength %.2f, want exactly %v", s.Touched, s.Count, s.Strength, hit)
	}
	if e := s.Evidence["mean_entropy"].(float64); e < 7 || e > 8 {
		t.Errorf("mean entropy %v", e)
	}
	if len(s.Evidence["examples"].([]map[string]any)) != maxExamples {
		t.Errorf("examples %v", s.Evidence["examples"])
	}
	if again := tr.snapshot(); len(again) != 0 {
		t.Errorf("the same files are raised again: %s", kinds(again))
	}
	one := "/srv/files/dept2/paper2.docx"
	tr.now[one] = encrypt(one, tr.now[one])
	if signals := tr.snapshot(); kinds(signals) != "file.encrypted:1" {
		t.Errorf("one more file after the alarm raised %q", kinds(signals))
	}
}

func TestEncryptionWithRenamingAndNotesIsNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	n := 0
	for name, data := range maps.Clone(tr.now) {
		if strings.HasPrefix(name, "/srv/files/dept3/") || strings.HasPrefix(name, "/srv/files/dept4/") {
			delete(tr.now, name)
			tr.now[name+".locked"] = encrypt(name, data)
			n++
		}
	}
	for i := range 4 {
		tr.now[fmt.Sprintf("/srv/files/dept%d/READ_ME.txt", i)] = []byte(noteText)
	}
	signals := tr.snapshot()
	if want := fmt.Sprintf("file.renamed:%d note.dropped:4", n); kinds(signals) != want {
		t.Fatalf("raised %q, want %q", kinds(signals), want)
	}
	if got := fmt.Sprint(signals[0].Evidence["appended"]); got != fmt.Sprintf("map[.locked:%d]", n) {
		t.Errorf("evidence says that %s was appended", got)
	}
}

func TestNotesAloneAreNoticedInThreeDirectoriesAndOneBesideDamage(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 3 {
		tr.now[fmt.Sprintf("/srv/files/dept%d/HOW_TO.txt", i)] = []byte(noteText)
		want := map[int]string{2: "note.dropped:3"}[i]
		if got := kinds(tr.snapshot()); got != want {
			t.Errorf("note %d raised %q, want %q", i+1, got, want)
		}
	}
	tr = newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 3 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		tr.now[name] = encrypt(name, tr.now[name])
	}
	tr.now["/srv/files/HOW_TO.txt"] = []byte(noteText)
	if got := kinds(tr.snapshot()); got != "file.encrypted:3 note.dropped:1" {
		t.Errorf("raised %q", got)
	}
}

func TestASlowEncryptorIsNoticedAtTheThirdFile(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 4 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		tr.now[name] = encrypt(name, tr.now[name])
		want := map[int]string{2: "file.encrypted:3", 3: "file.encrypted:1"}[i]
		if got := kinds(tr.snapshot()); got != want {
			t.Errorf("file %d raised %q, want %q", i+1, got, want)
		}
	}
}

func TestASuccessorThatAppearsASnapshotLaterIsPaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t)
		tr.fill()
		tr.snapshot()
		old := map[string][]byte{}
		for i := range 6 {
			name := fmt.Sprintf("/srv/files/dept%d/data%d", i, i) // the name alone promises nothing
			old[name] = tr.now[name]
			delete(tr.now, name)
		}
		tr.snapshot()
		time.Sleep(time.Minute)
		for name, data := range old {
			tr.now[name+".crypt9"] = encrypt(name, data)
		}
		if got := kinds(tr.snapshot()); got != "file.renamed:6" {
			t.Errorf("raised %q", got)
		}
	})
}

func TestDenseFilesWithoutExtensionAreLookedUp(t *testing.T) {
	tr := newTree(t)
	for i := range 5 {
		tr.now[fmt.Sprintf("/srv/files/archive%d", i)] = gzipped(prose(uint64(i), 3000))
	}
	tr.snapshot()
	for name, data := range maps.Clone(tr.now) {
		tr.now[name] = encrypt(name, data)
	}
	if got := kinds(tr.snapshot()); got != "file.encrypted:5" || tr.lookups != 5 {
		t.Errorf("raised %q after %d lookups", got, tr.lookups)
	}
}

func TestOrdinaryWorkRaisesNothing(t *testing.T) {
	for name, work := range map[string]func(*tree){
		"edits": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if strings.HasSuffix(name, ".txt") {
					tr.now[name] = append(slices.Clone(data), prose(99, 30)...)
				}
			}
		},
		"new documents": func(tr *tree) {
			for i := range uint64(20) {
				tr.now[fmt.Sprintf("/srv/files/new/%d.docx", i)] = office(100 + i)
				tr.now[fmt.Sprintf("/srv/files/new/%d.jpg", i)] = photo(100 + i)
				tr.now[fmt.Sprintf("/srv/files/new/%d.zip", i)] = office(200 + i)
			}
		},
		"documents saved again": func(tr *tree) {
			for i := range 30 {
				tr.now[fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i%6, i)] = office(uint64(300 + i))
			}
		},
		"one file encrypted by its owner": func(tr *tree) {
			tr.now["/srv/files/dept1/minutes1.txt.gpg"] = encrypt("k", tr.now["/srv/files/dept1/minutes1.txt"])
			delete(tr.now, "/srv/files/dept1/minutes1.txt")
		},
		"ten files encrypted with age": func(tr *tree) {
			for i := range 10 {
				name := fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i%6, i)
				tr.now[name+".age"] = append([]byte("age-encryption.org/v1\n"), encrypt("k", tr.now[name])...)
				delete(tr.now, name)
			}
		},
		"a directory renamed": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if rest, ok := strings.CutPrefix(name, "/srv/files/dept2/"); ok {
					delete(tr.now, name)
					tr.now["/srv/files/dept2-2020/"+rest] = data
				}
			}
		},
		"files renamed, not encrypted": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				delete(tr.now, name)
				tr.now[name+".bak"] = data
			}
		},
		"files compressed": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if strings.HasSuffix(name, ".txt") {
					delete(tr.now, name)
					tr.now[name+".gz"] = gzipped(data)
				}
			}
		},
		"logs that grow and rotate": func(tr *tree) {
			for i := range 10 {
				name := fmt.Sprintf("/srv/files/log%d", i)
				tr.now[name+".1"] = prose(7, 5000)
				tr.now[name] = prose(8, 100)
			}
		},
		"encrypted volumes used": func(tr *tree) {
			for i := range 5 {
				name := fmt.Sprintf("/srv/files/volume%d", i)
				tr.now[name] = encrypt(name, prose(1, 3000))
				tr.snapshot()
				tr.now[name] = encrypt(name+"2", prose(1, 3000))
			}
		},
		"objects named by hash": func(tr *tree) {
			for i := range uint64(30) {
				data := encrypt(fmt.Sprint(i), prose(i, 300))
				tr.now["/srv/files/.cache/"+blob.Hash(data).String()] = data
			}
		},
		"everything deleted": func(tr *tree) { clear(tr.now) },
		"files emptied": func(tr *tree) {
			for name := range maps.Clone(tr.now) {
				tr.now[name] = nil
			}
		},
		"the same README in many places": func(tr *tree) {
			for i := range 6 {
				tr.now[fmt.Sprintf("/srv/files/dept%d/README", i)] = []byte("Files are encrypted with gpg; to decrypt all the files use the private key.")
			}
		},
		"an article about ransom notes": func(tr *tree) { tr.now["/srv/files/dept1/article.txt"] = []byte(noteText) },
		"two files that look bad": func(tr *tree) {
			for _, name := range []string{"/srv/files/dept1/minutes1.txt", "/srv/files/dept2/minutes2.txt"} {
				tr.now[name] = encrypt(name, tr.now[name])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t)
			tr.fill()
			tr.snapshot()
			for range 2 {
				work(tr)
				if signals := tr.snapshot(); len(signals) != 0 {
					t.Fatalf("raised %s: %+v", kinds(signals), signals)
				}
			}
		})
	}
}

func TestManyFilesUnderAnOpenNameAreNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for name, data := range maps.Clone(tr.now) {
		delete(tr.now, name)
		tr.now[name+".gpg"] = encrypt(name, data)
	}
	if got := kinds(tr.snapshot()); got != "file.renamed:150" {
		t.Errorf("raised %q", got)
	}
}

func TestAFileMadeGoodAgainDoesNotCount(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 5 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		good := tr.now[name]
		tr.now[name] = encrypt(name, good)
		if got := kinds(tr.snapshot()); got != "" {
			t.Fatalf("file %d raised %q", i, got)
		}
		tr.now[name] = good
		tr.snapshot()
	}
}
