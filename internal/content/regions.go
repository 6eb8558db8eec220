package content

import (
	"bytes"
	"slices"
)

// region is a part of a file that was changed where it stood.
type region struct {
	off      int64
	old, now []byte
}

const (
	// regionGap is how many bytes in a row must be as they were to end a region: noise has a few by chance.
	regionGap = 16
	// minRegion is the length, in bytes, from which a region says what it became. Shorter ones are what programs write down about the others.
	minRegion  = 64
	maxRegions = 1 << 16
	// minGuest is how much of a disk, in bytes, must have become noise: a guest stores some every day.
	minGuest = 256 << 10
)

// regions returns what was changed in a file that is as long as it was, in order; nil if nothing can be said.
func regions(was, now *view) []region {
	if was.version.Size != now.version.Size {
		return nil
	}
	var all []region
	for _, p := range now.pieces {
		old := was.at(p.off)
		if len(old) != len(p.data) {
			return nil
		}
		from, to := -1, 0 // of the current region
		for i := 0; i <= len(old); i++ {
			if from >= 0 && (i == len(old) || i-to >= regionGap) {
				all = append(all, region{p.off + int64(from), old[from:to], p.data[from:to]})
				from = -1
			}
			if i < len(old) && old[i] != p.data[i] {
				if from < 0 {
					from = i
				}
				to = i + 1
			}
		}
		if len(all) > maxRegions {
			return nil
		}
	}
	return all
}

// spoiled tells what was done to parts of a file, when that is all that was done to it: a program that puts something else into a file writes down
// where it is, in the same file.
func spoiled(was, now *view) string {
	all := regions(was, now)
	changed, little, total := 0, 0, 0
	for _, r := range all {
		changed += len(r.now)
		if len(r.now) < minRegion {
			little += len(r.now)
		}
	}
	for _, p := range now.pieces {
		total += len(p.data)
	}
	switch {
	case changed < 2*unit || 50*changed > 49*total || was.format == Encrypted:
		return ""
	case was.format.holdsFiles():
		switch {
		case changed >= minGuest && 4*changed >= total && 50*little < changed && becameNoise(all):
			return Noise
		case 16*changed >= total && lattice(was, all) && emptied(all, changed), doubled(was, now, all, total):
			return Overwritten
		}
		return ""
	case 50*little < changed && becameNoise(all):
		return Noise
	case emptiedIn(was, now, all, changed, total):
		return Overwritten
	case doubled(was, now, all, total):
		return Overwritten
	}
	return ""
}

// becameNoise tells whether all regions are noise, and at least half of it stands for something else that was no space.
func becameNoise(all []region) bool {
	var is, had histogram
	for _, r := range all {
		if len(r.now) < minRegion {
			continue
		}
		if len(r.now) >= unit && !random(r.now, 0) {
			return false
		}
		if is.add(r.now); !constant(r.old) {
			had.add(r.old)
		}
	}
	return is.n >= 2*unit && 2*had.n >= is.n && is.uniform() && had.chi2() > 2*uniformChi2
}

// raw formats hold samples as they are: what is empty in them may be silence, or the dark.
func (f Format) raw() bool {
	return slices.Contains([]Format{"bmp", "tiff", "psd", "riff", "npy", "au"}, f)
}

// emptiedIn tells whether all regions were emptied: much of a file whose programs write it anew, or from some place to the end, or every other block.
func emptiedIn(was, now *view, all []region, changed, total int) bool {
	if 16*changed < total {
		return false
	}
	if !emptied(all, changed) {
		return false
	}
	switch {
	case was.format.raw():
		return lattice(was, all)
	case was.format == Unknown, was.format.paged(), was.format == "dicom":
		return lattice(was, all) || emptyFrom(was, now, all[0].off)
	}
	return true
}

// minPurged is from how many bytes on an empty end is no few pages that a database purged.
const minPurged = 64 << 10

// emptyFrom tells whether a file has one value from some place to its end, and that is much of it, and had something else there.
func emptyFrom(was, now *view, from int64) bool {
	left := now.version.Size - from
	if 5*left < 2*now.version.Size || was.format == "innodb" && left < minPurged || was.format == Unknown && random(was.head(), 0) {
		return false
	}
	filled, total := 0, 0
	for _, p := range now.pieces {
		at := min(max(0, from-p.off), int64(len(p.data)))
		rest, old := p.data[at:], was.at(p.off)[at:]
		if len(rest) > 0 && !constant(rest) {
			return false
		}
		for k := range len(old) / unit {
			if total++; !patterned(old[k*unit : (k+1)*unit]) {
				filled++
			}
		}
	}
	return 2*filled >= total && total > 0
}

// emptied tells whether each region has one value now, which is no letter.
func emptied(all []region, changed int) bool {
	rest := 0
	for _, r := range all {
		if !constant(r.now) || isText(r.now[:1]) {
			rest += len(r.now)
		}
	}
	return 50*rest <= changed
}

