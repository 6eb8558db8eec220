package content

import "slices"

// headSize is how much of a file's beginning a Sampler keeps until the sample is made.
const headSize = 16 << 10

// Sample is what is known of a file after looking at a few pieces of it.
type Sample struct {
	Size    int64
	Format  Format
	Windows []Stats  // in file order; pieces too short to say anything are left out
	Note    []string // what makes it a ransom note, see Note; nil if it is not one
}

// Sampler makes a Sample of a file that streams by, whatever its length: of its first 20 KiB, of windows ever further
// apart (at 64 KiB, 256 KiB, 1 MiB and so on), and of its end. It holds at most 24 KiB. It is not safe for concurrent use.
type Sampler struct {
	pos    int64
	next   int64 // where the window that is being filled begins
	until  int64 // where the last full one ended
	window []byte
	done   []Stats
	head   []byte
	tail   []byte // the last bytes, at most a window
}

// NewSampler returns a Sampler that has seen nothing yet.
func NewSampler() *Sampler { return &Sampler{} }

// Write takes the next bytes of the file. It never fails.
func (s *Sampler) Write(p []byte) (int, error) {
	if room := headSize - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(room, len(p))]...)
	}
	end := s.pos + int64(len(p))
	for s.next < end {
		from := max(s.next+int64(len(s.window)), s.pos)
		s.window = append(s.window, p[from-s.pos:min(s.next+WindowSize, end)-s.pos]...)
		if len(s.window) < WindowSize {
			break
		}
		s.done, s.window, s.until = append(s.done, Measure(s.window)), s.window[:0], s.next+WindowSize
		if s.next < 4*WindowSize {
			s.next += WindowSize
		} else {
			s.next *= 4
		}
	}
	if keep := WindowSize - len(p); keep > 0 {
		s.tail = append(s.tail[max(0, len(s.tail)-keep):], p...)
	} else {
		s.tail = append(s.tail[:0], p[len(p)-WindowSize:]...)
	}
	s.pos = end
	return len(p), nil
}

// Sample returns what was seen.
func (s *Sampler) Sample() Sample {
	sample := newSample(s.pos, s.head)
	sample.Windows = append(sample.Windows, s.done...)
	last := s.window
	if len(last) == 0 && s.pos > s.until {
		last = s.tail
	}
	sample.add(last)
	return sample
}

// SampleOf makes the sample of a file of which some pieces are at hand: the first bytes as head, others in order.
func SampleOf(size int64, head []byte, pieces [][]byte) Sample {
	sample := newSample(size, head)
	for _, piece := range pieces {
		sample.add(piece)
	}
	return sample
}

func newSample(size int64, head []byte) Sample {
	sample := Sample{Size: size, Format: Sniff(head)}
	if sample.Format == Text && size <= headSize {
		sample.Note = Note(head)
	}
	return sample
}

func (s *Sample) add(piece []byte) {
	if st := Measure(piece[:min(len(piece), WindowSize)]); st.N >= minWindow {
		s.Windows = append(s.Windows, st)
	}
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
