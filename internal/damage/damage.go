// Package damage tells which of the files that changed between two snapshots were made unreadable: encrypted where they stand or
// under another name, packed into an archive that nobody else can open, overwritten, emptied, deleted in mass. Live detection and
// the assessment of old snapshots ask here, so that they never disagree.
//
// The first look is at names, sizes and the index, which knows how well each blob could be compressed. What that leaves in doubt
// is read, a few places of the former and of the new version. A file counts if two independent things speak against it; what
// several files have in common in one snapshot is one of them.
package damage

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// The kinds of damage. All but the last two are T1486 of MITRE ATT&CK, these are T1485.
const (
	Encrypted = "file.encrypted" // in place
	Renamed   = "file.renamed"   // under another name
	Archived  = "file.archived"  // in an archive that asks for a password
	Wiped     = "file.wiped"     // overwritten or emptied
	Deleted   = "file.deleted"
)

// Store is what a Judge asks of the repository.
type Store interface {
	Locate(h blob.Handle) (repo.Location, bool)
	// Content returns a file's content, which is read as it is asked for.
	Content(ctx context.Context, n *snapshot.Node) (io.ReaderAt, error)
}

// File is one file that was damaged, or may have been.
type File struct {
	content.Finding
	Kind   string
	Path   string         // where the clean version stood; where the damaged one stands if there never was a clean one
	Now    string         // where the damaged one stands; "" if it is gone
	Former *snapshot.Node // the clean version; nil if it is not known
}

// Judgement is what Step thinks of the changes between two snapshots.
type Judgement struct {
	Damaged []File
	Doubts  []File            // became noise, and perhaps were before
	Moved   map[string]string // files that stand elsewhere with the same content: from where, by where
}

// Step is what happened between two snapshots.
type Step struct {
	Changes []snapshot.Change
	Time    time.Time // of the newer one
	Files   int       // that the older one had; 0 if not known
	// Known tells whether what stood at a path before was damaged itself; nil: nothing was.
	Known func(path string) bool
	// Again tells whether a change was in an earlier step too, since what is too little in one is judged with what comes after; nil: none was.
	Again func(path string) bool
	// Came tells whether a file that is gone had come in one of the steps that are judged together; nil: none had.
	Came func(path string) bool
	// Standing returns how many files a directory holds now, 0 if that is not known. It is nil if the step may have taken longer than minutes.
	Standing func(dir string) int
	// Each calls fn for each node of the newer snapshot; nil: what it holds beside the changes is not known.
	Each func(ctx context.Context, fn func(*snapshot.Node)) error
}

// Judge goes through the steps of a series in order. It remembers what was removed, since the successor of a file may come after it. It
// is for one goroutine.
type Judge struct {
	store  Store
	skip   func(path string, err error) error
	lost   map[string]lost
	memory *memory
}

// lost is a file that was removed, and when.
type lost struct {
	node *snapshot.Node
	at   time.Time
}

// New returns a Judge. skip is asked whether to go on where a file cannot be read: it returns nil to leave the file out.
func New(store Store, skip func(path string, err error) error) *Judge {
	return &Judge{store: store, skip: skip, lost: map[string]lost{}}
}

// Forget drops what was removed before a time: its successor would have come by now.
func (j *Judge) Forget(before time.Time) {
	maps.DeleteFunc(j.lost, func(_ string, l lost) bool { return l.at.Before(before) })
}

// step is the work on one Step.
type step struct {
	*Judge
	Step
	result  Judgement
	removed map[string]*snapshot.Node // gone, and found nowhere else
	added   map[string]bool           // new ones, and not moved
	kept    map[string]bool           // changed ones of which a new file holds what they held
	emptied []snapshot.Change
	jobs    []job
	bases   map[string][]string // the removed ones, by their names without the directories; nil: not asked yet
	sizes   []int64             // of the removed ones, ascending; nil: not asked yet
	strange []snapshot.Change   // new, dense, and no successor of anything by name
	sets    map[string][]volume // of the new files, those that are parts of one
	linked  map[string]string   // what symbolic links that came in the place of files lead to: the places, by where they lead
	openly  []File              // encrypted under a name, or by a tool, that says so
	instead []replacement       // something else stands there now that is no noise
	groups  map[string]*group
	// beginnings are the paths of files that became shorter, and begin as they did.
	beginnings []string
	split      map[string]bool // gone, and one of the new files that have its name is how it began
	claimed    map[string]bool // of the removed ones, those that a new file was paired with
	stand      map[string]bool // of the removed ones, those of which a copy still stands; nil: not asked yet
}

