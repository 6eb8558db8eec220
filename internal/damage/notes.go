package damage

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
)

const (
	// MaxNote is how long a ransom note is at most, in bytes.
	MaxNote = 16 << 10
	// minNotes is in how many directories a note of one name must appear if nothing else speaks of an attack.
	minNotes = 3
	// maxTexts bounds the names that are remembered, and the directories of each.
	maxTexts = 20000
	// sampled is how many texts of one name are read at first. If none of them is a note, the others are not read: a system has thousands of
	// files called "copyright".
	sampled = 4
)

// Notes are new short texts, and which of them ask for ransom. T is what is known of each beside its path. Reading all of them would cost more
// than all else, so a text is read only when one of its name stands in several directories, or when files are damaged. Notes are for one
// goroutine.
type Notes[T any] struct {
	read  func(path string, of T) []byte
	texts map[string]*noteTexts[T] // by name
	due   map[string]bool          // names that stand in enough directories and of which texts are unread
}

type noteTexts[T any] struct {
	in     map[string]*noteText[T] // by directory
	unread int
}

type noteText[T any] struct {
	of    T
	at    time.Time
	read  bool
	parts []string // what makes it a note; nil if it is none
	told  bool
}

// Note is a text that asks for ransom.
type Note[T any] struct {
	Path  string
	Of    T
	parts []string
}

// NewNotes returns Notes of texts that read reads; of one that cannot be read it returns nil.
func NewNotes[T any](read func(path string, of T) []byte) *Notes[T] {
	return &Notes[T]{read: read, texts: map[string]*noteTexts[T]{}, due: map[string]bool{}}
}

// Add takes a new text that is no longer than MaxNote.
func (n *Notes[T]) Add(name string, of T, at time.Time) {
	base, dir := path.Base(name), path.Dir(name)
	list := n.texts[base]
	if list == nil {
		if len(n.texts) >= maxTexts {
			return
		}
		list = &noteTexts[T]{in: map[string]*noteText[T]{}}
		n.texts[base] = list
	}
	if list.in[dir] != nil || len(list.in) >= maxTexts {
		return
	}
	list.in[dir] = &noteText[T]{of: of, at: at}
	list.unread++
	if len(list.in) >= minNotes {
		n.due[base] = true
	}
}

// Tell returns the notes that were not told before, sorted by path: those of which one name stands in several directories, or all if files
// are damaged.
func (n *Notes[T]) Tell(damaged bool) []Note[T] {
	names := n.due
	if n.due = map[string]bool{}; damaged {
		names = map[string]bool{}
		for base := range n.texts {
			names[base] = true
		}
	}
	var told []Note[T]
	for base := range names {
		list := n.texts[base]
		if list == nil {
			continue
		}
		if list.unread > 0 {
			n.look(base, list, damaged)
		}
		var notes []*noteText[T]
		var dirs []string
		for dir, t := range list.in {
			if t.parts != nil {
				notes, dirs = append(notes, t), append(dirs, dir)
			}
		}
		if len(notes) < minNotes && !damaged {
			continue
		}
		for i, t := range notes {
			if !t.told {
				t.told = true
				told = append(told, Note[T]{path.Join(dirs[i], base), t.of, t.parts})
			}
		}
	}
	slices.SortFunc(told, func(a, b Note[T]) int { return strings.Compare(a.Path, b.Path) })
	return told
}

// look reads the texts of a name that were not read yet, all or as far as a sample says that it is worth it.
func (n *Notes[T]) look(base string, list *noteTexts[T], all bool) {
	list.unread = 0
	looked, found := 0, false
	for _, dir := range slices.Sorted(maps.Keys(list.in)) {
		t := list.in[dir]
		found = found || t.parts != nil
		if t.read {
			continue
		}
		if t.read = true; looked >= sampled && !found && !all {
			continue
		}
		looked++
		if data := n.read(path.Join(dir, base), t.of); data != nil {
			t.parts = content.Note(data)
			found = found || t.parts != nil
		}
	}
}

// Forget drops the texts that came before a time.
func (n *Notes[T]) Forget(before time.Time) {
	for base, list := range n.texts {
		for dir, t := range list.in {
			if t.at.Before(before) {
				if delete(list.in, dir); !t.read {
					list.unread--
				}
			}
		}
		if len(list.in) == 0 {
			delete(n.texts, base)
		}
	}
}

// NoteEvidence returns what a signal says of notes.
func NoteEvidence[T any](notes []Note[T]) (paths []string, evidence map[string]any) {
	names, parts := map[string]int{}, map[string]bool{}
	for _, note := range notes {
		paths = append(paths, note.Path)
		names[path.Base(note.Path)]++
		for _, p := range note.parts {
			parts[p] = true
		}
	}
	return paths, map[string]any{"names": names, "directories": len(paths), "parts": slices.Sorted(maps.Keys(parts))}
}
