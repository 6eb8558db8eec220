package damage

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

var monday = time.Date(2026, 3, 2, 18, 0, 0, 0, time.UTC)

// tree is a tree of files of which snapshots are taken.
type tree struct {
	t      *testing.T
	judge  *Judge
	now    map[string][]byte
	links  map[string]string // where those of the files that are symbolic links now lead to
	last   map[string]*snapshot.Node
	clock  time.Time
	broken string // content that cannot be read
	unread []string

	mu     sync.Mutex
	blobs  map[blob.ID][]byte
	stored map[blob.ID]repo.Location
	read   int
}

func newTree(t *testing.T) *tree {
	tr := &tree{t: t, now: map[string][]byte{}, last: map[string]*snapshot.Node{}, clock: monday, blobs: map[blob.ID][]byte{}, stored: map[blob.ID]repo.Location{}}
	tr.judge = New(tr, func(path string, err error) error {
		tr.unread = append(tr.unread, path)
		return nil
	})
	for i := range 30 {
		dir := fmt.Sprintf("/srv/dept%d/", i%6)
		tr.now[fmt.Sprintf("%sminutes%d.txt", dir, i)] = text(i, 3000+50*i)
		tr.now[fmt.Sprintf("%sledger%d.dat", dir, i)] = bytes.Repeat([]byte{0, 0, 1, byte(i), 7, 7, 0}, 900+i)
		tr.now[fmt.Sprintf("%sphoto%d.jpg", dir, i)] = picture(i, 9000+100*i)
	}
	tr.step()
	return tr
}

func (tr *tree) Locate(h blob.Handle) (repo.Location, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	at, ok := tr.stored[h.ID]
	return at, ok
}

func (tr *tree) Content(_ context.Context, n *snapshot.Node) (io.ReaderAt, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.read++
	if n.Name == tr.broken {
		return nil, errors.New("the pack is gone")
	}
	return bytes.NewReader(tr.blobs[n.Content[0]]), nil
}

// step takes a snapshot and judges it.
func (tr *tree) step() Judgement {
	tr.t.Helper()
	var changes []snapshot.Change
	next := map[string]*snapshot.Node{}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		tr.t.Fatal(err)
	}
	defer enc.Close()
	for name, data := range tr.now {
		id := blob.Hash(data)
		old := tr.last[name]
		if old != nil && old.Content[0] == id {
			next[name] = old
			continue
		}
		if _, known := tr.blobs[id]; !known {
			tr.blobs[id] = data
			tr.stored[id] = repo.Location{Length: uint32(min(len(data), len(enc.EncodeAll(data, nil))) + content.Overhead), Plain: uint32(len(data))}
		}
		n := &snapshot.Node{Name: path.Base(name), Type: snapshot.File, Size: uint64(len(data)), Content: []blob.ID{id}, ModTime: tr.clock}
		next[name] = n
		kind := snapshot.Modified
		if old == nil {
			kind = snapshot.Added
		}
		changes = append(changes, snapshot.Change{Path: name, Kind: kind, Old: old, New: n})
	}
	for name, old := range tr.last {
		if next[name] == nil {
			c := snapshot.Change{Path: name, Kind: snapshot.Removed, Old: old}
			if target := tr.links[name]; target != "" {
				c.Kind, c.New = snapshot.Modified, &snapshot.Node{Name: path.Base(name), Type: snapshot.Symlink, LinkTarget: target}
			}
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b snapshot.Change) int { return strings.Compare(a.Path, b.Path) })
	files := len(tr.last)
	tr.last, tr.clock = next, tr.clock.Add(24*time.Hour)
	j, err := tr.judge.Step(context.Background(), Step{Changes: changes, Time: tr.clock, Files: files})
	if err != nil {
		tr.t.Fatal(err)
	}
	return j
}