// lattice tells whether the regions lie in blocks at one distance, in all of them and in no other, but for those that were empty before.
func lattice(was *view, all []region) bool {
	for _, grain := range []int64{4096, 512, 1024, 2048, 8192, 16384, 65536} {
		in := map[int64]bool{}
		distance, first := 0, int64(-1)
		for _, r := range all {
			for block := r.off / grain; block*grain < r.off+int64(len(r.now)); block++ {
				if in[block] = true; first < 0 {
					first = block
				}
				distance = divisor(distance, int(block-first))
			}
		}
		if len(in) < 4 || distance < 2 {
			continue
		}
		left := 0
		for _, p := range was.pieces {
			for at := int64(0); at+grain <= int64(len(p.data)); at += grain {
				block := (p.off + at) / grain
				if p.off%grain == 0 && (block-first)%int64(distance) == 0 && !in[block] && !constant(p.data[at:at+grain]) {
					left++
				}
			}
		}
		if 10*left <= len(in) {
			return true
		}
	}
	return false
}

// doubled tells whether a quarter of a file or more was written over with another part of it.
func doubled(was, now *view, all []region, total int) bool {
	if !was.whole || 4*changedIn(all) < total {
		return false
	}
	const needle, maxNeedles = minRegion, 64
	tried, old := 0, was.head()
	for i := 0; i < len(all) && tried < maxNeedles; i += 1 + len(all)/(4*maxNeedles) {
		for from := 0; from+needle <= len(all[i].now) && tried < maxNeedles; from += max(needle, len(all[i].now)/8) {
			sample := all[i].now[from : from+needle]
			if tried++; patterned(sample) {
				continue
			}
			found := bytes.Index(old, sample)
			if found < 0 {
				return false
			}
			if bytes.Contains(old[found+1:], sample) {
				continue
			}
			return shifted(old, all, all[i].off+int64(from)-int64(found))
		}
	}
	return false
}

// shifted tells whether each region holds what stood so much before it.
func shifted(old []byte, all []region, by int64) bool {
	for _, r := range all {
		from := r.off - by
		if from < 0 || from+int64(len(r.now)) > int64(len(old)) || !bytes.Equal(r.now, old[from:from+int64(len(r.now))]) {
			return false
		}
	}
	return true
}

func changedIn(all []region) int {
	n := 0
	for _, r := range all {
		n += len(r.now)
	}
	return n
}

// minWorded is how many different words a text has at least that says something by which of them stand side by side.
const minWorded = 150

// reworded tells whether a text was made of the words of the former one, and of hardly any that stood side by side there. Lines that were sorted
// and columns that were moved still have the words of their lines.
func reworded(was, now *view) bool {
	const most = 256 << 10
	old, is := was.head()[:min(most, len(was.head()))], now.head()[:min(most, len(now.head()))]
	if grown := len(is) - len(old); 10*max(grown, -grown) > len(old) {
		return false
	}
	words, pairs, sets := map[string]bool{}, map[[2]string]bool{}, map[string]bool{}
	for line := range bytes.Lines(old) {
		last := ""
		fields := bytes.Fields(line)
		for _, w := range fields {
			words[string(w)] = true
			pairs[[2]string{last, string(w)}] = true
			last = string(w)
		}
		sets[sorted(fields)] = true
	}
	if len(words) < minWorded {
		return false
	}
	strange, all, kept, of, lines, lost := 0, 0, 0, 0, 0, 0
	for line := range bytes.Lines(is) {
		last := ""
		fields := bytes.Fields(line)
		for _, w := range fields {
			if all++; !words[string(w)] {
				strange++
			}
			if last != "" {
				if of++; pairs[[2]string{last, string(w)}] {
					kept++
				}
			}
			last = string(w)
		}
		if len(fields) > 1 {
			if lines++; !sets[sorted(fields)] {
				lost++
			}
		}
	}
	return all >= 2*minWorded && 50*strange < all && 5*kept < of && 10*lost > 9*lines
}

// sorted returns the words of a line in an order that does not depend on theirs. They are taken.
func sorted(fields [][]byte) string {
	slices.SortFunc(fields, bytes.Compare)
	return string(bytes.Join(fields, []byte{' '}))
}

// refilled tells whether noise stands in empty space exactly where other noise stood, as in a log that a server writes in turns.
func refilled(was, now *view) bool {
	all := regions(was, now)
	if !was.whole || len(all) != 1 || !random(all[0].old, 0) {
		return false
	}
	from, to := int(all[0].off), int(all[0].off)+len(all[0].now)
	head := was.head()
	return from >= unit && to+unit <= len(head) && constant(head[from-unit:from]) && constant(head[to:to+unit])
}
