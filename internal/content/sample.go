package content

import "slices"

// headSize is how much of a file's beginning is read for what it says, as notes do.
const headSize = 16 << 10

// Sample is what is known of a file after looking at a few pieces of it.
type Sample struct {
	Size    int64
	Format  Format
	Windows []Stats // in file order; pieces too short to say anything are left out
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
