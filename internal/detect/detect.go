// Package detect says what a detector is. The detectors themselves are its sub-packages, each for one family of
// attacks; they share no state and know nothing of one another.
//
// A detector learns from what it is given (changed files as they stream by, differences of snapshots, pages,
// transactions, logs) and from nothing else. What it raises carries the figures that led to it, so that a person can
// disagree.
package detect

import (
	"context"

	"github.com/kedge-project/kedge/internal/event"
)

// Detector looks for one family of attacks on one service.
type Detector interface {
	// Name says which, for messages: "ransom fileserver/documents".
	Name() string
	// Detect returns what is new since the last call. An error means that something could not be looked
	// at; the signals returned beside it hold all the same.
	Detect(ctx context.Context) ([]event.Signal, error)
}
