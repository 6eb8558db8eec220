package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// become makes dir the user's own and gives up root for good: PostgreSQL refuses to run as root, and nothing that an
// exercise does needs it.
func (u unprivileged) become(dir string) error {
	if !u.change {
		return nil
	}
	if err := u.own(dir); err != nil {
		return err
	}
	if err := syscall.Setgroups([]int{u.gid}); err != nil {
		return fmt.Errorf("give up root's groups: %w", err)
	}
	if err := syscall.Setgid(u.gid); err != nil {
		return fmt.Errorf("give up root's group: %w", err)
	}
	if err := syscall.Setuid(u.uid); err != nil {
		return fmt.Errorf("give up root: %w", err)
	}
	// The kernel hides a process that changed its user from /proc; the exercise reads its own entries there.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process readable to itself: %w", err)
	}
	for name, value := range map[string]string{"HOME": "/nonexistent", "USER": "", "LOGNAME": "", "XDG_RUNTIME_DIR": ""} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// own makes the directory if it is not there. One that is there must be the user's already, or empty: root changes the
// owner of nothing else.
func (u unprivileged) own(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return u.adopt(dir)
	}
	if err != nil {
		return fmt.Errorf("make the exercise's directory: %w", err)
	}
	return os.Lchown(dir, u.uid, u.gid)
}

func (u unprivileged) adopt(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: name another with --dir", dir)
	}
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) == u.uid {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s belongs to another user and is not empty: name another with --dir", dir)
	}
	return os.Lchown(dir, u.uid, u.gid)
}
