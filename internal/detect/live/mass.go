package live

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/event"
)

// promote takes what speaks against files together: noise that comes while other files go, each for one; archives with passwords whose
// contents go; files that one program cut to one length, or turned into something else.
func (d *detector) promote(now time.Time) {
	if len(d.suspect) >= minFiles {
		d.pair(now)
	}
	d.promotePacked(now)
	d.cutAlike()
	d.replacedAlike()
	d.disguised(now)
	d.holdingOthers()
}

// disguised takes files for encrypted in whose place one program put others of one sort, all longer alike.
func (d *detector) disguised(now time.Time) {
	if n := len(d.gone) + len(d.arrived) + len(d.turned); n < d.weighed+d.weighed/16 {
		return // there are very many, and few more than when they were compared last
	} else {
		d.weighed = n
	}
	gone, came := map[int]map[string]int64{}, map[int]map[string]int64{} // by group of processes
	put := func(in map[int]map[string]int64, group int, name string, size int64) {
		if in[group] == nil {
			in[group] = map[string]int64{}
		}
		in[group][name] = size
	}
	for name, l := range d.gone {
		if l.worth && now.Sub(l.at) < together {
			put(gone, l.group, name, l.size)
		}
	}
	for name, a := range d.arrived {
		if _, has := d.found[name]; !has && len(gone[a.group]) > 0 && now.Sub(a.at) < together {
			put(came, a.group, name, a.size)
		}
	}
	for name, t := range d.turned {
		if _, has := d.found[name]; !has && now.Sub(t.at) < together {
			put(gone, t.group, t.Former, t.Was)
			put(came, t.group, name, t.Is)
		}
	}
	for group, names := range gone {
		for _, s := range damage.Disguised(names, came[group]) {
			by := d.arrived[s.Now].doing
			if t, renamed := d.turned[s.Now]; renamed {
				by = t.doing
			}
			d.found[s.Now] = finding{Finding: content.Finding{Features: []string{originalsGone, alike}}, doing: by, kind: damage.Renamed, former: s.Former}
		}
	}
}

// swept tells whether what tools encrypted that say so is most of what stood in several directories.
func (d *detector) swept() bool {
	var all []damage.Successor
	for name, f := range d.found {
		if _, gone := d.gone[f.former]; f.own && gone && f.former != name {
			all = append(all, damage.Successor{Former: f.former, Now: name})
		}
	}
	return damage.Swept(all, func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return 0
		}
		return len(slices.DeleteFunc(entries, os.DirEntry.IsDir))
	})
}

// holdingOthers takes files for overwritten to which one program gave what others hold, or held.
func (d *detector) holdingOthers() {
	now, before := map[int]map[string]string{}, map[int]map[string]string{} // by group of processes
	for name, r := range d.rewrote {
		if now[r.group] == nil {
			now[r.group], before[r.group] = map[string]string{}, map[string]string{}
		}
		now[r.group][name], before[r.group][name] = r.holds, r.held
	}
	for group := range now {
		for name := range damage.HoldingOthers(now[group], before[group], d.holders) {
			if _, has := d.found[name]; !has {
				d.found[name] = finding{Finding: content.Finding{Features: []string{another, alike}}, doing: d.rewrote[name].doing, kind: damage.Wiped, former: name}
			}
		}
	}
}

