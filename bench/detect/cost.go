package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/detect/ransom"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	costData   = 400 << 20 // bytes of real files that are backed up
	costRounds = 5
)

// observerCost is what a first backup takes without and with the detector, which looks at all of it when it is stored.
type observerCost struct {
	Bytes   int64         `json:"bytes"`
	Files   int           `json:"files"`
	Off, On measure.Usage // the medians
}

// speed is the speed with observers as a share of that without, by the clock.
func (c observerCost) speed() float64 { return c.Off.Wall.Seconds() / c.On.Wall.Seconds() }

// cpu is the same by processor time.
func (c observerCost) cpu() float64 { return c.Off.CPU.Seconds() / c.On.CPU.Seconds() }

// measureObservers backs the same files up in turns, without and with observers, each time to a new repository.
func measureObservers(ctx context.Context, dir string) (*observerCost, error) {
	data := filepath.Join(dir, "cost")
	defer os.RemoveAll(data)
	c := &observerCost{}
	var err error
	if c.Bytes, c.Files, err = copyReal(ctx, data); err != nil {
		return nil, err
	}
	var off, on []measure.Usage
	for round := range 2 * costRounds {
		observed := (round+round/2)%2 == 1 // off, on, on, off: a drift of the machine hits both
		used, err := backupOnce(ctx, filepath.Join(dir, "cost-repository"), data, observed)
		if err != nil {
			return nil, err
		}
		if observed {
			on = append(on, used)
		} else {
			off = append(off, used)
		}
	}
	c.Off, c.On = measure.Median(off), measure.Median(on)
	return c, nil
}

func backupOnce(ctx context.Context, dir, data string, observed bool) (used measure.Usage, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	be, err := local.Create(dir)
	if err != nil {
		return used, err
	}
	r, err := repo.Init(ctx, be, password, repo.Options{ScryptN: 1 << 10})
	if err != nil {
		return used, err
	}
	runtime.GC()
	began, cpu := time.Now(), processorTime()
	res, err := archive.Run(ctx, r, []string{data}, archive.Options{Host: host})
	if err == nil && observed {
		err = detectAll(ctx, r, res.Snapshot.Tree)
	}
	return measure.Usage{Wall: time.Since(began), CPU: processorTime() - cpu}, err
}

// detectAll lets the detector look at all that a tree holds.
func detectAll(ctx context.Context, r *repo.Repository, tree blob.ID) error {
	var changes []snapshot.Change
	err := snapshot.Diff(ctx, r, blob.ID{}, tree, func(c snapshot.Change) error {
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		return err
	}
	watcher := ransom.New(service, documents, r)
	watcher.Changes(changes)
	_, err = watcher.Detect(ctx)
	return err
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// errEnough ends the copying.
var errEnough = errors.New("enough")

// copyReal copies files of this machine: what a server is made of.
func copyReal(ctx context.Context, to string) (size int64, files int, err error) {
	for _, from := range []string{"/usr/share", "/usr/lib"} {
		err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // what cannot be read is not copied: any real files will do
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := copyFile(name, filepath.Join(to, name))
			if err != nil {
				return err
			}
			size, files = size+n, files+1
			if size > costData {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			return size, files, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("copy files to back up: %w", err)
		}
	}
	return size, files, nil
}

func copyFile(name, to string) (int64, error) {
	from, err := os.Open(name)
	if err != nil {
		return 0, nil
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	f, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, from)
	return n, errors.Join(err, f.Close())
}
