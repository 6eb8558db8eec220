// Package postgres captures PostgreSQL clusters and brings them back: base backups and WAL by the servers' own replication protocol, dumps of
// their databases, and profiles of what they look like; and it examines a cluster's structures.
//
// It promises that a base backup is archived only after every file of it was compared with the server's own manifest, that a Flush which
// returned holds every transaction that had committed when it was called, and that a restore which could not reach its target
// fails instead of bringing back another state.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/offheap"
)

// Cluster captures a cluster by the streaming replication protocol: base backups now and then, and all WAL between, so that
// any committed transaction can be recovered up to or without. Base backups stream into the repository; WAL is kept in the spool, a
// private directory, until it is archived:
//
//	spool/wal           WAL segments under PostgreSQL's names, the newest one filled with zeros, timeline histories, and spares:
//	                    archived segments to be written over
//	spool/backup_label  of the newest base backup: what WAL must be kept
//	spool/system        the cluster's system identifier
//
// One process uses a spool at a time. Base, Stream and Flush may run in several goroutines.
type Cluster struct {
	name         string // SERVICE/ASSET
	connect      string
	passwordFile string
	data         string // where the data directory stands in a base backup's snapshot, absolute
	spool        string // absolute
	slot         string
	segmentSize  uint64 // bytes

	basing    sync.Mutex // held by Base
	archiving sync.Mutex // held while WAL is archived; guards archived
	archived  archivedWAL
	runs      *offheap.Pool // memory for WAL that is archived
	streaming sync.Mutex    // held by Stream
	slotting  sync.Mutex    // held while the slot is made: one that is half made has no position yet
	slotsMade int           // guarded by slotting
	progress  *progress

	synchronous bool        // commits shall wait until the repository has them
	awaited     atomic.Bool // and they do, whatever was declared

	// Of Stream:
	slotStart pglogrepl.LSN // where the slot was when it connected
	skipTo    segment       // WAL before it is gone from the server, and no base needs it
}

// errOtherCluster is what every operation says when the server is not the one that the spool was filled from.
var errOtherCluster = errors.New("the spool holds another cluster's WAL: if the cluster was made anew, remove the spool and take a new base backup")

// Open connects to the cluster once, to know it, and makes the spool if it is not there. Only the spool's parent must exist.
func Open(ctx context.Context, service string, a estate.Asset, spool string) (*Cluster, error) {
	if a.Kind != "postgres" {
		return nil, fmt.Errorf("open asset %s/%s: its kind is %q, want postgres", service, a.Name, a.Kind)
	}
	spool, err := filepath.Abs(spool)
	if err != nil {
		return nil, fmt.Errorf("find spool: %w", err)
	}
	p := &Cluster{
		name: service + "/" + a.Name, connect: a.Connect, passwordFile: a.PasswordFile,
		data: a.Data, spool: spool, slot: slotName(service, a.Name), progress: newProgress(),
		runs:        offheap.NewPool(runtime.GOMAXPROCS(0), runsAtOnce*walRun),
		synchronous: a.Synchronous,
	}
	if p.data == "" {
		p.data = filepath.Join(spool, "data")
	}
	for _, dir := range []string{spool, p.walDir()} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("make spool of %s: %w", p.name, err)
		}
	}
	conn, err := dial(ctx, p.connect, p.passwordFile, true)
	if err != nil {
		return nil, fmt.Errorf("open asset %s: %w", p.name, err)
	}
	defer hangUp(ctx, conn)
	if _, err := p.identify(ctx, conn); err != nil {
		return nil, fmt.Errorf("open asset %s: %w", p.name, err)
	}
	row, err := queryRow(ctx, conn, "SHOW wal_segment_size", 1)
	if err == nil {
		p.segmentSize, err = parseSize(row[0])
	}
	if err != nil {
		return nil, fmt.Errorf("open asset %s: %w", p.name, err)
	}
	return p, nil
}

func (c *Cluster) walDir() string { return filepath.Join(c.spool, "wal") }

// WAL returns the directory in which Transactions finds what Stream received.
func (c *Cluster) WAL() string { return c.walDir() }

