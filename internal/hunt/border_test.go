package hunt

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// bounded are expressions whose matches have a greatest length: for these a hunt finds what regexp finds, wherever borders are.
var bounded = []string{
	"evil", "(?i)evil", "(?i)kiss", "evil|good", "(?:ev|go)il?x", "a.c", "a[bc]", "[a-f0-9]{8}", `\bevil\b`, "^evil", "evil$", "(?m)^(?:evil|good|ab)$", "(ab){2,3}", "a?b?c", "(?:a|b|)c",
	`\Bvil`, "[^€]foo", ".foo", "€", "\ufffd", "[^a]b", "(?i)ſ", `\x00\x00`, `\A.`, `.\z`, `(?s).\z`, "evil(?:$|ly)", "(?s)evil.{0,9}good", `\s{1,3}evil`, "(?m)$\n^", "[0-9a-f]{8,12}", "[abc]{4,6}", "(?:ab|ba){2,3}.",
}

var empty = sync.OnceValues(func() (*repo.Repository, error) {
	return repo.Init(context.Background(), memory.New(), "secret", repo.Options{ScryptN: 2})
})

// huntCut searches a file that is cut at some places, its blobs read in some order, with so much memory for borders, and returns
// where matches begin.
func huntCut(t *testing.T, h *Hunt, data []byte, cuts []int, order []int, memory int) []int64 {
	t.Helper()
	r, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	u := h.newRun(r, Options{})
	u.s = u.newSurvey()
	blobs := make(map[blob.ID][]byte)
	var content []blob.ID
	from := 0
	for _, to := range append(cuts, len(data)) {
		id := blob.Hash(data[from:to])
		blobs[id] = data[from:to]
		content = append(content, id)
		from = to
	}
	u.s.most = int64(4 * h.reach)
	u.s.size = func(id blob.ID) (uint32, bool) { return uint32(len(blobs[id])), true }
	u.s.add(content)
	b := newBorders(u.s, h.edges, memory)
	read := func(n uint32, search bool) {
		id := u.s.ids[n]
		if search {
			u.searchBlob(id, blobs[id])
		}
		for _, w := range b.read(n, blobs[id]) {
			u.searchRun(w)
		}
	}
	for _, n := range order {
		if n < len(u.s.ids) {
			read(uint32(n), true)
		}
	}
	for again := b.batch(); len(again) > 0; again = b.batch() {
		for _, n := range again {
			read(n, false)
		}
	}
	for n, uses := range b.uses {
		if uses != 0 || len(b.held) != 0 || b.bytes != 0 {
			t.Fatalf("blob %d waits for %d runs, %d bytes of %d blobs are held at the end", n, uses, b.bytes, len(b.held))
		}
	}
	for _, m := range u.judge(content, u.blobsInHits()) {
		return m.at
	}
	return nil
}

func FuzzBorders(f *testing.F) {
	for i := range bounded {
		f.Add(uint64(i), []byte("a evil\ngood \xe2\x82\xacfoo EVIL kiss \x00\x00 ab"), uint8(i), false)
		f.Add(uint64(i), []byte("evil"), uint8(i), true)
		f.Add(uint64(54), []byte("evil"), uint8(i), false) // cut in two, and no room for both
		f.Add(uint64(109), []byte("00000000000000000000000000"), uint8(i), false)
	}
	f.Fuzz(func(t *testing.T, seed uint64, data []byte, which uint8, literal bool) {
		if len(data) == 0 || len(data) > 400 {
			return
		}
		checkBorders(t, rand.New(rand.NewPCG(seed, 0)), data, int(which), literal)
	})
}

