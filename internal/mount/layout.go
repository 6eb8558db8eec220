package mount

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/snapshot"
)

// DefaultTime is how a snapshot's time is written.
const DefaultTime = "2006-01-02T15:04:05Z07:00"

// DefaultPaths returns restic's path templates.
func DefaultPaths() []string { return []string{"ids/%i", "snapshots/%T", "hosts/%h/%T", "tags/%t/%T"} }

// folder is a directory above the snapshots, with what it holds by name.
type folder struct {
	folders   map[string]*folder
	snapshots map[string]*snapshot.Snapshot
	latest    string // name of the newest snapshot, where snapshots are named by time
}

func newFolder() *folder {
	return &folder{folders: make(map[string]*folder), snapshots: make(map[string]*snapshot.Snapshot)}
}

// names returns what the folder holds, sorted.
func (f *folder) names() []string {
	var names []string
	for name := range f.folders {
		names = append(names, name)
	}
	for name := range f.snapshots {
		names = append(names, name)
	}
	if f.latest != "" {
		names = append(names, latest)
	}
	slices.Sort(names)
	return names
}

const latest = "latest"

// layout arranges snapshots by path templates. A template's %i and %I stand for the snapshot's short and whole ID, %h
// for its host, %u for its user, %t for each of its tags, and %T for its time. Snapshots of one name are told apart by
// "-1", "-2" and so on, the oldest having none.
func layout(list []*snapshot.Snapshot, templates []string, timeFormat string) (*folder, error) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *snapshot.Snapshot) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID.String(), b.ID.String()))
	})
	root := newFolder()
	for _, template := range templates {
		timed := strings.HasSuffix(template, "%T")
		for _, sn := range list {
			paths, err := expand(template, sn, timeFormat)
			if err != nil {
				return nil, err
			}
			for _, p := range paths {
				root.put(p, sn, timed)
			}
		}
	}
	return root, nil
}

// put stores a snapshot at a path.
func (f *folder) put(path []string, sn *snapshot.Snapshot, timed bool) {
	for _, name := range path[:len(path)-1] {
		next := f.folders[name]
		if next == nil {
			next = newFolder()
			f.folders[f.free(name)] = next
		}
		f = next
	}
	name := f.free(path[len(path)-1])
	f.snapshots[name] = sn
	if timed {
		f.latest = name
	}
}

// free returns name, or the first of name-1, name-2… that nothing has.
func (f *folder) free(name string) string {
	try := name
	for i := 1; f.folders[try] != nil || f.snapshots[try] != nil || try == latest; i++ {
		try = fmt.Sprintf("%s-%d", name, i)
	}
	return try
}

// expand returns the paths that a template gives a snapshot: none where it has no tags and the template asks for them.
func expand(template string, sn *snapshot.Snapshot, timeFormat string) ([][]string, error) {
	tags := []string{""}
	if strings.Contains(template, "%t") {
		tags = sn.Tags
	}
	var paths [][]string
	for _, tag := range tags {
		var text strings.Builder
		for i := 0; i < len(template); i++ {
			if template[i] != '%' {
				text.WriteByte(template[i])
				continue
			}
			i++
			value, err := variable(template, i, sn, tag, timeFormat)
			if err != nil {
				return nil, err
			}
			text.WriteString(value)
		}
		path, err := components(text.String())
		if err != nil {
			return nil, fmt.Errorf("path template %q: %w", template, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func variable(template string, at int, sn *snapshot.Snapshot, tag, timeFormat string) (string, error) {
	if at < len(template) {
		switch template[at] {
		case 'i':
			return sn.ID.Short(), nil
		case 'I':
			return sn.ID.String(), nil
		case 'h':
			return sn.Hostname, nil
		case 'u':
			return sn.Username, nil
		case 't':
			return tag, nil
		case 'T':
			return sn.Time.UTC().Format(timeFormat), nil
		case '%':
			return "%", nil
		}
	}
	return "", fmt.Errorf("path template %q: after %%, want i, I, u, h, t or T", template)
}

// components splits a path. What a snapshot says of its host or tags must not make a name that leads elsewhere.
func components(path string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch name = strings.ReplaceAll(name, "\x00", "_"); name {
		case "":
			continue
		case ".", "..":
			name = strings.ReplaceAll(name, ".", "_")
		}
		if len(name) > 250 { // with a number at its end it must stay below the 255 bytes of a name
			name = name[:250]
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("it names no directory")
	}
	return names, nil
}
