package live

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/fileevent"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// minFiles is how many damaged files make a signal: fewer may be one person's doing.
	minFiles = 3
	// minOwn is the same for files that a tool encrypted that says so in their first bytes, as gpg and age do: people do that to
	// whole directories.
	minOwn = 200
	// minEmptied is how many files must have been emptied by one program, and minSorts of how many extensions; none of them written again.
	minEmptied = 5
	minSorts   = 3
	// minDeleted is how many files of so many extensions one program must have deleted, and left a directory that stands with none.
	minDeleted = 8
	// minAlike is how many files must have come as noise for others that went and were about as long, if nothing else joins them.
	minAlike = 5
	// grown is how much longer an encrypted file is at most, in bytes.
	grown = 1024
	// minPacked is how many files must be gone beside archives with passwords.
	minPacked = 5
	// minTurns is how often one program must have written noise and deleted a file, in turns.
	minTurns = 7
	// minCut is how many files one program must have cut to one length, or one part of it.
	minCut = 6
	// minHeld is how long a content is at least, in bytes, that two files have in common by no chance.
	minHeld = 64
	// remember is how long what was seen is held against what comes after.
	remember = 15 * time.Minute
	// together is how far apart a loss and what replaces it may be.
	together = 2 * time.Minute
	// maxRemembered bounds each list of files that are remembered.
	maxRemembered = 20000
)

// Tree is a file asset under watch.
type Tree struct {
	Service, Asset string
	Paths          []string        // clean, absolute, without symbolic links
	Exclude        []string        // path prefixes left out
	Documents      string          // where files stand that a web server serves; empty for none
	Servers        map[uint32]bool // user IDs that it works as
	Former         *Former         // what the last snapshot knows; nil: nothing
}

// Holds tells whether the path is of the tree.
func (t Tree) Holds(path string) bool {
	return estate.Below(path, t.Paths) && !estate.Below(path, t.Exclude)
}

// detector judges the files of one tree as they change. It is used by one goroutine.
type detector struct {
	tree    Tree
	actors  *actors
	trouble func(error)
	found   map[string]finding   // damaged, raised or not, by path
	suspect map[string]arrival   // noise at a new name, which may be anything
	came    map[int]cameLately   // new files, by group of processes
	arrived map[string]arrival   // new files
	weighed int                  // how many files had gone and come when these were compared last
	rewrote map[string]rewritten // files that hold something else than they did
	turned  map[string]turned    // the same of files that were renamed, by their new names
	holders map[string][]string  // which files hold a content, or held it
	packed  map[string]time.Time // names of what new archives hold by their own, without directories
	locked  map[string]doing     // archives with passwords, and what tools encrypted that say so
	shorter map[string]arrival   // files that are shorter than they were
	lengths map[length]int       // how often one became of that length, or that part of its length, at least
	cut     bool                 // of one there are enough
	instead map[string]instead   // files in whose place something else stands that is no noise
	gone    map[string]loss      // files that the last snapshot knows
	origin  map[string]string    // where a file stood before it was renamed
	shells  []Alarm              // web shells not raised yet
	shelled map[string]time.Time // files that were raised as one
	waiting map[string]string    // files that look like successors of others that are still there, by those
	notes   *damage.Notes[doing]
	news    bool      // something was kept since the last raise
	alarmed time.Time // when something was raised last
	buf     [content.WindowSize]byte
}

// doing is who did something, and when.
type doing struct {
	pid   int
	group int // of the process: those that work together have one
	at    time.Time
}

// finding is a damaged file.
type finding struct {
	content.Finding
	doing
	kind   string
	former string // name before
	own    bool   // encrypted by a tool that says so in its first bytes
	raised bool
}

// arrival is a file that came, or became shorter than it was.
type arrival struct {
	doing
	size int64
	was  int64 // 0 if not known
}

// rewritten is a file that holds something else than it did.
type rewritten struct {
	doing
	holds, held string // its content, and what it was, by their fingerprints
}

// turned is a file that was renamed and holds something else than it did.
type turned struct {
	doing
	damage.Successor
}

// length is one that somebody left of a file, or took from it.
type length struct {
	group int
	size  int64
	of    measure
}

// measure is what the lengths of files that became shorter have in common.
type measure int

