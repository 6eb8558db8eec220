package hunt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// places returns where a literal stands, the simple way.
func places(data, content []byte, most int) (at []int) {
	for i := range data {
		if len(at) < most && bytes.HasPrefix(data[i:], content) {
			at = append(at, i)
		}
	}
	return at
}

// ofFew returns bytes of a small alphabet, so that texts stand in others often.
func ofFew(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = "ab\x00\xff"[r.IntN(4)]
	}
	return data
}

func TestLiteralsAreFoundWhereverTheyStand(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	hits := 0
	for range 600 {
		data := ofFew(r, r.IntN(300))
		var literals [][]byte
		for range 1 + r.IntN(20) {
			literals = append(literals, ofFew(r, leastInSet+r.IntN(6)))
		}
		most := 1 + r.IntN(5)
		all := newLiteralSet(literals).find(data, most)
		for i, content := range literals {
			want := places(data, content, most)
			hits += len(want)
			l, err := newLiteral(content)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.find(text{data: data}, most); !slices.Equal(got, want) {
				t.Fatalf("%q in %q: found at %v, want %v", content, data, got, want)
			}
			if got := all[uint32(i)]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%q in %q, with others: found at %v, want %v", content, data, got, want)
			}
		}
	}
	if hits < 200 {
		t.Errorf("only %d places: the test shows little", hits)
	}
}

func TestManyLiteralsAreFoundAsFewAre(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	content := noise(1, 300<<10)
	var q Query
	want := ""
	for i := range 3 * fewLiterals {
		name := fmt.Sprintf("host%02d.evil.example", i)
		at := i*16<<10 - 5*(i&1) + 16<<10 // some over borders
		copy(content[at:], name)
		q.Literals = append(q.Literals, name)
		want += fmt.Sprintf("%s fs:/srv/f [%d]\n", name, at)
	}
	q.Hex = []string{"65 76"} // "ev", too short to be found with others
	h.snapshot("fs", "/srv", files{"f": content})
	if got := h.hunt(q).found(); !bytes.HasPrefix([]byte(got), []byte(want+"65 76 fs:/srv/f [")) {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
}

func TestWhatCannotBeLookedForIsRefusedWithTheReason(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), longestPattern+1))
	for _, c := range []struct {
		query Query
		want  string
	}{
		{Query{}, "nothing to look for"},
		{Query{Literals: []string{""}}, "it is empty"},
		{Query{Literals: []string{long}}, "more than 4096"},
		{Query{Hex: []string{"4D 5"}}, "hexadecimal"},
		{Query{Hex: []string{"4D ??"}}, "wildcards are for"},
		{Query{Hex: []string{" {} "}}, "it is empty"},
		{Query{SHA256: []string{"d41d8cd98f00b204e9800998ecf8427e"}}, "no SHA-256: give its 64 hexadecimal digits; MD5"},
		{Query{Regexes: []string{""}}, "it is empty"},
		{Query{Regexes: []string{"a*"}}, "matches the empty string"},
		{Query{Regexes: []string{`\b`}}, "matches the empty string"},
		{Query{Regexes: []string{"x|()"}}, "matches the empty string"},
		{Query{Regexes: []string{"(a"}}, "missing closing )"},
		{Query{Regexes: []string{"a)|(b"}}, "unexpected )"},
		{Query{Regexes: []string{"(?=a)b"}}, "go.dev/s/re2syntax"},
		{Query{Regexes: []string{"((a{100}){100}){100}"}}, "go.dev/s/re2syntax"},
		{Query{Regexes: []string{long}}, "give --regex several times"},
		{Query{Literals: slices.Repeat([]string{"x"}, mostPatterns+1)}, "more than 1000"},
	} {
		h, err := New(c.query)
		if err == nil {
			h.Close()
			t.Errorf("%.200q was taken", fmt.Sprint(c.query))
			continue
		}
		if !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%.100q: %v, want %q", fmt.Sprint(c.query), err, c.want)
		}
	}
}
