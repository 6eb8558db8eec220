package content

import (
	"errors"
	"fmt"
	"io"
)

// Version is one version of a file.
type Version struct {
	Name          string      // its path, or the last part of it
	Size          int64       // bytes
	Plain, Stored int64       // of what was stored of it: bytes before and after compression; 0 if not known
	Data          io.ReaderAt // its content; nil if it is not known or not to be looked at
	Changed       []Span      // where the other version has something else, ascending; nil: perhaps everywhere
}

// Span is a part of a file, in bytes from its start.
type Span struct{ From, To int64 }

// Share returns stored over plain bytes, 1 if they are not known.
func (v *Version) Share() float64 {
	if v == nil || v.Plain == 0 {
		return 1
	}
	return float64(v.Stored) / float64(v.Plain)
}

const (
	wholeSize  = 1 << 20   // bytes of a file up to which it is looked at in full
	headPiece  = 128 << 10 // bytes of the beginning of a longer one
	otherPiece = 64 << 10  // bytes at each of the other places, and at its end
	middles    = 6         // the other places
)

// piece is a part of a file that was read.
type piece struct {
	off  int64
	data []byte
}

// view is what was read of a version.
type view struct {
	version *Version
	pieces  []piece // ascending; the first is the head, if there is any
	whole   bool    // the only piece is all of it
	format  Format
}

func (v *view) head() []byte {
	if len(v.pieces) == 0 || v.pieces[0].off != 0 {
		return nil
	}
	return v.pieces[0].data
}

// look reads a version at the places, or, if there are none, at those that say most about it.
func look(version *Version, places []Span) (*view, error) {
	v := &view{version: version}
	if places == nil {
		places = version.places()
	}
	for _, p := range places {
		if p.From >= version.Size {
			continue
		}
		data := make([]byte, min(p.To, version.Size)-p.From)
		n, err := version.Data.ReadAt(data, p.From)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s at %d: %w", version.Name, p.From, err)
		}
		if n > 0 {
			v.pieces = append(v.pieces, piece{p.From, data[:n]})
		}
	}
	v.whole = len(v.pieces) == 1 && v.pieces[0].off == 0 && int64(len(v.pieces[0].data)) == version.Size
	v.format = Sniff(v.head())
	return v, nil
}

func (v *view) places() []Span {
	var all []Span
	for _, p := range v.pieces {
		all = append(all, Span{p.off, p.off + int64(len(p.data))})
	}
	return all
}

// places are all of a short file, else its head, its end and some places between, where it changed if that is known.
func (v *Version) places() []Span {
	if v.Size <= wholeSize {
		return []Span{{0, v.Size}}
	}
	all := []Span{{0, headPiece}}
	between := Span{headPiece, v.Size - otherPiece}
	var changed []Span
	total := int64(0)
	for _, s := range v.Changed {
		s.From, s.To = max(s.From, between.From), min(s.To, between.To)
		if s.From < s.To {
			changed = append(changed, s)
			total += s.To - s.From
		}
	}
	if v.Changed == nil {
		changed, total = []Span{between}, between.To-between.From
	}
	step := total / middles
	for k := range int64(middles) {
		// Not at equal distances: what was changed at equal distances would be missed at all of them.
		at := k*step + step*(k*5%8)/8
		for _, s := range changed {
			if length := s.To - s.From; at >= length {
				at -= length
				continue
			}
			from := max(s.From+at, all[len(all)-1].To)
			if to := min(from+otherPiece, between.To); from < to {
				all = append(all, Span{from, to})
			}
			break
		}
	}
	return append(all, Span{v.Size - otherPiece, v.Size})
}
