package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// shape is what a history is like.
type shape struct {
	Files     int // kept
	Snapshots int // a day apart
	Changed   int // files a day: six of ten are edited, three are new, one goes
	Average   int // bytes of a file
	Attack    int // the day of the attack, 0 for none
	Hit       int // files that it encrypts
}

const (
	perFolder   = 20 // files
	perProject  = 20 // folders
	perOffice   = 25 // projects; so an office has 10,000 files
	perWorkshop = 5  // files of a folder that change on one day
)

// office is the tree of an organisation's files. It is written as an archiver writes it, blob by blob, without ever
// standing on a disk: a hundred backups of 200,000 files would take an hour.
type office struct {
	shape
	r       *repo.Repository
	text    *corpus
	rnd     *rand.Rand
	root    *folder
	folders []*folder // those with files
	clock   time.Time
	serial  int // of names
	recipes map[*snapshot.Node]recipe
}

// folder is one directory.
type folder struct {
	name  string
	up    *folder
	below []*folder
	files []*snapshot.Node // in order of their names
	tree  blob.ID          // zero: to be written
}

// rootPath is what the snapshots are of.
const rootPath = "/srv/files"

func newOffice(r *repo.Repository, s shape) (*office, error) {
	text, err := newCorpus()
	if err != nil {
		return nil, err
	}
	o := &office{shape: s, r: r, text: text, rnd: rand.New(rand.NewPCG(2, 3)), clock: time.Date(2026, 1, 5, 19, 0, 0, 0, time.UTC), recipes: map[*snapshot.Node]recipe{}}
	o.root = &folder{}
	at := o.root
	for _, name := range strings.Split(strings.Trim(rootPath, "/"), "/") {
		at = at.add(name)
	}
	for n := 0; n < s.Files; n += perFolder {
		i := n / perFolder
		dept := at.child(fmt.Sprintf("office%02d", i/(perProject*perOffice)))
		project := dept.child(fmt.Sprintf("project%02d", i/perProject%perOffice))
		o.folders = append(o.folders, project.child(fmt.Sprintf("folder%02d", i%perProject)))
	}
	return o, nil
}

func (f *folder) add(name string) *folder {
	sub := &folder{name: name, up: f}
	f.below = append(f.below, sub)
	return sub
}

// child returns the last folder below, or makes the next: they are asked for in the order of their names.
func (f *folder) child(name string) *folder {
	if n := len(f.below); n > 0 && f.below[n-1].name == name {
		return f.below[n-1]
	}
	return f.add(name)
}

// touch has the trees on the way to the folder written again.
func (f *folder) touch() {
	for at := f; at != nil; at = at.up {
		at.tree = blob.ID{}
	}
}

// put makes a file stand in the folder.
func (f *folder) put(n *snapshot.Node) {
	i, found := slices.BinarySearchFunc(f.files, n.Name, func(n *snapshot.Node, name string) int { return strings.Compare(n.Name, name) })
	if found {
		f.files[i] = n
	} else {
		f.files = slices.Insert(f.files, i, n)
	}
	f.touch()
}

func (f *folder) remove(i int) {
	f.files = slices.Delete(f.files, i, i+1)
	f.touch()
}

// draft is a file to be written.
type draft struct {
	folder *folder
	node   *snapshot.Node
	data   func() []byte
}

// draft plans a file of that name.
func (o *office) draft(f *folder, name string, r recipe) draft {
	d := draft{folder: f, node: o.node(name), data: func() []byte { return o.text.content(r) }}
	o.recipes[d.node] = r
	return d
}

// fresh plans a new file. Sizes are spread as those of files are: most are far smaller than the average.
func (o *office) fresh(f *folder) draft {
	extension, weight := chooseKind(o.rnd)
	o.serial++
	size := int(weight * float64(o.Average) * math.Exp(o.rnd.NormFloat64()-0.5))
	return o.draft(f, fmt.Sprintf("document-%06d.%s", o.serial, extension), recipe{extension: extension, size: size, seed: uint64(o.serial)})
}

// edited plans the next edition of a file.
func (o *office) edited(f *folder, n *snapshot.Node) draft {
	r := o.recipes[n]
	r.edition++
	delete(o.recipes, n)
	return o.draft(f, n.Name, r)
}

func (o *office) node(name string) *snapshot.Node {
	at := o.clock.Add(-time.Duration(o.rnd.Int64N(int64(9 * time.Hour))))
	return &snapshot.Node{
		Name: name, Type: snapshot.File, Mode: 0o640, ModTime: at, AccessTime: at, ChangeTime: at, UID: 1000, GID: 1000, User: "clerk", Group: "office",
		Inode: uint64(100_000 + o.serial), DeviceID: 64769, Links: 1,
	}
}

