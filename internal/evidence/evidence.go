// Package evidence keeps the record: an append-only log of events whose Merkle root is signed by the log and
// cosigned by a witness at another site, so that nobody can change or shorten what was said unseen.
//
// What Append acknowledged is on disk and survives a killed process. What Checkpoint covered can be proven
// offline by Verify, from the files and two public keys alone, down to a single byte.
//
// The directory is laid out as C2SP tlog-tiles says: "checkpoint" is a signed note with the log's signature
// and the witness's cosignature/v1; "tile/entries" holds the events, "tile/LEVEL" the hashes. These are the
// evidence. The rest is not: ".state" is the working memory of the storage driver, and ".lock" keeps a second
// process out; both may be left out of a copy.
//
// Sources: c2sp.org/tlog-tiles, /tlog-checkpoint, /tlog-cosignature, /tlog-witness, /signed-note.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/kedge-project/kedge/internal/event"
)

const (
	lockFile = ".lock"

	// batchAge is how long an entry waits for others to share its write: long enough for a burst of appends,
	// short enough that one append alone does not notice.
	batchAge  = 5 * time.Millisecond
	batchSize = 256

	// never keeps the driver from publishing checkpoints itself: one that no witness has seen would replace the
	// cosigned one.
	never = 100 * 365 * 24 * time.Hour
)

// ErrLocked is returned by Open while another process, or another Log, appends to the same record.
var ErrLocked = errors.New("another process is appending to this record; wait for it to end, or stop it")

// errClosed is what a closed Log answers.
var errClosed = errors.New("the record was closed")

// Options say who signs.
type Options struct {
	// Origin is the record's name, the first line of its checkpoints. It must be the name in SignerKey; empty
	// means just that.
	Origin string
	// SignerKey is the file that GenerateKey wrote.
	SignerKey string
	// Witness cosigns. Without one, Append works and Checkpoint is an error.
	Witness WitnessOptions
}

// Log is an open record. All methods may be called by several goroutines at once.
type Log struct {
	dir     string
	signer  note.Signer
	witness *witness // nil: none was named

	lock   *os.File
	record record
	stop   context.CancelFunc
	add    tessera.AddFn
	reader tessera.LogReader

	open    sync.RWMutex // read-locked while a call uses the driver; Close locks it
	closed  bool
	queue   sync.Mutex // keeps the entries of one event together
	publish sync.Mutex // one checkpoint at a time
	last    published  // guarded by publish
}

// published says what the checkpoint file covers.
type published struct {
	size     uint64
	cosigned bool
}

// Open opens the record in dir, creating it if it is not there, and keeps every other process from appending
// until Close. ctx bounds the opening only. What an earlier process left half-written is put right.
func Open(ctx context.Context, dir string, opt Options) (_ *Log, err error) {
	l := &Log{dir: dir}
	var verifier note.Verifier
	if l.signer, verifier, err = loadSigner(opt.SignerKey); err != nil {
		return nil, fmt.Errorf("open record %s: %w", dir, err)
	}
	if opt.Origin != "" && opt.Origin != l.signer.Name() {
		return nil, fmt.Errorf("open record %s: the key in %s is for origin %q, not %q", dir, opt.SignerKey, l.signer.Name(), opt.Origin)
	}
	if opt.Witness.URL != "" {
		if l.witness, err = newWitness(opt.Witness); err != nil {
			return nil, fmt.Errorf("open record %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	if l.lock, err = acquire(filepath.Join(dir, lockFile)); err != nil {
		return nil, fmt.Errorf("open record %s: %w", dir, err)
	}
	if l.record, err = openRecord(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open record: %w", err), l.lock.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.release())
		}
	}()
	if err := l.resume(verifier); err != nil {
		return nil, fmt.Errorf("open record %s: %w", dir, err)
	}
	if err := l.start(ctx); err != nil {
		return nil, fmt.Errorf("open record %s: %w", dir, err)
	}
	return l, nil
}

// resume reads how far an existing record came, and removes what a killed process left half-written.
func (l *Log) resume(verifier note.Verifier) error {
	raw, err := l.record.read(layout.CheckpointPath, maxCheckpoint)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new record, or one whose creation was cut short: the driver begins anew
	}
	if err != nil {
		return err
	}
	others := []note.Verifier{}
	if l.witness != nil {
		others = append(others, l.witness.verifier)
	}
	cp, _, n, err := log.ParseCheckpoint(raw, verifier.Name(), verifier, others...)
	if err != nil {
		return fmt.Errorf("%s is not signed by this key (if the record is another's, name its own key): %w", layout.CheckpointPath, err)
	}
	size, err := l.record.integrated()
	if err != nil {
		return err
	}
	if size < cp.Size {
		return fmt.Errorf("%s says %d entries, but %s covers %d: the record was changed; restore it from a copy", stateFile, size, layout.CheckpointPath, cp.Size)
	}
	l.last = published{size: cp.Size, cosigned: len(n.Sigs) > 1}
	return l.record.removeLeftovers(size)
}

