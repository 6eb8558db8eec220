package asset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	// minBackoff and maxBackoff bound the wait before a lost connection is made again.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// ErrGap is returned by Stream when the server no longer has WAL that was not received: transactions between the last
// Flush and the next Base can then not be recovered one by one.
var ErrGap = errors.New("the server no longer has the WAL that comes next: take a new base backup, then stream again")

// Stream receives WAL into the spool until ctx ends, which is no error. It connects again when the connection is lost, and returns
// what no waiting mends: a refused password, a missing privilege, another cluster behind the address, a gap (ErrGap). Only one
// Stream runs at a time. It may run beside Base and Flush.
func (p *Postgres) Stream(ctx context.Context) error {
	if !p.streaming.TryLock() {
		return fmt.Errorf("stream WAL of %s: a stream runs already", p.name)
	}
	defer p.streaming.Unlock()
	p.progress.resume()
	backoff := minBackoff
	for {
		before := p.progress.position()
		err := p.streamOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("stream WAL of %s: %w", p.name, err)
		p.progress.fail(err, lasting(err))
		if lasting(err) {
			return err
		}
		if p.progress.position() > before {
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
	case codeInvalidPassword, codeInvalidAuthorization, codeNoPrivilege, codeNotInState:
		return true
	}
	var here *os.PathError // the spool cannot be written
	return errors.Is(err, ErrGap) || errors.Is(err, errOtherCluster) || errors.As(err, &here)
}

// streamOnce receives WAL over one connection until that or ctx ends.
func (p *Postgres) streamOnce(ctx context.Context) error {
	conn, err := dial(ctx, p.connect, p.passwordFile, true)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	system, err := p.identify(ctx, conn)
	if err != nil {
		return err
	}
	slotStart, err := p.ensureSlot(ctx, conn)
	if err != nil {
		return err
	}
	if err := p.saveHistory(ctx, conn, system.Timeline); err != nil {
		return err
	}
	start, err := p.startPosition(system, slotStart)
	if err != nil {
		return err
	}
	err = p.receiveFrom(ctx, conn, system.Timeline, start)
	if code(err) != codeUndefinedFile {
		return p.explain(err)
	}
	// What comes next is gone from the server. A base backup that begins later needs nothing of it.
	base, labelErr := readLabel(p.spool)
	if labelErr != nil {
		return labelErr
	}
	from := base.start - base.start%pglogrepl.LSN(p.segmentSize)
	if base.timeline != system.Timeline || from <= start {
		return fmt.Errorf("%w (%s)", ErrGap, err.Error())
	}
	p.skipTo = from
	return fmt.Errorf("skip to the base backup: %w", err)
}

func (p *Postgres) explain(err error) error {
	if code(err) == codeNotInState {
		return fmt.Errorf("%w (drop the slot with SELECT pg_drop_replication_slot('%s'), then take a new base backup)", err, p.slot)
	}
	return err
}

// receiveFrom streams from start, the beginning of a segment.
func (p *Postgres) receiveFrom(ctx context.Context, conn *pgconn.PgConn, timeline int32, start pglogrepl.LSN) error {
	err := pglogrepl.StartReplication(ctx, conn, p.slot, start, pglogrepl.StartReplicationOptions{
		Timeline: timeline, Mode: pglogrepl.PhysicalReplication,
	})
	if err != nil {
		return fmt.Errorf("begin at %s: %w", start, err)
	}
	w := &segmentWriter{dir: p.walDir(), size: p.segmentSize, timeline: uint32(timeline), next: start}
	err = p.receive(ctx, conn, w)
	if closing := w.close(); closing != nil {
		return closing
	}
	if ctx.Err() != nil {
		// A last word, so that the server keeps no more than it must; it is no loss if it does not arrive.
		_ = sendStatus(context.WithoutCancel(ctx), conn, w.next, false)
	}
	return err
}

func (p *Postgres) receive(ctx context.Context, conn *pgconn.PgConn, w *segmentWriter) error {
	heard, told := time.Now(), time.Time{}
	for {
		if now := time.Now(); now.Sub(told) >= statusInterval {
			if now.Sub(heard) > silence {
				return fmt.Errorf("the server said nothing for %v", silence)
			}
			if err := w.sync(); err != nil {
				return err
			}
			if err := sendStatus(ctx, conn, w.next, now.Sub(heard) > silence/2); err != nil {
				return err
			}
			told = now
		}
		waiting, cancel := context.WithDeadline(ctx, told.Add(statusInterval))
		message, err := conn.ReceiveMessage(waiting)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if pgconn.Timeout(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive WAL: %w", err)
		}
		heard = time.Now()
		switch message := message.(type) {
		case *pgproto3.CopyData:
			answer, err := p.take(message.Data, w)
			if err != nil {
				return err
			}
			if answer {
				told = time.Time{}
			}
		case *pgproto3.CopyDone:
			return errors.New("the server ended the stream: it shut down or changed its timeline")
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("receive WAL: %w", pgconn.ErrorResponseToPgError(message))
		}
	}
}

// take handles one message of the stream and tells whether the server wants an answer now.
func (p *Postgres) take(data []byte, w *segmentWriter) (answer bool, err error) {
	if len(data) == 0 {
		return false, errors.New("receive WAL: the server sent an empty message")
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return false, fmt.Errorf("receive WAL: %w", err)
		}
		return alive.ReplyRequested, nil
	case pglogrepl.XLogDataByteID:
		wal, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return false, fmt.Errorf("receive WAL: %w", err)
		}
		if err := w.write(wal.WALStart, wal.WALData); err != nil {
			return false, err
		}
		p.progress.reach(w.timeline, w.next)
	}
	return false, nil
}

