package damage

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// judgeCut takes files for wiped that were longer, and of which the same length or the same part is left, or the same length is gone. That what is
// left stood there before is read, once it has come to many files.
func (w *step) judgeCut(ctx context.Context) error {
	var shorter []Shortened
	var changes []snapshot.Change
	for _, c := range w.rewritten() {
		if c.New.Size < c.Old.Size {
			shorter = append(shorter, Shortened{c.Path, int64(c.New.Size), int64(c.Old.Size)})
			changes = append(changes, c)
		}
	}
	alike := map[string]bool{}
	for _, name := range CutAlike(shorter, minCut) {
		alike[name] = true
	}
	if len(alike) == 0 && !severalKinds(w.beginnings, minCut) {
		return nil
	}
	kept, errs := make([]bool, len(changes)), make([]error, len(changes))
	side(len(changes), func(i int) {
		if kept[i], errs[i] = w.beginning(ctx, changes[i]); errs[i] == nil && !kept[i] && alike[changes[i].Path] {
			kept[i], errs[i] = w.ending(ctx, changes[i])
		}
	})
	var cuts []snapshot.Change
	var names []string
	for i, c := range changes {
		if errs[i] != nil {
			if err := w.skip(c.Path, errs[i]); err != nil {
				return err
			}
		}
		// People cut the end off a text, too.
		if kept[i] && (alike[c.Path] || c.New.Size%sector == 0 || content.Expected(c.Path) != content.Text) {
			cuts = append(cuts, c)
			names = append(names, c.Path)
		}
	}
	if severalKinds(names, minCut) {
		w.wiped(cuts, cut)
	}
	return nil
}

// sector is the smallest unit of a disk, in bytes.
const sector = 512

// beginning tells whether what stands there now is how the former content begins, by what it ends with.
func (w *step) beginning(ctx context.Context, c snapshot.Change) (bool, error) {
	if k := len(c.New.Content); k > 1 && (k > len(c.Old.Content) || !slices.Equal(c.New.Content[:k-1], c.Old.Content[:k-1])) {
		return false, nil
	}
	length := min(int64(c.New.Size), compared)
	at := int64(c.New.Size) - length
	return w.same(ctx, c, at, at, length)
}

// ending tells whether what stands there now is how the former content ends, by what it begins with.
func (w *step) ending(ctx context.Context, c snapshot.Change) (bool, error) {
	return w.same(ctx, c, 0, int64(c.Old.Size)-int64(c.New.Size), min(int64(c.New.Size), compared))
}

// compared is how many bytes tell whether what is left stood there before.
const compared = 256

// same compares bytes of the new version at one place with as many of the former at another.
func (w *step) same(ctx context.Context, c snapshot.Change, now, then, length int64) (bool, error) {
	o := opened{}
	is, err := w.open(ctx, o, c.New)
	if err != nil {
		return false, err
	}
	was, err := w.open(ctx, o, c.Old)
	if err != nil {
		return false, err
	}
	a, err := read(is, now, length)
	if err != nil {
		return false, err
	}
	b, err := read(was, then, length)
	return bytes.Equal(a, b), err
}

// littleCut is the part, of 50, from which a file only became a little shorter, as half of those that are edited do: what is told by
// them is read, and so they would cost a tenth of an assessment's reads.
const littleCut = 48

// littleGone is how many bytes files of many sorts may lose alike in ordinary work: byte order marks, and line ends.
const littleGone = 16

// Shortened is a file that was longer, in bytes.
type Shortened struct {
	Path      string
	Size, Was int64 // Was is 0 if it is not known
}

// CutAlike returns those of the files, in the order of their lengths, that were cut to one length, or to one part of what they were, or by one
// length: at least so many, and of several extensions; by one length, also of two formats that are no text, since texts of one project have one
// heading. Whether they were cut, and not written anew, is not asked.
func CutAlike(files []Shortened, least int) []string {
	byLength, byPart, byLoss := map[int64][]string{}, map[int64][]string{}, map[int64][]string{}
	for _, f := range files {
		byLength[f.Size] = append(byLength[f.Size], f.Path)
		if f.Was == 0 {
			continue
		}
		if part := f.Size * 50 / f.Was; part < littleCut { // of 50
			byPart[part] = append(byPart[part], f.Path)
		}
		if loss := f.Was - f.Size; loss >= littleGone {
			byLoss[loss] = append(byLoss[loss], f.Path)
		}
	}
	maps.DeleteFunc(byLoss, func(_ int64, names []string) bool { return !packedKinds(names) })
	var all []string
	told := map[string]bool{}
	add := func(groups map[int64][]string, least int) {
		for _, by := range slices.Sorted(maps.Keys(groups)) {
			if len(groups[by]) < least || !severalKinds(groups[by], least) {
				continue
			}
			for _, name := range groups[by] {
				if !told[name] {
					told[name] = true
					all = append(all, name)
				}
			}
		}
	}
	add(byLength, least)
	add(byPart, max(least, len(files)/3))
	add(byLoss, max(least, len(files)/3))
	return all
}

// packedKinds tells whether the files are of at least two formats that are no text.
func packedKinds(names []string) bool {
	formats := map[content.Format]bool{}
	for _, name := range names {
		if e := content.Expected(name); e != content.Unknown && e != content.Text {
			formats[e] = true
		}
	}
	return len(formats) >= 2
}