// want compares what was judged: kind, former path and where it stands.
func (tr *tree) want(j Judgement, want ...string) {
	tr.t.Helper()
	var got []string
	for _, f := range j.Damaged {
		got = append(got, fmt.Sprintf("%s %s now %s", f.Kind, f.Path, f.Now))
		if len(f.Features) < 2 {
			tr.t.Errorf("%s is damaged for one reason alone: %v", f.Path, f.Features)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tr.t.Errorf("judged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// glob returns the names that match, sorted.
func (tr *tree) glob(pattern string) []string {
	var names []string
	for name := range tr.now {
		if ok, _ := path.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		tr.t.Fatalf("nothing matches %s", pattern)
	}
	slices.Sort(names)
	return names
}

func (tr *tree) move(name, to string, data []byte) {
	delete(tr.now, name)
	tr.now[to] = data
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data) // a buffer takes all
	w.Close()
	return b.Bytes()
}

func text(seed, n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	list := strings.Fields("the committee noted that ships of five hundred gross tonnage and above shall carry a certificate")
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d ", list[rng.IntN(len(list))], rng.IntN(100))
	}
	return b.Bytes()[:n]
}

func noise(seed, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 3}).Read(b)
	return b
}

// picture has the segments of one, and data in which 0xff is stuffed.
func picture(seed, n int) []byte {
	b := []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00")
	return append(append(b, bytes.ReplaceAll(noise(seed, n), []byte{0xff}, []byte{0xff, 0})...), 0xff, 0xd9)
}

// cipher returns noise as long as data, the same for the same name.
func cipher(name string, data []byte) []byte { return noise(len(name)*31+len(data), len(data)) }

func TestWhatStandsUnderARandomNameIsPairedWithWhatIsGone(t *testing.T) {
	tr := newTree(t)
	var want []string
	for _, dir := range []string{"1", "2"} {
		for i, name := range tr.glob("/srv/dept" + dir + "/*") {
			to := fmt.Sprintf("/srv/dept%s/%016x", dir, 7919*(i+1))
			tr.move(name, to, append(cipher(name, tr.now[name]), noise(5, 2000)...))
			want = append(want, fmt.Sprintf("file.renamed %s now %s", name, to))
		}
	}
	tr.want(tr.step(), want...)
}

func TestOneFileUnderARandomNameIsPairedIfItIsAsLong(t *testing.T) {
	tr := newTree(t)
	name := "/srv/dept1/minutes1.txt"
	tr.move(name, "/srv/dept1/a8f3", cipher(name, tr.now[name]))
	tr.want(tr.step(), "file.renamed "+name+" now /srv/dept1/a8f3")
	delete(tr.now, "/srv/dept2/minutes2.txt")
	tr.now["/srv/dept2/token"] = noise(1, 40000) // somebody's, and no successor
	tr.want(tr.step())
}

func TestAnEncryptedCopyInAnotherDirectoryIsPairedByName(t *testing.T) {
	tr := newTree(t)
	var want []string
	for _, name := range tr.glob("/srv/dept3/*") {
		to := "/srv/vault/" + path.Base(name) + ".x7"
		tr.move(name, to, cipher(name, tr.now[name]))
		want = append(want, "file.renamed "+name+" now "+to)
	}
	tr.want(tr.step(), want...)
}

func TestAFileIsFollowedToWhereItsLinkLeads(t *testing.T) {
	tr := newTree(t)
	tr.links = map[string]string{"/srv/dept0/photo0.jpg": "../.cache/1", "/srv/dept1/minutes1.txt": "/srv/.cache/2", "/srv/dept2/ledger2.dat": "/srv/store/ledger2.dat"}
	tr.move("/srv/dept0/photo0.jpg", "/srv/.cache/1", noise(1, 12_345))
	tr.move("/srv/dept1/minutes1.txt", "/srv/.cache/2", noise(2, 23_456))
	tr.move("/srv/dept2/ledger2.dat", "/srv/store/ledger2.dat", tr.now["/srv/dept2/ledger2.dat"]) // somebody's large file, put elsewhere as it was
	tr.want(tr.step(), "file.renamed /srv/dept0/photo0.jpg now /srv/.cache/1", "file.renamed /srv/dept1/minutes1.txt now /srv/.cache/2")
}

func TestFilesLockedIntoAnArchiveAreDamagedAndPackedOnesAreNot(t *testing.T) {
	tr := newTree(t)
	var want []string
	total := 0
	for _, name := range tr.glob("/srv/dept4/*") {
		total += len(tr.now[name])
		delete(tr.now, name)
		want = append(want, "file.archived "+name+" now ")
	}
	tr.now["/srv/dept4/all.bin"] = noise(9, total*2/3)
	tr.want(tr.step(), want...)

	tr = newTree(t)
	for _, name := range tr.glob("/srv/dept4/*") {
		delete(tr.now, name)
	}
	tr.now["/srv/dept4.jpg"] = picture(77, total*2/3) // can be read: whatever it is, it locks nothing away
	tr.want(tr.step())
}

