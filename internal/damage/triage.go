package damage

import (
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// stats is what the index says of the blobs of a version.
type stats struct {
	size          int64 // of the whole file
	plain, stored int64 // bytes of the blobs that the other version does not have, before and after compression
	raw           bool  // nothing was compressed: the index says nothing
	fresh         bool  // its first blob is none of the other version's
}

// maxBlobs is how many blobs of a version are looked up in the index, evenly spread.
const maxBlobs = 1024

func (w *step) stats(n, other *snapshot.Node) stats {
	s := stats{size: int64(n.Size)}
	var had map[blob.ID]bool
	if other != nil && len(n.Content) > 1 {
		had = make(map[blob.ID]bool, len(other.Content))
		for _, id := range other.Content {
			had[id] = true
		}
	}
	s.fresh = len(n.Content) > 0 && !(other != nil && len(other.Content) > 0 && other.Content[0] == n.Content[0])
	var sum content.Former
	for i := 0; i < len(n.Content); i += 1 + len(n.Content)/maxBlobs {
		if had[n.Content[i]] {
			continue
		}
		if at, ok := w.store.Locate(blob.Handle{ID: n.Content[i], Type: blob.Data}); ok {
			sum.Add(at.Plain, at.Length)
		}
	}
	s.plain, s.stored = sum.Plain, sum.Stored
	s.raw = s.plain == s.stored
	return s
}

// share returns stored over plain bytes, 1 if nothing is known.
func (s stats) share() float64 {
	if s.plain == 0 {
		return 1
	}
	return float64(s.stored) / float64(s.plain)
}

// dense is the share from which content is close to noise.
const dense = 0.9

func (s stats) compressible() bool { return s.share() < dense }

// mayBeEncoded: base64 takes three quarters of its length, hexadecimal half, base32 five eighths, ascii85 four fifths. Noise may
// be thinned by half and more.
func (s stats) mayBeEncoded() bool { return s.share() > 0.4 && s.share() < 0.86 }

// rewritten is how long a file may be, in bytes, that is looked at for nothing else than that it is new from one end to the other and exactly
// as long as it was.
const rewritten = 256 << 10

// level is how closely a changed file is looked at.
type level int

const (
	none level = iota
	ends       // its beginning and its end
	look       // several places, and the former version beside
)

// suspicion tells from the index alone how closely to look. Editing adds to what is stored no more than to what is plain;
// encryption adds all that could be compressed and adds no length.
func suspicion(was, now stats) level {
	grown := now.size - was.size
	aligned := grown >= -16 && grown <= 64<<10
	surplus := now.stored - was.stored - max(0, now.plain-was.plain)
	rise := now.share() - was.share()
	switch {
	case now.plain == 0: // all blobs were there before
		return none
	case was.raw && now.raw:
		if grown == 0 {
			return look
		}
		return ends
	case !was.compressible() && now.compressible() && rise < -0.15: // what was packed is not any more
		return look
	case grown == 0 && (now.plain <= rewritten && now.plain*2 > now.size || now.stored*10 < was.stored*9): // rewritten, and not a byte longer or shorter
		return look
	case now.compressible() && now.stored <= was.stored:
		if now.share() < was.share()/3 && (aligned || now.share() < 0.02) { // one value, a pattern
			return look
		}
		return now.beginning(was, grown)
	case now.compressible():
		switch {
		case aligned && (rise > 0.08 || surplus > 192+was.stored/512), grown == 0 && surplus > 192+was.stored/2048, grown == 0 && now.plain < 64<<10 && surplus*50 > was.stored:
			return look
		case now.mayBeEncoded() && now.stored*20 >= was.plain*19 && now.size < 3*was.size+4096,
			now.size > was.size && now.stored*20 >= was.plain*19 && now.size < 32*was.size: // all of it may be in there as noise
			return look
		}
		return now.beginning(was, grown)
	case was.compressible() && rise > 0.05, grown == 0:
		return look
	case now.stored >= now.plain, aligned && surplus >= 16 && surplus*4 >= was.plain-was.stored: // a quarter of what could be compressed is gone
		return ends
	}
	return none
}

// beginning is how closely a file is looked at whose blobs say nothing: its beginning may have been emptied, or what was dense be of another kind.
func (s stats) beginning(was stats, grown int64) level {
	if grown == 0 && s.fresh || !was.compressible() {
		return ends
	}
	return none
}

// group is a number of files to which the same was done in one snapshot.
type group struct {
	looked, bad int
	finding     content.Finding
	grown       map[int64]int // by how many bytes they grew
}

func (w *step) group(name string) *group {
	g := w.groups[name]
	if g == nil {
		g = &group{grown: map[int64]int{}}
		w.groups[name] = g
	}
	return g
}

// enough is how many files of a group are looked at before the index alone may tell.
const enough = 50

func (g *group) count(f content.Finding, was, now stats) {
	g.looked++
	if f.Encrypted() {
		g.bad++
		g.finding = f
		g.grown[now.size-was.size]++
	}
}

// decided tells whether so many of the group were damaged that one more, which is no more compressible than they are, needs no look.
func (g *group) decided(was, now stats) bool {
	return g.looked >= enough && g.bad*50 >= g.looked*49 && !now.compressible() && now.stored >= now.plain &&
		(was.compressible() || g.grown[now.size-was.size]*2 >= g.bad)
}
