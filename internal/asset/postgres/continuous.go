package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/internal/asset"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
)

const (
	// storeWithin is for how long a commit may be in no repository, if nothing else is asked for; the tenth part is left for what no
	// clock here sees: the server's sending, the network.
	storeWithin = 10 * time.Second
	// watchInterval is the time between two questions to the server about the slot.
	watchInterval = 10 * time.Second
	// lastStore bounds the last flush of Keep, when its context has ended.
	lastStore = 20 * time.Second
	// holdLock is for how long one lock on the repository serves flushes that follow one another at once, and holdIdle how long it
	// waits for the next of them.
	holdLock = 10 * time.Second
	holdIdle = 500 * time.Millisecond
	// firstRetry and lastRetry bound the wait before something that failed is tried again.
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// KeepOptions say how a cluster is kept.
type KeepOptions struct {
	BaseInterval time.Duration // between two base backups
	Within       time.Duration // a commit is stored at most so much later; 0: 10 s
	MaxLag       int64         // bytes of WAL that the server may keep for us before that is told; 0: 1 GiB
	Tell         func(News)    // what happens; called from one goroutine at a time
}

// News is what happened to a cluster that is kept: one of its fields is set.
type News struct {
	Base *asset.Captured // a base backup was stored
	WAL  *asset.Captured // WAL was stored
	Gap  *event.WALGap   // transactions can not be recovered one by one; a new base backup followed
	Note string          // something to know
	Err  error           // what is wrong: told once, and again when it is another
	Well string          // what is no longer wrong
}

// Keep captures a cluster until ctx ends, and then once more: it streams WAL and stores it in time and at each segment's end, at
// once if commits wait for that; takes a base backup each interval, and at once when the WAL that follows is lost; and watches the
// slot. What goes wrong is told and tried again: Keep returns when ctx has ended and all is stored, or says that the last of it could not be.
func (c *Cluster) Keep(ctx context.Context, r *repo.Repository, repository string, opt KeepOptions) error {
	if opt.MaxLag == 0 {
		opt.MaxLag = 1 << 30
	}
	if opt.Within == 0 {
		opt.Within = storeWithin
	}
	k := &keeper{
		Cluster: c, r: r, repository: repository, opt: opt, said: map[string]string{},
		broken: make(chan struct{}, 1), hurry: make(chan struct{}, 1), based: make(chan struct{}),
	}
	if segments, _, err := listSegments(c.walDir()); err == nil && len(segments) == 0 {
		k.slots = 1
	}
	streaming, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives ctx: the last flush needs it
	defer stop()
	var owned sync.WaitGroup
	owned.Go(func() { k.stream(streaming) })
	owned.Go(func() { k.takeBases(ctx) })
	owned.Go(func() { k.watch(ctx) })
	k.flush(ctx)
	err := k.last(ctx)
	stop()
	owned.Wait()
	return err
}

// keeper is one run of Keep.
type keeper struct {
	*Cluster
	r          *repo.Repository
	repository string
	opt        KeepOptions

	telling sync.Mutex
	said    map[string]string // of each part of the work, what is wrong
	slots   int               // how many were made and told of; the first of a new spool goes without saying

	broken chan struct{} // asks for a base backup now
	hurry  chan struct{} // asks for a flush now

	mu    sync.Mutex
	based chan struct{} // closed and replaced when a base backup was stored
	gap   *event.WALGap // what the next base backup ends
}

func (k *keeper) tell(n News) {
	k.telling.Lock()
	defer k.telling.Unlock()
	k.opt.Tell(n)
}

// fails tells what is wrong with a part of the work, unless it was told.
func (k *keeper) fails(part string, err error) {
	k.telling.Lock()
	defer k.telling.Unlock()
	if k.said[part] == err.Error() {
		return
	}
	k.said[part] = err.Error()
	k.opt.Tell(News{Err: err})
}

func (k *keeper) works(part string) {
	k.telling.Lock()
	defer k.telling.Unlock()
	if k.said[part] == "" {
		return
	}
	delete(k.said, part)
	k.opt.Tell(News{Well: part})
}

// The parts of the work.
const (
	partStream = "streaming WAL"
	partStore  = "storing WAL"
	partBase   = "the base backup"
	partSlot   = "the replication slot"
	partCommit = "waiting for commits"
)

func urge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was asked for
	}
}

// pause waits for d; it tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// stream keeps Stream running. A gap is waited out until a base backup has mended it.
func (k *keeper) stream(ctx context.Context) {
	retry := firstRetry
	for {
		k.mu.Lock()
		based := k.based
		k.mu.Unlock()
		err := k.Stream(ctx)
		if ctx.Err() != nil {
			return
		}
		k.fails(partStream, err)
		if !errors.Is(err, errGap) {
			if !pause(ctx, retry) {
				return
			}
			retry = min(2*retry, lastRetry)
			continue
		}
		k.lose(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-based:
		}
		retry = firstRetry
	}
}

