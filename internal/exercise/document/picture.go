package document

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
)

// JPEG returns a picture of that many pixels: sky, sea and a ship.
func JPEG(r *rand.Rand, width, height int) ([]byte, error) {
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, seascape(r, width, height), &jpeg.Options{Quality: 80}); err != nil {
		return nil, fmt.Errorf("encode JPEG: %w", err)
	}
	return buf.Bytes(), nil
}

// PNG returns a picture as JPEG does.
func PNG(r *rand.Rand, width, height int) ([]byte, error) {
	return encodePNG(seascape(r, width, height), png.BestSpeed)
}

// Scan returns a PNG file of about size bytes: paper grain, as a scanner at full resolution sees it, which no
// compression makes smaller.
func Scan(r *rand.Rand, size int) ([]byte, error) {
	const width = 1240 // an A4 page at 150 dots per inch
	img := image.NewGray(image.Rect(0, 0, width, max(1, size/width)))
	for i := 0; i < len(img.Pix); i += 8 {
		n := r.Uint64()
		for j := i; j < min(i+8, len(img.Pix)); j++ {
			img.Pix[j] = byte(n)
			n >>= 8
		}
	}
	return encodePNG(img, png.NoCompression)
}

func encodePNG(img image.Image, level png.CompressionLevel) ([]byte, error) {
	var buf bytes.Buffer
	encoder := png.Encoder{CompressionLevel: level}
	if err := encoder.Encode(&buf, img); err != nil {
		return nil, fmt.Errorf("encode PNG: %w", err)
	}
	return buf.Bytes(), nil
}

func seascape(r *rand.Rand, width, height int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	horizon := height/3 + r.IntN(height/4+1)
	hue := uint8(r.IntN(60))
	for y := range height {
		for x := range width {
			shade := uint8(r.IntN(12))
			c := color.RGBA{120 + hue, 170 + shade, 215 + shade, 255}
			if y > horizon {
				c = color.RGBA{20 + shade, 60 + hue + uint8((y-horizon)*40/height) + shade, 110 + shade, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	hull := color.RGBA{uint8(r.IntN(160)), 30, 40, 255}
	left, long := r.IntN(width/3+1), width/3
	for y := max(0, horizon-height/20); y < min(height, horizon+height/20); y++ {
		for x := left; x < left+long; x++ {
			img.SetRGBA(x, y, hull)
		}
	}
	return img
}
