package hunt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// history is a repository that snapshots are added to.
type history struct {
	t     testing.TB
	be    *counted
	r     *repo.Repository
	clock time.Time
	list  []*snapshot.Snapshot
	cut   int // of the files that are stored; 0 cuts by content
}

func newHistory(t testing.TB) *history {
	t.Helper()
	be := &counted{Backend: memory.New()}
	r, err := repo.Init(t.Context(), be, "secret", repo.Options{ScryptN: 2, PackSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, be: be, r: r, clock: time.Date(2020, 9, 28, 8, 0, 0, 0, time.UTC)}
}

// counted counts the bytes of data packs that are read.
type counted struct {
	backend.Backend
	data map[string]bool // names of data packs
	read atomic.Int64
}

func (c *counted) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if c.data[h.Name] {
		c.read.Add(length)
	}
	return c.Backend.Open(ctx, h, offset, length)
}

// count begins to count.
func (h *history) count() {
	h.be.data = map[string]bool{}
	for b := range h.r.Blobs() {
		if at, ok := h.r.Locate(b); ok && b.Type == blob.Data {
			h.be.data[at.Pack.String()] = true
		}
	}
	h.be.read.Store(0)
}

// files are contents by path.
type files map[string][]byte

// snapshot stores files of a host, an hour after the last.
func (h *history) snapshot(host, root string, tree files) *snapshot.Snapshot {
	h.t.Helper()
	h.clock = h.clock.Add(time.Hour)
	opt := archive.Options{Host: host, Time: h.clock, Entries: func(ctx context.Context, add func(archive.Entry) error) error {
		for _, name := range sorted(tree) {
			err := add(archive.Entry{Path: path.Join(root, name), Mode: 0o600, ModTime: time.Unix(1e9, 0), Content: bytes.NewReader(tree[name]), Cut: h.cut})
			if err != nil {
				return err
			}
		}
		return nil
	}}
	res, err := archive.Run(h.t.Context(), h.r, []string{root}, opt)
	if err != nil {
		h.t.Fatal(err)
	}
	h.list = append(h.list, res.Snapshot)
	return res.Snapshot
}

