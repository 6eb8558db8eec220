package content

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestStemsHideNothing holds what is looked for first against the expressions alone, on texts made of their words.
func TestStemsHideNothing(t *testing.T) {
	pieces := []string{
		"Your FILES", "data", "servers", "have been", "was", "encrypted", "Locked", "stolen", "Bitcoins", "XMR", "ransom", "pay us", "must pay", "price",
		"abc.onion", "Tor Browser", "contact us", "e-mail us", "email us", "qTox ID", "session id", "@proton", "do not try", "Don't rename", "dont modify",
		"will be leaked", "forever", "within 3 days", "deadline", "private key", "YOUR ID", "decrypt them", "restore all data", "unlock your files",
		"hacked", "by", "0wned by", "h4cked", "the crew", "your site has been hacked", "your security is down", "Greetz", "and", "the", "of",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	notes, claims := 0, 0
	for range 5000 {
		var words []string
		for range 1 + rnd.IntN(12) {
			words = append(words, pieces[rnd.IntN(len(pieces))])
		}
		text := strings.Join(words, " ")
		var has []string
		for _, w := range noteWords {
			if w.re.MatchString(text) {
				has = append(has, w.what)
			}
		}
		if !isNote(has) {
			has = nil
		}
		if got := Note([]byte(text)); !slices.Equal(got, has) {
			t.Errorf("%q: parts %q, want %q", text, got, has)
		}
		if got, want := boast(text), boasts.MatchString(text); got != want {
			t.Errorf("%q boasts: %v, want %v", text, got, want)
		}
		if has != nil {
			notes++
		}
		if boasts.MatchString(text) {
			claims++
		}
	}
	if notes < 100 || claims < 100 {
		t.Errorf("%d notes and %d claims among the texts: they prove nothing", notes, claims)
	}
}
