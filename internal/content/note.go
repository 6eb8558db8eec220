package content

import (
	"bytes"
	"regexp"
	"slices"
)

// noteWords are the parts of a ransom note; each counts once. Documentation about encryption has the first at most.
var noteWords = []struct {
	what string
	re   *regexp.Regexp
}{
	{"claim", regexp.MustCompile(`(?i)(files|documents|data|network|servers?|databases?)\b.{0,60}\b(have been|has been|were|was|are|is)\b.{0,40}\b(encrypted|locked|stolen|exfiltrated|downloaded)`)},
	{"demand", regexp.MustCompile(`(?i)\b(bitcoins?|btc|monero|xmr|ransom|pay us|payment|must pay|price)\b`)},
	{"contact", regexp.MustCompile(`(?i)\.onion\b|tor browser|torproject|contact us|write to us|e-?mail us|\b(session|tox|qtox) id\b|@(proton|tutanota|onionmail|cock)`)},
	{"threat", regexp.MustCompile(`(?i)do not (try|attempt|rename|modify|delete|shut ?down|contact)|don'?t (try|rename|modify)|will be (published|leaked|destroyed|deleted|lost)|forever|permanently|within \d+ (hours|days)|deadline`)},
	{"remedy", regexp.MustCompile(`(?i)(decryption|decryptor|private|unique|your) (key|tool|software|id)|decrypt (your|all|the|one|them)|(recover|restore|unlock|return) (your|all|the) (files|data|documents)`)},
}

// noteStems are in every text that demands or claims; most texts have none, and are spared the expressions.
var noteStems = [][]byte{
	[]byte("bitcoin"), []byte("btc"), []byte("monero"), []byte("xmr"), []byte("ransom"), []byte("pay"), []byte("price"),
	[]byte("encrypted"), []byte("locked"), []byte("stolen"), []byte("exfiltrated"), []byte("downloaded"),
}

func mayBeNote(text []byte) bool {
	lower := bytes.ToLower(text)
	return slices.ContainsFunc(noteStems, func(stem []byte) bool { return bytes.Contains(lower, stem) })
}

// Note returns which parts of a ransom note a text has, nil if it does not read as one: at least three, among them a
// demand, or a claim and a way to answer it.
func Note(text []byte) []string {
	text = text[:min(len(text), headSize)]
	if !mayBeNote(text) {
		return nil
	}
	var has []string
	is := map[string]bool{}
	for _, w := range noteWords {
		if w.re.Match(text) {
			has = append(has, w.what)
			is[w.what] = true
		}
	}
	if len(has) < 3 || !is["demand"] && !(is["claim"] && is["contact"]) {
		return nil
	}
	return has
}
