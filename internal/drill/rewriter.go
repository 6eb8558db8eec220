package drill

import (
	"slices"
	"strings"
)

// rewriter replaces paths, addresses and ports in text, in one pass: what it wrote it does not read again.
type rewriter struct {
	literals []literal
	ports    map[string]string
}

type literal struct{ old, new string }

// add makes old be replaced where it stands by itself. Of two that match, the longer is taken.
func (r *rewriter) add(old, new string) {
	l := literal{old, new}
	if slices.Contains(r.literals, l) {
		return
	}
	r.literals = append(r.literals, l)
	slices.SortStableFunc(r.literals, func(a, b literal) int { return len(b.old) - len(a.old) })
}

// text replaces a path with all below it ("/srv/web" in "/srv/web/log", not in "/srv/web2" or "/old/srv/web"),
// and a port as a whole token ("8080" in ":8080", "port=8080" and "-p8080", not in "18080", "8080.5" or "/8080").
func (r *rewriter) text(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		old, replacement := r.match(s, i)
		b.WriteString(replacement)
		i += len(old)
	}
	return b.String()
}

// match returns the next piece of the text, at least one byte, and what to write for it.
func (r *rewriter) match(s string, i int) (old, replacement string) {
	begins := beginsAt(s, i)
	if begins {
		for _, l := range r.literals {
			if strings.HasPrefix(s[i:], l.old) && endsAt(s, i+len(l.old)) {
				return l.old, l.new
			}
		}
	}
	if !isDigit(s[i]) {
		return s[i : i+1], s[i : i+1]
	}
	end := i
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	number := s[i:end]
	if ours, known := r.ports[number]; known && begins && endsAt(s, end) {
		return number, ours
	}
	return number, number
}

// beginsAt reports whether something may begin at s[i]: what stands before it is no part of it.
func beginsAt(s string, i int) bool {
	if i == 0 || !isWord(s[i-1]) && s[i-1] != '/' {
		return true
	}
	if strings.HasSuffix(s[:i], "://") { // file:///srv/web
		return true
	}
	// An option's letter, as in -p8080 or -D/srv/data.
	if i >= 2 && s[i-2] == '-' && isLetter(s[i-1]) {
		return i == 2 || !isWord(s[i-3]) && s[i-3] != '/' && s[i-3] != '-'
	}
	return false
}

// endsAt reports whether something may end before s[i]. A dot ends it only where a sentence ends.
func endsAt(s string, i int) bool {
	if i == len(s) {
		return true
	}
	if s[i] == '.' {
		return i+1 == len(s) || !isWord(s[i+1])
	}
	return !isWord(s[i])
}

func isWord(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '-' || c == '.' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80 }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