// checkBorders compares a hunt in a file that is cut at random with a search of the whole.
func checkBorders(t *testing.T, r *rand.Rand, data []byte, which int, literal bool) (hit bool) {
	t.Helper()
	expr := bounded[which%len(bounded)]
	q := Query{Regexes: []string{expr}}
	if literal {
		from := r.IntN(len(data))
		q = Query{Literals: []string{string(data[from : from+1+r.IntN(min(12, len(data)-from))])}}
	}
	h, err := New(q)
	if err != nil {
		t.Fatal(err)
	}
	if !literal {
		if x := h.patterns[0].finder.(*regex); h.reach != x.length+margin {
			t.Fatalf("%q reaches %d bytes over a border, where its matches have at most %d", expr, h.reach, x.length)
		}
	}
	var cuts, order []int
	for at := 0; at < len(data); {
		if at += r.IntN(1 + r.IntN(40)); at < len(data) {
			cuts = append(cuts, at)
		}
		if len(cuts) > 100 {
			break
		}
	}
	order = r.Perm(len(cuts) + 1)
	got := huntCut(t, h, data, cuts, order, r.IntN(200))
	if len(order) < 2 {
		return false // a file of one blob has no border, and no number
	}
	var want []int64
	if literal {
		for at := range data {
			if bytes.HasPrefix(data[at:], []byte(q.Literals[0])) {
				want = append(want, int64(at))
			}
		}
		want = earliest(want)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q in %q cut at %v: found at %v, want %v", q.Literals[0], data, cuts, got, want)
		}
		return len(want) > 0
	}
	for _, m := range regexp.MustCompile(expr).FindAllIndex(data, 1) {
		want = append(want, int64(m[0]))
	}
	if len(got) != 0 != (len(want) != 0) || len(want) > 0 && got[0] != want[0] {
		t.Fatalf("%q in %q cut at %v: found at %v, want the first at %v", expr, data, cuts, got, want)
	}
	return len(want) > 0
}

func TestAHuntFindsTheSameWhereverAFileIsCut(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i, expr := range bounded {
		hits := 0
		for n := range 300 {
			if checkBorders(t, r, sentence(r, 1+r.IntN(1+r.IntN(60))), i, n%4 == 0) && n%4 != 0 {
				hits++
			}
		}
		if hits == 0 {
			t.Errorf("%q never matched: the test shows nothing", expr)
		}
	}
}

// TestALongExpressionIsFoundIfItsMatchReachesNoFurtherThanPromised has matches of which all lies on one side of a border but a byte.
func TestALongExpressionIsFoundIfItsMatchReachesNoFurtherThanPromised(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	match := "<" + strings.Repeat("-", regexReach-1) + strings.Repeat("=", regexReach-1) + ">"
	h.snapshot("fs", "/srv", files{"f": planted(1, 256<<10, match, 64<<10-regexReach)})
	if got := h.hunt(Query{Regexes: []string{"<-+=+>"}}).found(); got != fmt.Sprintf("<-+=+> fs:/srv/f [%d]", 64<<10-regexReach) {
		t.Errorf("found %q", got)
	}
}

// TestBordersThatThereWasNoRoomForAreReadAgain holds a file back whose blobs stand far from each other in the packs.
func TestBordersThatThereWasNoRoomForAreReadAgain(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	const blob = 64 << 10
	content := noise(1, 16*blob)
	for at := 0; at < len(content); at += blob {
		copy(content[at:], "IL")
	}
	h.snapshot("fs", "/srv", files{"f": content})
	var places []int64
	for i := range 15 { // a new blob between each pair of old ones
		at := (2*i + 1) * blob
		content = slices.Insert(slices.Clone(content), at, planted(uint64(2+i), blob, "EV", blob-2)...)
		places = append(places, int64(at+blob-2))
	}
	h.snapshot("fs", "/srv", files{"f": content})
	for _, memory := range []int{0, 20, 50} {
		res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}}, Options{borderMemory: memory})
		if len(problems) > 0 || len(res.Hits) != 1 || fmt.Sprint(res.Hits[0].Offsets) != fmt.Sprint(places[:mostOffsets]) {
			t.Errorf("with %d bytes: %v\n%s", memory, problems, res.found())
		}
		if (memory > 0) != (res.Read.Again > 0) {
			t.Errorf("with %d bytes %d blobs were read again", memory, res.Read.Again)
		}
		// Of the blobs that were put between others only the ends that may be of a match lead to reading, and what follows them.
		if res.Read.Again > 2*len(places) {
			t.Errorf("with %d bytes %d blobs were read again for %d matches over borders", memory, res.Read.Again, len(places))
		}
	}
}
