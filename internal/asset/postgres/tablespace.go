package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Place says where a cluster is brought back to.
type Place struct {
	Data string // the data directory
	// Root, if it is not "", is the directory below which the tablespaces go: the one that stood at /srv/fast to Root/srv/fast.
	// Else they go where they stood.
	Root string
	// Moved says where single tablespaces go instead, by where they stood.
	Moved map[string]string
	// Copy says that the original may go on running. The server there then does nothing of its own accord that would reach out: it applies no
	// subscription, which would take over the original's slot on the publisher, and launches no job of pg_cron. Nor do its commits wait for standbys.
	Copy bool
}

// ParseTablespaceMapping reads arguments such as "/srv/fast=/mnt/fast" for Place.Moved, in the form that pg_basebackup takes: "\="
// stands for a "=" in a path.
func ParseTablespaceMapping(arguments []string) (map[string]string, error) {
	moved := make(map[string]string, len(arguments))
	for _, argument := range arguments {
		var sides [2]strings.Builder
		side := 0
		for i := 0; i < len(argument); i++ {
			switch {
			case argument[i] == '=':
				if side++; side > 1 {
					return nil, fmt.Errorf("tablespace mapping %q has more than one %q: write %q for one in a path", argument, "=", `\=`)
				}
				continue
			case strings.HasPrefix(argument[i:], `\=`):
				i++
			}
			sides[side].WriteByte(argument[i])
		}
		from, to := sides[0].String(), sides[1].String()
		if side != 1 || !isPlace(from) || !isPlace(to) {
			return nil, fmt.Errorf("tablespace mapping %q: want two absolute paths, as in /srv/fast=/mnt/fast", argument)
		}
		if _, twice := moved[from]; twice {
			return nil, fmt.Errorf("tablespace mapping %q: %s has another place already", argument, from)
		}
		moved[from] = to
	}
	return moved, nil
}

// isPlace tells whether a tablespace can stand at path.
func isPlace(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && !strings.ContainsRune(path, 0)
}

// TablespaceLocations returns the directories, sorted, that hold the tablespaces of the cluster in data and nothing else: those that its
// server has, and those that a restore which was killed was bringing back. What data says is not believed, since who took the server over
// can write there: left out is what does not belong to the owner of data or does not look like a tablespace. There is none where
// there is no such directory.
func TablespaceLocations(data string) ([]string, error) {
	info, err := os.Stat(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tablespaces: %w", err)
	}
	links, err := os.ReadDir(filepath.Join(data, tablespaceLinks))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list tablespaces: %w", err)
	}
	said := map[string]bool{}
	for _, link := range links {
		if location, err := os.Readlink(filepath.Join(data, tablespaceLinks, link.Name())); err == nil {
			said[location] = true
		}
	}
	begun := filepath.Join(data, tablespaceMap)
	if info, err := os.Lstat(begun); err == nil && info.Mode().IsRegular() && info.Size() <= maxTablespaceMap {
		if text, err := os.ReadFile(begun); err == nil {
			spaces, _ := parseTablespaceMap(text)
			for _, s := range spaces {
				said[s.from] = true
			}
		}
	}
	maps.DeleteFunc(said, func(location string, _ bool) bool { return !isTablespace(location, info) })
	return slices.Sorted(maps.Keys(said)), nil
}

// isTablespace tells whether location is a directory of the same owner as data and holds what servers make in a tablespace, one
// directory for each version, and nothing else.
func isTablespace(location string, data fs.FileInfo) bool {
	info, err := os.Lstat(location)
	if err != nil || !info.IsDir() || !isPlace(location) {
		return false
	}
	owner, ok1 := data.Sys().(*syscall.Stat_t)
	other, ok2 := info.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || owner.Uid != other.Uid {
		return false
	}
	entries, err := os.ReadDir(location)
	return err == nil && len(entries) > 0 && !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool {
		return !entry.IsDir() || !strings.HasPrefix(entry.Name(), "PG_")
	})
}

const (
	// tablespaceMap is the file in a base backup that says where its tablespaces stand. The server makes its links from it.
	tablespaceMap = "tablespace_map"
	// tablespaceLinks is the directory that holds the links.
	tablespaceLinks = "pg_tblspc"
	// maxTablespaceMap bounds that file, in bytes.
	maxTablespaceMap = 1 << 20
)

// tablespace is one that is brought back.
type tablespace struct {
	oid  uint32
	from string // where it stood
	to   string // where it goes
	made bool   // by the WAL: the base backup has it not
}

// parseTablespaceMap reads a tablespace_map: a line for each tablespace, of its OID and its location, in which line ends and, since
// PostgreSQL 14, backslashes are written with a backslash before them.
//
// Source: PostgreSQL's xlogrecovery.c: read_tablespace_map.
func parseTablespaceMap(text []byte) ([]tablespace, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s is damaged: %s: restore from another base backup", tablespaceMap, fmt.Sprintf(format, args...))
	}
	if len(text) > maxTablespaceMap {
		return nil, bad("%d bytes are too many", len(text))
	}
	var spaces []tablespace
	oids, places := map[uint32]bool{}, map[string]bool{}
	var line []byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte("\\\r\n", text[i+1]) >= 0:
			i++
			line = append(line, text[i])
		case c != '\n':
			line = append(line, c)
		default:
			number, location, _ := strings.Cut(string(line), " ")
			oid, err := parseOID(number)
			if err != nil || oid == 0 || strconv.FormatUint(uint64(oid), 10) != number {
				return nil, bad("%.80q does not begin with an OID", line)
			}
			if !isPlace(location) {
				return nil, bad("%.80q is no place of a tablespace", location)
			}
			if oids[oid] || places[location] {
				return nil, bad("it has tablespace %d or its place %.80q twice", oid, location)
			}
			oids[oid], places[location] = true, true
			spaces, line = append(spaces, tablespace{oid: oid, from: location}), line[:0]
		}
	}
	if len(line) > 0 {
		return nil, bad("its last line has no end")
	}
	return spaces, nil
}

