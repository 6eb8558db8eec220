package chunker

// tables hold the remainders by one polynomial that a step of the fingerprint looks up.
type tables struct {
	in  [256]uint64 // for the digest's top byte: what clears its bits and adds their remainder
	out [256]uint64 // for a byte that leaves the window: its share of the digest, b·x^512

	vector *vector // scans faster; nil where the processor cannot
}

func newTables(pol Pol) *tables {
	t := new(tables)
	if pol.degree() != polDegree {
		return t // by contract the cuts are undefined
	}
	// Both are linear: eight bits make the table.
	for bit := range 8 {
		top := Pol(1) << bit << polDegree
		in := uint64(top.mod(pol) | top)
		leaving := Pol(1) << bit
		for range window {
			leaving = (leaving << 8).mod(pol)
		}
		for b := range 256 {
			if b>>bit&1 != 0 {
				t.in[b] ^= in
				t.out[b] ^= uint64(leaving)
			}
		}
	}
	t.vector = newVector(t)
	return t
}

// add takes a byte into a digest: in is that byte, with the share of the one that leaves. Only the table look-up waits
// for the digest before, so that the steps of several digests overlap in the processor.
func (t *tables) add(digest, in uint64) uint64 {
	return digest<<8 ^ in ^ t.in[uint8(digest>>(polDegree-8))]
}

// start returns the digest of the last bytes of head, a window full.
func (t *tables) start(head []byte) uint64 {
	var digest uint64
	for _, b := range head[len(head)-window:] {
		digest = t.add(digest, uint64(b))
	}
	return digest
}

// lane is how many positions each of the digests that run side by side covers.
const lane = 8 << 10

// cut returns the least length of buf, from the length given on, at which a chunk ends, and 0 if there is none.
// from is over window.
func (t *tables) cut(buf []byte, from int) int {
	if t.vector != nil {
		from, _ = t.vector.scan(buf, from)
	}
	for ; from+4*lane <= len(buf)+1; from += 4 * lane {
		if n := t.cutLanes(buf, from); n > 0 {
			return n
		}
	}
	if from > len(buf) {
		return t.full(buf)
	}
	digest := t.start(buf[:from])
	for n := from; ; n++ {
		if digest&splitMask == 0 {
			return n
		}
		if n >= len(buf) {
			return t.full(buf)
		}
		digest = t.add(digest, uint64(buf[n])^t.out[buf[n-window]])
	}
}

func (t *tables) full(buf []byte) int {
	if len(buf) >= MaxSize {
		return MaxSize
	}
	return 0
}

// cutLanes is cut for the 4·lane lengths from the one given: it does them in four lanes at once.
func (t *tables) cutLanes(buf []byte, from int) int {
	d0 := t.start(buf[:from])
	d1 := t.start(buf[:from+lane])
	d2 := t.start(buf[:from+2*lane])
	d3 := t.start(buf[:from+3*lane])
	// Fixed lengths let the compiler leave out the bounds checks. The step after the last length is not taken.
	const steps = lane - 1
	in0, out0 := (*[steps]byte)(buf[from:]), (*[steps]byte)(buf[from-window:])
	in1, out1 := (*[steps]byte)(buf[from+lane:]), (*[steps]byte)(buf[from+lane-window:])
	in2, out2 := (*[steps]byte)(buf[from+2*lane:]), (*[steps]byte)(buf[from+2*lane-window:])
	in3, out3 := (*[steps]byte)(buf[from+3*lane:]), (*[steps]byte)(buf[from+3*lane-window:])

	first := 4 * lane // the least offset from `from` at which a chunk ends
	for i := 0; ; i++ {
		if d0&splitMask == 0 {
			return from + i // nothing in another lane comes before it
		}
		if d1&splitMask == 0 {
			first = min(first, lane+i)
		}
		if d2&splitMask == 0 {
			first = min(first, 2*lane+i)
		}
		if d3&splitMask == 0 {
			first = min(first, 3*lane+i)
		}
		if i == steps {
			break
		}
		d0 = t.add(d0, uint64(in0[i])^t.out[out0[i]])
		d1 = t.add(d1, uint64(in1[i])^t.out[out1[i]])
		d2 = t.add(d2, uint64(in2[i])^t.out[out2[i]])
		d3 = t.add(d3, uint64(in3[i])^t.out[out3[i]])
	}
	if first == 4*lane {
		return 0
	}
	return from + first
}