// write stores the content of some files, and puts them into their folders.
func (o *office) write(ctx context.Context, up *repo.Uploader, drafts []draft) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range drafts {
		g.Go(func() error {
			data := d.data()
			d.node.Size, d.node.Content = uint64(len(data)), []blob.ID{}
			for len(data) > 0 { // cut anywhere: nothing here is stored twice
				n := min(len(data), chunker.MinSize*2)
				saved, err := up.SaveBlob(ctx, blob.Data, data[:n])
				if err != nil {
					return err
				}
				d.node.Content = append(d.node.Content, saved.ID)
				data = data[n:]
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, d := range drafts {
		d.folder.put(d.node)
	}
	return nil
}

// store writes the trees that are to be written, from below.
func (o *office) store(ctx context.Context, up *repo.Uploader, f *folder) (blob.ID, error) {
	if !f.tree.IsZero() {
		return f.tree, nil
	}
	t := snapshot.Tree{Nodes: slices.Clone(f.files)}
	for i, sub := range f.below {
		id, err := o.store(ctx, up, sub)
		if err != nil {
			return id, err
		}
		t.Nodes = append(t.Nodes, &snapshot.Node{
			Name: sub.name, Type: snapshot.Dir, Mode: 0o750 | 1<<31, ModTime: o.clock, AccessTime: o.clock, ChangeTime: o.clock, UID: 1000, GID: 1000, User: "clerk", Group: "office",
			Inode: uint64(10_000 + i), DeviceID: 64769, Links: 2, Subtree: &id,
		})
	}
	t.Sort()
	data, err := t.Encode()
	if err != nil {
		return blob.ID{}, err
	}
	saved, err := up.SaveBlob(ctx, blob.Tree, data)
	f.tree = saved.ID
	return f.tree, err
}

// history writes all snapshots.
func (o *office) history(ctx context.Context, tell func(day int)) error {
	for day := range o.Snapshots {
		if err := o.day(ctx, day); err != nil {
			return fmt.Errorf("day %d: %w", day, err)
		}
		tell(day)
	}
	return nil
}

// day stores the snapshot of one day.
func (o *office) day(ctx context.Context, day int) error {
	o.clock = o.clock.Add(24 * time.Hour)
	var root blob.ID
	err := o.r.Upload(ctx, func(ctx context.Context, up *repo.Uploader) (err error) {
		switch {
		case day == 0:
			err = o.found(ctx, up)
		case o.Attack > 0 && day == o.Attack:
			err = o.attack(ctx, up)
		default:
			err = o.write(ctx, up, o.work())
		}
		if err == nil {
			root, err = o.store(ctx, up, o.root)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = snapshot.Save(ctx, o.r, &snapshot.Snapshot{Time: o.clock, Tree: root, Paths: []string{rootPath}, Hostname: "fileserver", Username: "root", ProgramVersion: "bench"})
	return err
}

// found writes the files of the first day, some at a time: what is drafted takes memory.
func (o *office) found(ctx context.Context, up *repo.Uploader) error {
	for folders := range slices.Chunk(o.folders, 500) {
		var drafts []draft
		for _, f := range folders {
			for range perFolder {
				drafts = append(drafts, o.fresh(f))
			}
		}
		if err := o.write(ctx, up, drafts); err != nil {
			return err
		}
	}
	return nil
}

// work does an ordinary day's work: in some folders, some files.
func (o *office) work() []draft {
	var drafts []draft
	for done := 0; done < o.Changed; {
		f := o.folders[o.rnd.IntN(len(o.folders))]
		for range min(perWorkshop, o.Changed-done) {
			done++
			switch {
			case done%10 < 3 || len(f.files) == 0:
				drafts = append(drafts, o.fresh(f))
			case done%10 == 3:
				f.remove(o.rnd.IntN(len(f.files)))
			default:
				if n := f.files[o.rnd.IntN(len(f.files))]; o.recipes[n].seed > 0 { // else it is encrypted
					drafts = append(drafts, o.edited(f, n))
				}
			}
		}
	}
	return drafts
}

// attack encrypts all files of the first folders: where they stand in every other folder, else to another name. A note is
// left in each.
func (o *office) attack(ctx context.Context, up *repo.Uploader) error {
	var drafts []draft
	hit := 0
	for i, f := range o.folders {
		if hit >= o.Hit {
			break
		}
		for len(f.files) > 0 && hit < o.Hit {
			old := f.files[0]
			o.serial++
			name := old.Name
			if i%2 == 1 {
				name += ".locked"
			}
			key := recipe{seed: uint64(o.serial)}
			drafts = append(drafts, draft{folder: f, node: o.node(name), data: func() []byte { return encrypt(key.source(1), make([]byte, old.Size)) }})
			f.remove(0)
			hit++
		}
		drafts = append(drafts, draft{folder: f, node: o.node("HOW_TO_RECOVER.txt"), data: func() []byte { return note }})
	}
	return o.write(ctx, up, drafts)
}