// identify asks the server who and where it is, and refuses another cluster than the spool's. The position it
// returns is up to where the server's WAL was safe on its disk.
func (c *Cluster) identify(ctx context.Context, conn *pgconn.PgConn) (pglogrepl.IdentifySystemResult, error) {
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return system, fmt.Errorf("ask PostgreSQL who it is: %w", err)
	}
	if system.Timeline < 1 {
		return system, fmt.Errorf("ask PostgreSQL who it is: it says timeline %d", system.Timeline)
	}
	known, err := c.system()
	if errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(filepath.Join(c.spool, "system"), []byte(system.SystemID+"\n"), 0o600)
		if err != nil {
			return system, fmt.Errorf("write spool: %w", err)
		}
		return system, nil
	}
	if err != nil {
		return system, err
	}
	if known != system.SystemID {
		return system, fmt.Errorf("%w (system identifier %s, the spool's is %s)", errOtherCluster, system.SystemID, known)
	}
	return system, nil
}

func (c *Cluster) system() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.spool, "system"))
	if err != nil {
		return "", fmt.Errorf("read spool: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// fetchBase takes a base backup and gives its files to add. The slot is made first: it keeps the WAL that the base needs until
// Stream has it.
func (c *Cluster) fetchBase(ctx context.Context, add func(archive.Entry) error) (baseInfo, error) {
	conn, err := dial(ctx, c.connect, c.passwordFile, true)
	if err != nil {
		return baseInfo{}, err
	}
	defer hangUp(ctx, conn)
	if _, err := c.identify(ctx, conn); err != nil {
		return baseInfo{}, err
	}
	if _, _, err := c.ensureSlot(ctx, conn); err != nil {
		return baseInfo{}, err
	}
	return receiveBase(ctx, conn, c.data, "kedge "+c.name, add)
}

// catchUp waits until the spool holds all WAL that was safe on the server's disk when it was called, and returns up to where
// the spool goes.
func (c *Cluster) catchUp(ctx context.Context) (timeline uint32, reached pglogrepl.LSN, err error) {
	conn, err := dial(ctx, c.connect, c.passwordFile, true)
	if err != nil {
		return 0, 0, err
	}
	system, err := c.identify(ctx, conn)
	hangUp(ctx, conn)
	if err != nil {
		return 0, 0, err
	}
	timeline = uint32(system.Timeline)
	reached, err = c.progress.await(ctx, timeline, system.XLogPos)
	return timeline, reached, err
}

// keepSpool is how much archived WAL stays in the spool, in bytes, for those who read transactions there.
const keepSpool = 1 << 30

// prune removes archived WAL segments that the newest base backup does not need, and those beyond keepSpool, but for a few spares. The
// caller holds archiving.
func (c *Cluster) prune() error {
	base, err := readLabel(c.spool)
	if err != nil {
		return err
	}
	segments, size, err := listSegments(c.walDir())
	if err != nil {
		return err
	}
	spares, err := filepath.Glob(filepath.Join(c.walDir(), "*"+spareEnding))
	if err != nil {
		return fmt.Errorf("list the spool: %w", err)
	}
	open, end := c.archived.open, c.archived.end
	for i, s := range segments {
		next := pglogrepl.LSN((s.number + 1) * size)
		needed := s.timeline > uint32(base.timeline) || next > base.start
		if i == len(segments)-1 || compareSegments(s, open) >= 0 || needed && next+keepSpool > end {
			continue
		}
		name := filepath.Join(c.walDir(), s.name(size))
		if len(spares) < maxSpares {
			spares = append(spares, name+spareEnding)
			err = os.Rename(name, name+spareEnding)
		} else {
			err = os.Remove(name)
		}
		if err != nil {
			return fmt.Errorf("remove archived WAL from the spool: %w", err)
		}
	}
	return nil
}

// maxSlotName is PostgreSQL's longest name, in bytes.
const maxSlotName = 63

// slotName returns the replication slot's name: only letters, digits and underscores may be in it.
func slotName(service, asset string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, "kedge_"+service+"_"+asset)
	return clean[:min(len(clean), maxSlotName)]
}

// parseSize reads a WAL segment size as SHOW prints it, such as "16MB".
func parseSize(s string) (uint64, error) {
	for suffix, unit := range map[string]uint64{"MB": 1 << 20, "GB": 1 << 30} {
		digits, ok := strings.CutSuffix(s, suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err == nil && validSegmentSize(n*unit) {
			return n * unit, nil
		}
	}
	return 0, fmt.Errorf("read WAL segment size: %.20q is none", s)
}
