package process

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxParents bounds the ancestors of an Actor.
	maxParents = 8
	// maxArguments and maxArgument bound its command line.
	maxArguments = 32
	maxArgument  = 256
	// maxFiles bounds the open files among which its connections are looked for, and maxConnections those.
	maxFiles       = 4096
	maxConnections = 32
	// maxTable bounds what is read of the kernel's table of connections, in bytes.
	maxTable = 4 << 20
	// masked stands for an argument that might be a secret.
	masked = "…"
)

// Actor is a process as it was when it was looked at: who did something. Fields that could not be read are empty.
type Actor struct {
	PID        int    `json:"pid"`
	Start      uint64 `json:"start_ticks"` // since boot: with the PID it names the process for good
	Name       string `json:"name"`        // as the kernel knows it: at most 15 bytes
	Executable string `json:"executable,omitempty"`
	// Arguments are the command line. Shown are options without a value and what names a file that is there; all else might be a
	// password, and is masked.
	Arguments   []string `json:"arguments,omitempty"`
	UID         int      `json:"uid"`
	User        string   `json:"user,omitempty"`
	Group       int      `json:"process_group"`
	Session     int      `json:"session"`
	Cgroup      string   `json:"cgroup,omitempty"`      // in the unified hierarchy
	Parents     []Parent `json:"parents,omitempty"`     // the nearest first, at most 8
	Ours        bool     `json:"-"`                     // it runs the program of this process: another kedge
	Connections []string `json:"connections,omitempty"` // such as "tcp 192.0.2.1:50000 to 203.0.113.9:443", at most 32
}

// Parent is an ancestor of an Actor.
type Parent struct {
	PID        int    `json:"pid"`
	Name       string `json:"name"`
	Executable string `json:"executable,omitempty"`
}

// String says it in a few words: "/usr/bin/python3 (PID 123) of www-data".
func (a Actor) String() string {
	what := a.Executable
	if what == "" {
		what = a.Name
	}
	who := a.User
	if who == "" {
		who = "UID " + strconv.Itoa(a.UID)
	}
	return fmt.Sprintf("%s (PID %d) of %s", what, a.PID, who)
}

// Glance reads what costs little of a process; false if there is none with that number.
func Glance(pid int) (Actor, bool) {
	m, ok := lookUp(pid)
	if !ok {
		return Actor{}, false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	a := Actor{PID: pid, Start: m.Start, Group: m.Group, Session: m.Session, Name: nameOf(dir)}
	a.Executable, _ = os.Readlink(dir + "/exe") // a kernel thread has none
	a.Ours = ours(pid)
	var owner Actor
	owner.readStatus(dir)
	a.UID = owner.UID
	return a, true
}

// Describe reads all there is to know of a process but its connections, some of which needs root for others' processes; false if there is
// none with that number. It takes a few tenths of a millisecond.
func Describe(pid int) (Actor, bool) {
	a, ok := Glance(pid)
	if !ok {
		return a, false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	if u, err := user.LookupId(strconv.Itoa(a.UID)); err == nil {
		a.User = u.Username
	}
	a.Arguments = arguments(dir)
	a.Cgroup = cgroupOf(pid, "")
	m, _ := lookUp(pid)
	for len(a.Parents) < maxParents && m.Parent > 0 {
		up := "/proc/" + strconv.Itoa(m.Parent)
		p := Parent{PID: m.Parent, Name: nameOf(up)}
		p.Executable, _ = os.Readlink(up + "/exe")
		a.Parents = append(a.Parents, p)
		if m, ok = lookUp(m.Parent); !ok {
			break
		}
	}
	if now, still := lookUp(pid); still && now.Start != a.Start {
		return Actor{}, false // the number went to another process meanwhile
	}
	return a, true
}

// Connect fills in the connections that the process has now, if it lives. Where there are thousands it takes milliseconds.
func (a *Actor) Connect() {
	found := connections("/proc/" + strconv.Itoa(a.PID))
	if m, ok := lookUp(a.PID); ok && m.Start == a.Start {
		a.Connections = found
	}
}

// ours tells whether a process runs the very file that this one runs: a path alone says nothing, in another mount namespace.
func ours(pid int) bool {
	var own, other unix.Stat_t
	return unix.Stat("/proc/self/exe", &own) == nil && unix.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &other) == nil && own.Ino == other.Ino && own.Dev == other.Dev
}

func nameOf(dir string) string {
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(comm), "\n")
}

// readStatus reads the effective user.
func (a *Actor) readStatus(dir string) {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return
	}
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			if fields := bytes.Fields(ids); len(fields) > 1 {
				a.UID, _ = strconv.Atoi(string(fields[1]))
			}
			return
		}
	}
}

// arguments reads the command line and masks what may be secret.
func arguments(dir string) []string {
	f, err := os.Open(dir + "/cmdline")
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, maxArguments*maxArgument)
	n, _ := f.Read(buf)
	if n == 0 {
		return nil
	}
	var shown []string
	for arg := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if len(shown) == maxArguments {
			break
		}
		if !harmless(dir, arg) {
			arg = masked
		}
		shown = append(shown, arg)
	}
	return shown
}

// harmless tells whether an argument says nothing but what to do, and to which file.
func harmless(dir, arg string) bool {
	if arg == "" || len(arg) > maxArgument {
		return false
	}
	if word, long := strings.CutPrefix(arg, "--"); long {
		return strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") == "" && len(word) < 24
	}
	if len(arg) == 2 && arg[0] == '-' {
		return true
	}
	path := arg
	if !strings.HasPrefix(path, "/") {
		path = dir + "/cwd/" + arg
	}
	_, err := os.Lstat(path)
	return err == nil
}

// connections lists the process's TCP and UDP sockets that have another side.
func connections(dir string) []string {
	sockets := map[string]bool{}
	fds, err := os.Open(dir + "/fd")
	if err != nil {
		return nil
	}
	defer fds.Close()
	names, _ := fds.Readdirnames(maxFiles)
	for _, name := range names {
		link, err := os.Readlink(dir + "/fd/" + name)
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	if len(sockets) == 0 {
		return nil
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		found = append(found, tableOf(dir+"/net/"+table, strings.TrimSuffix(table, "6"), sockets)...)
	}
	return found[:min(len(found), maxConnections)]
}

// tableOf reads a table as proc_pid_net(5) describes it.
func tableOf(name, protocol string, sockets map[string]bool) (found []string) {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for read := 0; lines.Scan() && read < maxTable && len(found) < maxConnections; read += len(lines.Bytes()) {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !sockets[fields[9]] {
			continue
		}
		local, ok := address(fields[1])
		remote, hasRemote := address(fields[2])
		if ok && hasRemote && remote.Port() != 0 {
			found = append(found, fmt.Sprintf("%s %s to %s", protocol, local, remote))
		}
	}
	return found
}

// address reads such as 0100007F:0016: words in the byte order of the machine, and the port.
func address(text string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok
}

// cgroupOf returns where a process stands in the hierarchy of a version 1 controller, or, if that is empty, in the unified one.
func cgroupOf(pid int, controller string) string {
	table, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && parts[1] == controller {
			return parts[2]
		}
	}
	return ""
}