func TestWhatIsGoneIsNotInEverythingThatCannotBeRead(t *testing.T) {
	tr := newTree(t)
	cached, total := []string{}, 0
	for i := range 12 {
		name := fmt.Sprintf("/srv/dept0/.cache/%032X", i)
		tr.now[name] = text(200+i, 2000)
		cached, total = append(cached, name), total+2000
	}
	tr.step()
	for _, name := range cached {
		delete(tr.now, name)
	}
	tr.now["/srv/dept0/.cache/"+strings.Repeat("A1", 16)] = noise(5, total*2/3) // the cache goes on
	tr.want(tr.step())

	tr = newTree(t)
	total = 0
	for _, name := range tr.glob("/srv/dept4/*") {
		total += len(tr.now[name])
		delete(tr.now, name)
	}
	tr.now["/srv/dept4.tar.gz"] = gzipped(text(8, total)) // that is where they are
	tr.now["/srv/dept4/safe"] = noise(9, total*2/3)
	tr.want(tr.step())
}

func TestTheOwnersEncryptionIsNoDamageUntilItIsVeryMuch(t *testing.T) {
	gpg := func(name string, data []byte) []byte {
		return append([]byte("\x8c\x0d\x04\x09\x03\x02abcdefgh\xff\xd2\xff"), cipher(name, data)...)
	}
	tr := newTree(t)
	for _, name := range tr.glob("/srv/dept0/*") {
		tr.move(name, name+".gpg", gpg(name, tr.now[name]))
	}
	tr.want(tr.step())
	var want []string
	for _, name := range append(tr.glob("/srv/dept1/*"), tr.glob("/srv/dept2/*")...) {
		tr.move(name, name+".gpg", gpg(name, tr.now[name]))
		want = append(want, fmt.Sprintf("file.renamed %s now %s.gpg", name, name))
	}
	tr.want(tr.step(), want...)
}

func TestDeletionWhateverTheAgeIsDamageAndCleaningUpIsNot(t *testing.T) {
	tr := newTree(t)
	tr.clock = tr.clock.Add(1000 * 24 * time.Hour)
	tr.now["/srv/dept5/new.txt"] = text(900, 500)
	tr.step()
	for _, dir := range []string{"0", "1", "2"} { // all of them are old
		for _, name := range tr.glob("/srv/dept" + dir + "/*") {
			delete(tr.now, name)
		}
	}
	tr.want(tr.step())

	tr = newTree(t)
	var want []string
	for _, dir := range []string{"0", "1", "2"} { // written days ago
		for _, name := range tr.glob("/srv/dept" + dir + "/*") {
			delete(tr.now, name)
			want = append(want, "file.deleted "+name+" now ")
		}
	}
	tr.want(tr.step(), want...)
}

func TestMovedFilesAreNeitherGoneNorNew(t *testing.T) {
	tr := newTree(t)
	for _, name := range tr.glob("/srv/dept*/*") {
		tr.move(name, strings.Replace(name, "/srv/", "/srv/old/", 1), tr.now[name])
	}
	before := tr.read
	j := tr.step()
	tr.want(j)
	if len(j.Moved) != 90 || tr.read != before {
		t.Errorf("%d files were moved, and %d contents read", len(j.Moved), tr.read-before)
	}
}

func TestManyAlikeAreNotAllRead(t *testing.T) {
	tr := newTree(t)
	for i := range 300 {
		tr.now[fmt.Sprintf("/srv/big/file%d.txt", i)] = text(1000+i, 2500)
	}
	tr.step()
	var want []string
	for _, name := range tr.glob("/srv/big/*.txt") {
		tr.move(name, name+".locked", append(cipher(name, tr.now[name]), noise(6, 64)...))
		want = append(want, fmt.Sprintf("file.renamed %s now %s.locked", name, name))
	}
	before := tr.read
	tr.want(tr.step(), want...)
	if n := tr.read - before; n > 2*(enough+batch) {
		t.Errorf("%d contents were read for 300 files to which the same was done", n)
	}
}

