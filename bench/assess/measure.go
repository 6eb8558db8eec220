package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/repo"
)

// bench is one run.
type bench struct {
	opt    options
	dir    string
	rows   []row
	kept   []row // at constant change
	change []row // at constant files
}

// row is one history and what its assessment took.
type row struct {
	what       string
	shape      shape
	used       measure.Usage
	read       int64 // bytes of the repository
	repository int64
	damaged    int
}

const password = "bench"

// stages are what can be measured.
var stages = map[string]func(b *bench, ctx context.Context) error{
	"large":   (*bench).large,
	"kept":    (*bench).sweepKept,
	"changed": (*bench).sweepChanged,
	"restic":  (*bench).restic,
}

func stageNames() []string { return slices.Sorted(maps.Keys(stages)) }

func (b *bench) passwordFile() string { return filepath.Join(b.dir, "password") }

// make has a history written and returns where its repository is. A process of its own writes it: what a child has at most in
// memory begins with what its parent had.
func (b *bench) make(ctx context.Context, name string, s shape) (string, error) {
	place := filepath.Join(b.dir, name)
	if err := os.WriteFile(b.passwordFile(), []byte(password), 0o600); err != nil {
		return place, err
	}
	self, err := os.Executable()
	if err != nil {
		return place, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return place, err
	}
	cmd := exec.CommandContext(ctx, self, wordMake, place, string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return place, fmt.Errorf("make %s: %w", name, err)
	}
	return place, nil
}

// wordMake is the argument that makes this program write a history.
const wordMake = "make"

// runMake is that: to a place, of a shape.
func runMake(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s wants a place and a shape", wordMake)
	}
	var s shape
	if err := json.Unmarshal([]byte(args[1]), &s); err != nil {
		return err
	}
	be, err := local.Create(args[0])
	if err != nil {
		return err
	}
	r, err := repo.Init(ctx, be, password, repo.Options{})
	if err != nil {
		return err
	}
	o, err := newOffice(r, s)
	if err != nil {
		return err
	}
	began := time.Now()
	err = o.history(ctx, func(day int) {
		fmt.Fprintf(os.Stderr, "\r%s: snapshot %d of %d, %.0f s ", filepath.Base(args[0]), day+1, s.Snapshots, time.Since(began).Seconds())
	})
	fmt.Fprintln(os.Stderr)
	return err
}

// large measures the history that the target speaks of.
func (b *bench) large(ctx context.Context) error {
	return b.measure(ctx, "made, with an attack", b.opt.measure, &b.rows)
}

// small is the history that the sweeps vary: files so small that hundreds of thousands are soon written.
var small = shape{Files: 50_000, Snapshots: 20, Changed: 300, Average: 1 << 10}

func (b *bench) sweepKept(ctx context.Context) error {
	for _, files := range []int{25_000, 50_000, 100_000, 200_000} {
		s := small
		s.Files = files
		if err := b.measure(ctx, "kept", s, &b.kept); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sweepChanged(ctx context.Context) error {
	for _, changed := range []int{150, 300, 600, 1200, 2400} {
		s := small
		s.Changed = changed
		if err := b.measure(ctx, "changed", s, &b.change); err != nil {
			return err
		}
	}
	return nil
}

// measure makes a history, and removes it when it is measured.
func (b *bench) measure(ctx context.Context, what string, s shape, into *[]row) error {
	name := fmt.Sprintf("%d-files-%d-changed", s.Files, s.Changed)
	place, err := b.make(ctx, name, s)
	if err != nil {
		return err
	}
	if err := b.assess(ctx, place, row{what: what, shape: s}, into); err != nil {
		return err
	}
	return os.RemoveAll(place)
}

// assess measures an assessment.
func (b *bench) assess(ctx context.Context, place string, r row, into *[]row) error {
	var list []measure.Usage
	for range b.opt.rounds {
		cmd := exec.CommandContext(ctx, b.opt.kedge, "assess", "-r", place, "-p", b.passwordFile(), "--json", "--no-cache")
		cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
		var out, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &problems
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("kedge assess: %w: %s", err, problems.Bytes())
		}
		used := measure.Usage{Wall: time.Since(began), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			used.Memory = usage.Maxrss << 10
		}
		list = append(list, used)
		var told struct {
			Series []struct {
				Damaged []struct{} `json:"damaged"`
			} `json:"series"`
			Read struct {
				Bytes      int64 `json:"bytes"`
				Repository int64 `json:"repository_bytes"`
			} `json:"read"`
		}
		if err := json.Unmarshal(out.Bytes(), &told); err != nil {
			return fmt.Errorf("what kedge assess told: %w", err)
		}
		r.read, r.repository, r.damaged = told.Read.Bytes, told.Read.Repository, 0
		for _, series := range told.Series {
			r.damaged += len(series.Damaged)
		}
	}
	r.used = measure.Median(list)
	*into = append(*into, r)
	fmt.Fprintf(os.Stderr, "%s: %d files, %d snapshots, %d changed: %.2f s (%.2f s of processors), %d MiB, read %d of %d bytes\n", r.what,
		r.shape.Files, r.shape.Snapshots, r.shape.Changed, r.used.Wall.Seconds(), r.used.CPU.Seconds(), r.used.Memory>>20, r.read, r.repository)
	return nil
}

// restic measures a history that restic made, of files on disk.
func (b *bench) restic(ctx context.Context) error {
	s := shape{Files: 10_000, Snapshots: 20, Changed: 100, Average: 8 << 10, Attack: 17, Hit: 500}
	place, err := b.make(ctx, "model", s)
	if err != nil {
		return err
	}
	files, repository := filepath.Join(b.dir, "files"), filepath.Join(b.dir, "restic")
	env := append(os.Environ(), "RESTIC_REPOSITORY="+repository, "RESTIC_PASSWORD_FILE="+b.passwordFile(), "RESTIC_CACHE_DIR="+filepath.Join(b.dir, "cache"))
	program := func(name string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			return out, fmt.Errorf("%s %s: %w", name, args[0], err)
		}
		return out, nil
	}
	if _, err := program(b.opt.restic, "init"); err != nil {
		return err
	}
	snapshots, err := filepath.Glob(filepath.Join(place, "snapshots", "*"))
	if err != nil {
		return err
	}
	listed, err := program(b.opt.kedge, "snapshots", "-r", place, "--json")
	if err != nil {
		return err
	}
	var days []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(listed, &days); err != nil || len(days) != len(snapshots) {
		return fmt.Errorf("%d snapshots are listed, %d stand there: %w", len(days), len(snapshots), err)
	}
	for i, day := range days {
		fmt.Fprintf(os.Stderr, "\rrestic: snapshot %d of %d ", i+1, len(days))
		if _, err := program(b.opt.kedge, "restore", "-r", place, day.ID+":"+rootPath, "--target", files, "--delete", "--overwrite", "if-changed"); err != nil {
			return err
		}
		if _, err := program(b.opt.restic, "backup", "--quiet", "--host", "fileserver", files); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr)
	return b.assess(ctx, repository, row{what: "made by restic, with an attack", shape: s}, &b.rows)
}
