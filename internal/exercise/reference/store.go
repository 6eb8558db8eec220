package reference

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	// copiers is how many files are copied or compared at once.
	copiers = 4
	// maxEntry bounds one line of the index, in bytes.
	maxEntry = 64 << 10
)

// entry is what is kept of a file or a directory.
type entry struct {
	Path   string      `json:"path"` // below the base
	Mode   fs.FileMode `json:"mode"`
	Size   int64       `json:"size,omitempty"`
	Offset int64       `json:"offset,omitempty"` // of its bytes in the content file
	From   string      `json:"from,omitempty"`   // a rename: what was at From and below is at Path now; nothing else is set
}

// store keeps the bytes of files in one file, which only grows, and an index of lines, of which later ones hold.
type store struct {
	dir     string
	entries map[string]entry
	end     int64 // of the content file
}

func newStore(dir string) *store { return &store{dir: dir, entries: map[string]entry{}} }

// load reads the index.
func (s *store) load() error {
	f, err := os.Open(filepath.Join(s.dir, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxEntry)
	for scanner.Scan() {
		var e entry
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return fmt.Errorf("read index line %.60q: %w", scanner.Bytes(), err)
		}
		s.apply(e)
		s.end = max(s.end, e.Offset+e.Size)
	}
	return scanner.Err()
}

func (s *store) apply(e entry) {
	if e.From == "" {
		s.entries[e.Path] = e
		return
	}
	for path, moved := range s.entries {
		if rest, below := strings.CutPrefix(path, e.From); below && (rest == "" || rest[0] == filepath.Separator) {
			delete(s.entries, path)
			moved.Path = e.Path + rest
			s.entries[moved.Path] = moved
		}
	}
}

// open opens the content for reading.
func (s *store) open() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.dir, "content"), os.O_RDONLY|os.O_CREATE, 0o600)
}

// add copies the bytes of the files below base that entries name, and adds the entries.
func (s *store) add(ctx context.Context, base string, entries []entry) (err error) {
	content, err := os.OpenFile(filepath.Join(s.dir, "content"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiers)
	end := s.end
	for i := range entries {
		e := &entries[i]
		if !e.Mode.IsRegular() {
			continue
		}
		e.Offset = end
		end += e.Size
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return copyFile(filepath.Join(base, e.Path), io.NewOffsetWriter(content, e.Offset), e.Size)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.log(entries); err != nil {
		return err
	}
	s.end = end
	for _, e := range entries {
		s.apply(e)
	}
	return nil
}

func copyFile(path string, to io.Writer, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// One byte more would be written over a neighbour; that there is none shows that the file stood still.
	n, err := io.Copy(to, io.LimitReader(f, size))
	if err != nil {
		return err
	}
	if more, err := io.CopyN(io.Discard, f, 1); n != size || more > 0 {
		return fmt.Errorf("%s changed while it was copied", path)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *store) rename(from, to string) error {
	e := entry{Path: to, From: from}
	if err := s.log([]entry{e}); err != nil {
		return err
	}
	s.apply(e)
	return nil
}

// log writes entries to the end of the index.
func (s *store) log(entries []entry) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, e := range entries {
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "index"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(lines.Bytes())
	return errors.Join(err, f.Close())
}
