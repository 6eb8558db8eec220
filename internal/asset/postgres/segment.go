package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
)

// parseLSN reads a WAL position as PostgreSQL prints it: two hexadecimal numbers of up to 32 bits, as in "0/14EC1F8".
func parseLSN(s string) (pglogrepl.LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if ok {
		h, errHigh := strconv.ParseUint(high, 16, 32)
		l, errLow := strconv.ParseUint(low, 16, 32)
		if errHigh == nil && errLow == nil {
			return pglogrepl.LSN(h<<32 | l), nil
		}
	}
	return 0, fmt.Errorf("parse WAL position %.40q: want two hexadecimal numbers, as in 0/14EC1F8", s)
}

// segment names one WAL segment file. number counts segments from WAL position 0.
type segment struct {
	timeline uint32
	number   uint64
}

// name returns the file's name as PostgreSQL writes it, for segments of size bytes.
func (s segment) name(size uint64) string {
	perID := (uint64(1) << 32) / size
	return fmt.Sprintf("%08X%08X%08X", s.timeline, s.number/perID, s.number%perID)
}

// begin is the WAL position of the segment's first byte.
func (s segment) begin(size uint64) pglogrepl.LSN { return pglogrepl.LSN(s.number * size) }

// parseSegment reads a segment file's name.
func parseSegment(name string, size uint64) (segment, bool) {
	if len(name) != 24 || strings.ToUpper(name) != name {
		return segment{}, false
	}
	timeline, err1 := strconv.ParseUint(name[:8], 16, 32)
	high, err2 := strconv.ParseUint(name[8:16], 16, 32)
	low, err3 := strconv.ParseUint(name[16:], 16, 32)
	perID := (uint64(1) << 32) / size
	if err1 != nil || err2 != nil || err3 != nil || timeline == 0 || low >= perID {
		return segment{}, false
	}
	return segment{uint32(timeline), high*perID + low}, true
}

// validSegmentSize tells whether PostgreSQL can have been built for segments of size bytes.
func validSegmentSize(size uint64) bool {
	return size >= 1<<20 && size <= 1<<30 && size&(size-1) == 0
}

// listSegments returns the segments in dir by timeline, then position, and their size in bytes, which is 0 if there is none.
func listSegments(dir string) ([]segment, uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("list WAL segments: %w", err)
	}
	var size uint64
	var found []segment
	for _, entry := range entries {
		if len(entry.Name()) != 24 || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // pruned meanwhile
		}
		if err != nil {
			return nil, 0, fmt.Errorf("list WAL segments: %w", err)
		}
		length := uint64(info.Size())
		if !validSegmentSize(length) || size != 0 && length != size {
			return nil, 0, fmt.Errorf("list WAL segments: %s has %d bytes, which is not a segment's size", filepath.Join(dir, entry.Name()), length)
		}
		size = length
		if s, ok := parseSegment(entry.Name(), size); ok {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, compareSegments)
	return found, size, nil
}

func compareSegments(a, b segment) int {
	return cmp.Or(cmp.Compare(a.timeline, b.timeline), cmp.Compare(a.number, b.number))
}
