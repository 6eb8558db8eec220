package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// statusInterval is how often the server is told how much WAL is safe in the spool. It may forget WAL that is.
	statusInterval = time.Second
	// silence is how long the server may say nothing before the connection is taken for dead; half way it is asked to answer.
	silence = 30 * time.Second
	// storePatience is for how long the repository is waited for before the disk is, when the spool has much that is on neither. The
	// server has all that still.
	storePatience = 3 * time.Second
	// minBackoff and maxBackoff bound the wait before a lost connection is made again.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// errGap says that the server no longer has WAL that was not received.
var errGap = errors.New("the server no longer has the WAL that comes next: take a new base backup, then stream again")

// Stream receives WAL into the spool until ctx ends, which is no error. It connects again when the connection is lost, and returns
// what no waiting mends: a refused password, a missing privilege, another cluster behind the address, a slot that another process
// streams from, or a gap: WAL that the server no longer has, so that transactions between the last Flush and the next Base cannot be
// recovered one by one. Only one Stream runs at a time. It may run beside Base and Flush.
func (c *Cluster) Stream(ctx context.Context) error {
	if !c.streaming.TryLock() {
		return fmt.Errorf("stream WAL of %s: a stream runs already", c.name)
	}
	defer c.streaming.Unlock()
	c.progress.resume()
	backoff := minBackoff
	for {
		_, before := c.progress.where()
		err := c.streamOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		_, reached := c.progress.where()
		// A connection that was lost may hold the slot for a while; who never had one is not the only one that streams.
		taken := code(err) == codeInUse && reached == 0
		if taken {
			err = fmt.Errorf("%w (another kedge captures this cluster, or the server has not noticed yet that the last one ended: then try again in a minute)", err)
		}
		err = fmt.Errorf("stream WAL of %s: %w", c.name, err)
		c.progress.fail(err, taken || lasting(err))
		if taken || lasting(err) {
			return err
		}
		if reached > before {
			backoff = minBackoff
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// lasting tells whether err will be the same when tried again.
func lasting(err error) bool {
	switch code(err) {
	case codeInvalidPassword, codeInvalidAuthorization, codeNoPrivilege:
		return true
	}
	var here *os.PathError // the spool cannot be written
	return errors.Is(err, errGap) || errors.Is(err, errOtherCluster) || errors.As(err, &here)
}

// streamOnce receives WAL over one connection until that or ctx ends.
func (c *Cluster) streamOnce(ctx context.Context) error {
	// The name is what synchronous_standby_names may name.
	conn, err := dialDatabase(ctx, c.connect, c.passwordFile, "", map[string]string{"replication": "true", "application_name": c.slot})
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	system, err := c.identify(ctx, conn)
	if err != nil {
		return err
	}
	var slotMade bool
	if c.slotStart, slotMade, err = c.ensureSlot(ctx, conn); err != nil {
		return err
	}
	if err := c.saveHistory(ctx, conn, system.Timeline); err != nil {
		return err
	}
	timeline, start, err := c.startPosition(system, slotMade)
	if err != nil {
		return err
	}
	err = c.receiveFrom(ctx, conn, timeline, start)
	if code(err) != codeUndefinedFile {
		return err
	}
	// What comes next is gone from the server. A base backup that begins later needs nothing of it.
	base, labelErr := readLabel(c.spool)
	if labelErr != nil {
		return labelErr
	}
	from := base.start - base.start%pglogrepl.LSN(c.segmentSize)
	if base.timeline != system.Timeline || timeline == system.Timeline && from <= start {
		return fmt.Errorf("%w (%s)", errGap, err.Error())
	}
	c.skipTo = segment{uint32(base.timeline), uint64(from) / c.segmentSize}
	return fmt.Errorf("skip to the base backup: %w", err)
}

// receiveFrom streams from start, the beginning of a segment.
func (c *Cluster) receiveFrom(ctx context.Context, conn *pgconn.PgConn, timeline int32, start pglogrepl.LSN) error {
	err := pglogrepl.StartReplication(ctx, conn, c.slot, start, pglogrepl.StartReplicationOptions{
		Timeline: timeline, Mode: pglogrepl.PhysicalReplication,
	})
	if err != nil {
		return fmt.Errorf("begin at %s: %w", start, err)
	}
	w := &segmentWriter{dir: c.walDir(), size: c.segmentSize, timeline: uint32(timeline), next: start}
	err = c.receive(ctx, conn, w)
	if ctx.Err() != nil {
		// A last word, so that the server keeps no more than it must; it is no loss if it does not arrive.
		_ = c.sendStatus(context.WithoutCancel(ctx), conn, w, false, false)
	}
	if closing := w.close(); closing != nil {
		return closing
	}
	return err
}

func (c *Cluster) receive(ctx context.Context, conn *pgconn.PgConn, w *segmentWriter) error {
	// A deadline that has passed interrupts the reading: when ctx ends, and when the server can be told of more.
	more := make(chan struct{}, 1)
	wake := func() {
		urge(more)
		_ = conn.Conn().SetReadDeadline(time.Unix(1, 0))
	}
	defer func() { _ = conn.Conn().SetReadDeadline(time.Time{}) }()
	defer context.AfterFunc(ctx, wake)()
	c.progress.onStored(wake)
	defer c.progress.onStored(nil)
	heard, told, toldStored, asked := time.Now(), time.Time{}, pglogrepl.LSN(0), false
	takes := time.Now() // when the repository was last seen to keep up
	patient := true     // it is waited for: not again before it has taken something, once that was in vain
	for {
		if err := conn.Conn().SetReadDeadline(told.Add(statusInterval)); err != nil {
			return fmt.Errorf("receive WAL: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		stored, now := c.progress.storedOf(w.timeline), time.Now()
		if now.Sub(told) >= statusInterval || stored > toldStored {
			if err := w.stored(stored); err != nil {
				return err
			}
			if now.Sub(heard) > silence {
				return fmt.Errorf("the server said nothing for %v", silence)
			}
			if err := c.sendStatus(ctx, conn, w, now.Sub(heard) > silence/2, asked); err != nil {
				return err
			}
			patient = patient || stored > toldStored
			told, toldStored, asked = now, stored, false
			continue
		}
		switch {
		case !w.full():
			takes = now
		case patient && now.Sub(takes) < storePatience:
			select {
			case <-more:
			case <-time.After(statusInterval):
			}
			continue
		default:
			patient = false
			if err := w.settle(1, true); err != nil {
				return err
			}
		}
		message, err := conn.ReceiveMessage(context.Background())
		if pgconn.Timeout(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive WAL: %w", err)
		}
		heard = time.Now()
		switch message := message.(type) {
		case *pgproto3.CopyData:
			answer, err := c.take(message.Data, w)
			if err != nil {
				return err
			}
			if answer {
				told, asked = time.Time{}, true // at once
			}
		case *pgproto3.CopyDone:
			return errors.New("the server ended the stream: it shut down or changed its timeline")
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("receive WAL: %w", pgconn.ErrorResponseToPgError(message))
		}
	}
}

// take handles one message of the stream and tells whether the server wants an answer now.
func (c *Cluster) take(data []byte, w *segmentWriter) (answer bool, err error) {
	if len(data) == 0 {
		return false, errors.New("receive WAL: the server sent an empty message")
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return false, fmt.Errorf("receive WAL: %w", err)
		}
		c.progress.reach(w.timeline, w.reached(), alive.ServerWALEnd)
		return alive.ReplyRequested, nil
	case pglogrepl.XLogDataByteID:
		wal, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return false, fmt.Errorf("receive WAL: %w", err)
		}
		if err := w.write(wal.WALStart, wal.ServerWALEnd, wal.WALData); err != nil {
			return false, err
		}
		c.progress.reach(w.timeline, w.reached(), wal.ServerWALEnd)
	}
	return false, nil
}

// slotBound is how much received WAL the server keeps for us until the repository has it, in bytes: with the spool lost too, it
// sends that again. When the repository takes nothing for long, the spool must do, lest the server's disk fills up.
const slotBound = 512 << 20

// sendStatus tells the server how far we are, and so what it may forget and which commits it need not hold back. One that asked for it,
// while it hears from us every second, shuts down: it would wait until all is said to be safe, however long the repository takes.
func (c *Cluster) sendStatus(ctx context.Context, conn *pgconn.PgConn, w *segmentWriter, ask, asked bool) error {
	safe := max(c.progress.storedOf(w.timeline), c.slotStart)
	reached := w.reached()
	written := reached
	if c.holdsCommits() {
		written = safe
	} else if asked || reached > safe+slotBound {
		if err := w.sync(); err != nil {
			return err
		}
		safe = reached
		if !asked {
			safe -= slotBound
		}
	}
	err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: written, WALFlushPosition: safe, WALApplyPosition: safe, ReplyRequested: ask,
	})
	if err != nil {
		return fmt.Errorf("tell the server what was received: %w", err)
	}
	return nil
}

// holdsCommits tells whether commits on the server wait until the repository has them.
func (c *Cluster) holdsCommits() bool { return c.synchronous || c.awaited.Load() }

// ensureSlot makes the replication slot that keeps WAL on the server until it was received, and returns from where it keeps it, and whether it is
// new. A slot that the server has given up on is made anew.
func (c *Cluster) ensureSlot(ctx context.Context, conn *pgconn.PgConn) (start pglogrepl.LSN, isNew bool, err error) {
	c.slotting.Lock()
	defer c.slotting.Unlock()
	made, err := c.makeSlot(ctx, conn)
	if err != nil {
		return 0, false, err
	}
	row, err := c.readSlot(ctx, conn)
	if err == nil && row[0] == "physical" && row[1] == "" {
		_, err = Query(ctx, conn, `DROP_REPLICATION_SLOT "`+c.slot+`"`)
		if err == nil {
			made, err = c.makeSlot(ctx, conn)
		}
		if err == nil {
			row, err = c.readSlot(ctx, conn)
		}
	}
	if err != nil {
		return 0, false, err
	}
	c.slotsMade += made
	if row[0] != "physical" {
		return 0, false, fmt.Errorf("replication slot %s is %q: not made by kedge; drop it with SELECT pg_drop_replication_slot('%s')", c.slot, row[0], c.slot)
	}
	start, err = parseLSN(row[1])
	return start, made > 0, err
}

// makeSlot returns how many slots it made: none if there was one.
func (c *Cluster) makeSlot(ctx context.Context, conn *pgconn.PgConn) (int, error) {
	_, err := Query(ctx, conn, `CREATE_REPLICATION_SLOT "`+c.slot+`" PHYSICAL RESERVE_WAL`)
	if code(err) == codeDuplicateObject {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("make replication slot: %w (max_replication_slots and max_wal_senders must leave room)", err)
	}
	return 1, nil
}

// readSlot returns the slot's kind and from where it keeps WAL. PostgreSQL before 15 tells that in a view only, to an ordinary
// connection.
func (c *Cluster) readSlot(ctx context.Context, conn *pgconn.PgConn) (row []string, err error) {
	row, err = queryRow(ctx, conn, `READ_REPLICATION_SLOT "`+c.slot+`"`, 3)
	if code(err) != codeNotSupported {
		return row, err
	}
	ordinary, err := dial(ctx, c.connect, c.passwordFile, false)
	if err != nil {
		return nil, fmt.Errorf("read replication slot: %w", err)
	}
	defer hangUp(ctx, ordinary)
	return queryRow(ctx, ordinary, `SELECT slot_type, restart_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = '`+c.slot+`'`, 2)
}

// startPosition returns where to go on: at the beginning of the newest segment of the spool, or later if the slot says that all of that was
// received; on the next timeline, once all of the one before is there; in an empty spool where the slot begins. Of a spool that this process
// did not fill the last segments may have been lost in a power cut: they are received again, if a slot kept them.
func (c *Cluster) startPosition(system pglogrepl.IdentifySystemResult, slotMade bool) (timeline int32, start pglogrepl.LSN, err error) {
	segments, held, err := listSegments(c.walDir())
	if err != nil {
		return 0, 0, err
	}
	if held != 0 && held != c.segmentSize {
		return 0, 0, fmt.Errorf("%w: its WAL segments have %d bytes, the spool's %d", errOtherCluster, c.segmentSize, held)
	}
	at := segment{uint32(system.Timeline), uint64(c.slotStart) / c.segmentSize}
	// The server need not have what is before the slot.
	if n := len(segments); n > 0 && (slotMade || segments[n-1].timeline != at.timeline || segments[n-1].number > at.number) {
		slot := at
		at = segments[n-1]
		if _, reached := c.progress.where(); reached == 0 && !slotMade {
			at = mayBeLost(segments, slot)
		}
	}
	if compareSegments(at, c.skipTo) < 0 {
		at = c.skipTo
	}
	if at.timeline > uint32(system.Timeline) {
		return 0, 0, fmt.Errorf("%w: it is on timeline %d, the spool on %d", errOtherCluster, system.Timeline, at.timeline)
	}
	if at.timeline < uint32(system.Timeline) {
		branches, err := readBranches(c.walDir(), uint32(system.Timeline))
		if err != nil {
			return 0, 0, err
		}
		if at, err = c.follow(at, branches, uint32(system.Timeline)); err != nil {
			return 0, 0, err
		}
	}
	return int32(at.timeline), at.begin(c.segmentSize), nil
}

// mayBeLost returns the oldest of the segments on the newest timeline that a power cut may have cost. What is before the slot the
// repository had, or the disk.
func mayBeLost(segments []segment, slot segment) segment {
	newest := segments[len(segments)-1]
	at := newest
	for _, s := range slices.Backward(segments) {
		if s.timeline != newest.timeline || s.number+maxUnsynced < newest.number || compareSegments(s, slot) < 0 {
			break
		}
		at = s
	}
	return at
}

// follow returns where to go on after at, on whose timeline the server is no longer.
func (c *Cluster) follow(at segment, branches []branch, newest uint32) (segment, error) {
	for i, b := range branches {
		if b.timeline != at.timeline {
			continue
		}
		last := uint64(b.end) / c.segmentSize
		timeline, reached := c.progress.where()
		if at.number < last && (timeline != at.timeline || reached < segment{0, last}.begin(c.segmentSize)) {
			return at, nil // the server sends the rest of the timeline
		}
		next := newest
		if i+1 < len(branches) {
			next = branches[i+1].timeline
		}
		return segment{next, last}, nil
	}
	return at, fmt.Errorf("%w: its timeline %d did not come from timeline %d, which the spool has", errGap, newest, at.timeline)
}
