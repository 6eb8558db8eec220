package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// member is one process as /proc/PID/stat shows it. See proc(5).
type member struct {
	PID, Parent, Group, Session int
	State                       byte
	Start                       uint64 // clock ticks since boot: with the PID it names a process for good
}

// gone reports whether the process has ended. A zombie has: it holds nothing but its number.
func (m member) gone() bool { return m.State == 'Z' || m.State == 'X' }

// signal sends to this very process and to no later one with its number. One that is gone is no error.
func (m member) signal(signal syscall.Signal) error {
	// With a handle to the process open, the number cannot pass on between the look and the signal.
	handle, err := os.FindProcess(m.PID)
	if err != nil {
		return fmt.Errorf("find PID %d: %w", m.PID, err)
	}
	defer handle.Release()
	if now, found := lookUp(m.PID); !found || now.Start != m.Start || now.gone() {
		return nil
	}
	if err := handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to PID %d: %w", signal, m.PID, err)
	}
	return nil
}

// lookUp reads one process's line. A process that is not there is not found.
func lookUp(pid int) (member, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return member{}, false
	}
	return parseStat(string(data))
}

// parseStat reads the content of a stat file. The program's name, in brackets, may hold blanks and brackets.
func parseStat(line string) (member, bool) {
	pid, rest, ok := strings.Cut(line, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return member{}, false
	}
	// Fields 3 to 6 and 22 of proc(5).
	fields := strings.Fields(rest[end+2:])
	if len(fields) < 20 {
		return member{}, false
	}
	m := member{State: fields[0][0]}
	var errs [5]error
	m.PID, errs[0] = strconv.Atoi(pid)
	m.Parent, errs[1] = strconv.Atoi(fields[1])
	m.Session, errs[2] = strconv.Atoi(fields[3])
	m.Group, errs[4] = strconv.Atoi(fields[2])
	m.Start, errs[3] = strconv.ParseUint(fields[19], 10, 64)
	return m, errors.Join(errs[:]...) == nil
}

// family is a process with all that it started: its session, and the descendants that left the session, as
// every PostgreSQL backend does. A descendant once seen stays known when its parent dies.
type family struct {
	session int
	since   uint64
	known   map[int]uint64 // PID to start time
}

func newFamily(leader member) *family {
	return &family{session: leader.PID, since: leader.Start, known: map[int]uint64{leader.PID: leader.Start}}
}

// alive looks at all processes and returns those of the family that have not ended.
func (f *family) alive() ([]member, error) {
	table, err := processes()
	if err != nil {
		return nil, err
	}
	for grown := true; grown; {
		grown = false
		for _, m := range table {
			if f.isKnown(m) {
				continue
			}
			parent, ofParent := table[m.Parent]
			ofParent = ofParent && f.isKnown(parent)
			if ofParent || m.Session == f.session && m.Start >= f.since {
				f.known[m.PID] = m.Start
				grown = true
			}
		}
	}
	var left []member
	for _, m := range table {
		if f.isKnown(m) && !m.gone() {
			left = append(left, m)
		}
	}
	return left, nil
}

func (f *family) isKnown(m member) bool {
	start, has := f.known[m.PID]
	return has && start == m.Start
}

// processes reads the whole process table. Processes that end meanwhile are left out.
func processes() (map[int]member, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	table := make(map[int]member)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if m, found := lookUp(pid); found {
				table[pid] = m
			}
		}
	}
	return table, nil
}
