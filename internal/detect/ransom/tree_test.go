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
	"sync"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// tree is a file tree that is snapshotted into a watcher: a repository, an archiver and a difference in one.
type tree struct {
	t       *testing.T
	w       *Watcher
	now     map[string][]byte
	last    map[string]*snapshot.Node
	blobs   map[blob.ID][]byte
	stored  map[blob.ID]repo.Location
	mu      sync.Mutex
	lookups int
}

func newTree(t *testing.T) *tree {
	tr := &tree{t: t, now: map[string][]byte{}, last: map[string]*snapshot.Node{}, blobs: map[blob.ID][]byte{}, stored: map[blob.ID]repo.Location{}}
	tr.w = New("fileserver", "documents", tr)
	return tr
}

func (tr *tree) Locate(h blob.Handle) (repo.Location, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	data, ok := tr.blobs[h.ID]
	at, known := tr.stored[h.ID]
	if !known {
		at = repo.Location{Length: uint32(min(len(data), len(gzipped(data))) + content.Overhead), Plain: uint32(len(data))}
		tr.stored[h.ID] = at
	}
	return at, ok
}

func (tr *tree) LoadBlob(_ context.Context, h blob.Handle, _ []byte) ([]byte, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lookups++
	return tr.blobs[h.ID], nil
}

// snapshot takes one and returns what the watcher raises.
func (tr *tree) snapshot() []event.Signal {
	tr.t.Helper()
	var changes []snapshot.Change
	next, changed := map[string]*snapshot.Node{}, map[string]bool{} // changed are the directories to which something came, or from which it went
	for name, data := range maps.Clone(tr.now) {
		id := blob.Hash(data)
		n := &snapshot.Node{Name: path.Base(name), Type: snapshot.File, Size: uint64(len(data)), Content: []blob.ID{id}, ModTime: time.Now()}
		next[name] = n
		old := tr.last[name]
		if old != nil && old.Content[0] == id {
			continue
		}
		tr.blobs[id] = data
		kind := snapshot.Modified
		if old == nil {
			kind = snapshot.Added
			changed[path.Dir(name)] = true
		}
		changes = append(changes, snapshot.Change{Path: name, Kind: kind, Old: old, New: n})
	}
	for name, old := range tr.last {
		if next[name] == nil {
			changed[path.Dir(name)] = true
			changes = append(changes, snapshot.Change{Path: name, Kind: snapshot.Removed, Old: old})
		}
	}
	for dir := range changed {
		listing := &snapshot.Tree{}
		for name, n := range next {
			if path.Dir(name) == dir {
				listing.Nodes = append(listing.Nodes, n)
			}
		}
		listing.Sort()
		data, err := listing.Encode()
		if err != nil {
			tr.t.Fatal(err)
		}
		id := blob.Hash(data)
		tr.blobs[id] = data
		changes = append(changes, snapshot.Change{Path: dir, Kind: snapshot.Metadata, Old: &snapshot.Node{Type: snapshot.Dir}, New: &snapshot.Node{Type: snapshot.Dir, Subtree: &id}})
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

// below returns the files of a directory, sorted.
func (tr *tree) below(dir string) []string {
	var names []string
	for name := range tr.now {
		if strings.HasPrefix(name, dir) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// root stores a tree of one directory that has all files, and returns its ID.
func (tr *tree) root() blob.ID {
	all := &snapshot.Tree{}
	for i, name := range tr.below("/") {
		all.Nodes = append(all.Nodes, &snapshot.Node{Name: fmt.Sprint(i), Type: snapshot.File, Size: uint64(len(tr.now[name])), Content: []blob.ID{blob.Hash(tr.now[name])}})
	}
	all.Sort()
	data, err := all.Encode()
	if err != nil {
		tr.t.Fatal(err)
	}
	id := blob.Hash(data)
	tr.blobs[id] = data
	return id
}
