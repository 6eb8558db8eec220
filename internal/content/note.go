package content

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// noteWords are the parts of a ransom note; each counts once. Documentation about encryption has the first at most. stems
// are what a text has at least one of that has the part: they are looked for first, since an expression takes a hundred times as long.
var noteWords = []struct {
	what  string
	stems string // between bars, in small letters
	re    *regexp.Regexp
}{
	{"claim", `encrypted|locked|stolen|exfiltrated|downloaded`,
		regexp.MustCompile(`(?i)(files|documents|data|network|servers?|databases?)\b.{0,60}\b(have been|has been|were|was|are|is)\b.{0,40}\b(encrypted|locked|stolen|exfiltrated|downloaded)`)},
	{"demand", `bitcoin|btc|monero|xmr|ransom|pay us|payment|must pay|price`,
		regexp.MustCompile(`(?i)\b(bitcoins?|btc|monero|xmr|ransom|pay us|payment|must pay|price)\b`)},
	{"contact", `.onion|tor browser|torproject|contact us|write to us|mail us|session id|tox id|@proton|@tutanota|@onionmail|@cock`,
		regexp.MustCompile(`(?i)\.onion\b|tor browser|torproject|contact us|write to us|e-?mail us|\b(session|tox|qtox) id\b|@(proton|tutanota|onionmail|cock)`)},
	{"threat", `do not |don't |dont |will be |forever|permanently|within |deadline`,
		regexp.MustCompile(`(?i)do not (try|attempt|rename|modify|delete|shut ?down|contact)|don'?t (try|rename|modify)|will be (published|leaked|destroyed|deleted|lost)|forever|permanently|within \d+ (hours|days)|deadline`)},
	{"remedy", `decryption |decryptor |private |unique |your |decrypt |recover |restore |unlock |return `,
		regexp.MustCompile(`(?i)(decryption|decryptor|private|unique|your) (key|tool|software|id)|decrypt (your|all|the|one|them)|(recover|restore|unlock|return) (your|all|the) (files|data|documents)`)},
}

// isNote tells whether these parts make a note: at least three, among them a demand, or a claim and a way to answer it.
func isNote(has []string) bool {
	return len(has) >= 3 && (slices.Contains(has, "demand") || slices.Contains(has, "claim") && slices.Contains(has, "contact"))
}

// noteParts returns the parts that a text may have, by their stems.
func noteParts(text []byte) (may []string) {
	lower := bytes.ToLower(text)
	for _, w := range noteWords {
		for stem := range strings.SplitSeq(w.stems, "|") {
			if bytes.Contains(lower, []byte(stem)) {
				may = append(may, w.what)
				break
			}
		}
	}
	return may
}

// Note returns which parts of a ransom note a text has, nil if it does not read as one: at least three, among them a
// demand, or a claim and a way to answer it.
func Note(text []byte) []string {
	text = text[:min(len(text), headSize)]
	may := noteParts(text)
	if !isNote(may) {
		return nil
	}
	var has []string
	for _, w := range noteWords {
		if slices.Contains(may, w.what) && w.re.Match(text) {
			has = append(has, w.what)
		}
	}
	if !isNote(has) {
		return nil
	}
	return has
}
