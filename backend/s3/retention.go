package s3

import (
	"context"
	"iter"
	"time"

	"github.com/kedge-project/kedge/backend"
)

// Mode is how firmly Object Lock keeps a file.
type Mode string

// The modes of Object Lock.
const (
	Compliance Mode = "COMPLIANCE" // no one can shorten the retention or remove the version, the account's owner included
	Governance Mode = "GOVERNANCE" // who has a right of its own for that can
)

// Extend makes the retention of files end no sooner than until. Where it ends later it is left as it is.
func (b *Backend) Extend(ctx context.Context, files iter.Seq[backend.Handle], until time.Time) (extended int, err error) {
	panic("not yet")
}

func (b *Backend) requireObjectLock(ctx context.Context) error { return nil }
