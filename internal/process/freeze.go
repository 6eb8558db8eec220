package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The ways to freeze.
const (
	ByCgroup    = "cgroup"    // the unified hierarchy's cgroup.freeze
	ByCgroup1   = "cgroup v1" // the version 1 freezer
	BySignal    = "SIGSTOP"
	unified     = ""
	freezer     = "freezer"
	freezeWait  = 2 * time.Second
	maxFreezing = 20 // rounds of looking for what was started meanwhile
)

// ErrSpared says that a process must not be frozen.
var ErrSpared = errors.New("it is not to be frozen")

// Frozen is what was, or is about to be, frozen.
type Frozen struct {
	Way     string     `json:"way"`
	Cgroup  string     `json:"cgroup,omitempty"` // its directory
	Members []Identity `json:"members"`          // by SIGSTOP: all that get it. By cgroup: those that were in it
}

// Identity names a process for good.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start_ticks"`
}

// Freeze stops a process where it stands, with all that works with it, so that Thaw lets them go on as if nothing had been. If it is in a
// cgroup of its own, which holds nobody who must be spared, that is frozen; else its process group and their descendants are sent
// SIGSTOP, the process first. Never frozen are PID 1, kernel threads, this process, others of its program and its ancestors, and those that spare names; if the process
// itself is one the error is ErrSpared, with why. before is called with what is about to be frozen, maybe several times with ever more; its error ends
// it. After an error some may be frozen: Thaw frees them.
func Freeze(target Identity, spare func(pid int) string, before func(Frozen) error) (Frozen, error) {
	f := freezing{target: target, spare: spare, before: before}
	table, err := processes()
	if err != nil {
		return Frozen{}, fmt.Errorf("freeze PID %d: %w", target.PID, err)
	}
	m, ok := table[target.PID]
	if !ok || m.Start != target.Start || m.gone() {
		return Frozen{}, fmt.Errorf("freeze PID %d: %w", target.PID, os.ErrProcessDone)
	}
	if why := f.spared(table, m); why != "" {
		return Frozen{}, fmt.Errorf("freeze PID %d: %w: %s", target.PID, ErrSpared, why)
	}
	frozen, err := f.byCgroup(table, m)
	if errors.Is(err, errNoCgroup) {
		frozen, err = f.bySignal(m)
	}
	if err != nil {
		return frozen, fmt.Errorf("freeze PID %d: %w", target.PID, err)
	}
	return frozen, nil
}

// Thaw lets go on what Freeze stopped. What has ended meanwhile is no error.
func Thaw(f Frozen) error {
	switch f.Way {
	case ByCgroup:
		return thawFile(filepath.Join(f.Cgroup, "cgroup.freeze"), "0")
	case ByCgroup1:
		return thawFile(filepath.Join(f.Cgroup, "freezer.state"), "THAWED")
	case BySignal:
		var errs []error
		for _, id := range f.Members {
			errs = append(errs, member{PID: id.PID, Start: id.Start}.signal(syscall.SIGCONT))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("thaw: %q is no way to freeze", f.Way)
}

func thawFile(name, word string) error {
	err := os.WriteFile(name, []byte(word), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a cgroup goes when its last process has
	}
	if err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

type freezing struct {
	target Identity
	spare  func(pid int) string
	before func(Frozen) error
}

// spared says why a process must not be frozen; empty if it may.
func (f *freezing) spared(table map[int]member, m member) string {
	switch {
	case m.PID == 1:
		return "it is the system's first process"
	case m.PID == 2 || m.Parent == 2 && executable(m.PID) == "":
		return "it is a thread of the kernel"
	case m.PID == os.Getpid() || ours(m.PID):
		return "it is kedge itself"
	}
	for up := os.Getppid(); up > 1; up = table[up].Parent {
		if up == m.PID {
			return "kedge was started by it"
		}
	}
	return f.spare(m.PID)
}

func executable(pid int) string {
	name, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return name
}

// errNoCgroup says that the process has no cgroup that could be frozen.
var errNoCgroup = errors.New("no cgroup of its own")

// byCgroup freezes the cgroup of m in the first hierarchy that allows it.
func (f *freezing) byCgroup(table map[int]member, m member) (Frozen, error) {
	for _, way := range []struct{ name, controller, file, word, done string }{
		{ByCgroup, unified, "cgroup.freeze", "1", "frozen 1"}, {ByCgroup1, freezer, "freezer.state", "FROZEN", "FROZEN"},
	} {
		path := cgroupOf(m.PID, way.controller)
		mount := hierarchy(way.controller)
		if path == "" || path == "/" || mount == "" {
			continue
		}
		dir := filepath.Join(mount, path)
		if _, err := os.Stat(filepath.Join(dir, way.file)); err != nil {
			continue
		}
		members, ok := f.inside(table, path, way.controller)
		if !ok {
			continue
		}
		frozen := Frozen{Way: way.name, Cgroup: dir, Members: members}
		if err := f.before(frozen); err != nil {
			return frozen, err
		}
		if err := os.WriteFile(filepath.Join(dir, way.file), []byte(way.word), 0); err != nil {
			return frozen, err
		}
		state := way.file
		if way.controller == unified {
			state = "cgroup.events"
		}
		return frozen, awaitWord(filepath.Join(dir, state), way.done)
	}
	return Frozen{}, errNoCgroup
}

// awaitWord waits until the kernel says that all have stopped. One that is stuck in the kernel stops when it comes out.
func awaitWord(name, word string) error {
	for began := time.Now(); ; time.Sleep(poll) {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), word) || time.Since(began) > freezeWait {
			return nil
		}
	}
}

// inside lists the processes in a cgroup and those below it; false if one of them must be spared.
func (f *freezing) inside(table map[int]member, path, controller string) (members []Identity, ok bool) {
	for _, m := range table {
		at := cgroupOf(m.PID, controller)
		if at != path && !strings.HasPrefix(at, path+"/") {
			continue
		}
		if f.spared(table, m) != "" {
			return nil, false
		}
		members = append(members, Identity{m.PID, m.Start})
	}
	return members, true
}

// hierarchy returns where a version 1 controller's hierarchy, or the unified one, is mounted; empty if it is not.
func hierarchy(controller string) string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 || fields[3] != "/" {
			continue
		}
		if controller == unified && kind[0] == "cgroup2" || controller != unified && kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ","+controller+",") {
			return fields[4]
		}
	}
	return ""
}

