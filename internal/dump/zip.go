package dump

import (
	"archive/zip"
	"io"

	"github.com/klauspost/compress/flate"

	"github.com/kedge-project/kedge/snapshot"
)

// Zip is a zip archive with modes, times to the second and symbolic links. It has no owners, hard links, attributes or
// device numbers: Tar is for what is to be brought back.
type Zip struct{ w *zip.Writer }

// NewZip begins an archive.
func NewZip(w io.Writer) *Zip {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestSpeed)
	})
	return &Zip{z}
}

// Close writes the end of the archive: its list of entries.
func (z *Zip) Close() error { return z.w.Close() }

func (z *Zip) plan(it *item) { it.content = it.node.Content }

func (z *Zip) add(p *pipe, it *item) error {
	n := it.node
	h := &zip.FileHeader{Name: it.name, Modified: n.ModTime.UTC(), Method: zip.Store}
	h.SetMode(n.Mode)
	switch n.Type {
	case snapshot.Dir:
		h.Name += "/"
	case snapshot.File:
		h.UncompressedSize64 = n.Size
		if n.Size > 0 {
			h.Method = zip.Deflate
		}
	}
	w, err := z.w.CreateHeader(h)
	if err != nil {
		return err
	}
	if n.Type == snapshot.Symlink {
		_, err := io.WriteString(w, n.LinkTarget)
		return err
	}
	return p.copy(w, it)
}
