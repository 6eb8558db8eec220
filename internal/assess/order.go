package assess

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// KindClock is the signal of a snapshot that was made later than it says: its host's clock had been turned back, or had been ahead
// before. It says nothing of damage to files.
const KindClock = "history.clock"

// late are snapshots that were made later than they say, each with the newest of those with a later time that were made before it.
type late map[blob.ID]*snapshot.Snapshot

// inOrder returns the snapshots of a series, which come in order of time, in the order in which they were made.
//
// A backup compares with the newest snapshot that is not newer than itself, and names it as its parent. So a snapshot whose
// time lies between another and that one's parent was not there yet when the other was made, unless somebody chose the
// parent. Where it belongs is then told by what it holds: behind the last one whose changes it has. One of which no parent
// speaks stays where its time puts it.
func inOrder(ctx context.Context, src *source, snapshots []*snapshot.Snapshot) ([]*snapshot.Snapshot, late) {
	moved := late{}
	list, suspects := suspected(snapshots)
	for _, sn := range suspects {
		later := func(other *snapshot.Snapshot) bool { return other.Time.After(sn.Time) }
		at := slices.IndexFunc(list, later)
		if at < 0 { // of the very same time
			at = len(list)
		}
		if sn.Parent != nil {
			parent := slices.IndexFunc(list, func(other *snapshot.Snapshot) bool { return other.ID == *sn.Parent })
			at = max(at, parent+1)
		}
		for at > 0 && at < len(list) && follows(ctx, src, list[at-1], list[at], sn) {
			at++
		}
		for _, other := range slices.Backward(list[:at]) {
			if later(other) {
				moved[sn.ID] = other
				break
			}
		}
		list = slices.Insert(list, at, sn)
	}
	return list, moved
}

// suspected tells apart the snapshots that stand between another and its parent. Both lists are in order of time.
func suspected(snapshots []*snapshot.Snapshot) (list, suspects []*snapshot.Snapshot) {
	at := map[blob.ID]int{}
	for i, sn := range snapshots {
		at[sn.ID] = i
		if sn.Original != nil { // it was given tags since, and its children name what it was
			at[*sn.Original] = i
		}
	}
	is := make([]bool, len(snapshots))
	for i, sn := range snapshots {
		if sn.Parent == nil {
			continue
		}
		parent, known := at[*sn.Parent]
		for k := parent + 1; known && k < i; k++ {
			is[k] = is[k] || !overlap(snapshots[k], sn)
		}
	}
	for i, sn := range snapshots {
		if is[i] {
			suspects = append(suspects, sn)
		} else {
			list = append(list, sn)
		}
	}
	return list, suspects
}

// overlap tells whether a backup was not done yet when a later one began.
func overlap(a, b *snapshot.Snapshot) bool {
	return a.Summary != nil && a.Time.Add(a.Summary.BackupEnd.Sub(a.Summary.BackupStart)).After(b.Time)
}

// follows tells whether a snapshot was made after another, where both were made after a third: it brought something that the other
// has not, and the other brought less that it has not. Where neither did, their times tell. What cannot be read is no answer.
func follows(ctx context.Context, src *source, before, other, sn *snapshot.Snapshot) bool {
	own, err := brought(ctx, src, before, sn, other)
	if err != nil {
		return false
	}
	lacked, err := brought(ctx, src, before, other, sn)
	if own == 0 && lacked == 0 {
		return err == nil && !other.Time.After(sn.Time)
	}
	return err == nil && own > lacked
}

// asked is how many changes of a snapshot are looked for in another.
const asked = 64

var errEnough = errors.New("enough was seen")

// brought counts the files that changed between two snapshots, some of them, and are in a third as they were before.
func brought(ctx context.Context, src *source, before, after, third *snapshot.Snapshot) (n int, err error) {
	seen := 0
	err = snapshot.Diff(ctx, src, before.Tree, after.Tree, func(c snapshot.Change) error {
		if c.Kind == snapshot.Metadata || !isFile(c.Old) && !isFile(c.New) {
			return nil
		}
		there, err := snapshot.Lookup(ctx, src, third.Tree, c.Path)
		if err != nil {
			there = nil
		}
		if alike(there, c.Old) {
			n++
		}
		if seen++; seen == asked {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// alike tells whether both are files of the same content, or neither is a file.
func alike(a, b *snapshot.Node) bool {
	if isFile(a) && isFile(b) {
		return slices.Equal(a.Content, b.Content)
	}
	return isFile(a) == isFile(b)
}

// tell adds the signal to what was made later than it says.
func (l late) tell(s *Series) {
	for i := range s.Snapshots {
		sn := &s.Snapshots[i]
		after := l[sn.ID]
		if after == nil {
			continue
		}
		sn.Signals = append(sn.Signals, Signal{Kind: KindClock, Strength: 0.5, Evidence: map[string]any{
			"after": after.ID, "after_time": after.Time, "subject": fmt.Sprintf("made after %s of a later time", after.ID.Short()),
		}})
	}
}
