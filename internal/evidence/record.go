package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"

	"github.com/kedge-project/kedge/internal/event"
)

const (
	stateFile = ".state/treeState"

	// Bounds of what is read, in bytes. A file that is longer is an error.
	maxCheckpoint = 16 << 10
	maxBundle     = layout.EntryBundleWidth * (2 + maxEntry)
	maxTile       = layout.TileWidth * 32
	maxState      = 4096

	// maxLevels is how many levels of tiles a log can have: each covers 8 bits of its size.
	maxLevels = 8

	// maxEvents and maxBytes bound what Read holds in memory.
	maxEvents = 1 << 20
	maxBytes  = 1 << 30
)

// record reads the files of one record. Nothing outside its directory is ever opened.
type record struct{ root *os.Root }

func openRecord(dir string) (record, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return record{}, err
	}
	return record{root}, nil
}

func (r record) Close() error { return r.root.Close() }

// read returns the content of a file of at most limit bytes.
func (r record) read(name string, limit int64) ([]byte, error) {
	f, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: longer than the %d bytes that it can have", name, limit)
	}
	return data, nil
}

// integrated returns how many entries the driver has acknowledged.
func (r record) integrated() (uint64, error) {
	raw, err := r.read(stateFile, maxState)
	if err != nil {
		return 0, err
	}
	var state struct {
		Size uint64 `json:"size"`
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return 0, fmt.Errorf("%s: %w", stateFile, err)
	}
	return state.Size, nil
}

// size returns how many entries there are: those acknowledged, or in a copy without the driver's state, those of
// the checkpoint.
func (r record) size() (uint64, error) {
	raw, err := r.read(layout.CheckpointPath, maxCheckpoint)
	if err != nil {
		return 0, err
	}
	var cp log.Checkpoint
	if _, err := cp.Unmarshal(raw); err != nil {
		return 0, fmt.Errorf("%s: %w", layout.CheckpointPath, err)
	}
	size, err := r.integrated()
	if errors.Is(err, fs.ErrNotExist) {
		return cp.Size, nil
	}
	if err == nil && size < cp.Size {
		err = fmt.Errorf("%s says %d entries, but %s covers %d: the record was changed", stateFile, size, layout.CheckpointPath, cp.Size)
	}
	return size, err
}

// bundle returns the entries of one bundle in a log of the given size, and the file that holds them.
func (r record) bundle(index, size uint64) (name string, raw []byte, entries [][]byte, err error) {
	width := widthAt(0, index, size)
	name = layout.EntriesPath(index, layout.PartialTileSize(0, index, size))
	if raw, err = r.read(name, maxBundle); err != nil {
		return name, nil, nil, err
	}
	var b api.EntryBundle
	if err := b.UnmarshalText(raw); err != nil {
		return name, nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if uint64(len(b.Entries)) != width {
		return name, nil, nil, fmt.Errorf("%s: %d entries, want %d", name, len(b.Entries), width)
	}
	return name, raw, b.Entries, nil
}

// Read returns all events in order, those that no checkpoint covers yet too. It trusts the files: Verify is what
// proves them. It may run while another process appends. A record of more than a million entries or 1 GiB is an
// error.
func Read(ctx context.Context, dir string) ([]event.Event, error) {
	rec, err := openRecord(dir)
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	defer rec.Close()
	var events []event.Event
	for range 5 { // the last bundle's file is replaced as the record grows
		events, err = rec.events(ctx)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", dir, err)
	}
	return events, nil
}

func (r record) events(ctx context.Context) ([]event.Event, error) {
	size, err := r.size()
	if err != nil {
		return nil, err
	}
	if size > maxEvents {
		return nil, fmt.Errorf("%d entries, at most %d are read", size, maxEvents)
	}
	var events []event.Event
	var join joiner
	bytes := 0
	for index := uint64(0); index*layout.EntryBundleWidth < size; index++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, raw, entries, err := r.bundle(index, size)
		if err != nil {
			return nil, err
		}
		if bytes += len(raw); bytes > maxBytes {
			return nil, fmt.Errorf("more than %d bytes of events", maxBytes)
		}
		for i, entry := range entries {
			e, done, err := join.next(entry)
			if errors.Is(err, event.ErrUnknownKind) {
				return nil, fmt.Errorf("%s, entry %d: %w; it was written by a newer kedge: read it with that", name, i, err)
			}
			if err != nil {
				return nil, fmt.Errorf("%s, entry %d: %w", name, i, err)
			}
			if done {
				events = append(events, e)
			}
		}
	}
	return events, nil
}

