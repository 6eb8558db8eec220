package content

import (
	"errors"
	"io"
)

// Health tells whether a file still parses as what its first bytes say.
type Health int

// The healths, from worst to best.
const (
	Unchecked Health = iota // nothing is known here of the format, or there was too little of it
	Broken                  // the bytes contradict the format
	Cut                     // right as far as it goes, and not complete
	Framed                  // the outer structure is right; what it holds was not checked
	Sound                   // the content was checked where it was looked at
)

// parse is what a look at a format's structure tells.
type parse struct {
	health Health
	why    string // what is wrong, or would be if it was right before
	locked bool   // an archive that asks for a password
	// wrapped tells of an archive, or of what else may hold something, that it holds nothing but noise, as it is; inner is how that begins.
	wrapped bool
	inner   []byte
}

func broken(why string) parse { return parse{health: Broken, why: why} }

// bounds of one look into a format, whatever its headers claim.
const (
	maxParsed   = 6 << 20 // bytes read of a file that is not looked at in full
	maxInflated = 8 << 20 // bytes that compressed content may become
	maxParts    = 4096    // chunks, boxes, entries, pages
)

var errBudget = errors.New("enough was read")

// budgeted reads a version's content and stops where it has read enough.
type budgeted struct {
	view *view
	left int64
	err  error // of reading, other than the end of the file
}

// ReadAt implements io.ReaderAt.
func (b *budgeted) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > b.view.version.Size {
		return 0, io.EOF
	}
	for _, piece := range b.view.pieces {
		if off >= piece.off && off+int64(len(p)) <= piece.off+int64(len(piece.data)) {
			return copy(p, piece.data[off-piece.off:]), nil
		}
	}
	if b.view.whole {
		n := copy(p, b.view.pieces[0].data[off:])
		return n, io.EOF
	}
	if int64(len(p)) > b.left {
		return 0, errBudget
	}
	b.left -= int64(len(p))
	n, err := b.view.version.Data.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// at returns the bytes at off, nil if they are not there or too much was read already.
func (b *budgeted) at(off int64, n int) []byte {
	if off < 0 || n <= 0 || off+int64(n) > b.view.version.Size {
		return nil
	}
	data := make([]byte, n)
	if got, _ := b.ReadAt(data, off); got < n {
		return nil
	}
	return data
}

// spent tells whether something could not be read because enough was.
func (b *budgeted) spent() bool { return !b.view.whole && b.left < otherPiece }

// from reads on from off, at most n bytes.
func (b *budgeted) from(off, n int64) io.Reader { return io.NewSectionReader(b, off, n) }

// check parses a version as the format that its first bytes say.
func check(v *view) (parse, error) {
	b := &budgeted{view: v, left: maxParsed}
	parser := parsers[v.format]
	if parser == nil {
		return parse{}, nil
	}
	p := parser(b)
	return p, b.err
}

// parsers by format; each is bounded by what budgeted lets it read, and by maxParts and maxInflated.
var parsers = map[Format]func(*budgeted) parse{
	"zip": checkZip, "jpeg": checkJPEG, "png": checkPNG, "gif": checkGIF, "gzip": checkGzip, "bzip2": checkBzip2, "zstd": checkZstd, "xz": checkXZ,
	"7z": check7z, "rar": checkRAR, "pdf": checkPDF, "sqlite": checkSQLite, "pgpages": checkPostgres, "innodb": checkInnoDB,
	"mp4": checkMP4, "riff": checkRIFF, "ogg": checkOgg, "mp3": checkMP3, "flac": checkFLAC, "elf": checkELF, "exe": checkEXE, "tar": checkTar,
	"ole": checkOLE, "ttf": checkSFNT, "otf": checkSFNT, "woff": checkWOFF, "bmp": checkBMP, "parquet": checkParquet, "tiff": checkTIFF, "disk": checkDisk,
	"avro": checkAvro, "matroska": checkMatroska, "mpegts": checkTransport, "pcap": checkCapture, "dbf": checkDBase, "mo": checkMO,
}