// Step judges what changed.
func (j *Judge) Step(ctx context.Context, s Step) (Judgement, error) {
	w := &step{Judge: j, Step: s, removed: map[string]*snapshot.Node{}, groups: map[string]*group{}, claimed: map[string]bool{}, added: map[string]bool{}, kept: map[string]bool{}, split: map[string]bool{}, linked: map[string]string{}, result: Judgement{Moved: map[string]string{}}}
	w.sort()
	for _, c := range s.Changes {
		if isFile(c.New) && c.New.Size > 0 && w.result.Moved[c.Path] == "" && !w.kept[c.Path] && !(isFile(c.Old) && slices.Equal(c.Old.Content, c.New.Content)) {
			w.plan(c)
		}
	}
	if err := w.work(ctx); err != nil {
		return Judgement{}, err
	}
	w.result.Damaged = slices.DeleteFunc(w.result.Damaged, func(f File) bool { return f.Now != f.Path && w.split[f.Path] })
	if err := w.strangers(ctx); err != nil {
		return Judgement{}, err
	}
	w.judgeSame()
	if err := w.judgeNoted(ctx); err != nil {
		return Judgement{}, err
	}
	w.judgeDisguised()
	w.judgeEmptied()
	if err := w.judgeCut(ctx); err != nil {
		return Judgement{}, err
	}
	w.judgeReplaced()
	w.judgeOpen()
	w.judgeDoubts()
	if err := w.judgeRemoved(ctx); err != nil {
		return Judgement{}, err
	}
	if err := w.judgeOwn(ctx); err != nil {
		return Judgement{}, err
	}
	for _, c := range s.Changes {
		if isFile(c.New) {
			delete(j.lost, c.Path)
		}
	}
	return w.result, nil
}

// CommonDirectory returns the deepest directory that holds all paths, which are sorted.
func CommonDirectory(paths []string) string {
	dir, last := path.Dir(paths[0]), paths[len(paths)-1]
	for dir != "/" && dir != "." && !strings.HasPrefix(last, dir+"/") {
		dir = path.Dir(dir)
	}
	return dir
}

func isFile(n *snapshot.Node) bool { return n != nil && n.Type == snapshot.File }

// sort tells moved files from those that are gone, and finds the emptied ones.
func (w *step) sort() {
	gone := map[string][]string{} // by content
	for _, c := range w.Changes {
		switch {
		case isFile(c.Old) && !isFile(c.New):
			if w.Known == nil || !w.Known(c.Path) {
				w.removed[c.Path] = c.Old
			}
			if n := c.New; n != nil && n.Type == snapshot.Symlink {
				w.linked[leadsTo(c.Path, n.LinkTarget)] = c.Path
			}
			if c.Old.Size > 0 {
				gone[key(c.Old)] = append(gone[key(c.Old)], c.Path)
			}
		case isFile(c.Old) && c.Old.Size > 0 && c.New.Size == 0:
			w.emptied = append(w.emptied, c)
		}
	}
	for _, c := range w.Changes {
		if !isFile(c.New) || c.New.Size == 0 || len(gone) == 0 {
			continue
		}
		if from := gone[key(c.New)]; len(from) > 0 {
			w.result.Moved[c.Path] = from[0]
			for _, name := range from {
				delete(w.removed, name) // what it held stands there still
			}
			if len(from) > 1 { // copies of one another: each move takes one
				gone[key(c.New)] = from[1:]
			}
		}
	}
	for _, c := range w.Changes {
		if isFile(c.New) && !isFile(c.Old) && w.result.Moved[c.Path] == "" {
			w.added[c.Path] = true
		}
	}
	w.keep()
	for name, n := range w.removed {
		w.lost[name] = lost{n, w.Time}
	}
}

// leadsTo returns the path that a symbolic link at a path names.
func leadsTo(at, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(path.Dir(at), target)
}

