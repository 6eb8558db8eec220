package main

import (
	"os/user"
	"strconv"
	"sync"

	"github.com/kedge-project/kedge/snapshot"
)

// owners finds the numbers that this machine has for the names of users and groups. It is safe for concurrent use.
type owners struct {
	mu            sync.Mutex
	users, groups map[string]int64 // below 0: the name is not known here
}

func newOwners() *owners { return &owners{users: map[string]int64{}, groups: map[string]int64{}} }

// of returns the owner of a node: by name, or by number where the name is not known here.
func (o *owners) of(n *snapshot.Node) (uid, gid uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	uid = number(o.users, n.User, n.UID, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	gid = number(o.groups, n.Group, n.GID, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return uid, gid
}

// number returns the number of a name, looked up once, or else the number that is stored.
func number(known map[string]int64, name string, stored uint32, lookup func(string) (string, error)) uint32 {
	if name == "" {
		return stored
	}
	n, seen := known[name]
	if !seen {
		n = -1
		if text, err := lookup(name); err == nil {
			if found, err := strconv.ParseUint(text, 10, 32); err == nil {
				n = int64(found)
			}
		}
		known[name] = n
	}
	if n < 0 {
		return stored
	}
	return uint32(n)
}