const (
	left measure = iota // the length, in bytes
	part                // the part of what they were, of 50
	lost                // what they became shorter by, in bytes
)

// cameLately counts new files, none of them longer ago than the last but for together.
type cameLately struct {
	n  int
	at time.Time
}

// instead is a file that became something else.
type instead struct {
	doing
	share float64 // of its length that it carries, as far as its entropy tells
}

// loss is a file that went.
type loss struct {
	doing
	size  int64 // 0 if not known
	worth bool  // it was something else than noise
	young bool  // it was not old when the last snapshot was taken
	told  bool  // a signal names it
}

func newDetector(tree Tree, a *actors, trouble func(error)) *detector {
	d := &detector{
		tree: tree, actors: a, trouble: trouble, found: map[string]finding{}, suspect: map[string]arrival{}, came: map[int]cameLately{}, arrived: map[string]arrival{}, rewrote: map[string]rewritten{}, turned: map[string]turned{}, holders: map[string][]string{}, packed: map[string]time.Time{}, locked: map[string]doing{}, shorter: map[string]arrival{}, lengths: map[length]int{}, instead: map[string]instead{}, gone: map[string]loss{},
		origin: map[string]string{}, shelled: map[string]time.Time{}, waiting: map[string]string{},
	}
	d.notes = damage.NewNotes(d.readText)
	return d
}

// take judges one event. deep says whether there is time to compare whole files with what they were. An error says what could
// not be looked at.
func (d *detector) take(ctx context.Context, e fileevent.Event, deep bool) error {
	by := d.actors.doing(e.PID)
	switch e.Op {
	case fileevent.Closed, fileevent.Changed:
		if e.Dir {
			return d.compareDirectory(ctx, e.Path, by)
		}
		return d.judge(ctx, e.Path, by, deep)
	case fileevent.Deleted:
		if e.Dir {
			return nil
		}
		return d.lost(ctx, e.Path, by)
	case fileevent.Renamed:
		return d.renamed(ctx, e, by, deep)
	}
	return nil
}

// renamed follows a file to its new name.
func (d *detector) renamed(ctx context.Context, e fileevent.Event, by doing, deep bool) error {
	if e.Dir {
		return nil // the snapshot knows its files under their old names; nothing was done to them
	}
	from, to := e.From, e.Path
	if from != "" && !d.tree.Holds(from) {
		from = ""
	}
	if to == "" || !d.tree.Holds(to) {
		if from == "" {
			return nil
		}
		return d.lost(ctx, from, by)
	}
	if from != "" {
		former := from
		if before, has := d.origin[from]; has {
			delete(d.origin, from)
			former = before
		}
		if f, has := d.found[from]; has {
			delete(d.found, from)
			if former != to { // put on top of what it was, it is judged anew
				d.found[to] = f
			}
		}
		delete(d.suspect, from)
		if n := d.lookup(ctx, former); n != nil && former != to && len(d.origin) < maxRemembered {
			d.origin[to] = former
		}
	}
	return d.judge(ctx, to, by, deep)
}

