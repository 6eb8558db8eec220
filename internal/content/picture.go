package content

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math/bits"
)

// cellsAcross is how many cells a picture's summary has in each direction.
const cellsAcross = 32

// cellTolerance is by how much the mean colour of a cell may move and count as the same, of 255.
const cellTolerance = 24

// maxPixels bounds the pictures that are looked at.
const maxPixels = 16 << 20

// Picture is how a page looks: small enough to keep, enough to tell whether it looks alike.
type Picture struct {
	// Hash is a difference hash: of 9 by 8 mean grey values, whether each is darker than its right neighbour. See N. Krawetz, "Kind
	// of like that" (2013).
	Hash uint64 `json:"hash"`
	// Cells are the mean colours, red, green and blue, of 32 by 32 parts, row by row.
	Cells []byte `json:"cells"`
}

// ReadPicture summarises a PNG.
func ReadPicture(data []byte) (Picture, error) {
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Picture{}, fmt.Errorf("read picture: %w", err)
	}
	if config.Width < cellsAcross || config.Height < cellsAcross || config.Width*config.Height > maxPixels {
		return Picture{}, errors.New("read picture: it is too small or too large")
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return Picture{}, fmt.Errorf("read picture: %w", err)
	}
	p := Picture{Cells: means(img, cellsAcross, cellsAcross)}
	grey := means(img, 9, 8)
	at := func(x, y int) int {
		i := 3 * (9*y + x)
		return 299*int(grey[i]) + 587*int(grey[i+1]) + 114*int(grey[i+2])
	}
	for y := range 8 {
		for x := range 8 {
			p.Hash <<= 1
			if at(x, y) < at(x+1, y) {
				p.Hash |= 1
			}
		}
	}
	return p, nil
}

// means returns the mean colours of the parts that a grid cuts a picture into, row by row.
func means(img image.Image, across, down int) []byte {
	b := img.Bounds()
	all := make([]byte, 0, 3*across*down)
	for row := range down {
		for column := range across {
			x0, x1 := b.Min.X+column*b.Dx()/across, b.Min.X+(column+1)*b.Dx()/across
			y0, y1 := b.Min.Y+row*b.Dy()/down, b.Min.Y+(row+1)*b.Dy()/down
			var red, green, blue, n uint64
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					r, g, bl, _ := img.At(x, y).RGBA()
					red, green, blue, n = red+uint64(r>>8), green+uint64(g>>8), blue+uint64(bl>>8), n+1
				}
			}
			all = append(all, byte(red/n), byte(green/n), byte(blue/n))
		}
	}
	return all
}

// Valid tells whether a picture that was kept can be compared.
func (p Picture) Valid() bool { return len(p.Cells) == 3*cellsAcross*cellsAcross }

// Distance is by how many of 64 bits the hashes differ.
func (p Picture) Distance(other Picture) int { return bits.OnesCount64(p.Hash ^ other.Hash) }

// Changed returns the share of a page's parts, 0 to 1, that look like in none of the pictures before. Parts that look
// different among those do not count.
func (p Picture) Changed(before []Picture) float64 {
	stable, changed := 0, 0
	for i := range cellsAcross * cellsAcross {
		if !alike(before, i) {
			continue
		}
		stable++
		if !sameCell(before[0], p, i) {
			changed++
		}
	}
	if stable == 0 {
		return 0
	}
	return float64(changed) / float64(stable)
}

func alike(pictures []Picture, cell int) bool {
	for _, p := range pictures[1:] {
		if !sameCell(pictures[0], p, cell) {
			return false
		}
	}
	return true
}

func sameCell(a, b Picture, cell int) bool {
	for i := 3 * cell; i < 3*cell+3; i++ {
		if d := int(a.Cells[i]) - int(b.Cells[i]); d > cellTolerance || d < -cellTolerance {
			return false
		}
	}
	return true
}
