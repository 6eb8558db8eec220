// Package pattern matches paths against restic's patterns, which say what a backup leaves out and a restore brings back.
//
// It promises restic's answers: a pattern is matched against whole components of the full path; what lies below a path
// that matches, matches too; "*", "?" and "[…]" are those of path.Match and stay within a component; "**" stands for
// any number of components, none included; a leading "/" binds the pattern to the root, others begin anywhere; the
// last pattern that matches decides, and one that begins with "!" decides against.
// No input makes it panic or take time that is not linear in the pattern for each component.
package pattern

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// List is a list of patterns, ready to match. It is not changed by use, and safe for concurrent use. A nil List matches nothing.
type List struct {
	patterns []compiled
	fold     bool
}

// Parse makes a List of patterns. Empty ones are ignored. With fold, upper and lower case are the same. The error
// names the patterns whose syntax is wrong.
func Parse(list []string, fold bool) (*List, error) {
	l := &List{fold: fold}
	var bad []error
	for _, text := range list {
		c, err := compile(text, fold)
		if err != nil {
			bad = append(bad, fmt.Errorf("pattern %q: %w", text, err))
			continue
		}
		if c != nil {
			l.patterns = append(l.patterns, *c)
		}
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("%w; see \"kedge help backup\" for what patterns are", errors.Join(bad...))
	}
	return l, nil
}

// Empty tells that nothing can match.
func (l *List) Empty() bool { return l == nil || len(l.patterns) == 0 }

// Match tells whether the path, or a directory above it, is matched. The path is absolute.
func (l *List) Match(path string) bool {
	if l.Empty() {
		return false
	}
	var room [24]string
	names := l.split(path, room[:0])
	for i := len(l.patterns) - 1; i >= 0; i-- {
		if c := &l.patterns[i]; c.match(names) {
			return !c.negated
		}
	}
	return false
}

// MayMatchBelow tells whether anything below the directory could be matched. It is never wrongly false.
func (l *List) MayMatchBelow(dir string) bool {
	if l.Empty() {
		return false
	}
	var room [24]string
	names := l.split(dir, room[:0])
	for i := len(l.patterns) - 1; i >= 0; i-- {
		switch c := &l.patterns[i]; {
		case !c.negated && c.mayMatchBelow(names):
			return true
		case c.negated && c.match(names):
			return false // and so is all below it, whatever earlier patterns say
		}
	}
	return false
}

// split appends the components of a path to names.
func (l *List) split(path string, names []string) []string {
	if l.fold {
		path = strings.ToLower(path)
	}
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		if name != "" {
			names = append(names, name)
		}
		path = rest
	}
	return names
}

// compiled is one pattern.
type compiled struct {
	negated  bool
	anchored bool // at the root
	parts    []part
}

// compile returns nil for a pattern that says nothing.
func compile(text string, fold bool) (*compiled, error) {
	var c compiled
	text, c.negated = strings.CutPrefix(text, "!")
	if text == "" {
		return nil, nil
	}
	text = path.Clean(text)
	if fold {
		text = strings.ToLower(text)
	}
	text, c.anchored = strings.CutPrefix(text, "/")
	if text == "" { // the root itself
		return &c, nil
	}
	for piece := range strings.SplitSeq(text, "/") {
		p, err := newPart(piece)
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, p)
	}
	return &c, nil
}

// match tells whether the pattern matches the path or one above it.
func (c *compiled) match(names []string) bool {
	if len(c.parts) == 1 && !c.anchored { // the most common kind
		p := &c.parts[0]
		for _, name := range names {
			if p.match(name) {
				return true
			}
		}
		return p.kind == anyPath
	}
	// Parts are matched one by one. Where one does not match, all that is worth another try is that the last "**"
	// before it, or the free beginning, takes one component more: an earlier one could only reach the same later.
	part, name := 0, 0
	again, from := -1, 0 // the part to go on with after that, and the component then
	if !c.anchored {
		again = 0
	}
	for part < len(c.parts) {
		switch {
		case c.parts[part].kind == anyPath:
			part++
			again, from = part, name
		case name < len(names) && c.parts[part].match(names[name]):
			part++
			name++
		case again >= 0 && from < len(names):
			from++
			part, name = again, from
		default:
			return false
		}
	}
	return true
}

// mayMatchBelow tells whether something below the directory could match.
func (c *compiled) mayMatchBelow(names []string) bool {
	if !c.anchored {
		return true
	}
	for i := range c.parts {
		if c.parts[i].kind == anyPath || i == len(names) {
			return true
		}
		if !c.parts[i].match(names[i]) {
			return false
		}
	}
	return true
}

type kind int

const (
	literal kind = iota // text is the name
	prefix              // the name begins with text
	suffix              // the name ends with text
	glob                // for path.Match
	anyName             // "*"
	anyPath             // "**"
)

// part is what a pattern says of one component.
type part struct {
	kind kind
	text string
}

func newPart(text string) (part, error) {
	const special = `*?[\`
	switch {
	case text == "**":
		return part{kind: anyPath}, nil
	case text == "*":
		return part{kind: anyName}, nil
	case !strings.ContainsAny(text, special):
		return part{literal, text}, nil
	case text[0] == '*' && !strings.ContainsAny(text[1:], special):
		return part{suffix, text[1:]}, nil
	case text[len(text)-1] == '*' && !strings.ContainsAny(text[:len(text)-1], special):
		return part{prefix, text[:len(text)-1]}, nil
	}
	_, err := path.Match(text, "")
	return part{glob, text}, err
}

func (p *part) match(name string) bool {
	switch p.kind {
	case literal:
		return p.text == name
	case prefix:
		return strings.HasPrefix(name, p.text)
	case suffix:
		return strings.HasSuffix(name, p.text)
	case anyName:
		return true
	case glob:
		ok, _ := path.Match(p.text, name) // its syntax was found right
		return ok
	}
	return false
}
