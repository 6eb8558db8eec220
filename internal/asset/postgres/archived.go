package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// How WAL is cut: a snapshot that is made a second after another stores what came since, at most walPiece again, and the few
// trees above it.
const (
	// walPiece is what a piece of a segment has at least, in bytes; what is beyond its last multiple is stored again.
	walPiece = 64 << 10
	// walRun is what it has at most: WAL that comes fast is stored in few pieces.
	walRun = 512 << 10
	// runsAtOnce is how many of those are hashed together.
	runsAtOnce = 16
	// walGroup is how many segments stand in one directory: a full one is never written again.
	walGroup = 16
)

// archivedWAL is what the newest snapshot of a cluster's WAL holds. In its directory stand the segment that is not finished and the
// timeline histories; finished segments stand in directories of walGroup, each under the name of its first.
//
// It is a value: a snapshot that could not be saved leaves it as it was.
type archivedWAL struct {
	newest *snapshot.Snapshot // nil: there is none
	size   uint64             // of a segment, bytes
	from   pglogrepl.LSN      // all from the beginning of a segment
	end    pglogrepl.LSN      // up to here is stored, of open's timeline and those that it came from
	since  pglogrepl.LSN      // where the newest base backup begins that end is beyond; 0: there is none

	open    segment                   // the one that end is in
	pieces  []walPart                 // of open, finished
	tail    blob.ID                   // what follows them up to end, filled up with zeros; zero: nothing
	filling []*snapshot.Node          // finished segments of open's directory
	groups  map[string]*snapshot.Node // the other directories
	history map[string]*snapshot.Node // files
}

// walPart is a stored piece of a segment.
type walPart struct {
	id   blob.ID
	size uint64 // bytes
}

// group returns the name of the directory in which the segment stands when it is finished.
func (s segment) group(size uint64) string {
	return segment{s.timeline, s.number - s.number%walGroup}.name(size)
}

func (s segment) begin(size uint64) pglogrepl.LSN { return pglogrepl.LSN(s.number * size) }

// loadArchived finds what the repository holds of a cluster's WAL.
func loadArchived(ctx context.Context, r *repo.Repository, tag, system string) (archivedWAL, error) {
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return archivedWAL{}, err
	}
	for _, sn := range slices.Backward(all) {
		if !slices.Contains(sn.Tags, tag) || !slices.Contains(sn.Tags, tagWAL) || tagValue(sn, tagSystem) != system || len(sn.Paths) != 1 {
			continue
		}
		a, err := readArchived(ctx, r, sn)
		if err != nil {
			return archivedWAL{}, fmt.Errorf("read snapshot %s: %w", sn.ID.Short(), err)
		}
		return a, nil
	}
	return archivedWAL{}, nil
}

