// Package mount shows the snapshots of a repository as a read-only file system, by FUSE.
//
// It promises that a file's bytes are those that were stored, or that reading fails; that names, sizes, modes, owners,
// times, links, devices and extended attributes are the stored ones; that memory is bounded, whatever is read and by how
// many; and that the mount ends with Serve, in whatever way that ends.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Options say what is shown, to whom, and how it is named.
type Options struct {
	Filter snapshot.Filter
	// PathTemplates say where snapshots stand; nil is DefaultPaths. See Layout.
	PathTemplates []string
	// TimeTemplate is how %T is written, as time.Format takes it; "" is DefaultTime. Times are in UTC.
	TimeTemplate string
	// OwnerRoot shows everything as root's.
	OwnerRoot bool
	// AllowOther lets other users in; what they may read their modes say, unless NoDefaultPermissions lets them read all.
	AllowOther, NoDefaultPermissions bool
	// RefreshAfter is how old the list of snapshots may be that someone sees; 0 means five seconds.
	RefreshAfter time.Duration
	// Warn is told what could not be read, from any goroutine. It may be nil.
	Warn func(error)
}

// complete fills in what was left to choice.
func (o *Options) complete() {
	if len(o.PathTemplates) == 0 {
		o.PathTemplates = DefaultPaths()
	}
	if o.TimeTemplate == "" {
		o.TimeTemplate = DefaultTime
	}
	if o.RefreshAfter == 0 {
		o.RefreshAfter = 5 * time.Second
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
}

// Serve mounts the repository's snapshots at dir, an existing directory, calls ready, and serves until ctx ends or
// someone else unmounts it. The mount is gone when it returns, also if files in it are
// open: reading those fails then.
func Serve(ctx context.Context, r *repo.Repository, dir string, opt Options, ready func()) error {
	if err := usable(dir); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	opt.complete()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ahead errgroup.Group
	ahead.SetLimit(readAhead)
	s := &server{ctx: ctx, r: r, opt: opt, blobs: newCache(r, &ahead), trees: newTrees(r)}
	if err := s.refresh(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	daemon, err := fusefs.Mount(dir, &listing{s: s}, s.options())
	if err != nil {
		return fmt.Errorf("mount at %s: %w (as root it needs /dev/fuse; as another user also fusermount3, of Debian's package fuse3, and user_allow_other in /etc/fuse.conf for --allow-other)", dir, err)
	}
	ended := make(chan struct{})
	go func() {
		daemon.Wait()
		close(ended)
	}()
	ready()
	select {
	case <-ended:
	case <-ctx.Done():
		err = unmount(dir)
		select {
		case <-ended:
		case <-time.After(drain): // who has a file open keeps what is detached alive
		}
	}
	cancel()
	return errors.Join(err, ahead.Wait())
}

// drain is how long Serve waits for the kernel to be done with a mount that was taken away.
const drain = 2 * time.Second

// usable tells what is missing for a mount at dir.
func usable(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: make the directory first", dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("this system offers no FUSE: %w; load the kernel module (modprobe fuse), or give the container the device /dev/fuse", err)
	}
	return nil
}

// unmount takes the mount away, from under whoever uses it. What these ask then fails.
func unmount(dir string) error {
	if os.Geteuid() == 0 {
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil // EINVAL: someone else was faster
	}
	var err error
	for _, name := range []string{"fusermount3", "fusermount"} {
		if err = exec.Command(name, "-u", "-z", dir).Run(); !errors.Is(err, exec.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w; run fusermount3 -u -z %s", dir, err, dir)
	}
	return nil
}

// server is one mount.
type server struct {
	ctx   context.Context // ends with the mount
	r     *repo.Repository
	opt   Options
	blobs *cache
	trees *trees

	mu    sync.Mutex
	state state
}

func (s *server) options() *fusefs.Options {
	o := &fusefs.Options{
		MountOptions: fuse.MountOptions{
			AllowOther: s.opt.AllowOther, Name: "kedge", FsName: "kedge", MaxReadAhead: 1 << 20, MaxWrite: 1 << 20, EnableSymlinkCaching: true,
			DirectMountFlags: syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_RDONLY,
		},
		NullPermissions: true,
	}
	if s.opt.AllowOther && !s.opt.NoDefaultPermissions {
		o.Options = append(o.Options, "default_permissions")
	}
	if os.Geteuid() == 0 {
		o.DirectMountStrict = true
	} else {
		o.Options = append(o.Options, "ro")
	}
	return o
}

// failed tells of what could not be read, and returns what the reader gets.
func (s *server) failed(err error) syscall.Errno {
	if s.ctx.Err() == nil {
		s.opt.Warn(err)
	}
	return syscall.EIO
}