// lose notes that WAL is lost, and asks for a base backup.
func (k *keeper) lose(ctx context.Context, cause error) {
	k.archiving.Lock()
	// If the repository cannot be asked, the gap has no beginning on the record: the base backup is what matters.
	_ = k.resumeArchive(ctx, k.r)
	newest, end := k.archived.newest, k.archived.end
	k.archiving.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gap == nil {
		k.gap = &event.WALGap{Reason: cause.Error()}
		if newest != nil {
			k.gap.From, k.gap.FromLSN = newest.Time.UTC(), end.String()
		}
	}
	urge(k.broken)
}

// takeBases takes a base backup whenever one is due, and when asked for one.
func (k *keeper) takeBases(ctx context.Context) {
	retry := firstRetry
	due, err := k.nextBase(ctx)
	for err != nil {
		k.fails(partBase, err)
		if !pause(ctx, retry) {
			return
		}
		retry = min(2*retry, lastRetry)
		due, err = k.nextBase(ctx)
	}
	retry = firstRetry
	for {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.broken:
			timer.Stop()
		case <-timer.C:
		}
		captured, err := k.Base(ctx, k.r, k.repository)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			k.fails(partBase, err)
			due = time.Now().Add(retry)
			retry = min(2*retry, lastRetry)
			continue
		}
		due, retry = time.Now().Add(k.opt.BaseInterval), firstRetry
		k.works(partBase)
		k.finishBase(captured)
	}
}

// finishBase tells of a base backup, and of the gap that it ends.
func (k *keeper) finishBase(captured asset.Captured) {
	k.tell(News{Base: &captured})
	k.mu.Lock()
	gap := k.gap
	k.gap = nil
	close(k.based)
	k.based = make(chan struct{})
	k.mu.Unlock()
	if gap != nil {
		gap.To, gap.ToLSN = captured.Snapshot.Time.UTC(), tagValue(captured.Snapshot, tagEnd)
		k.tell(News{Gap: gap})
	}
	urge(k.hurry) // without the WAL beside it, it is of no use
}

// nextBase returns when the next base backup is due: now, unless the repository has one that WAL leads on from.
func (k *keeper) nextBase(ctx context.Context) (time.Time, error) {
	system, err := k.system()
	if err != nil {
		return time.Time{}, err
	}
	bases, wals, err := listCaptures(ctx, k.r, tagAsset+k.name)
	if err != nil {
		return time.Time{}, fmt.Errorf("look for the base backups of %s: %w", k.name, err)
	}
	bases = slices.DeleteFunc(bases, func(b capturedBase) bool { return b.system != system })
	if len(bases) == 0 {
		return time.Now(), nil
	}
	c, err := chainFor(ctx, k.r, bases[0], wals)
	if err != nil || c.gap != nil {
		return time.Now(), nil // a new one makes up for whatever is wrong with the last
	}
	return bases[0].snapshot.Time.Add(k.opt.BaseInterval), nil
}

// flush stores WAL as it comes, until ctx ends.
func (k *keeper) flush(ctx context.Context) {
	retry, took := firstRetry, time.Duration(0)
	for k.pending(ctx, took) {
		begin := time.Now()
		err := k.storeAll(ctx)
		took = time.Since(begin)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			k.works(partStore)
			retry = firstRetry
			continue
		}
		k.fails(partStore, fmt.Errorf("store WAL of %s: %w", k.name, err))
		if errors.Is(err, errGap) {
			k.lose(ctx, err)
		}
		if !pause(ctx, retry) {
			return
		}
		retry = min(2*retry, k.opt.Within)
	}
}

// pending waits until WAL is to be stored, so that a flush which takes as long as the last ends in time. It tells whether ctx still runs.
func (k *keeper) pending(ctx context.Context, took time.Duration) bool {
	wait := max(k.opt.Within*9/10-2*took, k.opt.Within/10)
	var late <-chan time.Time
	var from pglogrepl.LSN
	for {
		changed := k.progress.change()
		timeline, reached := k.progress.where()
		stored := k.progress.storedOf(timeline)
		if reached > stored {
			if stored > 0 {
				from = stored
			} else if from == 0 {
				from = reached // what is stored is not known, or of another timeline
			}
			if k.holdsCommits() || uint64(reached)/k.segmentSize > uint64(from)/k.segmentSize {
				return ctx.Err() == nil
			}
			if late == nil {
				timer := time.NewTimer(wait)
				defer timer.Stop()
				late = timer.C
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-late:
			return true
		case <-k.hurry:
			if reached > 0 {
				return true
			}
		case <-changed:
		}
	}
}

// storeAll stores what was received; if commits wait for that, also what comes next, as long as it comes.
func (k *keeper) storeAll(ctx context.Context) error {
	k.archiving.Lock()
	defer k.archiving.Unlock()
	return k.r.WithLock(ctx, false, func(ctx context.Context) error {
		if err := k.resumeArchive(ctx, k.r); err != nil {
			return err
		}
		for until := time.Now().Add(holdLock); ; {
			now := k.progress.caughtUp()
			captured, err := k.storeLocked(ctx, k.r, k.repository, now)
			if err != nil {
				return err
			}
			k.tell(News{WAL: &captured})
			if !k.holdsCommits() || time.Now().After(until) || !k.more(ctx) {
				return nil
			}
		}
	})
}

// more waits a little for WAL, and tells whether some came.
func (k *keeper) more(ctx context.Context) bool {
	timer := time.NewTimer(holdIdle)
	defer timer.Stop()
	for {
		changed := k.progress.change()
		timeline, reached := k.progress.where()
		if reached > k.progress.storedOf(timeline) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-changed:
		}
	}
}