func TestWhatCannotBeReadIsSkippedAndTold(t *testing.T) {
	tr := newTree(t)
	var want []string
	for _, name := range tr.glob("/srv/dept1/minutes*") {
		tr.now[name] = cipher(name, tr.now[name])
		want = append(want, fmt.Sprintf("file.encrypted %s now %s", name, name))
	}
	tr.broken = "minutes7.txt"
	want = slices.DeleteFunc(want, func(line string) bool { return strings.Contains(line, tr.broken) })
	tr.want(tr.step(), want...)
	if !slices.Equal(tr.unread, []string{"/srv/dept1/minutes7.txt"}) {
		t.Errorf("could not read %v", tr.unread)
	}
}

func TestEditingIsDismissedByTheIndexAlone(t *testing.T) {
	tr := newTree(t)
	for i, name := range tr.glob("/srv/dept*/minutes*") {
		data := bytes.Clone(tr.now[name])
		copy(data[500:], text(2000+i, 120))
		tr.now[name] = append(data, text(3000+i, 10*i)...)
	}
	before := tr.read
	tr.want(tr.step())
	if n := tr.read - before; n > 3 {
		t.Errorf("%d contents were read for 30 texts that were edited", n)
	}
}

// spelled writes noise in a way that no decoder here knows: each half byte as a word.
func spelled(name string, data []byte) []byte {
	words := strings.Fields("ash bay cay den eel fog gum hay ink jaw key lag mop nut oak pen")
	var b bytes.Buffer
	for _, c := range cipher(name, data) {
		b.WriteString(words[c>>4] + " " + words[c&15] + "\n")
	}
	return b.Bytes()
}

func TestDocumentsOfSeveralKindsThatAreNoneAnyMoreAreTold(t *testing.T) {
	tr := newTree(t)
	var want []string
	for i := range 12 {
		dir := fmt.Sprintf("/srv/dept%d/", i%6)
		tr.now[fmt.Sprintf("%splan%d.png", dir, i)] = append([]byte("\x89PNG\r\n\x1a\n"), cipher("plan", text(i, 5000))...)
	}
	tr.step()
	for i := range 6 {
		dir := fmt.Sprintf("/srv/dept%d/", i%6)
		for _, name := range []string{fmt.Sprintf("%splan%d.png", dir, i), fmt.Sprintf("%sphoto%d.jpg", dir, i), fmt.Sprintf("%sminutes%d.txt", dir, i)} {
			tr.now[name] = spelled(name, tr.now[name])
			want = append(want, fmt.Sprintf("file.encrypted %s now %s", name, name))
		}
	}
	tr.now["/srv/dept0/minutes12.txt"] = []byte("Written anew, from the first word to the last: " + strings.Repeat("nothing follows. ", 30))
	tr.want(tr.step(), want...)
}

func TestOnePictureThatBecameATextIsSomebodysWork(t *testing.T) {
	tr := newTree(t)
	tr.now["/srv/dept0/photo0.jpg"] = []byte("see the album " + strings.Repeat("on the shelf ", 40))
	tr.now["/srv/dept1/minutes1.txt"] = []byte(strings.ToUpper(string(text(77, 3000))))
	tr.want(tr.step())
}

func TestOnePictureThatBecameATextAsLongIsNot(t *testing.T) {
	tr := newTree(t)
	log := text(900, 50_000)
	tr.now["/srv/dept0/photo0.jpg"] = log[:len(tr.now["/srv/dept0/photo0.jpg"])]
	tr.now["/srv/dept1/minutes1.txt"] = log[:len(tr.now["/srv/dept1/minutes1.txt"])] // a key that was renewed may be as long as before
	tr.want(tr.step(), "file.encrypted /srv/dept0/photo0.jpg now /srv/dept0/photo0.jpg")
}

func TestFilesThatAreCutToOneLengthAreWiped(t *testing.T) {
	tr := newTree(t)
	var want []string
	for i := range 5 {
		for _, pattern := range []string{"minutes%d.txt", "ledger%d.dat", "photo%d.jpg"} {
			name := fmt.Sprintf("/srv/dept%d/"+pattern, i%6, i)
			tr.now[name] = tr.now[name][:512]
			want = append(want, fmt.Sprintf("file.wiped %s now %s", name, name))
		}
	}
	tr.now["/srv/dept5/minutes29.txt"] = tr.now["/srv/dept5/minutes29.txt"][:700]
	tr.want(tr.step(), want...)
}
