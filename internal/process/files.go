package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	tailLines = 20
	tailBytes = 16 << 10
	// bootFile names the current boot. Start times of different boots cannot be compared.
	bootFile = "/proc/sys/kernel/random/boot_id"
)

// writePIDFile records a process: "PID START BOOT".
func writePIDFile(name string, m member) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := makeParent(name); err != nil {
		return err
	}
	temporary := name + ".new"
	if err := os.WriteFile(temporary, fmt.Appendf(nil, "%d %d %s\n", m.PID, m.Start, boot), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// readPIDFile returns the recorded process. It is false if there is no file, or one of an earlier boot.
func readPIDFile(name string) (member, bool, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return member{}, false, nil
	}
	if err != nil {
		return member{}, false, err
	}
	boot, err := bootID()
	if err != nil {
		return member{}, false, err
	}
	fields := strings.Fields(string(data))
	if len(fields) != 3 {
		return member{}, false, badPIDFile(name)
	}
	pid, pidErr := strconv.Atoi(fields[0])
	start, startErr := strconv.ParseUint(fields[1], 10, 64)
	if pidErr != nil || startErr != nil || pid <= 1 {
		return member{}, false, badPIDFile(name)
	}
	return member{PID: pid, Start: start}, fields[2] == boot, nil
}

func badPIDFile(name string) error {
	return fmt.Errorf("%s is not a PID file that kedge wrote; if another program writes it, name another pid_file", name)
}

func bootID() (string, error) {
	data, err := os.ReadFile(bootFile)
	if err != nil {
		return "", fmt.Errorf("read the boot's name: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// openLog opens a log to append to, and returns where this run's lines begin.
func openLog(name string) (*os.File, int64, error) {
	if err := makeParent(name); err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("seek in %s: %w", name, err)
	}
	return f, size, nil
}

// LogEnd returns the last lines of s's log, ready to follow an error's text.
func LogEnd(s Spec) string { return tail(s.Log, 0) }

// tail returns the last lines that were written to a log from an offset on, ready to follow an error's text.
func tail(name string, from int64) string {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		from = max(from, size-tailBytes)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return fmt.Sprintf("; it wrote nothing to %s", name)
	}
	lines := strings.Split(string(data), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return fmt.Sprintf("; the end of %s:\n  %s", name, strings.Join(lines, "\n  "))
}

// surroundings returns the environment of a process, and the account it is given: nil for kedge's own.
func surroundings(s Spec) ([]string, *syscall.Credential, error) {
	account, err := user.Current()
	if s.User != "" {
		account, err = user.Lookup(s.User)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find its account: %w", err)
	}
	env := append([]string{"PATH=" + searchPath, "HOME=" + account.HomeDir, "LANG=C.UTF-8"}, s.Env...)
	if s.User == "" || account.Uid == strconv.Itoa(os.Geteuid()) {
		return env, nil, nil
	}
	groups, err := account.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("find the groups of account %s: %w", s.User, err)
	}
	var ids []uint32
	for _, text := range append([]string{account.Uid, account.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("read account %s: %w", s.User, err)
		}
		ids = append(ids, uint32(id))
	}
	return env, &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}

// findProgram finds a program as a shell with searchPath would. The caller's own PATH has no say: what a
// service runs must not depend on who starts it.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(searchPath, ":") {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("program %q is not in %s: install it, or name it by its full path", name, searchPath)
}