// judge looks at the file at a path.
func (d *detector) judge(ctx context.Context, name string, by doing, deep bool) error {
	f, size, err := openFile(name)
	if errors.Is(err, errNoFile) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	old := d.lookup(ctx, name)
	g, err := glanceAt(f, size, d.buf[:])
	if err != nil {
		return err
	}
	if old == nil && g.sample.Format == content.Text && size <= damage.MaxNote {
		d.notes.Add(name, by, by.at)
	}
	if old == nil {
		before := d.came[by.group]
		if by.at.Sub(before.at) > together {
			before.n = 0
		}
		d.came[by.group] = cameLately{before.n + 1, by.at}
		if len(d.arrived) < maxRemembered {
			d.arrived[name] = arrival{doing: by, size: size}
			d.news = d.news || len(d.gone) >= minDeleted
		}
		if g.open && len(d.locked) < maxRemembered {
			d.locked[name] = by
		}
	}
	if old == nil && len(d.packed) < maxRemembered {
		for _, stem := range damage.PackedStems(path.Base(name)) {
			d.packed[stem] = by.at
		}
	}
	if err := d.lookForShell(ctx, f, name, old, by); err != nil {
		return err
	}
	c := content.Case{Name: name, New: &content.Version{Name: name, Size: size, Data: f}}
	kind, former := damage.Encrypted, name
	if old == nil {
		kind, former, old = d.successor(ctx, name)
		c.Name, c.Renamed = former, kind == damage.Renamed
	}
	if size == 0 {
		d.emptied(name, old, by)
		return nil
	}
	delete(d.instead, name)
	if old != nil && former == name && size < int64(old.Size) {
		d.keepShorter(name, arrival{by, size, int64(old.Size)})
	} else {
		delete(d.shorter, name)
	}
	if !deep && !g.doubtful(former) {
		d.forgive(name)
		return nil
	}
	c.Old = d.tree.Former.version(ctx, former, old)
	found, err := content.Examine(c)
	if err != nil && c.Old != nil && c.Old.Data != nil && ctx.Err() == nil {
		// It may be the former content that cannot be read.
		d.trouble(fmt.Errorf("%w: %w", errFormer, err))
		c.Old.Data = nil
		found, err = content.Examine(c)
	}
	if err != nil {
		return err
	}
	if old != nil && c.Old.Data != nil {
		if err := d.keepContent(name, by, c); err != nil {
			return err
		}
	}
	if old == nil && packing(g.sample.Format) && !found.Locked {
		o, err := content.LookInto(c.New)
		if err != nil {
			return err
		}
		found.Locked = o.Any()
	}
	if found.Replaced && len(d.instead) < maxRemembered {
		d.instead[name], d.news = instead{by, found.Entropy / 8}, true
	}
	d.keep(name, finding{Finding: found, doing: by, kind: kind, former: former, own: g.open}, old, size)
	return nil
}

// keepShorter notes a file that is shorter than it was, and whether that many of one length are worth a look.
func (d *detector) keepShorter(name string, a arrival) {
	before, had := d.shorter[name]
	if had || len(d.shorter) < maxRemembered {
		d.shorter[name] = a
	}
	if before.size == a.size && before.group == a.group || len(d.shorter) >= maxRemembered {
		return // saved once more
	}
	for _, of := range a.lengths() {
		if d.lengths[of]++; d.lengths[of] >= minCut {
			d.cut, d.news = true, true
		}
	}
}

// lengths are those by which a file that became shorter may be like others.
func (a arrival) lengths() []length {
	return []length{{a.group, a.size, left}, {a.group, a.size * 50 / max(a.was, 1), part}, {a.group, a.was - a.size, lost}}
}

// edge is how many bytes of a file's beginning and of its end are its fingerprint.
const edge = 2048

// keepContent notes what a file holds, and held.
func (d *detector) keepContent(name string, by doing, c content.Case) error {
	if len(d.rewrote) >= maxRemembered || len(d.holders) >= maxRemembered {
		return nil
	}
	now, err := fingerprint(c.New)
	if err != nil {
		return err
	}
	was, err := fingerprint(c.Old)
	if err != nil {
		d.trouble(fmt.Errorf("%w: %w", errFormer, err))
	}
	if now == was || d.rewrote[name].holds == now {
		return nil
	}
	if c.Name != name {
		if c.Renamed && len(d.turned) < maxRemembered {
			d.turned[name] = turned{by, damage.Successor{Former: c.Name, Now: name, Was: c.Old.Size, Is: c.New.Size}}
			d.news = d.news || len(d.turned) >= minFiles
		}
		return nil
	}
	for _, held := range []string{now, was} {
		if held != "" && !slices.Contains(d.holders[held], name) {
			d.holders[held] = append(d.holders[held], name)
			d.news = d.news || len(d.holders[held]) > 1
		}
	}
	d.rewrote[name] = rewritten{by, now, was}
	return nil
}

// fingerprint is the same for two files of one content; empty for one that holds next to nothing.
func fingerprint(v *content.Version) (string, error) {
	if v.Size < minHeld {
		return "", nil
	}
	var edges [2 * edge]byte
	length := min(edge, v.Size)
	for i, at := range []int64{0, v.Size - length} {
		if _, err := v.Data.ReadAt(edges[i*edge:][:length], at); err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read %s: %w", v.Name, err)
		}
	}
	sum := sha256.Sum256(edges[:])
	return fmt.Sprint(v.Size, " ") + string(sum[:]), nil
}