// loadTablespaceMap returns the tablespaces of a base backup.
func loadTablespaceMap(ctx context.Context, r *repo.Repository, base *snapshot.Snapshot) ([]tablespace, error) {
	tree, err := loadDirectory(ctx, r, base)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", base.ID.Short(), err)
	}
	for _, n := range tree.Nodes {
		if n.Name != tablespaceMap {
			continue
		}
		if n.Type != snapshot.File || n.Size > maxTablespaceMap {
			return nil, fmt.Errorf("snapshot %s: %s is not what a server makes", base.ID.Short(), path.Join(base.Paths[0], tablespaceMap))
		}
		text, err := loadContent(ctx, r, n)
		if err != nil {
			return nil, err
		}
		return parseTablespaceMap(text)
	}
	return nil, nil
}

// find decides where the listed tablespaces of a base backup go, and those that are made at the given places when its WAL is replayed.
func (p Place) find(listed []tablespace, made []string) ([]tablespace, error) {
	spaces, err := p.assign(listed, made)
	if err != nil {
		return nil, err
	}
	return spaces, p.check(spaces)
}

// assign sets where tablespaces go. One that the server makes while it replays WAL it makes where the original stood, in the files of the
// original if that is still there. So it must go there, and nothing else may be meant.
func (p Place) assign(listed []tablespace, made []string) ([]tablespace, error) {
	spaces := listed
	known := map[string]bool{}
	for i := range spaces {
		spaces[i].to = p.of(spaces[i].from)
		known[spaces[i].from] = true
	}
	for _, from := range made {
		if to := p.of(from); to != from {
			return nil, fmt.Errorf("the tablespace at %s was made after the base backup: the server would make it there again and not at %s: "+
				"take a new base backup, or recover in place", from, to)
		}
		if !known[from] { // else the place gets free while WAL is replayed
			known[from] = true
			spaces = append(spaces, tablespace{from: from, to: from, made: true})
		}
	}
	for _, from := range slices.Sorted(maps.Keys(p.Moved)) {
		if !known[from] {
			return nil, fmt.Errorf("no tablespace of the base backup stood at %s, for which there is a mapping: they stood at %q", from, slices.Sorted(maps.Keys(known)))
		}
	}
	return spaces, nil
}

// of returns where the tablespace goes that stood at location.
func (p Place) of(location string) string {
	if to, ok := p.Moved[location]; ok {
		return to
	}
	if p.Root != "" {
		return filepath.Join(p.Root, location)
	}
	return location
}

const otherPlace = "name another place by a tablespace mapping"

// check refuses places that cannot be: the data directory and the tablespaces must stand beside each other.
func (p Place) check(spaces []tablespace) error {
	taken := map[string]string{p.Data: "the data directory"}
	for _, s := range spaces {
		if !isPlace(s.to) || strings.ContainsAny(s.to, "\\\r\n") {
			return fmt.Errorf("tablespace at %q cannot be brought back to %q: %s", s.from, s.to, otherPlace)
		}
		for other, what := range taken {
			if estate.Below(s.to, []string{other}) || estate.Below(other, []string{s.to}) {
				return fmt.Errorf("tablespace at %s would come to %s, and %s to %s: %s", s.from, s.to, what, other, otherPlace)
			}
		}
		taken[s.to] = "the tablespace at " + s.from
	}
	return nil
}

// claim makes the places of tablespaces directories that only their owner enters. One that holds anything is refused. An error leaves
// no more than empty directories.
func (p Place) claim(spaces []tablespace) error {
	var claimed []fs.FileInfo
	for _, s := range spaces {
		if p.Root != "" && estate.Below(s.to, []string{p.Root}) {
			if err := makeParents(p.Root, s.to); err != nil {
				return fmt.Errorf("make room for the tablespace that stood at %s: %w", s.from, err)
			}
		}
		if err := asset.Claim(s.to); err != nil {
			return fmt.Errorf("make room for the tablespace that stood at %s: %w", s.from, err)
		}
		info, err := os.Stat(s.to)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(claimed, func(other fs.FileInfo) bool { return os.SameFile(info, other) }) {
			return fmt.Errorf("tablespace at %s would come to %s, where by another path a second one comes: %s", s.from, s.to, otherPlace)
		}
		claimed = append(claimed, info)
	}
	return nil
}

// makeParents makes the directories between root and name. No symbolic link leads out of root. The server may run as another user,
// who must get through.
func makeParents(root, name string) error {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer inside.Close()
	relative, err := filepath.Rel(root, filepath.Dir(name))
	if err != nil {
		return err
	}
	return inside.MkdirAll(relative, 0o711)
}

func emptyAll(spaces []tablespace) error {
	var err error
	for _, s := range spaces {
		err = errors.Join(err, empty(s.to))
	}
	return err
}

// writeTablespaceMap tells the server where the base backup's tablespaces are now. A restore that is killed leaves it, for
// TablespaceLocations to tell what was begun.
func writeTablespaceMap(data string, spaces []tablespace) error {
	var text strings.Builder
	for _, s := range spaces {
		if !s.made {
			fmt.Fprintf(&text, "%d %s\n", s.oid, s.to)
		}
	}
	if text.Len() == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(data, tablespaceMap), []byte(text.String()), 0o600)
}