// widthAt returns how many hashes, or entries, the tile at level and index holds in a log of the given size.
func widthAt(level, index, size uint64) uint64 {
	nodes := uint64(0)
	if level < maxLevels {
		nodes = size >> (8 * level)
	}
	begin := index * layout.TileWidth
	if nodes <= begin {
		return 0
	}
	return min(nodes-begin, layout.TileWidth)
}

// tilePath is what a file's name below "tile" says.
type tilePath struct {
	entries      bool
	level, index uint64
	width        uint64 // 256 for a full tile
}

// parsePath reads a slash-separated path in the record's directory. Only the one spelling that the layout has
// for a tile is accepted.
func parsePath(name string) (tilePath, bool) {
	rest, ok := strings.CutPrefix(name, "tile/")
	if !ok {
		return tilePath{}, false
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return tilePath{}, false
	}
	index, partial, err := layout.ParseTileIndexPartial(rest)
	if err != nil {
		return tilePath{}, false
	}
	p := tilePath{entries: level == "entries", index: index, width: uint64(partial)}
	if p.width == 0 {
		p.width = layout.TileWidth
	}
	if !p.entries {
		if p.level, err = strconv.ParseUint(level, 10, 6); err != nil {
			return tilePath{}, false
		}
	}
	return p, p.name() == name
}

// name is the file's slash-separated path in the record's directory.
func (p tilePath) name() string {
	partial := uint8(p.width % layout.TileWidth)
	if p.entries {
		return layout.EntriesPath(p.index, partial)
	}
	return layout.TilePath(p.level, p.index, partial)
}

// walk calls fn for every regular file below "tile", by its slash-separated path.
func (r record) walk(fn func(name string) error) error {
	err := fs.WalkDir(r.root.FS(), "tile", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a record without entries, or a file that the driver has just tidied away
		}
		if err != nil || d.IsDir() {
			return err
		}
		return fn(name)
	})
	return err
}

// removeLeftovers removes what a killed process had written and not yet acknowledged: tiles beyond the log's
// size, which the next append would write with other content, and temporary files, whose names are a tile's
// name and more digits. Called while the driver does not run.
func (r record) removeLeftovers(size uint64) error {
	return r.walk(func(name string) error {
		p, ok := parsePath(name)
		if ok && p.width <= widthAt(p.level, p.index, size) {
			return nil
		}
		if !ok && strings.Trim(path.Base(name), "0123456789") != "" {
			return nil // not of the driver's making
		}
		if err := r.remove(name); err != nil {
			return fmt.Errorf("remove what an interrupted append left: %w", err)
		}
		return nil
	})
}

// removeUnpublished removes the partial tiles and bundles that lie between two published sizes. Each append
// writes the last bundle anew, and no checkpoint will ever ask for those in between.
func (r record) removeUnpublished(before, now uint64) error {
	for level := uint64(0); level < maxLevels && now>>(8*level) > 0; level++ {
		first, last := (before>>(8*level))/layout.TileWidth, (now>>(8*level))/layout.TileWidth
		for index := first; index <= last; index++ {
			published, wanted := widthAt(level, index, before), widthAt(level, index, now)
			for p := range r.partials(level, index) {
				if p.width <= published || p.width >= wanted {
					continue
				}
				if err := r.remove(p.name()); err != nil {
					return fmt.Errorf("remove an unpublished partial tile: %w", err)
				}
			}
		}
	}
	return nil
}

// partials yields the partial tiles at level and index that are there, and for level 0 the partial bundles.
func (r record) partials(level, index uint64) iter.Seq[tilePath] {
	return func(yield func(tilePath) bool) {
		kinds := []tilePath{{level: level, index: index, width: layout.TileWidth}}
		if level == 0 {
			kinds = append(kinds, tilePath{entries: true, index: index, width: layout.TileWidth})
		}
		for _, full := range kinds {
			// No such directory is the common case: no partial tile.
			files, _ := fs.ReadDir(r.root.FS(), full.name()+".p")
			for _, f := range files {
				if p, ok := parsePath(full.name() + ".p/" + f.Name()); ok && !yield(p) {
					return
				}
			}
		}
	}
}

func (r record) remove(name string) error {
	err := r.root.Remove(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the driver's own tidying was quicker
	}
	return err
}

// writeFile replaces a file whole: after a power cut it is the old one or the new one.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
