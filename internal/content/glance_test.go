package content

import (
	"bytes"
	"io"
	"testing"
)

// counted counts what is read.
type counted struct {
	io.ReaderAt
	n int
}

func (c *counted) ReadAt(data []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(data, off)
	c.n += n
	return n, err
}

func TestAFileThatIsAllNoiseIsToldByAGlance(t *testing.T) {
	const size = 800 << 10
	plain := bytes.Repeat([]byte("The committee met and agreed on all of it. "), size/43)
	data := noise(7, len(plain))
	is, was := &counted{ReaderAt: bytes.NewReader(data)}, &counted{ReaderAt: bytes.NewReader(plain)}
	c := Case{Name: "minutes.txt", New: &Version{Name: "minutes.txt", Size: int64(len(data)), Data: is}, Old: &Version{Name: "minutes.txt", Size: int64(len(plain)), Data: was}}
	f, err := Examine(c)
	if err != nil || !f.Encrypted() {
		t.Fatalf("found %+v, error %v", f, err)
	}
	if is.n+was.n > 80<<10 {
		t.Errorf("it took %d bytes", is.n+was.n)
	}

	// Where a window is none, all is looked at.
	copy(data[300<<10:], plain[300<<10:600<<10])
	is.n, was.n = 0, 0
	if f, err = Examine(c); err != nil || !f.Encrypted() || is.n < size/2 {
		t.Errorf("found %+v after %d bytes, error %v", f, is.n, err)
	}

	// What was noise before says nothing.
	was.ReaderAt = bytes.NewReader(noise(8, len(plain)))
	is.ReaderAt = bytes.NewReader(noise(9, len(plain)))
	if f, err = Examine(c); err != nil || f.Encrypted() {
		t.Errorf("found %+v, error %v", f, err)
	}
}
