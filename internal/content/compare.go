package content

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// PageChange is what became of a page.
type PageChange struct {
	TextKept      float64 // share of the former text that is still there, 0 to 1
	StructureKept float64 // overlap of the elements, 0 to 1
	TitleChanged  bool
	Claims        bool  // says now, and did not before, that somebody took it over
	NewRefs       []Ref // to origins that the former page had nothing from
	NewHidden     int   // more scripts that hide what they do
}

// minWords is the least text whose loss says something.
const minWords = 8

// ComparePages tells what changed from the approved page to the one seen now. Origins in known are taken as approved, as
// those that other pages of the same release use.
func ComparePages(approved, now Page, known func(Ref) bool) PageChange {
	c := PageChange{
		TextKept:      kept(approved.Shingles, now.Shingles),
		StructureKept: overlap(approved.Tags, now.Tags),
		TitleChanged:  approved.Title != now.Title,
		Claims:        now.Claims && !approved.Claims,
		NewHidden:     max(0, now.Hidden-approved.Hidden),
	}
	had := map[string]bool{"": true}
	for _, r := range approved.Refs {
		had[r.Kind+r.Origin] = true
	}
	for _, r := range now.Refs {
		if r.Origin == "" || had[r.Kind+r.Origin] || known != nil && known(r) {
			continue
		}
		c.NewRefs = append(c.NewRefs, r)
	}
	return c
}

// Defaced tells whether the page was replaced: its text is gone, and title, structure or words speak for it too.
func (c PageChange) Defaced(approved Page) bool {
	if c.Claims && (c.TitleChanged || c.TextKept < 0.9) {
		return true
	}
	lost := c.TextKept < 0.25 && approved.Words >= minWords
	rebuilt := c.StructureKept < 0.5
	switch {
	case lost:
		return c.TitleChanged || rebuilt
	case approved.Words < minWords:
		return c.TitleChanged && rebuilt
	}
	return false
}

// Injected tells whether something foreign was put into a page that otherwise stayed.
func (c PageChange) Injected() bool {
	return c.TextKept >= 0.5 && (len(c.NewRefs) > 0 || c.NewHidden > 0)
}

// Suspicious tells whether an injected reference is of a sort that releases seldom have: an address instead of
// a name, another port, no encryption, or beside code that hides itself.
func (c PageChange) Suspicious() bool {
	if c.NewHidden > 0 {
		return true
	}
	return slices.ContainsFunc(c.NewRefs, func(r Ref) bool {
		u, err := url.Parse(r.Origin)
		if err != nil {
			return true
		}
		return u.Scheme != "https" && u.Scheme != "" || u.Port() != "" || net.ParseIP(u.Hostname()) != nil
	})
}

// Origins returns the foreign origins that were brought in, sorted.
func (c PageChange) Origins() []string {
	var all []string
	for _, r := range c.NewRefs {
		all = append(all, strings.TrimSuffix(r.Origin, ":"))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// kept returns the share of the elements of a that b has too. Both are sorted. Nothing lost of nothing is 1.
func kept(a, b []uint64) float64 {
	if len(a) == 0 {
		return 1
	}
	n, j := 0, 0
	for _, x := range a {
		for j < len(b) && b[j] < x {
			j++
		}
		if j < len(b) && b[j] == x {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

// overlap returns the Jaccard similarity of two multisets.
func overlap(a, b map[string]int) float64 {
	both, all := 0, 0
	for tag, n := range a {
		both += min(n, b[tag])
		all += max(n, b[tag])
	}
	for tag, n := range b {
		if a[tag] == 0 {
			all += n
		}
	}
	if all == 0 {
		return 1
	}
	return float64(both) / float64(all)
}