func sendStatus(ctx context.Context, conn *pgconn.PgConn, safe pglogrepl.LSN, ask bool) error {
	err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: safe, ReplyRequested: ask})
	if err != nil {
		return fmt.Errorf("tell the server what was received: %w", err)
	}
	return nil
}

// ensureSlot makes the replication slot that keeps WAL on the server until it was received, and returns from where it keeps it.
func (p *Postgres) ensureSlot(ctx context.Context, conn *pgconn.PgConn) (pglogrepl.LSN, error) {
	p.slotting.Lock()
	defer p.slotting.Unlock()
	_, err := query(ctx, conn, `CREATE_REPLICATION_SLOT "`+p.slot+`" PHYSICAL RESERVE_WAL`)
	if err != nil && code(err) != codeDuplicateObject {
		return 0, fmt.Errorf("make replication slot: %w (max_replication_slots and max_wal_senders must leave room)", err)
	}
	row, err := p.readSlot(ctx, conn)
	if err != nil {
		return 0, err
	}
	if row[0] != "physical" || row[1] == "" {
		return 0, fmt.Errorf("replication slot %s is %q from %q: not made by kedge; drop it with SELECT pg_drop_replication_slot('%s')", p.slot, row[0], row[1], p.slot)
	}
	return parseLSN(row[1])
}

// readSlot returns the slot's kind and from where it keeps WAL. PostgreSQL before 15 tells that in a view only, to an ordinary
// connection.
func (p *Postgres) readSlot(ctx context.Context, conn *pgconn.PgConn) (row []string, err error) {
	row, err = queryRow(ctx, conn, `READ_REPLICATION_SLOT "`+p.slot+`"`, 3)
	if code(err) != codeNotSupported {
		return row, err
	}
	ordinary, err := dial(ctx, p.connect, p.passwordFile, false)
	if err != nil {
		return nil, fmt.Errorf("read replication slot: %w", err)
	}
	defer hangUp(ctx, ordinary)
	return queryRow(ctx, ordinary, `SELECT slot_type, restart_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = '`+p.slot+`'`, 2)
}

// startPosition returns where to go on: at the beginning of the newest segment of the server's timeline, else where that timeline
// branched off, else where the slot begins.
func (p *Postgres) startPosition(system pglogrepl.IdentifySystemResult, slotStart pglogrepl.LSN) (pglogrepl.LSN, error) {
	size := pglogrepl.LSN(p.segmentSize)
	segments, held, err := listSegments(p.walDir())
	if err != nil {
		return 0, err
	}
	if held != 0 && held != p.segmentSize {
		return 0, fmt.Errorf("%w: its WAL segments have %d bytes, the spool's %d", errOtherCluster, p.segmentSize, held)
	}
	start := slotStart - slotStart%size
	if n := len(segments); n > 0 {
		newest := segments[n-1]
		if newest.timeline > uint32(system.Timeline) {
			return 0, fmt.Errorf("%w: it is on timeline %d, the spool on %d", errOtherCluster, system.Timeline, newest.timeline)
		}
		if newest.timeline == uint32(system.Timeline) {
			start = pglogrepl.LSN(newest.number) * size
		} else {
			branch, err := readBranch(p.walDir(), uint32(system.Timeline))
			if err != nil {
				return 0, err
			}
			start = branch - branch%size
		}
	}
	return max(start, p.skipTo), nil
}

// saveHistory keeps the server's account of how its timeline came to be: recovery along it needs that file.
func (p *Postgres) saveHistory(ctx context.Context, conn *pgconn.PgConn, timeline int32) error {
	if timeline == 1 {
		return nil
	}
	path := filepath.Join(p.walDir(), historyName(uint32(timeline)))
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, timeline)
	if err != nil {
		return fmt.Errorf("ask for the history of timeline %d: %w", timeline, err)
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, history.Content, 0o600); err != nil {
		return fmt.Errorf("keep the history of timeline %d: %w", timeline, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("keep the history of timeline %d: %w", timeline, err)
	}
	return nil
}

// maxHistory bounds a timeline history file, in bytes.
const maxHistory = 1 << 20

// readBranch returns where timeline left its parent, from its history file in dir.
func readBranch(dir string, timeline uint32) (pglogrepl.LSN, error) {
	path := filepath.Join(dir, historyName(timeline))
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxHistory {
		err = fmt.Errorf("%d bytes are too many", info.Size())
	}
	if err != nil {
		return 0, fmt.Errorf("read timeline history: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read timeline history: %w", err)
	}
	branch, err := parseBranch(string(text))
	if err != nil {
		return 0, fmt.Errorf("read timeline history %s: %w", path, err)
	}
	return branch, nil
}

// parseBranch returns the position in the last line of a history file: "parent timeline, position, reason".
func parseBranch(text string) (pglogrepl.LSN, error) {
	var branch pglogrepl.LSN
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return 0, fmt.Errorf("line %.80q has no position", line)
		}
		position, err := parseLSN(fields[1])
		if err != nil {
			return 0, err
		}
		branch = position
	}
	if branch == 0 {
		return 0, errors.New("it names no parent timeline")
	}
	return branch, nil
}