// keep finds the changed files of which a new file holds what they held, as where large files are put into a store with a pointer in
// their place: whatever stands there now, nothing is lost.
func (w *step) keep() {
	was := map[string][]string{} // by content
	for _, c := range w.Changes {
		if isFile(c.Old) && isFile(c.New) && c.Old.Size > 0 {
			was[key(c.Old)] = append(was[key(c.Old)], c.Path)
		}
	}
	for _, c := range w.Changes {
		if w.added[c.Path] {
			for _, name := range was[key(c.New)] {
				w.kept[name] = true
			}
		}
	}
	w.emptied = slices.DeleteFunc(w.emptied, func(c snapshot.Change) bool { return w.kept[c.Path] })
}

// key is the same for the same content.
func key(n *snapshot.Node) string {
	b := make([]byte, 0, len(n.Content)*len(blob.ID{}))
	for _, id := range n.Content {
		b = append(b, id[:]...)
	}
	return string(b)
}

// job is one changed file that must be looked at.
type job struct {
	snapshot.Change
	former   string         // where the clean version stood
	old      *snapshot.Node // nil if it is not known
	was, now stats
	level    level
	group    string
	opened   opened
	finding  content.Finding
	err      error
}

// opened are the contents that are being looked at, so that each is opened once.
type opened map[*snapshot.Node]io.ReaderAt

func (w *step) open(ctx context.Context, o opened, n *snapshot.Node) (io.ReaderAt, error) {
	if data := o[n]; data != nil {
		return data, nil
	}
	data, err := w.store.Content(ctx, n)
	o[n] = data
	return data, err
}

// plan decides from names and the index how a new or changed file is looked at, if at all.
func (w *step) plan(c snapshot.Change) {
	old := c.Old
	if !isFile(old) || old.Size == 0 {
		old = w.lost[c.Path].node // removed and written anew
	}
	if old != nil && old.Size > 0 {
		j := job{Change: c, former: c.Path, old: old, was: w.stats(old, c.New), now: w.stats(c.New, old), group: "in place"}
		if j.level = suspicion(j.was, j.now); j.level != none {
			w.jobs = append(w.jobs, j)
		}
		return
	}
	former, old := w.former(c.Path, c.New.Size)
	now := w.stats(c.New, old)
	switch {
	case old != nil:
		w.jobs = append(w.jobs, job{Change: c, former: former, old: old, was: w.stats(old, c.New), now: now, level: look, group: "as " + path.Ext(c.Path)})
	case now.compressible() && !now.mayBeEncoded() && !w.asLong(now.size):
	case former != "" && !w.added[former] && !w.goneElsewhere(former) && !content.NamedPacked(c.Path) && !content.NamedEncrypted(c.Path) &&
		content.Expected(c.Path) == content.Unknown && content.Expected(former) != content.Unknown: // something appended to the name of one that may still be there
		w.jobs = append(w.jobs, job{Change: c, former: former, now: now, level: look, group: "beside " + path.Ext(c.Path)})
	default:
		w.stranger(c, now)
	}
}

// batch is how many files are looked at before the next ones may be dismissed for being like them.
const batch = 32

// work looks at the planned files, some at a time.
func (w *step) work(ctx context.Context) error {
	size := batch
	for rest := w.jobs; len(rest) > 0; {
		jobs := rest[:min(size, len(rest))]
		rest = rest[len(jobs):]
		side(len(jobs), func(i int) {
			j := &jobs[i]
			j.finding, j.err = recall(w.memory, w.memory.question("change", j.former, j.Path, j.New, j.old), func() (content.Finding, error) { return w.do(ctx, j) })
		})
		for i := range jobs {
			if err := w.settle(&jobs[i]); err != nil {
				return fmt.Errorf("judge %s: %w", jobs[i].Path, err)
			}
		}
		if size *= 2; w.anyBad() {
			size = batch
		}
	}
	return nil
}

// anyBad tells whether a file of any group was bad.
func (w *step) anyBad() bool {
	for _, g := range w.groups {
		if g.bad > 0 {
			return true
		}
	}
	return false
}

// atOnce is how many files are looked at side by side: storage may be far away.
const atOnce = 32

// side calls fn for each number below n, several side by side.
func side(n int, fn func(int)) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { fn(i); return nil })
	}
	g.Wait()
}

