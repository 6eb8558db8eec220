// Package event holds the typed facts that go on the record: one struct for each thing that happens, in an
// envelope that says when, to what and in which incident. Every screen and report reads these and nothing else.
//
// All types are values and hold no secret: locations are named, passwords and keys never are.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxSize bounds one encoded event, in bytes. Decode refuses a longer one; lists in facts are cut by their
// writers and say so by a count beside the list.
const MaxSize = 1 << 20

// Kind names the type of a fact, in the form "noun.verb".
type Kind string

// Event is one fact in its envelope.
type Event struct {
	Time     time.Time `json:"time"` // UTC
	Kind     Kind      `json:"kind"`
	Incident string    `json:"incident,omitempty"`
	Site     string    `json:"site,omitempty"`
	Service  string    `json:"service,omitempty"`
	Asset    string    `json:"asset,omitempty"`
	// Fact is what happened. Its type follows from Kind.
	Fact Fact `json:"fact"`
}

// Fact is one of this package's structs.
type Fact interface{ Kind() Kind }

// ErrUnknownKind is returned by Decode for a fact of a newer kedge.
var ErrUnknownKind = errors.New("unknown kind of event")

// New puts fact into an envelope. The caller fills in what it is about.
func New(now time.Time, fact Fact) Event {
	return Event{Time: now.UTC(), Kind: fact.Kind(), Fact: fact}
}

// Subject names the service that the event is about. Signals carry it themselves.
func (e Event) Subject() string {
	if s, ok := e.Fact.(SignalRaised); ok && e.Service == "" {
		return s.Service
	}
	return e.Service
}

// Encode returns the event as one line of JSON, without the newline.
func (e Event) Encode() ([]byte, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.Kind, err)
	}
	if len(line) > MaxSize {
		return nil, fmt.Errorf("encode event %s: %d bytes, at most %d fit", e.Kind, len(line), MaxSize)
	}
	return line, nil
}

// Decode reads what Encode wrote. Facts come back as values, not pointers.
func Decode(line []byte) (Event, error) {
	if len(line) > MaxSize {
		return Event{}, fmt.Errorf("decode event: %d bytes, at most %d are read", len(line), MaxSize)
	}
	var raw struct {
		Event
		Fact json.RawMessage `json:"fact"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	e := raw.Event
	fact, err := decodeFact(e.Kind, raw.Fact)
	if err != nil {
		return Event{}, fmt.Errorf("decode event %.60q: %w", string(e.Kind), err)
	}
	e.Fact = fact
	return e, nil
}

func decodeFact(kind Kind, data []byte) (Fact, error) {
	switch kind {
	case KindSnapshotTaken:
		return decodeAs[SnapshotTaken](data)
	case KindWALGap:
		return decodeAs[WALGap](data)
	case KindCopyVerified:
		return decodeAs[CopyVerified](data)
	case KindDrillFinished:
		return decodeAs[DrillFinished](data)
	case KindSignalRaised:
		return decodeAs[SignalRaised](data)
	case KindIncidentOpened:
		return decodeAs[IncidentOpened](data)
	case KindIncidentClassified:
		return decodeAs[IncidentClassified](data)
	case KindIncidentClosed:
		return decodeAs[IncidentClosed](data)
	case KindServiceContained:
		return decodeAs[ServiceContained](data)
	case KindServiceReopened:
		return decodeAs[ServiceReopened](data)
	case KindEvidencePreserved:
		return decodeAs[EvidencePreserved](data)
	case KindInvestigationFinished:
		return decodeAs[InvestigationFinished](data)
	case KindRecoveryPlanned:
		return decodeAs[RecoveryPlanned](data)
	case KindRecoveryStepDone:
		return decodeAs[RecoveryStepDone](data)
	case KindProofFinished:
		return decodeAs[ProofFinished](data)
	case KindPagesApproved:
		return decodeAs[PagesApproved](data)
	case KindNoticePublished:
		return decodeAs[NoticePublished](data)
	case KindProcessFrozen:
		return decodeAs[ProcessFrozen](data)
	case KindProcessThawed:
		return decodeAs[ProcessThawed](data)
	}
	return nil, ErrUnknownKind
}

func decodeAs[F Fact](data []byte) (Fact, error) {
	var fact F
	if err := json.Unmarshal(data, &fact); err != nil {
		return nil, err
	}
	return fact, nil
}