func sorted(tree files) []string {
	var names []string
	for name := range tree {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// hunt runs a query over all snapshots and expects no problem.
func (h *history) hunt(q Query) *Result {
	h.t.Helper()
	res, problems := h.huntDamaged(q, Options{})
	if len(problems) > 0 {
		h.t.Fatalf("problems: %v", problems)
	}
	return res
}

func (h *history) huntDamaged(q Query, opt Options) (*Result, []error) {
	h.t.Helper()
	hunt, err := New(q)
	if err != nil {
		h.t.Fatal(err)
	}
	defer hunt.Close()
	var problems []error
	opt.Report = func(err error) { problems = append(problems, err) }
	res, err := hunt.Run(h.t.Context(), h.r, h.list, opt)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.Problems != len(problems) {
		h.t.Errorf("%d problems were counted and %d told", res.Problems, len(problems))
	}
	return res, problems
}

// found tells the hits in short: indicator, host:path and offsets.
func (res *Result) found() string {
	var lines []string
	for _, hit := range res.Hits {
		lines = append(lines, fmt.Sprintf("%s %s:%s %v", hit.Indicator.Value, hit.Host, hit.Path, hit.Offsets))
	}
	return strings.Join(lines, "\n")
}

// noise is content that nothing is found in, and that does not compress.
func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	return data
}

// planted is noise with a text at some places.
func planted(seed uint64, n int, text string, at ...int) []byte {
	data := noise(seed, n)
	for _, i := range at {
		copy(data[i:], text)
	}
	return data
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func TestWhatLiesOverTheBorderOfTwoBlobsIsFound(t *testing.T) {
	const text = "http://evil.example/gate.php?id=7"
	h := newHistory(t)
	h.cut = 64 << 10
	for at := range len(text) + 1 {
		h.snapshot("web", "/srv", files{fmt.Sprintf("f%02d", at): planted(uint64(at), 200<<10, text, 64<<10-at, 130<<10)})
	}
	want := func(value string, shift int) string {
		var lines []string
		for at := range len(text) + 1 {
			lines = append(lines, fmt.Sprintf("%s web:/srv/f%02d [%d %d]", value, at, 64<<10-at+shift, 130<<10+shift))
		}
		return strings.Join(lines, "\n")
	}
	for _, expr := range []string{`https?://[a-z]+\.example/[a-z.]*\?id=\d`, `evil\.\w+/`, `\bevil\b`} {
		shift := strings.Index(text, "evil")
		if expr[0] == 'h' {
			shift = 0
		}
		if got := h.hunt(Query{Regexes: []string{expr}}).found(); got != want(expr, shift) {
			t.Errorf("%s found\n%s\nwant\n%s", expr, got, want(expr, shift))
		}
	}
	if got := h.hunt(Query{Literals: []string{text}}).found(); got != want(text, 0) {
		t.Errorf("found\n%s\nwant\n%s", got, want(text, 0))
	}
	if got := h.hunt(Query{Hex: []string{"{ 2e 65 78 61 }"}}).found(); !strings.Contains(got, fmt.Sprintf("f20 [%d %d]", 64<<10-20+strings.Index(text, ".exa"), 130<<10+11)) {
		t.Errorf("found\n%s", got)
	}
}

func TestEveryBlobIsReadOnceHoweverManySnapshotsHoldIt(t *testing.T) {
	h := newHistory(t)
	tree := files{"big": planted(1, 5<<20, "EVIL", 3<<20), "copy": planted(1, 5<<20, "EVIL", 3<<20)}
	for i := range 20 {
		tree[fmt.Sprintf("doc%d", i)] = planted(uint64(100+i), 3000, "EVIL", 5)
		h.snapshot("fs", "/srv", tree)
	}
	h.count()
	distinct := 0
	for b := range h.r.Blobs() {
		if b.Type == blob.Data {
			distinct++
		}
	}
	var packed int64
	for name := range h.be.data {
		info, err := h.be.Stat(t.Context(), backend.Handle{Type: backend.Pack, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		packed += info.Size
	}
	res := h.hunt(Query{Literals: []string{"EVIL", "nothing of the kind"}, Regexes: []string{`E[Vv]IL`}})
	if res.Read.Blobs != distinct || res.Read.Again != 0 || h.be.read.Load() > packed {
		t.Errorf("of %d blobs %d were read, %d again; of %d bytes in data packs %d", distinct, res.Read.Blobs, res.Read.Again, packed, h.be.read.Load())
	}
	if len(res.Hits) != 2*22 || !res.Hits[0].InNewest || res.Hits[0].Path != "/srv/big" || res.Hits[0].Snapshots != 20 || res.Hits[0].Offsets[0] != 3<<20 {
		t.Errorf("%d hits, the first %+v", len(res.Hits), res.Hits[0])
	}
}

func TestOnlyWhatTheChosenSnapshotsHoldCounts(t *testing.T) {
	h := newHistory(t)
	h.snapshot("fs", "/srv", files{"a": []byte("EVIL one")})
	h.snapshot("fs", "/srv", files{"b": []byte("good")})
	h.list = h.list[1:]
	if res := h.hunt(Query{Literals: []string{"EVIL"}}); len(res.Hits) != 0 || res.Read.Blobs != 1 || res.Snapshots != 1 {
		t.Errorf("%+v", res)
	}
}

func TestTheSHA256OfASmallFileIsAnsweredWithoutReadingData(t *testing.T) {
	h := newHistory(t)
	small, empty := []byte("a dropper"), []byte{}
	h.snapshot("fs", "/srv", files{"x/small": small, "empty": empty, "big": noise(3, 6<<20)})
	h.count()
	// The size of what is looked for is known, since it is a blob: the big file has another.
	res := h.hunt(Query{SHA256: []string{strings.ToUpper(sum(small)), sum(empty)}})
	want := strings.ToUpper(sum(small)) + " fs:/srv/x/small []\n" + sum(empty) + " fs:/srv/empty []"
	if res.found() != want || h.be.read.Load() != 0 || res.Read.Blobs != 0 {
		t.Errorf("found\n%s\nwant\n%s\nand read %d bytes of data", res.found(), want, h.be.read.Load())
	}
}

func TestTheSHA256OfALargeFileIsFoundByReadingIt(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	log := noise(4, 4<<20)
	var versions []string
	for i := range 8 { // a log that grows
		content := log[:(i+1)<<19]
		versions = append(versions, sum(content))
		h.snapshot("fs", "/srv", files{"log": content, "other": noise(uint64(50+i), 1<<20)})
	}
	res := h.hunt(Query{SHA256: []string{versions[5], versions[0], sum(noise(53, 1<<20)), sum([]byte("nowhere"))}})
	want := versions[5] + " fs:/srv/log []\n" + versions[0] + " fs:/srv/log []\n" + sum(noise(53, 1<<20)) + " fs:/srv/other []"
	if res.found() != want {
		t.Errorf("found\n%s\nwant\n%s", res.found(), want)
	}
	if res.Hits[0].InNewest || res.Hits[0].First.ID != h.list[5].ID || res.Hits[0].Last.ID != h.list[5].ID {
		t.Errorf("seen %+v to %+v, want in %v only", res.Hits[0].First, res.Hits[0].Last, h.list[5].ID)
	}
	if res.Read.Again != 0 || res.Read.Bytes != 4<<20+8<<20 {
		t.Errorf("read %+v: the log grows, and its start need not be read for each version", res.Read)
	}
}

func TestAFileThatLostItsContentAndGotItAgainIsToldSo(t *testing.T) {
	h := newHistory(t)
	evil, good := []byte("EVIL"), []byte("good")
	for _, content := range [][]byte{good, evil, evil, good, []byte("now EVIL here"), good, evil} {
		h.snapshot("fs", "/srv", files{"page": content})
		h.snapshot("fs", "/home", files{"notes": good}) // says nothing of /srv
		h.snapshot("mail", "/srv", files{"page": good}) // another host
	}
	slices.Reverse(h.list) // nobody need sort them
	res := h.hunt(Query{Literals: []string{"EVIL"}})
	slices.Reverse(h.list)
	if len(res.Hits) != 1 {
		t.Fatalf("found\n%s", res.found())
	}
	hit := res.Hits[0]
	var spans []string
	for _, s := range hit.Spans {
		spans = append(spans, fmt.Sprint(h.at(s.First), " ", h.at(s.Last), " ", s.Snapshots))
	}
	if got := strings.Join(spans, ", "); got != "3 6 2, 12 12 1, 18 18 1" || hit.Snapshots != 4 || h.at(hit.First) != 3 || h.at(hit.Last) != 18 || hit.Size != 4 || fmt.Sprint(hit.Offsets) != "[0]" {
		t.Errorf("spans %s of %+v", got, hit)
	}
}

// at is the place of a snapshot in the history.
func (h *history) at(m Moment) int {
	return slices.IndexFunc(h.list, func(sn *snapshot.Snapshot) bool { return sn.ID == m.ID && sn.Time.Equal(m.Time) })
}

func TestDamageIsSaidAndTheRestSearched(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	h.snapshot("fs", "/srv", files{"hurt": planted(1, 300<<10, "EVIL", 10, 65<<10, 200<<10), "sound": []byte("EVIL too")})
	var hurt blob.Handle
	err := snapshot.Walk(t.Context(), h.r, h.list[0].Tree, func(p string, n *snapshot.Node) error {
		if p == "/srv/hurt" {
			hurt = blob.Handle{ID: n.Content[1], Type: blob.Data}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	at, _ := h.r.Locate(hurt)
	file := backend.Handle{Type: backend.Pack, Name: at.Pack.String()}
	rd, err := h.be.Open(t.Context(), file, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(rd)
	if err != nil {
		t.Fatal(err)
	}
	data[at.Offset+at.Length/2] ^= 1
	if err := h.be.Remove(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := h.be.Save(t.Context(), file, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}}, Options{})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), hurt.ID.Short()) || !strings.Contains(problems[0].Error(), "kedge check") {
		t.Errorf("problems: %v", problems)
	}
	if want := fmt.Sprintf("EVIL fs:/srv/hurt [10 %d]\nEVIL fs:/srv/sound [0]", 200<<10); res.found() != want {
		t.Errorf("found\n%s\nwant\n%s", res.found(), want)
	}
}