func readArchived(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (archivedWAL, error) {
	a := archivedWAL{newest: sn}.clone()
	timeline, err := strconv.ParseUint(tagValue(sn, tagTimeline), 10, 32)
	if err == nil {
		a.end, err = parseLSN(tagValue(sn, tagEnd))
	}
	if err == nil {
		a.from, err = parseLSN(tagValue(sn, tagStart))
	}
	if since := tagValue(sn, tagSince); err == nil && since != "" {
		a.since, err = parseLSN(since)
	}
	if err != nil {
		return a, fmt.Errorf("its tags do not say what it holds: %w", err)
	}
	top, err := loadDirectory(ctx, r, sn)
	if err != nil {
		return a, err
	}
	var unfinished *snapshot.Node
	for _, n := range top.Nodes {
		switch {
		case n.Type == snapshot.Dir && n.Subtree != nil:
			a.groups[n.Name] = n
		case strings.HasSuffix(n.Name, ".history"):
			a.history[n.Name] = n
		default:
			unfinished, a.size = n, n.Size
		}
	}
	for _, n := range a.groups {
		if a.size != 0 {
			break
		}
		tree, err := snapshot.LoadTree(ctx, r, *n.Subtree)
		if err != nil {
			return a, err
		}
		if len(tree.Nodes) > 0 {
			a.size = tree.Nodes[0].Size
		}
	}
	if !validSegmentSize(a.size) {
		return a, fmt.Errorf("it holds segments of %d bytes", a.size)
	}
	a.open = segment{uint32(timeline), uint64(a.end) / a.size}
	if unfinished != nil && unfinished.Name == a.open.name(a.size) {
		a.pieces, a.tail = knownPieces(r, unfinished.Content, uint64(a.end)%a.size)
	}
	if n := a.groups[a.open.group(a.size)]; n != nil {
		tree, err := snapshot.LoadTree(ctx, r, *n.Subtree)
		if err != nil {
			return a, err
		}
		a.filling = tree.Nodes
		delete(a.groups, n.Name)
	}
	return a, nil
}

// knownPieces returns the finished pieces among the content of a segment of which length bytes are stored, and what follows
// them. What it does not understand is stored again.
func knownPieces(r *repo.Repository, content []blob.ID, length uint64) (pieces []walPart, tail blob.ID) {
	for _, id := range content {
		at, ok := r.Locate(blob.Handle{ID: id, Type: blob.Data})
		size := uint64(at.Plain)
		switch {
		case !ok || length == 0 || size%walPiece != 0:
			return pieces, blob.ID{}
		case size > length && size == walPiece:
			return pieces, id
		case size > length:
			return pieces, blob.ID{}
		}
		length -= size
		pieces = append(pieces, walPart{id, size})
	}
	return pieces, blob.ID{}
}

func (a archivedWAL) clone() archivedWAL {
	groups, history := map[string]*snapshot.Node{}, map[string]*snapshot.Node{}
	maps.Copy(groups, a.groups)
	maps.Copy(history, a.history)
	a.groups, a.history = groups, history
	a.filling, a.pieces = slices.Clone(a.filling), slices.Clone(a.pieces)
	return a
}

// drop lets the directories go that hold nothing from before on.
func (a *archivedWAL) drop(before pglogrepl.LSN) {
	for name := range a.groups {
		first, ok := parseSegment(name, a.size)
		if ok && pglogrepl.LSN((first.number+walGroup)*a.size) <= before {
			delete(a.groups, name)
		}
	}
	a.from = a.open.begin(a.size)
	if len(a.filling) > 0 {
		a.lower(a.filling[0].Name)
	}
	for name := range a.groups {
		a.lower(name)
	}
}

func (a *archivedWAL) lower(name string) {
	if s, ok := parseSegment(name, a.size); ok {
		a.from = min(a.from, s.begin(a.size))
	}
}

// walUpload stores what a spool holds and an archive does not. One goroutine uses it.
type walUpload struct {
	archivedWAL
	dir  string // of the spool's segments
	up   *repo.Uploader
	runs *offheap.Pool
	now  time.Time
	base baseInfo // the newest; WAL may be missing before it

	zeros   [2]blob.ID // of walPiece and walRun zeros, once they are stored
	summary snapshot.Summary
}

// add stores the spool's segments from the archive's end up to reached, on timeline, and histories that are new.
func (u *walUpload) add(ctx context.Context, timeline uint32, reached pglogrepl.LSN) error {
	segments, size, err := listSegments(u.dir)
	if err != nil {
		return err
	}
	if size != 0 && u.size != 0 && size != u.size {
		return fmt.Errorf("%w: its WAL segments have %d bytes, those that are stored %d", errOtherCluster, size, u.size)
	}
	u.size = max(u.size, size)
	for _, s := range segments {
		limit := u.size
		if s.timeline == timeline {
			limit = min(limit, uint64(max(reached, s.begin(u.size))-s.begin(u.size)))
		}
		if s.timeline > timeline || limit == 0 {
			continue
		}
		if err := u.addSegment(ctx, s, limit); err != nil {
			return err
		}
	}
	if u.end == 0 {
		return errors.New("no WAL was received yet")
	}
	return u.addHistories(ctx)
}

// addSegment stores the first length bytes of a segment, unless they are.
func (u *walUpload) addSegment(ctx context.Context, s segment, length uint64) error {
	begin := s.begin(u.size)
	end := begin + pglogrepl.LSN(length)
	switch {
	case u.end == 0:
		u.open, u.from = s, begin
	case s.timeline < u.open.timeline || s.timeline == u.open.timeline && end <= u.end:
		return nil
	case begin > u.end && (u.base.timeline != int32(s.timeline) || u.base.start < begin):
		return fmt.Errorf("%w (the repository has WAL up to %s, the server from %s on)", ErrGap, u.end, begin)
	case s != u.open:
		if err := u.finish(ctx, s); err != nil {
			return err
		}
	}
	u.end = end
	if err := u.addPieces(ctx, length); err != nil {
		return fmt.Errorf("store WAL: %w", err)
	}
	if uint64(end)%u.size == 0 {
		return u.finish(ctx, segment{s.timeline, s.number + 1})
	}
	return nil
}

// covered is how much of open stands in pieces, in bytes.
func (u *walUpload) covered() (n uint64) {
	for _, p := range u.pieces {
		n += p.size
	}
	return n
}

// addPieces stores of the first length bytes of open what is not stored.
func (u *walUpload) addPieces(ctx context.Context, length uint64) error {
	f, err := os.Open(filepath.Join(u.dir, u.open.name(u.size)))
	if err != nil {
		return err
	}
	defer f.Close()
	from := u.covered()
	var sizes []uint64
	at := from
	for length-at >= walPiece {
		n := min(walRun-at%walRun, length-at-(length-at)%walPiece)
		sizes = append(sizes, n)
		at += n
	}
	saved, err := u.saveRuns(ctx, f, from, sizes)
	if err != nil {
		return err
	}
	for i, s := range saved {
		u.count(blob.Data, s, int(sizes[i]))
		u.pieces = append(u.pieces, walPart{s.ID, sizes[i]})
	}
	u.tail = blob.ID{}
	if at == length {
		return nil
	}
	buf := make([]byte, walPiece)
	if _, err := f.ReadAt(buf[:length-at], int64(at)); err != nil {
		return err
	}
	u.tail, err = u.save(ctx, blob.Data, buf)
	return err
}

// saveRuns stores parts of f of these sizes, which stand one behind another from at on: many at once, and by all processors, since a server
// that was not heard for long has much to tell.
func (u *walUpload) saveRuns(ctx context.Context, f *os.File, at uint64, sizes []uint64) ([]repo.Saved, error) {
	work, ctx := errgroup.WithContext(ctx)
	processors := runtime.GOMAXPROCS(0)
	work.SetLimit(processors)
	each := max(2, min(runsAtOnce, (len(sizes)+processors-1)/processors))
	saved := make([][]repo.Saved, (len(sizes)+each-1)/each)
	for part := range saved {
		sizes := sizes[part*each : min((part+1)*each, len(sizes))]
		begin := at
		for _, n := range sizes {
			at += n
		}
		length := at - begin
		work.Go(func() error {
			memory := u.runs.Get()
			defer u.runs.Put(memory)
			buf := memory.Room(int(length))
			if _, err := f.ReadAt(buf, int64(begin)); err != nil {
				return err
			}
			runs := make([][]byte, len(sizes))
			for i, n := range sizes {
				runs[i], buf = buf[:n], buf[n:]
			}
			var err error
			saved[part], err = u.up.SaveMany(ctx, blob.Data, runs)
			return err
		})
	}
	err := work.Wait()
	return slices.Concat(saved...), err
}

// finish puts open into its directory and goes on with next, which may be of another timeline.
func (u *walUpload) finish(ctx context.Context, next segment) error {
	if u.end > u.open.begin(u.size) {
		n, err := u.openNode(ctx)
		if err != nil {
			return err
		}
		u.filling = append(u.filling, n)
	}
	before := u.open.group(u.size)
	u.open, u.pieces, u.tail = next, nil, blob.ID{}
	if next.group(u.size) == before || len(u.filling) == 0 {
		return nil
	}
	dir, err := u.saveDir(ctx, before, u.filling)
	if err != nil {
		return err
	}
	u.groups[before], u.filling = dir, nil
	return nil
}

// openNode returns the node of open as it would be with zeros up to its end.
func (u *walUpload) openNode(ctx context.Context) (*snapshot.Node, error) {
	var content []blob.ID
	for _, p := range u.pieces {
		content = append(content, p.id)
	}
	at := u.covered()
	if !u.tail.IsZero() {
		content, at = append(content, u.tail), at+walPiece
	}
	for at < u.size {
		zeros, n := &u.zeros[0], uint64(walPiece)
		if at%walRun == 0 {
			zeros, n = &u.zeros[1], walRun
		}
		if zeros.IsZero() {
			var err error
			if *zeros, err = u.save(ctx, blob.Data, make([]byte, n)); err != nil {
				return nil, err
			}
		}
		content, at = append(content, *zeros), at+n
	}
	return u.node(u.open.name(u.size), u.size, content), nil
}

// addHistories stores the spool's timeline histories.
func (u *walUpload) addHistories(ctx context.Context) error {
	entries, err := os.ReadDir(u.dir)
	if err != nil {
		return fmt.Errorf("list timeline histories: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".history") || u.history[name] != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(u.dir, name))
		if err != nil {
			return fmt.Errorf("read timeline history: %w", err)
		}
		id, err := u.save(ctx, blob.Data, text)
		if err != nil {
			return err
		}
		u.history[name] = u.node(name, uint64(len(text)), []blob.ID{id})
	}
	return nil
}

// tree stores the directories above, and returns the root's. dir is where they begin.
func (u *walUpload) tree(ctx context.Context, dir string) (blob.ID, error) {
	var nodes []*snapshot.Node
	if u.end > u.open.begin(u.size) {
		n, err := u.openNode(ctx)
		if err != nil {
			return blob.ID{}, err
		}
		nodes = append(nodes, n)
	}
	for _, n := range u.groups {
		nodes = append(nodes, n)
	}
	for _, n := range u.history {
		nodes = append(nodes, n)
	}
	if len(u.filling) > 0 {
		n, err := u.saveDir(ctx, u.open.group(u.size), u.filling)
		if err != nil {
			return blob.ID{}, err
		}
		nodes = append(nodes, n)
	}
	for ; ; dir = path.Dir(dir) {
		n, err := u.saveDir(ctx, path.Base(dir), nodes)
		if err != nil {
			return blob.ID{}, err
		}
		if dir == "/" {
			return *n.Subtree, nil
		}
		nodes = []*snapshot.Node{n}
	}
}

// saveDir stores a directory's tree and returns its node.
func (u *walUpload) saveDir(ctx context.Context, name string, nodes []*snapshot.Node) (*snapshot.Node, error) {
	tree := snapshot.Tree{Nodes: nodes}
	tree.Sort()
	text, err := tree.Encode()
	if err != nil {
		return nil, err
	}
	id, err := u.save(ctx, blob.Tree, text)
	if err != nil {
		return nil, err
	}
	n := u.node(name, 0, nil)
	n.Type, n.Mode, n.Subtree = snapshot.Dir, fs.ModeDir|0o700, &id
	return n, nil
}

func (u *walUpload) node(name string, size uint64, content []blob.ID) *snapshot.Node {
	return &snapshot.Node{
		Name: name, Type: snapshot.File, Mode: 0o600, Size: size, Links: 1, Content: content,
		ModTime: u.now, AccessTime: u.now, ChangeTime: u.now, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
	}
}

// save stores a blob and counts it.
func (u *walUpload) save(ctx context.Context, t blob.Type, data []byte) (blob.ID, error) {
	saved, err := u.up.SaveBlob(ctx, t, data)
	if err != nil {
		return blob.ID{}, err
	}
	u.count(t, saved, len(data))
	return saved.ID, nil
}

// count takes down what a blob of so many plain bytes added.
func (u *walUpload) count(t blob.Type, saved repo.Saved, plain int) {
	if !saved.New {
		return
	}
	u.summary.DataAddedPacked += uint64(saved.Stored)
	u.summary.DataAdded += uint64(plain)
	if t == blob.Tree {
		u.summary.TreeBlobs++
	} else {
		u.summary.DataBlobs++
	}
}

// held tells whether the snapshot that the archive stands for is still there: if it was forgotten, what it holds may be pruned.
func (a *archivedWAL) held(ctx context.Context, r *repo.Repository) (bool, error) {
	if a.newest == nil {
		return true, nil
	}
	_, err := r.LoadUnpacked(ctx, backend.Snapshot, a.newest.ID)
	if errors.Is(err, repo.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
