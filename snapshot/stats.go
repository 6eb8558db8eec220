package snapshot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// StatsMode is what Stats counts, in restic's words.
type StatsMode string

// The modes of Stats.
const (
	RestoreSize     StatsMode = "restore-size"      // what a restore of every snapshot would write, one after the other
	FilesByContents StatsMode = "files-by-contents" // files of different content; all that has none is one of them
	RawData         StatsMode = "raw-data"          // stored blobs, trees too, each once
	BlobsPerFile    StatsMode = "blobs-per-file"    // the blobs of files of different content, by the paths that they first stand at
)

// Statistics is what Stats counted. It is zero what the mode does not count.
type Statistics struct {
	Size  int64 // bytes: of files, or, of raw data, as stored
	Files int   // with restore-size every node, directories too
	Raw   repo.SetTotal
	Blobs int
}

// Stats counts what the snapshots hold. progress, which may be nil, is told how many trees were read.
func Stats(ctx context.Context, r *repo.Repository, list []*Snapshot, mode StatsMode, progress func(trees int)) (*Statistics, error) {
	if progress == nil {
		progress = func(int) {}
	}
	c := counter{r: r, progress: progress, sums: make(map[blob.ID]*treeSum), seen: make(map[blob.ID]struct{}),
		contents: make(map[[sha256.Size]byte]struct{}), pieces: make(map[piece]struct{}), paths: make(map[string]struct{})}
	c.ahead = newAhead(ctx, r, c.want)
	defer c.ahead.close()
	var err error
	switch mode {
	case RestoreSize:
		err = c.restoreSize(list)
	case RawData:
		err = c.rawData(ctx, list)
	case FilesByContents, BlobsPerFile:
		for _, sn := range list {
			if err = c.contentsOf(sn.Tree, "", 0, mode == BlobsPerFile); err != nil {
				break
			}
		}
	default:
		err = fmt.Errorf("mode %.40q is not known; choose restore-size, files-by-contents, blobs-per-file or raw-data", mode)
	}
	if err != nil {
		return nil, fmt.Errorf("stats: %w", err)
	}
	return &c.total, nil
}

// counter counts. One goroutine uses it.
type counter struct {
	r        *repo.Repository
	ahead    *ahead
	progress func(trees int)
	total    Statistics
	trees    int

	sums map[blob.ID]*treeSum // of restore-size

	seen     map[blob.ID]struct{}           // trees; what stands in one a second time adds nothing
	contents map[[sha256.Size]byte]struct{} // hashes of the blobs' IDs
	pieces   map[piece]struct{}
	paths    map[string]struct{}
}

// treeSum is what a tree and all below it makes up.
type treeSum struct {
	nodes int
	bytes int64
	links []hardLink // of which a snapshot counts each file once
}

type hardLink struct {
	inode, device uint64
	size          int64
}

// piece is a blob at a path.
type piece struct {
	path string
	id   blob.ID
}

// want returns the directories that are not counted yet.
func (c *counter) want(path string, t *Tree) []*Node {
	return slices.DeleteFunc(allDirs(path, t), func(n *Node) bool {
		_, summed := c.sums[*n.Subtree]
		_, seen := c.seen[*n.Subtree]
		return summed || seen
	})
}

// load returns a tree as the level on top of c.ahead, which the caller leaves.
func (c *counter) load(id blob.ID, path string, depth int) (*Tree, error) {
	if tooDeep(path, depth) {
		return nil, fmt.Errorf("%.80q…: %w", path, errDeep)
	}
	t, err := c.ahead.load(id)
	if err == nil {
		err = c.ahead.enter(path, t)
	}
	if err != nil {
		return nil, fmt.Errorf("%s/: %w", path, err)
	}
	c.trees++
	c.progress(c.trees)
	return t, nil
}

func (c *counter) restoreSize(list []*Snapshot) error {
	for _, sn := range list {
		sum, err := c.sum(sn.Tree, "", 0)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
		}
		c.total.Files += sum.nodes
		c.total.Size += sum.bytes
		linked := make(map[hardLink]struct{})
		for _, l := range sum.links {
			if _, again := linked[l]; !again {
				linked[l] = struct{}{}
				c.total.Size += l.size
			}
		}
	}
	return nil
}

// sum adds up a tree, each but once: most snapshots share most trees.
func (c *counter) sum(id blob.ID, path string, depth int) (*treeSum, error) {
	if sum, ok := c.sums[id]; ok {
		return sum, nil
	}
	t, err := c.load(id, path, depth)
	if err != nil {
		return nil, err
	}
	defer c.ahead.leave()
	sum := new(treeSum)
	for _, n := range t.Nodes {
		sum.nodes++
		switch {
		case n.Type == File && n.Links > 1:
			sum.links = append(sum.links, hardLink{n.Inode, n.DeviceID, int64(n.Size)})
		case n.Type == File:
			sum.bytes += int64(n.Size)
		case n.Type == Dir && n.Subtree != nil:
			below, err := c.sum(*n.Subtree, path+"/"+n.Name, depth+1)
			if err != nil {
				return nil, err
			}
			sum.nodes += below.nodes
			sum.bytes += below.bytes
			sum.links = append(sum.links, below.links...)
		}
	}
	c.sums[id] = sum
	return sum, nil
}

func (c *counter) rawData(ctx context.Context, list []*Snapshot) error {
	roots := make([]blob.ID, 0, len(list))
	for _, sn := range list {
		roots = append(roots, sn.Tree)
	}
	used := c.r.NewSet()
	if err := Used(ctx, c.r, roots, used, c.progress); err != nil {
		return err
	}
	c.total.Raw = used.Total()
	c.total.Blobs, c.total.Size = c.total.Raw.Blobs, c.total.Raw.Stored
	return nil
}

// contentsOf counts the contents that stand in a tree and were not met before, or, with blobs, what these are made of.
func (c *counter) contentsOf(id blob.ID, path string, depth int, blobs bool) error {
	if _, again := c.seen[id]; again {
		return nil
	}
	c.seen[id] = struct{}{}
	t, err := c.load(id, path, depth)
	if err != nil {
		return err
	}
	defer c.ahead.leave()
	for _, n := range t.Nodes {
		p := path + "/" + n.Name
		if c.fresh(n) {
			if blobs {
				c.piecesOf(n, p)
			} else {
				c.total.Files++
				c.total.Size += int64(n.Size)
			}
		}
		if n.Type == Dir && n.Subtree != nil {
			if err := c.contentsOf(*n.Subtree, p, depth+1, blobs); err != nil {
				return err
			}
		}
	}
	return nil
}

// fresh tells whether the node has a content that was not met before.
func (c *counter) fresh(n *Node) bool {
	h := sha256.New()
	for _, id := range n.Content {
		h.Write(id[:])
	}
	key := [sha256.Size]byte(h.Sum(nil))
	_, again := c.contents[key]
	c.contents[key] = struct{}{}
	return !again
}

// piecesOf counts the blobs of a file that it did not have in another version at the same path.
func (c *counter) piecesOf(n *Node, path string) {
	for _, id := range n.Content {
		at := piece{path, id}
		if _, again := c.pieces[at]; again {
			continue
		}
		c.pieces[at] = struct{}{}
		where, _ := c.r.Locate(blob.Handle{ID: id, Type: blob.Data}) // a blob that is not there has no size
		c.total.Size += int64(where.Plain)
		c.total.Blobs++
		if _, again := c.paths[path]; !again {
			c.paths[path] = struct{}{}
			c.total.Files++
		}
	}
}
