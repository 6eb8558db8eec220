package content

import "slices"

// windows is how many pieces of a file are looked at: head, quarters and tail.
const windows = 5

// headSize is how much of a file's beginning a Sampler keeps until the sample is made.
const headSize = 16 << 10

// Sample is what is known of a file after looking at a few pieces of it.
type Sample struct {
	Size    int64
	Format  Format
	Windows []Stats  // in file order; pieces too short to say anything are left out
	Note    []string // what makes it a ransom note, see Note; nil if it is not one
}

// Sampler makes a Sample of a file that streams by. It holds at most 36 KiB. It is not safe for concurrent use.
type Sampler struct {
	offsets []int64
	windows [windows][]byte
	head    []byte
	pos     int64
}

// NewSampler expects a file of about size bytes. A file that turns out longer or shorter is sampled where it overlaps.
func NewSampler(size int64) *Sampler { return &Sampler{offsets: Offsets(size)} }

// Offsets says where in a file of size bytes the windows begin.
func Offsets(size int64) []int64 {
	var at []int64
	if size <= windows*WindowSize {
		for o := int64(0); o < size; o += WindowSize {
			at = append(at, o)
		}
		return at
	}
	last := size - WindowSize
	for i := range int64(windows) {
		at = append(at, last*i/(windows-1))
	}
	return at
}

// Write takes the next bytes of the file. It never fails.
func (s *Sampler) Write(p []byte) (int, error) {
	if room := headSize - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(room, len(p))]...)
	}
	end := s.pos + int64(len(p))
	for i, o := range s.offsets {
		from, to := max(o+int64(len(s.windows[i])), s.pos), min(o+WindowSize, end)
		if from < to {
			s.windows[i] = append(s.windows[i], p[from-s.pos:to-s.pos]...)
		}
	}
	s.pos = end
	return len(p), nil
}

// Sample returns what was seen.
func (s *Sampler) Sample() Sample { return newSample(s.pos, s.head, s.windows[:]) }

// SampleOf makes the sample of a file of which some pieces are at hand: the first bytes as head, others in order.
func SampleOf(size int64, head []byte, pieces [][]byte) Sample { return newSample(size, head, pieces) }

func newSample(size int64, head []byte, pieces [][]byte) Sample {
	sample := Sample{Size: size, Format: Sniff(head)}
	for _, piece := range pieces {
		if st := Measure(piece[:min(len(piece), WindowSize)]); st.N >= minWindow {
			sample.Windows = append(sample.Windows, st)
		}
	}
	if sample.Format == Text && size <= headSize {
		sample.Note = Note(head)
	}
	return sample
}

// Random returns the share of windows that cannot be told from noise, 0 to 1.
func (s Sample) Random() float64 {
	if len(s.Windows) == 0 {
		return 0
	}
	n := 0
	for _, w := range s.Windows {
		if w.Random() {
			n++
		}
	}
	return float64(n) / float64(len(s.Windows))
}

// Entropy returns the mean over the windows, in bits per byte.
func (s Sample) Entropy() float64 { return s.mean(func(w Stats) float64 { return w.Entropy }) }

// Chi2 returns the median over the windows.
func (s Sample) Chi2() float64 {
	if len(s.Windows) == 0 {
		return 0
	}
	all := make([]float64, len(s.Windows))
	for i, w := range s.Windows {
		all[i] = w.Chi2
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (s Sample) mean(figure func(Stats) float64) float64 {
	if len(s.Windows) == 0 {
		return 0
	}
	sum := 0.0
	for _, w := range s.Windows {
		sum += figure(w)
	}
	return sum / float64(len(s.Windows))
}