// packing tells of formats that can ask for a password.
func packing(f content.Format) bool { return f == "zip" || f == "7z" || f == "rar" }

// successor tells what a new file comes from: what it was renamed from, or whose name it has with something appended.
func (d *detector) successor(ctx context.Context, name string) (kind, former string, old *snapshot.Node) {
	if from, has := d.origin[name]; has {
		return damage.Renamed, from, d.lookup(ctx, from)
	}
	before, ok := content.Successor(name)
	if !ok {
		return damage.Encrypted, name, nil
	}
	old = d.lookup(ctx, before)
	_, gone := d.gone[before]
	if !gone && exists(before) {
		if old != nil && len(d.waiting) < maxRemembered {
			d.waiting[before] = name
		}
		return damage.Encrypted, name, nil
	}
	if old == nil && (!gone || content.NamedEncrypted(name) || content.Expected(name) != content.Unknown) {
		return damage.Encrypted, name, nil
	}
	return damage.Renamed, before, old
}

// lookup returns a file as it was. What cannot be looked up is told, and taken for unknown: the file is judged by itself.
func (d *detector) lookup(ctx context.Context, name string) *snapshot.Node {
	n, err := d.tree.Former.Lookup(ctx, name)
	if err != nil && ctx.Err() == nil {
		d.trouble(fmt.Errorf("%w: %w", errFormer, err))
	}
	return n
}

// errFormer says that the repository does not tell what files were.
var errFormer = errors.New("the repository does not tell what files were, and they are judged by themselves")

func exists(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil
}

// keep puts a file where it belongs after it was looked at.
func (d *detector) keep(name string, f finding, old *snapshot.Node, size int64) {
	if f.Overwritten() {
		f.kind = damage.Wiped
	}
	before, had := d.found[name]
	switch {
	case f.Noise() && len(f.Features) >= 2 && (old != nil || !f.Open): // a name alone opens nothing
		if had && before.raised {
			f.raised = true
		}
		if had || len(d.found) < maxRemembered {
			d.found[name], d.news = f, true
		}
		return
	case f.Locked && old != nil && f.former != name && (had || len(d.found) < maxRemembered):
		f.own, f.kind, f.raised = true, damage.Renamed, had && before.raised
		f.Features = []string{lockedArchive, content.Renamed}
		d.found[name], d.news = f, true
		return
	case (f.Locked || f.own) && old == nil && len(d.locked) < maxRemembered:
		d.locked[name] = f.doing
	case f.Noise() && !f.own && old == nil && content.Expected(name) == content.Unknown && len(d.suspect) < maxRemembered:
		d.suspect[name], d.news = arrival{doing: f.doing, size: size}, true
		return
	}
	d.forgive(name)
}

// forgive forgets what was thought of a file that is well again.
func (d *detector) forgive(name string) {
	if f, has := d.found[name]; has && !f.raised {
		delete(d.found, name)
	}
	delete(d.suspect, name)
}

// emptied notes a file that has lost all it held. Written again it is judged by what it holds.
func (d *detector) emptied(name string, old *snapshot.Node, by doing) {
	if old == nil || old.Size == 0 || strings.Contains(emptiedDaily, " "+strings.ToLower(path.Ext(name))+" ") {
		return
	}
	if _, has := d.found[name]; !has && len(d.found) < maxRemembered {
		d.news = true
		d.found[name] = finding{Finding: content.Finding{Features: []string{emptied}}, doing: by, kind: damage.Wiped, former: name}
	}
}

// emptiedDaily are the extensions of files that programs empty and fill again; of files without one they do too.
const emptiedDaily = "  .log .out .err .tmp .temp .lock .lck .pid .cache .old .bak .swp "

// The features that are not content's: they come from what happens around a file.
const (
	emptied       = "emptied"
	originalsGone = "originals gone" // files went while noise came under names that say nothing
	lockedArchive = "an archive asks for a password"
	cutShort      = "cut short"
	replaced      = "nothing of it is left"
	another       = "another's content"
	alike         = "with others" // one program did the same to several files
)

