package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"

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

// group returns the name of the directory in which the segment stands when it is finished.
func (s segment) group(size uint64) string {
	return segment{s.timeline, s.number - s.number%walGroup}.name(size)
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
		return fmt.Errorf("%w (the repository has WAL up to %s, the server from %s on)", errGap, u.end, begin)
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