// bySignal stops the process, then its group and all their descendants, until no more come to be.
func (f *freezing) bySignal(first member) (Frozen, error) {
	frozen := Frozen{Way: BySignal}
	known := map[int]uint64{}
	for range maxFreezing {
		table, err := processes()
		if err != nil {
			return frozen, err
		}
		fresh := f.together(table, first, known)
		if len(fresh) == 0 {
			return frozen, nil
		}
		for _, m := range fresh {
			known[m.PID] = m.Start
			frozen.Members = append(frozen.Members, Identity{m.PID, m.Start})
		}
		if err := f.before(frozen); err != nil {
			return frozen, err
		}
		for _, m := range fresh {
			if err := m.signal(syscall.SIGSTOP); err != nil {
				return frozen, err
			}
		}
		awaitStopped(fresh)
	}
	return frozen, errors.New("it starts ever more processes; those known are stopped")
}

// awaitStopped waits until the processes have stopped or ended: who is in the kernel stops when it comes out.
func awaitStopped(all []member) {
	for began := time.Now(); time.Since(began) < freezeWait; time.Sleep(poll) {
		on := slices.ContainsFunc(all, func(m member) bool {
			now, there := lookUp(m.PID)
			return there && now.Start == m.Start && !now.gone() && now.State != 'T' && now.State != 't'
		})
		if !on {
			return
		}
	}
}

// together lists those of the group of first and their descendants that are not known yet and may be frozen, first at the head. A group in
// which somebody must be spared, as a shell's that started kedge too, counts only from first downwards.
func (f *freezing) together(table map[int]member, first member, known map[int]uint64) []member {
	in := map[int]bool{first.PID: true}
	shared := first.Group <= 0 // another namespace's
	for _, m := range table {
		shared = shared || m.Group == first.Group && f.spared(table, m) != ""
	}
	for grown := true; grown; {
		grown = false
		for _, m := range table {
			if !in[m.PID] && (in[m.Parent] || !shared && m.Group == first.Group) && f.spared(table, m) == "" {
				in[m.PID], grown = true, true
			}
		}
	}
	var fresh []member
	for pid := range in {
		m, there := table[pid]
		if start, has := known[pid]; !there || m.gone() || has && start == m.Start {
			continue
		}
		if pid == first.PID {
			fresh = append([]member{m}, fresh...)
		} else {
			fresh = append(fresh, m)
		}
	}
	return fresh
}

// Responsible returns who can be held for what a process did: itself while it lives, else the oldest that lives of its process group, which
// is the script or the program that started it; false if none does.
func Responsible(who Actor) (Actor, bool) {
	if m, ok := lookUp(who.PID); ok && m.Start == who.Start && !m.gone() {
		return who, true
	}
	table, err := processes()
	if err != nil || who.Group <= 1 {
		return Actor{}, false
	}
	var oldest member
	for _, m := range table {
		// One that is younger may be of another group, which got the number since. Of two that began in one tick the leader counts.
		if m.Group == who.Group && m.Start <= who.Start && !m.gone() && (oldest.PID == 0 || m.Start < oldest.Start || m.Start == oldest.Start && m.PID == who.Group) {
			oldest = m
		}
	}
	if oldest.PID == 0 {
		return Actor{}, false
	}
	a, ok := Describe(oldest.PID)
	return a, ok && a.Start == oldest.Start
}

// Members lists the processes of a program that run: the one that its PID file names, its session, and all that they started.
func Members(s Spec) ([]Identity, error) {
	leader, ok, err := readPIDFile(s.PIDFile)
	if err != nil || !ok {
		return nil, err
	}
	alive, err := newFamily(leader).alive()
	if err != nil {
		return nil, err
	}
	var all []Identity
	for _, m := range alive {
		all = append(all, Identity{m.PID, m.Start})
	}
	return all, nil
}

// Boot names the boot that start times belong to.
func Boot() (string, error) { return bootID() }