// promotePacked takes files for archived that one program deleted beside an archive with a password that it had made, or below; or beside one file
// of noise, which is as long as what is gone could be packed to. Who encrypts files one by one leaves as many new ones as old ones go.
func (d *detector) promotePacked(now time.Time) {
	type place struct {
		dir   string
		group int
	}
	archives, opaque, into := map[place][]string{}, map[place][]string{}, map[place][]string{}
	sizes, lengths := map[place]int64{}, map[place]int64{} // of what is opaque, and of what is gone
	single := map[string]bool{}                            // what has an archive of its own, whoever made that: a program may end before its group is known
	for name, b := range d.locked {
		at := place{path.Dir(name), b.group}
		archives[at] = append(archives[at], name)
		if of, ok := content.Successor(name); ok {
			single[of] = true
		}
	}
	for name, a := range d.suspect {
		if !content.NamedPacked(name) {
			at := place{path.Dir(name), a.group}
			opaque[at] = append(opaque[at], name)
			sizes[at] += a.size
		}
	}
	if len(archives)+len(opaque) == 0 {
		return
	}
	for name, l := range d.gone {
		if !l.worth || single[name] || now.Sub(l.at) >= together {
			continue
		}
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if at := (place{dir, l.group}); len(archives[at])+len(opaque[at]) > 0 {
				into[at] = append(into[at], name)
				lengths[at] += l.size
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	for at, names := range into {
		packed := archives[at]
		if len(packed) == 0 && couldHold(sizes[at], opaque[at], names, lengths[at]) {
			packed = opaque[at]
		}
		if len(names) < minPacked || len(packed) == 0 || 2*len(packed) > len(names) {
			continue
		}
		for _, name := range names {
			if _, has := d.found[name]; !has {
				d.found[name] = finding{
					Finding: content.Finding{Features: []string{originalsGone, lockedArchive}}, doing: d.gone[name].doing, kind: damage.Archived, former: name,
				}
			}
		}
	}
}

// volumeHeads is how long the heads of an encrypted volume are, at both ends together, in bytes (VeraCrypt's volume format).
const volumeHeads = 256 << 10

// couldHold tells whether files of noise, so long together, could be what files of several sorts that are gone were packed into. What a program
// writes anew has an extension that one of these had.
func couldHold(size int64, archives, names []string, length int64) bool {
	sorts := map[string]bool{}
	for _, name := range names {
		sorts[path.Ext(name)] = true
	}
	if len(sorts) < minSorts || slices.ContainsFunc(archives, func(name string) bool { return sorts[path.Ext(name)] }) {
		return false
	}
	return 4*size >= length && size <= length+length/20+int64(len(names)+1)*grown+volumeHeads
}

// cutAlike takes files for wiped of which one program left the same length, or the same part.
func (d *detector) cutAlike() {
	if !d.cut {
		return
	}
	d.cut = false
	byGroup := map[int][]damage.Shortened{}
	for _, name := range slices.Sorted(maps.Keys(d.shorter)) {
		a := d.shorter[name]
		byGroup[a.group] = append(byGroup[a.group], damage.Shortened{Path: name, Size: a.size, Was: a.was})
	}
	for _, files := range byGroup {
		for _, name := range damage.CutAlike(files, minCut) {
			if _, has := d.found[name]; !has && d.partOfFormer(name) {
				d.found[name] = finding{Finding: content.Finding{Features: []string{cutShort, alike}}, doing: d.shorter[name].doing, kind: damage.Wiped, former: name}
			}
			delete(d.shorter, name)
		}
	}
}

// compared is how many bytes of what is left of a file are compared with what it was.
const compared = 64

// partOfFormer tells whether what is left of a file is its beginning, or its end. Pointers that stand for large files are of one length too.
func (d *detector) partOfFormer(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	old := d.lookup(ctx, name)
	f, size, err := openFile(name)
	if err != nil || old == nil {
		return false
	}
	defer f.Close()
	v := d.tree.Former.version(ctx, name, old)
	if v.Data == nil || v.Size < size {
		return false
	}
	is := make([]byte, min(compared, size))
	if _, err := f.ReadAt(is, 0); err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	for _, at := range []int64{0, v.Size - size} {
		was := make([]byte, len(is))
		if _, err := v.Data.ReadAt(was, at); (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(is, was) {
			return true
		}
	}
	return false
}

// replacedAlike takes files for encrypted that one program turned into something else.
func (d *detector) replacedAlike() {
	byGroup := map[int][]damage.Replaced{}
	for _, name := range slices.Sorted(maps.Keys(d.instead)) {
		i := d.instead[name]
		byGroup[i.group] = append(byGroup[i.group], damage.Replaced{Path: name, Share: i.share})
	}
	for _, files := range byGroup {
		for i, yes := range damage.ReplacedAlike(files) {
			name := files[i].Path
			if _, has := d.found[name]; yes && !has {
				d.found[name] = finding{Finding: content.Finding{Features: []string{replaced, alike}}, doing: d.instead[name].doing, kind: damage.Encrypted, former: name}
				delete(d.instead, name)
			}
		}
	}
}

// pair looks for the file that each suspect came for: one of the same program's that bore its name but for what was appended, or that was
// about as long.
func (d *detector) pair(now time.Time) {
	gone := map[int]map[string]loss{} // by group of processes
	for name, l := range d.gone {
		if l.worth && now.Sub(l.at) < together {
			if gone[l.group] == nil {
				gone[l.group] = map[string]loss{}
			}
			gone[l.group][name] = l
		}
	}
	named, alike, alone := map[int][]couple{}, map[int][]couple{}, map[int][]string{}
	for _, name := range slices.Sorted(maps.Keys(d.suspect)) {
		a := d.suspect[name]
		if now.Sub(a.at) >= together || len(gone[a.group]) == 0 {
			continue
		}
		former, byName := partner(name, a, gone[a.group])
		switch {
		case former == "":
			alone[a.group] = append(alone[a.group], name)
			continue
		case byName:
			named[a.group] = append(named[a.group], couple{former, name})
		default:
			alike[a.group] = append(alike[a.group], couple{former, name})
		}
		delete(gone[a.group], former)
	}
	promote := func(couples []couple) {
		for _, c := range couples {
			d.found[c.name] = finding{
				Finding: content.Finding{Features: []string{content.Noise, originalsGone}}, doing: d.suspect[c.name].doing, kind: damage.Renamed, former: c.former,
			}
			delete(d.suspect, c.name)
		}
	}
	for _, couples := range named {
		if len(couples) >= minFiles {
			promote(couples)
		}
	}
	for group, couples := range alike {
		if len(couples) >= minAlike && len(couples) > 4*len(alone[group]) {
			promote(d.notMovedOut(couples))
			continue
		}
		for _, c := range couples { // as long by chance, perhaps
			alone[group] = append(alone[group], c.name)
			gone[group][c.former] = d.gone[c.former]
		}
	}
	for group, names := range alone {
		promote(d.notMovedOut(d.inTurns(names, gone[group])))
	}
}

// notMovedOut leaves out what left one place for another, as a directory's files do that are put into a safe.
func (d *detector) notMovedOut(couples []couple) []couple {
	var all []damage.Successor
	for _, c := range couples {
		all = append(all, damage.Successor{Former: c.former, Now: c.name})
	}
	out := damage.MovedOut(all)
	return slices.DeleteFunc(couples, func(c couple) bool { return out[c.name] })
}

// couple is a file that went, and what came for it.
type couple struct{ former, name string }

// inTurns couples noise and losses of one program that came in turns, one loss after each file: whatever it called the files and however long
// they are, it made each of the one that it deleted.
func (d *detector) inTurns(names []string, gone map[string]loss) []couple {
	slices.SortFunc(names, func(a, b string) int { return d.suspect[a].at.Compare(d.suspect[b].at) })
	losses := slices.SortedFunc(maps.Keys(gone), func(a, b string) int { return gone[a].at.Compare(gone[b].at) })
	var couples []couple
	sorts := map[string]bool{}
	k := 0
	for i, name := range names {
		for k < len(losses) && gone[losses[k]].at.Before(d.suspect[name].at) {
			k++
		}
		if k < len(losses) && (i+1 == len(names) || gone[losses[k]].at.Before(d.suspect[names[i+1]].at)) {
			couples = append(couples, couple{losses[k], name})
			sorts[path.Ext(losses[k])] = true
		}
	}
	if len(couples) < minTurns || len(sorts) < minSorts || 5*len(couples) < 4*max(len(names), len(losses)) {
		return nil
	}
	return couples
}

// partner returns the file that the new one came for, and whether its name tells; empty if there is none.
func partner(name string, a arrival, gone map[string]loss) (former string, byName bool) {
	base := path.Base(name)
	for _, other := range slices.Sorted(maps.Keys(gone)) {
		l := gone[other]
		if strings.HasPrefix(base, path.Base(other)+".") {
			return other, true
		}
		if more := a.size - l.size; former == "" && l.size >= grown && more >= 0 && more <= grown && a.at.Sub(l.at).Abs() < 10*time.Second {
			former = other
		}
	}
	return former, false
}

// The strengths of deletions: beside other signals, and alone, which is too little to freeze anybody for.
const (
	deletedBeside = 0.8
	deletedAlone  = 0.7
)

const (
	// young is the age below which a file is not deleted for being old.
	young = 30 * 24 * time.Hour
	// minFormats is how many formats, that their names promise, must be among files that are only deleted, and minBare how many directories,
	// none of them in another, were left with no file and stand all the same: who clears a directory away removes it too.
	minFormats = 3
	minBare    = 2
)

// deletions tells of files of many sorts that one program deleted until a directory, which still stands, had none left. Alone that is
// what people do who clear a directory, unless it goes through several, with files young and old of several formats.
func (d *detector) deletions(besideOthers bool, now time.Time) []Alarm {
	names, by := map[int][]string{}, map[int]map[int]int{}
	for name, l := range d.gone {
		if !l.worth || l.told || now.Sub(l.at) >= together {
			continue
		}
		if names[l.group] = append(names[l.group], name); by[l.group] == nil {
			by[l.group] = map[int]int{}
		}
		by[l.group][l.pid]++
	}
	var alarms []Alarm
	for group, list := range names {
		if len(list) < minDeleted {
			continue
		}
		sorts, formats, recent := map[string]bool{}, map[content.Format]bool{}, 0
		for _, name := range list {
			sorts[path.Ext(name)] = true
			if f := content.Expected(name); f != content.Unknown {
				formats[f] = true
			}
			if d.gone[name].young {
				recent++
			}
		}
		if len(sorts) < minSorts || !besideOthers && (group == 0 || len(formats) < minFormats || 10*recent < len(list)) {
			continue
		}
		if !besideOthers {
			list = slices.DeleteFunc(list, d.isPacked)
		}
		if len(list) < minDeleted || !besideOthers && 2*d.came[group].n > len(list) { // something came in their place
			continue
		}
		bare := bareOf(list)
		if len(bare) == 0 || !besideOthers && len(bare) < minBare {
			continue
		}
		slices.Sort(list)
		for _, name := range list {
			l := d.gone[name]
			l.told = true
			d.gone[name] = l
		}
		strength := deletedAlone
		if besideOthers {
			strength = deletedBeside
		}
		evidence := map[string]any{"files": len(list), "bare_directories": len(bare), "sorts": len(sorts)}
		alarms = append(alarms, Alarm{Who: attribute(d.actors, evidence, by[group]), Signal: event.Signal{
			Kind: damage.Deleted, Technique: dataDestruction, Time: now, Service: d.tree.Service, Asset: d.tree.Asset, Subject: damage.CommonDirectory(list),
			Strength: strength, Evidence: evidence, Touched: list[:min(len(list), event.MaxTouched)], Count: len(list),
		}})
	}
	return alarms
}

// isPacked tells whether a new archive bears the name of one of the directories that a file is in.
func (d *detector) isPacked(name string) bool {
	for dir := range strings.SplitSeq(path.Dir(name), "/") {
		if _, packed := d.packed[dir]; packed && dir != "" {
			return true
		}
	}
	return false
}

// bareOf returns the directories of deleted files that stand and hold no file, none of them in another.
func bareOf(names []string) []string {
	dirs := map[string]bool{}
	for _, name := range names {
		dirs[path.Dir(name)] = true
	}
	var bare []string
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		inside := len(bare) > 0 && strings.HasPrefix(dir, bare[len(bare)-1]+"/")
		if !inside && isBare(dir) {
			bare = append(bare, dir)
		}
	}
	return bare
}

// isBare tells whether a directory stands and holds no file.
func isBare(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
}