// last stores what there is when ctx has ended.
func (k *keeper) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastStore)
	defer cancel()
	captured, err := k.Flush(ctx, k.r, k.repository)
	if err != nil {
		return err
	}
	k.tell(News{WAL: &captured})
	return nil
}

// watch tells what becomes of the stream and the slot.
func (k *keeper) watch(ctx context.Context) {
	tick := time.NewTicker(firstRetry)
	defer tick.Stop()
	for n := 0; ; n++ {
		k.countSlots()
		if err := k.progress.failure(); err != nil {
			k.fails(partStream, err)
		} else if _, reached := k.progress.where(); reached > 0 {
			k.works(partStream)
		}
		if n%int(watchInterval/firstRetry) == 0 {
			k.lookAtSlot(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// countSlots tells when a slot was made where there should have been one.
func (k *keeper) countSlots() {
	k.slotting.Lock()
	made := k.slotsMade
	k.slotting.Unlock()
	if made > k.slots {
		k.tell(News{Note: fmt.Sprintf("replication slot %s was gone, and was made again: what the server has forgotten meanwhile is a gap", k.slot)})
		k.slots = made
	}
}

// slotState is what the server says of the slot.
type slotState struct {
	status string // "reserved" is well
	lag    int64  // bytes of WAL that the server keeps for us
	waits  bool   // commits heed us
}

// lookAtSlot tells what there is to tell of the slot. That the server cannot be asked is the stream's to tell.
func (k *keeper) lookAtSlot(ctx context.Context) {
	s, err := k.askSlot(ctx)
	if err != nil {
		return
	}
	const remedy = "see why it is not stored, before the server's disk is full or it drops what was not stored (pg_replication_slots tells how much)"
	switch {
	case s.lag > k.opt.MaxLag:
		k.fails(partSlot, fmt.Errorf("the server keeps more than %s of WAL for slot %s: %s", wording.Size(k.opt.MaxLag), k.slot, remedy))
	case s.status != "reserved":
		k.fails(partSlot, fmt.Errorf("the server calls the WAL that it keeps for slot %s %s, beyond its max_wal_size: %s", k.slot, s.status, remedy))
	default:
		k.works(partSlot)
	}
	k.awaited.Store(s.waits)
	switch {
	case k.synchronous && !s.waits:
		k.fails(partCommit, fmt.Errorf("commits do not wait until %s is stored, though it is declared synchronous: set synchronous_standby_names = '%s' in postgresql.conf and reload", k.name, k.slot))
	case !k.synchronous && s.waits:
		k.fails(partCommit, fmt.Errorf("commits wait until %s is stored, for the server's synchronous_standby_names names %s: declare it synchronous, or name others", k.name, k.slot))
	default:
		k.works(partCommit)
	}
}

// askSlot asks over an ordinary connection: the replication protocol does not tell.
func (k *keeper) askSlot(ctx context.Context) (slotState, error) {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	conn, err := dial(ctx, k.connect, k.passwordFile, false)
	if err != nil {
		return slotState{}, err
	}
	defer hangUp(ctx, conn)
	row, err := queryRow(ctx, conn, `
SELECT coalesce(wal_status, 'lost'), coalesce(restart_lsn::text, ''), pg_catalog.current_setting('synchronous_standby_names'),
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_current_wal_lsn() END
  FROM pg_catalog.pg_replication_slots WHERE slot_name = '`+k.slot+`'`, 4)
	if err != nil {
		return slotState{}, err
	}
	s := slotState{status: row[0], waits: namesStandby(row[2], k.slot)}
	start, errStart := parseLSN(row[1])
	now, errNow := parseLSN(row[3])
	if errStart == nil && errNow == nil {
		s.lag = int64(max(now, start) - start)
	}
	return s, nil
}

// namesStandby tells whether the setting synchronous_standby_names, as in "ANY 1 (a, b)", names a standby.
func namesStandby(setting, name string) bool {
	words := strings.FieldsFunc(strings.ToLower(setting), func(r rune) bool { return strings.ContainsRune(" ,()\"\t", r) })
	return slices.Contains(words, name) || slices.Contains(words, "*")
}
