package exercise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/attack"
	"github.com/kedge-project/kedge/internal/process"
)

// prepareDirectory makes the exercise's directory empty and marks it as the adversary's. What an earlier exercise left
// there is stopped and removed; a directory that holds anything else is refused. The directory is this process's until
// release.
func prepareDirectory(ctx context.Context, dir string) (release func() error, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the exercise's directory: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the exercise's directory: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another exercise runs in %s: wait for it, or name another directory with --dir", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		if err := clearDirectory(ctx, dir, entries); err != nil {
			return nil, err
		}
	}
	return lock.Close, attack.Mark(dir)
}

// clearDirectory removes an earlier exercise.
func clearDirectory(ctx context.Context, dir string, entries []fs.DirEntry) error {
	if err := attack.Marked(dir); err != nil {
		return fmt.Errorf("%w: name an empty or a new directory with --dir", err)
	}
	if err := stopLeftovers(ctx, dir); err != nil {
		return fmt.Errorf("stop what an earlier exercise left running in %s: %w", dir, err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("remove an earlier exercise: %w", err)
		}
	}
	return nil
}

// stopLeftovers stops the processes of an exercise that was killed.
func stopLeftovers(ctx context.Context, dir string) error {
	specs := []process.Spec{siteSpec(dir, "serve"), siteSpec(dir, "vault")}
	if e, err := estate.Load(filepath.Join(dir, "kedge.yaml")); err == nil {
		for _, s := range e.Services {
			for _, p := range s.Processes {
				spec, err := process.FromEstate(p)
				if err != nil {
					return err
				}
				specs = append(specs, spec)
			}
		}
	}
	var errs []error
	for _, spec := range specs {
		errs = append(errs, process.Stop(ctx, spec))
	}
	return errors.Join(errs...)
}

// siteSpec is what the processes of both sites have in common.
func siteSpec(dir, name string) process.Spec {
	return process.Spec{
		Name: name, PIDFile: filepath.Join(dir, "run", name+".pid"), Log: filepath.Join(dir, "run", name+".log"), Timeout: 20 * time.Second,
	}
}