// start runs the driver until Close.
func (l *Log) start(ctx context.Context) error {
	driver, err := posix.New(ctx, posix.Config{Path: l.dir})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	appender, _, reader, err := tessera.NewAppender(running, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(l.signer).
		WithBatching(batchSize, batchAge).
		WithCheckpointInterval(never).
		WithCheckpointRepublishInterval(0))
	if err != nil {
		stop()
		return err
	}
	l.stop, l.add, l.reader = stop, appender.Add, reader
	return nil
}

// Append puts e at the end of the record and returns once it is durably there. Events appended one after the
// other keep their order. After an error the event may or may not be on the record, but never half.
func (l *Log) Append(ctx context.Context, e event.Event) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append %s to the record: %w", e.Kind, err)
	}
	line, err := e.Encode()
	if err != nil {
		return err
	}
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return fmt.Errorf("append %s to the record: %w", e.Kind, errClosed)
	}
	l.queue.Lock()
	var sequenced []tessera.IndexFuture
	for _, entry := range split(line) {
		sequenced = append(sequenced, l.add(ctx, tessera.NewEntry(entry)))
	}
	l.queue.Unlock()
	for _, wait := range sequenced {
		if _, err := wait(); err != nil {
			return fmt.Errorf("append %s to the record: %w", e.Kind, err)
		}
	}
	return nil
}

// Checkpoint returns once a checkpoint that covers all that was appended before is signed, cosigned by the
// witness and stored. On an error the previous one stays, and all events stay: call it again later.
func (l *Log) Checkpoint(ctx context.Context) error {
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return fmt.Errorf("checkpoint the record: %w", errClosed)
	}
	if l.witness == nil {
		return errors.New("checkpoint the record: no witness was named, and a checkpoint that only its maker signed proves nothing; name the vault's address and key")
	}
	l.publish.Lock()
	defer l.publish.Unlock()
	size, err := l.reader.IntegratedSize(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint the record: %w", err)
	}
	if l.last == (published{size: size, cosigned: true}) {
		return nil
	}
	signed, err := l.sign(ctx, size)
	if err != nil {
		return fmt.Errorf("checkpoint the record: %w", err)
	}
	cosigned, err := l.witness.cosign(ctx, signed, l.last, size, l.consistency(ctx, size))
	if err != nil {
		return fmt.Errorf("checkpoint the record: %w", err)
	}
	if err := writeFile(filepath.Join(l.dir, layout.CheckpointPath), cosigned); err != nil {
		return fmt.Errorf("checkpoint the record: %w", err)
	}
	before := l.last.size
	l.last = published{size: size, cosigned: true}
	if err := l.record.removeUnpublished(before, size); err != nil {
		return fmt.Errorf("checkpoint the record: %w", err)
	}
	return nil
}

// sign returns the checkpoint of the first size entries with the log's signature. The root comes from the
// tiles, not from the driver's memory.
func (l *Log) sign(ctx context.Context, size uint64) ([]byte, error) {
	nodes, err := client.FetchRangeNodes(ctx, size, l.reader.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("read tiles: %w", err)
	}
	ranges := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	r, err := ranges.NewRange(0, size, nodes)
	if err != nil {
		return nil, fmt.Errorf("compute root of %d entries: %w", size, err)
	}
	root, err := rootOf(r)
	if err != nil {
		return nil, err
	}
	text := log.Checkpoint{Origin: l.signer.Name(), Size: size, Hash: root}.Marshal()
	return note.Sign(&note.Note{Text: string(text)}, l.signer)
}

// consistency returns a function that proves the first size entries to be a continuation of the first old.
func (l *Log) consistency(ctx context.Context, size uint64) func(old uint64) ([][]byte, error) {
	return func(old uint64) ([][]byte, error) {
		if old == 0 || old == size {
			return nil, nil
		}
		builder, err := client.NewProofBuilder(ctx, size, l.reader.ReadTile)
		if err != nil {
			return nil, err
		}
		return builder.ConsistencyProof(ctx, old, size)
	}
}

// Close waits for calls under way, then lets others append. It makes no checkpoint.
func (l *Log) Close() error {
	l.open.Lock()
	defer l.open.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.stop()
	return l.release()
}

// DriverLog sends what the storage driver says of itself to logger; every failure that matters is returned as
// an error besides. Call it once at the start of a program, before Open: the driver's logger is the whole
// process's. Without it the driver writes to standard error.
func DriverLog(logger *slog.Logger) { klog.SetSlogLogger(logger) }

// acquire locks the file for this open Log. The kernel lets go when the process dies.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func (l *Log) release() error {
	if err := errors.Join(l.record.Close(), l.lock.Close()); err != nil {
		return fmt.Errorf("close record %s: %w", l.dir, err)
	}
	return nil
}

// rootOf returns the root of the tree that r covers from its first leaf; that of no leaves is defined too.
func rootOf(r *compact.Range) ([]byte, error) {
	if r.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return nil, fmt.Errorf("compute root of %d entries: %w", r.End(), err)
	}
	return root, nil
}
