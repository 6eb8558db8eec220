package content

import "encoding/binary"

// jpegScan reads the codes of a picture's scans (ITU-T T.81, annexes F and G): what is no picture has a code that is in no table, more
// coefficients than a block has, or shades that no sample has.
type jpegScan struct {
	steps       [4]int32 // of the first coefficient, by table
	codes       [8]*jpegCodes
	components  []jpegComponent
	width       int
	height      int
	progressive bool
	interval    int // blocks between restarts, 0: none
}

type jpegComponent struct {
	id, across, down int // how often it is sampled
	table            int // of steps
}

// jpegCodes is one table of codes, by length: the first code of it, and where its symbols begin.
type jpegCodes struct {
	first, last [17]int32 // last is below first if there is none
	at          [17]int
	symbols     []byte
}

// maxJPEGBlocks is how many blocks of a scan are read.
const maxJPEGBlocks = 1 << 17

// segment takes what a segment in front of a scan says. It is true if that cannot be.
func (j *jpegScan) segment(marker byte, data []byte) bool {
	switch {
	case marker == 0xdb:
		for len(data) >= 65 {
			length, step := 65, int32(data[1])
			if data[0]>>4 != 0 {
				length, step = 129, int32(binary.BigEndian.Uint16(data[1:]))
			}
			j.steps[data[0]&3] = max(1, step)
			data = data[min(length, len(data)):]
		}
	case marker == 0xc4:
		for len(data) >= 17 {
			n := 0
			for _, c := range data[1:17] {
				n += int(c)
			}
			if n > 256 || 17+n > len(data) {
				return true
			}
			j.codes[data[0]>>4&1<<2|data[0]&3] = newJPEGCodes(data[1:17], data[17:17+n])
			data = data[17+n:]
		}
	case marker == 0xdd && len(data) >= 2:
		j.interval = int(binary.BigEndian.Uint16(data))
	case marker >= 0xc0 && marker <= 0xc2 && len(data) >= 6 && data[0] == 8:
		j.progressive = marker == 0xc2
		j.height, j.width = int(binary.BigEndian.Uint16(data[1:])), int(binary.BigEndian.Uint16(data[3:]))
		j.components = nil
		for k := range int(data[5]) {
			if 6+3*k+3 > len(data) {
				return true
			}
			c := data[6+3*k:]
			j.components = append(j.components, jpegComponent{int(c[0]), int(c[1] >> 4), int(c[1] & 15), int(c[2] & 3)})
			if last := j.components[k]; last.across < 1 || last.across > 4 || last.down < 1 || last.down > 4 || k > 3 {
				return true
			}
		}
	}
	return false
}

func newJPEGCodes(lengths, symbols []byte) *jpegCodes {
	c := &jpegCodes{symbols: symbols}
	code, at := int32(0), 0
	for i, n := range lengths {
		c.first[i+1], c.last[i+1], c.at[i+1] = code, code+int32(n)-1, at
		code, at = (code+int32(n))<<1, at+int(n)
	}
	return c
}

// jpegBits reads bits of a scan; done is true behind its last one.
type jpegBits struct {
	data []byte
	bits uint32
	n    int
	done bool
}

func (b *jpegBits) bit() int32 {
	if b.n == 0 {
		if len(b.data) == 0 || b.data[0] == 0xff && (len(b.data) < 2 || b.data[1] != 0) {
			b.done = true
			return 0
		}
		b.bits, b.n = uint32(b.data[0]), 8
		if b.data[0] == 0xff {
			b.data = b.data[1:]
		}
		b.data = b.data[1:]
	}
	b.n--
	return int32(b.bits >> b.n & 1)
}

func (b *jpegBits) number(bits int) int32 {
	v := int32(0)
	for range bits {
		v = v<<1 | b.bit()
	}
	return v
}

// value reads a number of so many bits, whose first bit is its sign (F.1.2.1.1).
func (b *jpegBits) value(bits int) int32 {
	v := b.number(bits)
	if bits > 0 && v < 1<<(bits-1) {
		v -= 1<<bits - 1
	}
	return v
}

