package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

// meta is what a node says of a file besides its content.
type meta struct {
	mtime    moment
	rare     *rare
	mode     fs.FileMode // modeBits
	uid, gid uint32
}

// attributes returns the extended attributes that are to be restored.
func (m *meta) attributes() []snapshot.ExtendedAttribute {
	if m.rare == nil {
		return nil
	}
	return m.rare.attributes
}

// moment is a time, in half the memory of a time.Time.
type moment struct {
	sec  int64
	nsec int32
}

func newMoment(t time.Time) moment { return moment{t.Unix(), int32(t.Nanosecond())} }

// rare is what few files have.
type rare struct {
	atime      moment
	attributes []snapshot.ExtendedAttribute
}

func (s *restorer) newMeta(n *snapshot.Node) meta {
	m := meta{mode: n.Mode & modeBits, uid: n.UID, gid: n.GID, mtime: newMoment(n.ModTime)}
	if s.opt.Owner != nil {
		m.uid, m.gid = s.opt.Owner(n)
	}
	if atime := newMoment(n.AccessTime); atime != m.mtime || len(n.ExtendedAttributes) > 0 {
		m.rare = &rare{atime: atime}
		for _, a := range n.ExtendedAttributes {
			if s.restores(a.Name) {
				m.rare.attributes = append(m.rare.attributes, a)
			}
		}
	}
	return m
}

// times returns what utimensat takes.
func (m *meta) times() (*[2]unix.Timespec, error) {
	atime := m.mtime
	if m.rare != nil {
		atime = m.rare.atime
	}
	times := new([2]unix.Timespec)
	for i, t := range []moment{atime, m.mtime} {
		spec, err := unix.TimeToTimespec(time.Unix(t.sec, int64(t.nsec)))
		if err != nil {
			return nil, fmt.Errorf("set time: this system has no %v: %w", time.Unix(t.sec, 0).UTC(), err)
		}
		times[i] = spec
	}
	return times, nil
}

func (m *meta) sameTime(st *unix.Stat_t) bool {
	return st.Mtim.Sec == m.mtime.sec && int32(st.Mtim.Nsec) == m.mtime.nsec
}

// restores tells whether an extended attribute is to be restored. Only root may set others than the user's own and
// access lists.
func (s *restorer) restores(name string) bool {
	if s.uid != 0 && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
		return false
	}
	return s.opt.Attribute == nil || s.opt.Attribute(name)
}

// describe gives a thing its owner, extended attributes, mode and times, where they differ from what st says it has.
// The order matters: a change of owner takes bits off the mode and attributes away.
func (s *restorer) describe(t thing, st *unix.Stat_t, m *meta, strange bool) error {
	link := isType(st, unix.S_IFLNK)
	have, mode := st.Mode&0o7777, m.mode
	owned := st.Uid == m.uid && st.Gid == m.gid
	if !owned {
		var err error
		if owned, err = s.chown(t, st, m); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
		have = ^uint32(0)
	}
	if !owned {
		mode &^= fs.ModeSetuid | fs.ModeSetgid // they would lend the rights of another
	}
	if len(m.attributes()) > 0 || strange {
		changed, err := s.setAttributes(t, m, strange)
		if err != nil {
			return err
		}
		if changed {
			have = ^uint32(0) // an access list speaks of the mode too
		}
	}
	if have != sysMode(mode) && !link {
		if err := t.chmod(mode); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	if m.sameTime(st) {
		return nil
	}
	times, err := m.times()
	if err != nil {
		return err
	}
	if err := t.setTimes(times); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// chown sets the owner, or as much of it as this process may set. It tells whether the thing is then owned as it should be.
func (s *restorer) chown(t thing, st *unix.Stat_t, m *meta) (owned bool, err error) {
	if s.uid == 0 {
		return true, t.chown(int(m.uid), int(m.gid))
	}
	if st.Gid == m.gid || st.Uid != s.uid {
		return false, nil
	}
	err = t.chown(-1, int(m.gid))
	if errors.Is(err, unix.EPERM) { // not one of the user's groups
		return false, nil
	}
	return st.Uid == m.uid && err == nil, err
}

// setAttributes sets those extended attributes that differ. With strange, those that the snapshot has not are removed: an
// access list that was left behind lets in whom it should not.
func (s *restorer) setAttributes(t thing, m *meta, strange bool) (changed bool, err error) {
	want := m.attributes()
	if strange {
		names, err := t.listAttributes()
		if err != nil {
			return false, fmt.Errorf("list extended attributes: %w", err)
		}
		for _, name := range names {
			wanted := slices.ContainsFunc(want, func(a snapshot.ExtendedAttribute) bool { return a.Name == name })
			if wanted || !s.restores(name) || strings.HasPrefix(name, "security.") && name != "security.capability" {
				continue // what the security modules of this machine gave a file is theirs
			}
			if err := t.removeAttribute(name); err != nil && !errors.Is(err, unix.ENODATA) {
				return false, fmt.Errorf("remove extended attribute %.80q: %w", name, err)
			}
			changed = true
		}
	}
	for _, a := range want {
		have := make([]byte, len(a.Value)+1)
		got, err := t.attribute(a.Name, have)
		if err == nil && bytes.Equal(have[:got], a.Value) {
			continue
		}
		if err := t.setAttribute(a); err != nil {
			return false, fmt.Errorf("set extended attribute %.80q: %w", a.Name, err)
		}
		changed = true
	}
	return changed, nil
}
