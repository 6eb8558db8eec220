package live

import (
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/process"
)

const (
	// maxActors bounds the processes that are remembered.
	maxActors = 2000
	// fresh is how long a process is taken to be the same as when it was last looked at.
	fresh = 2 * time.Second
	// describes is how many processes are described in full a second; of more only the program and the user are read.
	describes = 50
)

// actors remembers processes that did something, as they were while they lived. It is safe for concurrent use.
type actors struct {
	mu    sync.Mutex
	known map[int]actor
	spent int // descriptions in this second
	since time.Time
}

type actor struct {
	process.Actor
	there bool
	whole bool // described, not only glanced at
	at    time.Time
}

func newActors() *actors { return &actors{known: map[int]actor{}} }

// see looks at a process at once: it may be gone in a moment.
func (a *actors) see(pid int) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	before, has := a.known[pid]
	if has && now.Sub(before.at) < fresh {
		return
	}
	if now.Sub(a.since) > time.Second {
		a.since, a.spent = now, 0
	}
	next := actor{at: now}
	if next.Actor, next.there = process.Glance(pid); !next.there && has {
		next = before // it has ended: what was seen of it holds
	} else if has && before.there && before.Start == next.Start && before.whole {
		next = before
	} else if next.there && a.spent < describes {
		a.spent++
		if whole, ok := process.Describe(pid); ok {
			next.Actor, next.whole = whole, true
		}
	}
	next.at = now
	if len(a.known) >= maxActors {
		a.drop(now)
	}
	a.known[pid] = next
}

// drop makes room: what is older than a minute goes, and if that is nothing, all.
func (a *actors) drop(now time.Time) {
	for pid, known := range a.known {
		if now.Sub(known.at) > time.Minute {
			delete(a.known, pid)
		}
	}
	if len(a.known) >= maxActors {
		clear(a.known)
	}
}

// doing says who does something now.
func (a *actors) doing(pid int) doing {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := doing{pid: pid, at: time.Now()}
	if known, has := a.known[pid]; has {
		b.group = known.Group
	}
	if b.group == 0 {
		b.group = pid
	}
	return b
}

// ours tells whether another kedge did it, such as one that restores.
func (a *actors) ours(pid int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return pid > 0 && a.known[pid].Ours
}

// noUser is the user of a process that is not known.
const noUser = 1<<32 - 1

// user returns the ID of the user that a process worked as when it was seen.
func (a *actors) user(pid int) uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.known[pid]; pid > 0 && known.there {
		return uint32(known.UID)
	}
	return noUser
}

// who returns what is known of a process, with its connections if it lives still.
func (a *actors) who(pid int) (process.Actor, bool) {
	a.mu.Lock()
	known, has := a.known[pid]
	a.mu.Unlock()
	if pid <= 0 {
		return process.Actor{}, false
	}
	who, ok := known.Actor, has && known.there
	if !known.whole {
		if now, lives := process.Describe(pid); lives && (!ok || now.Start == known.Start) {
			who, ok = now, true
		}
	}
	if ok {
		who.Connect()
	}
	return who, ok
}
