package s3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
)

// Mode is how firmly Object Lock keeps a file.
type Mode string

// The modes of Object Lock.
const (
	Compliance Mode = "COMPLIANCE" // no one can shorten the retention or remove the version, the account's owner included
	Governance Mode = "GOVERNANCE" // who has a right of its own for that can
)

// RetainedError is returned by Remove for a file whose retention has not ended. It is an fs.ErrPermission.
type RetainedError struct {
	Mode  Mode
	Until time.Time
}

func (e *RetainedError) Error() string {
	return fmt.Sprintf("Object Lock (%s) keeps it until %s: remove it after that", e.Mode, e.Until.UTC().Format("2006-01-02 15:04:05 MST"))
}

// Is makes a RetainedError an fs.ErrPermission: trying again is of no use.
func (e *RetainedError) Is(target error) bool { return target == fs.ErrPermission }

// retention reads how an object is kept from the answer to a HEAD request. Without the right to read retentions the
// server leaves it out, as it does for an object that has none.
func retention(info minio.ObjectInfo) (mode Mode, until time.Time) {
	until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		return "", time.Time{}
	}
	return Mode(info.Metadata.Get("X-Amz-Object-Lock-Mode")), until
}

// requireObjectLock returns an error if files are to be kept in a bucket that cannot.
func (b *Backend) requireObjectLock(ctx context.Context) error {
	if b.opt.Retention == 0 {
		return nil
	}
	state, _, _, _, err := b.client.GetObjectLockConfig(ctx, b.loc.Bucket)
	if code(err) == "ObjectLockConfigurationNotFoundError" || err == nil && state != "Enabled" {
		return fmt.Errorf("bucket %s has no Object Lock, so it cannot keep files for %v: use a new bucket, which is made with it, or turn it on with the server's own tools",
			b.loc.Bucket, b.opt.Retention)
	}
	if err != nil {
		return fmt.Errorf("read the Object Lock configuration of bucket %s: %w", b.loc.Bucket, b.explain(err))
	}
	return nil
}

// extendWorkers is how many retentions are extended side by side. Each takes one or two round trips and no bandwidth.
const extendWorkers = 16

// Extend makes the retention of files end no sooner than until, and returns for how many it had to be changed. A
// retention that ends later stays as it is, and so does its mode; a file without one gets Options.Mode. What fails for
// a moment is tried again. Files that are not there, or do not hold what their name says, do not stop the others: they
// are in the error, the first ten by name. Everything else that fails does stop, and can be called again.
func (b *Backend) Extend(ctx context.Context, files iter.Seq[backend.Handle], until time.Time) (extended int, err error) {
	until = until.UTC().Truncate(time.Second) // as the protocol does
	var changed atomic.Int64
	var faulty faults
	group, work := errgroup.WithContext(ctx)
	group.SetLimit(extendWorkers)
	for h := range files {
		if work.Err() != nil {
			break
		}
		group.Go(func() error {
			did, err := b.extend(work, h, until)
			if did {
				changed.Add(1)
			}
			if errors.Is(err, backend.ErrNotExist) || errors.Is(err, errOtherBytes) {
				faulty.add(err)
				return nil
			}
			return err
		})
	}
	err = group.Wait()
	if err == nil {
		err = ctx.Err() // it may have ended between two files
	}
	return int(changed.Load()), errors.Join(err, faulty.err())
}

var errOtherBytes = errors.New("it holds other bytes than its name says; an older version may still hold the right ones")

func (b *Backend) extend(ctx context.Context, h backend.Handle, until time.Time) (extended bool, err error) {
	if err := check(ctx, h); err != nil {
		return false, b.fail("extend retention of", h, err)
	}
	info, err := b.patient.StatObject(ctx, b.loc.Bucket, b.key(h), minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return false, b.fail("extend retention of", h, err)
	}
	if otherBytes(h, info.ChecksumSHA256) {
		return false, b.fail("extend retention of", h, errOtherBytes)
	}
	kept, ends := retention(info)
	if !ends.Before(until) {
		return false, nil
	}
	mode := minio.RetentionMode(b.opt.Mode)
	if kept != "" && ends.After(time.Now()) {
		mode = minio.RetentionMode(kept)
	}
	err = b.patient.PutObjectRetention(ctx, b.loc.Bucket, b.key(h), minio.PutObjectRetentionOptions{
		Mode: &mode, RetainUntilDate: &until, VersionID: info.VersionID,
	})
	if err != nil {
		return false, b.fail("extend retention of", h, err)
	}
	return true, nil
}

// otherBytes tells whether the checksum that the server keeps, if it does, is not the name.
func otherBytes(h backend.Handle, checksum string) bool {
	sum, err := base64.StdEncoding.DecodeString(checksum)
	return h.Type != backend.Config && checksum != "" && err == nil && hex.EncodeToString(sum) != h.Name
}

// faults is a bounded list of what is wrong with files.
type faults struct {
	mu    sync.Mutex
	first []error
	more  int
}

const faultsNamed = 10

func (f *faults) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.first) == faultsNamed {
		f.more++
		return
	}
	f.first = append(f.first, err)
}

func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.more > 0 {
		return errors.Join(append(f.first, fmt.Errorf("and %d more files", f.more))...)
	}
	return errors.Join(f.first...)
}