// do looks at one file. Nothing that others write is written.
func (w *step) do(ctx context.Context, j *job) (content.Finding, error) {
	g := w.groups[j.group]
	alike := g != nil && g.decided(j.was, j.now)
	if alike && j.former != j.Path {
		return g.finding, nil
	}
	j.opened = opened{}
	defer clear(j.opened)
	edition := j.was.size == j.now.size && !j.now.compressible() && !j.was.compressible()
	if j.level == ends || alike || edition {
		well, ended, err := w.endsWell(ctx, j.opened, j.Path, j.New)
		switch {
		case err != nil:
			return content.Finding{}, err
		case !well && alike:
			return g.finding, nil
		case well && j.level == ends:
			return content.Finding{}, nil
		case well && ended && edition:
			some, err := w.keptInPart(ctx, j.opened, j.New, j.old)
			if err == nil && !some {
				some, err = w.beginsBadly(ctx, j.opened, j.New)
			}
			if err != nil || !some {
				return content.Finding{}, err
			}
		}
	}
	return w.examine(ctx, j.opened, content.Case{Name: j.former, Renamed: j.old != nil && j.former != j.Path}, j.New, j.old, j.Path)
}

// settle takes note of what was found.
func (w *step) settle(j *job) error {
	if j.err != nil {
		return w.skip(j.Path, j.err)
	}
	w.group(j.group).count(j.finding, j.was, j.now)
	f := File{Finding: j.finding, Kind: Encrypted, Path: j.former, Now: j.Path, Former: j.old}
	switch {
	case f.Cut && f.Path == f.Now:
		w.beginnings = append(w.beginnings, f.Path)
	case f.Cut:
		w.split[f.Path] = true
	}
	if f.Replaced {
		w.instead = append(w.instead, replacement{f, j.now})
	}
	switch {
	case j.former == j.Path:
		w.found(f)
	case j.old != nil:
		f.Kind = Renamed
		w.found(f)
		delete(w.removed, j.former) // whether damaged, or packed, or saved under another name
	case f.Encrypted():
		f.Kind, f.Path = Renamed, j.Path
		w.found(f)
	default:
		w.stranger(j.Change, j.now)
	}
	return nil
}

// gone returns the files that were removed, sorted, by their names without the directory. What became of them since is not left out.
func (w *step) gone() map[string][]string {
	if w.bases == nil {
		w.bases = map[string][]string{}
		for _, name := range slices.Sorted(maps.Keys(w.removed)) {
			w.bases[path.Base(name)] = append(w.bases[path.Base(name)], name)
		}
	}
	return w.bases
}

// goneElsewhere tells whether a file of that name is gone from any directory.
func (w *step) goneElsewhere(name string) bool { return len(w.gone()[path.Base(name)]) > 0 }

// asLong tells whether a file that is gone was as long as a new one, or a little shorter by what an encryptor appends.
func (w *step) asLong(size int64) bool {
	if w.sizes == nil {
		w.sizes = []int64{}
		for _, n := range w.removed {
			w.sizes = append(w.sizes, int64(n.Size))
		}
		slices.Sort(w.sizes)
	}
	i, _ := slices.BinarySearch(w.sizes, size-1024)
	return i < len(w.sizes) && w.sizes[i] <= size
}

// stranger remembers a new file that may be what became of one that is gone: noise cannot be compressed, and in letters it has a name that
// says nothing.
func (w *step) stranger(c snapshot.Change, now stats) {
	expected := content.Expected(c.Path)
	if expected == content.Unknown || expected == "zip" || expected == "7z" || expected == "rar" || now.stored >= now.plain {
		w.strange = append(w.strange, c)
	}
}

// found keeps what was found and tells whether it is damage.
func (w *step) found(f File) bool {
	f.Features = slices.Clip(f.Features) // what is remembered stays as it is
	switch {
	case f.Encrypted():
		if f.Overwritten() {
			f.Kind = Wiped
		}
		w.result.Damaged = append(w.result.Damaged, f)
		return true
	case f.Open && f.Former != nil:
		w.openly = append(w.openly, f)
	case f.Noise() && f.Former != nil && f.Path == f.Now:
		w.result.Doubts = append(w.result.Doubts, f)
	}
	return false
}