// symbol reads a code; ok is false if it is in no table.
func (b *jpegBits) symbol(c *jpegCodes) (s byte, ok bool) {
	code := int32(0)
	for length := 1; length <= 16; length++ {
		if code = code<<1 | b.bit(); b.done {
			return 0, true
		}
		if code <= c.last[length] && code >= c.first[length] {
			return c.symbols[c.at[length]+int(code-c.first[length])], true
		}
	}
	return 0, false
}

// scan reads the scan that header, the body of its segment, announces, as far as data goes. It returns what is wrong, "" if nothing is.
func (j *jpegScan) scan(header, data []byte) string {
	if len(header) < 6 || len(header) < 4+2*int(header[0]) {
		return ""
	}
	n := int(header[0])
	from, to, before := int(header[1+2*n]), int(header[2+2*n]), header[3+2*n]>>4
	if before != 0 || from > to || to > 63 || from > 0 && n != 1 { // what only refines is not followed
		return ""
	}
	if !j.progressive {
		to = 63
	} else if from == 0 {
		to = 0
	}
	var blocks []jpegBlock
	for k := range n {
		id, tables := int(header[1+2*k]), header[2+2*k]
		for i, c := range j.components {
			if c.id != id {
				continue
			}
			times := c.across * c.down
			if n == 1 {
				times = 1
			}
			for range times {
				blocks = append(blocks, jpegBlock{component: i, dc: j.codes[tables>>4&3], ac: j.codes[4|tables&3], step: j.steps[c.table]})
			}
		}
	}
	if len(blocks) == 0 || len(blocks) > 16 {
		return ""
	}
	return j.blocks(blocks, from, to, data)
}

// jpegBlock is one block of those that a scan repeats.
type jpegBlock struct {
	component int
	dc, ac    *jpegCodes
	step      int32
}

func (j *jpegScan) blocks(blocks []jpegBlock, from, to int, data []byte) string {
	bits := jpegBits{data: data}
	var shades [4]int32
	skip, units := 0, j.units(len(blocks) == 1, blocks[0].component)
	for unit := range min(units, maxJPEGBlocks/len(blocks)) {
		if j.interval > 0 && unit > 0 && unit%j.interval == 0 {
			bits.n = 0
			if len(bits.data) >= 2 && (bits.data[0] != 0xff || bits.data[1] != 0xff && bits.data[1]&0xf8 != 0xd0) {
				return "no mark where one should be"
			}
			for len(bits.data) >= 2 && bits.data[1] == 0xff {
				bits.data = bits.data[1:]
			}
			bits.data = bits.data[min(2, len(bits.data)):]
			shades, skip = [4]int32{}, 0
		}
		for _, b := range blocks {
			if from == 0 {
				if b.dc == nil {
					return ""
				}
				s, ok := bits.symbol(b.dc)
				if !ok || s > 11 {
					return "a code that no picture has"
				}
				shade := &shades[b.component]
				if *shade += bits.value(int(s)); !bits.done && max(*shade, -*shade) > 2048/max(1, b.step)+1 {
					return "a shade that no picture has"
				}
			}
			if skip > 0 {
				skip--
				continue
			}
			for k := max(1, from); k <= to; k++ {
				if b.ac == nil {
					return ""
				}
				s, ok := bits.symbol(b.ac)
				if !ok {
					return "a code that no picture has"
				}
				run, size := int(s>>4), int(s&15)
				if size == 0 && run < 15 {
					if j.progressive && run > 0 {
						skip = 1<<run - 1 + int(bits.number(run))
					}
					break
				}
				if k += run; k > to && !bits.done {
					return "more in a block than there is"
				}
				bits.value(size)
			}
			if bits.done {
				return ""
			}
		}
	}
	return ""
}

// units is how many times a scan repeats its blocks.
func (j *jpegScan) units(alone bool, component int) int {
	most := jpegComponent{across: 1, down: 1}
	for _, c := range j.components {
		most.across, most.down = max(most.across, c.across), max(most.down, c.down)
	}
	across, down := ceil(j.width, 8*most.across), ceil(j.height, 8*most.down)
	if alone {
		c := j.components[component]
		across, down = ceil(ceil(j.width*c.across, most.across), 8), ceil(ceil(j.height*c.down, most.down), 8)
	}
	return across * down
}

func ceil(a, b int) int { return (a + b - 1) / b }