// lost notes that a file is gone, and looks at what may have come in its place.
func (d *detector) lost(ctx context.Context, name string, by doing) error {
	former := name
	if from, has := d.origin[name]; has {
		delete(d.origin, name)
		former = from
	}
	delete(d.suspect, name)
	delete(d.arrived, name)
	delete(d.rewrote, name)
	delete(d.turned, name)
	if f, has := d.found[name]; has && !f.raised {
		delete(d.found, name)
	}
	old := d.lookup(ctx, former)
	if len(d.gone) < maxRemembered && (old != nil || d.tree.Former == nil) {
		l := loss{doing: by, worth: d.worth(former, old)}
		if old != nil {
			l.size, l.young = int64(old.Size), d.tree.Former.age(old) < young
		}
		d.gone[former] = l
		d.news = d.news || len(d.suspect)+len(d.locked) > 0 || len(d.gone) >= minDeleted
	}
	if next, has := d.waiting[former]; has {
		delete(d.waiting, former)
		return d.judge(ctx, next, by, true)
	}
	return nil
}

// worth tells whether a file held something else than noise, as far as that is known.
func (d *detector) worth(name string, old *snapshot.Node) bool {
	if content.NamedEncrypted(name) {
		return false
	}
	if content.Expected(name) != content.Unknown {
		return true
	}
	return old != nil && d.tree.Former.version(context.Background(), name, old).Share() < 0.9
}

// compareDirectory looks, after a loss of events, for files that are gone from a directory.
func (d *detector) compareDirectory(ctx context.Context, dir string, by doing) error {
	nodes, err := d.tree.Former.Below(ctx, dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		name := path.Join(dir, n.Name)
		if n.Type == snapshot.File && d.tree.Holds(name) && !exists(name) {
			if _, known := d.gone[name]; !known {
				errs = append(errs, d.lost(ctx, name, by))
			}
		}
	}
	return errors.Join(errs...)
}

// readText returns the beginning of a text; nil if it is gone again, or cannot be opened, which was told when it was closed.
func (d *detector) readText(name string, _ doing) []byte {
	f, _, err := openFile(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	n, err := f.ReadAt(d.buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return d.buf[:n]
}

// forget drops what is too old to be part of one attack.
func (d *detector) forget(now time.Time) {
	old := func(b doing) bool { return now.Sub(b.at) > remember }
	maps.DeleteFunc(d.found, func(_ string, f finding) bool { return old(f.doing) })
	maps.DeleteFunc(d.suspect, func(_ string, a arrival) bool { return old(a.doing) })
	maps.DeleteFunc(d.shorter, func(_ string, a arrival) bool { return old(a.doing) })
	maps.DeleteFunc(d.instead, func(_ string, i instead) bool { return old(i.doing) })
	maps.DeleteFunc(d.shelled, func(_ string, at time.Time) bool { return now.Sub(at) > remember })
	maps.DeleteFunc(d.came, func(_ int, c cameLately) bool { return now.Sub(c.at) > remember })
	maps.DeleteFunc(d.packed, func(_ string, at time.Time) bool { return now.Sub(at) > remember })
	maps.DeleteFunc(d.locked, func(_ string, b doing) bool { return old(b) })
	maps.DeleteFunc(d.gone, func(_ string, l loss) bool { return old(l.doing) })
	d.notes.Forget(now.Add(-remember))
	clear(d.lengths)
	for _, a := range d.shorter {
		for _, of := range a.lengths() {
			d.lengths[of]++
		}
	}
	maps.DeleteFunc(d.arrived, func(_ string, a arrival) bool { return old(a.doing) })
	maps.DeleteFunc(d.rewrote, func(_ string, r rewritten) bool { return old(r.doing) })
	maps.DeleteFunc(d.turned, func(_ string, t turned) bool { return old(t.doing) })
	for held, names := range d.holders {
		if d.holders[held] = slices.DeleteFunc(names, func(name string) bool { return d.rewrote[name].holds == "" }); len(d.holders[held]) == 0 {
			delete(d.holders, held)
		}
	}
	d.weighed = 0
	if len(d.origin) >= maxRemembered {
		clear(d.origin)
	}
	if len(d.waiting) >= maxRemembered {
		clear(d.waiting)
	}
}
