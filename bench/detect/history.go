package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	host     = "files1"
	password = "bench"
	baseDays = 3 // snapshots before a scenario begins
)

// base is a site with a few days of history: what all scenarios of a seed begin with.
type base struct {
	seed     uint64
	makers   []maker
	pristine *site
	stored   *memory.Backend
	ids      []blob.ID
}

// stage is where one scenario after another is played.
type stage struct {
	dir  string // holds the site and what else is needed
	site *site
}

func newStage(dir string) (*stage, error) {
	s, err := openSite(filepath.Join(dir, "srv"), time.Date(2026, 3, 2, 18, 0, 0, 0, time.UTC))
	return &stage{dir: dir, site: s}, err
}

// scenario is one course of events: a site that changes, and a repository of its snapshots.
type scenario struct {
	*site
	people *people
	r      *rand.Rand
	dir    string // outside the site, for a workload's own programs
	began  time.Time

	stored *memory.Backend
	repo   *repo.Repository
	ids    []blob.ID
	last   *snapshot.Snapshot
}

// newBase fills the site and takes the first snapshots of it.
func newBase(ctx context.Context, st *stage, seed uint64, list []maker, files int) (*base, error) {
	if err := st.site.empty(); err != nil {
		return nil, err
	}
	b := &base{seed: seed, makers: list, stored: memory.New()}
	st.site.kinds = map[string]string{}
	st.site.clock = time.Date(2026, 3, 2, 18, 0, 0, 0, time.UTC)
	r, err := repo.Init(ctx, b.stored, password, repo.Options{ScryptN: 1 << 10})
	if err != nil {
		return nil, err
	}
	sc := &scenario{site: st.site, people: newPeople(rand.New(rand.NewPCG(seed, 1)), list), stored: b.stored, repo: r}
	if err := sc.people.fill(ctx, st.site, files); err != nil {
		return nil, fmt.Errorf("fill the tree: %w", err)
	}
	for day := range baseDays {
		if day > 0 {
			if err := sc.people.work(ctx, st.site, nobody); err != nil {
				return nil, err
			}
		}
		if err := sc.snapshot(ctx); err != nil {
			return nil, err
		}
	}
	b.ids = sc.ids
	keep := filepath.Join(st.dir, fmt.Sprint("pristine-", seed))
	if b.pristine, err = openSite(keep, st.site.clock); err != nil {
		return nil, err
	}
	return b, st.site.copyTo(b.pristine)
}

// drop removes the copy of the tree.
func (b *base) drop() error {
	return errors.Join(b.pristine.Close(), os.RemoveAll(b.pristine.dir))
}

func nobody(string) bool { return false }

// begin sets the stage for a scenario.
func (b *base) begin(ctx context.Context, st *stage, name string) (*scenario, error) {
	if err := st.site.empty(); err != nil {
		return nil, err
	}
	if err := b.pristine.copyTo(st.site); err != nil {
		return nil, err
	}
	stored := memory.New()
	if err := copyBackend(ctx, b.stored, stored); err != nil {
		return nil, err
	}
	r, err := repo.Open(ctx, stored, password, repo.Options{})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(st.dir, "beside")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		return nil, err
	}
	id := blob.Hash([]byte(name))
	rnd := rand.New(rand.NewPCG(b.seed, uint64(id[0])<<8|uint64(id[1])))
	p := newPeople(rnd, b.makers)
	p.serial = 1_000_000
	sc := &scenario{site: st.site, people: p, r: rnd, dir: dir, began: time.Now(), stored: stored, repo: r, ids: append([]blob.ID{}, b.ids...)}
	sc.last, err = snapshot.Find(ctx, r, b.ids[len(b.ids)-1].String(), snapshot.Filter{})
	return sc, err
}

// snapshot takes one, in the night after the scenario's day.
func (sc *scenario) snapshot(ctx context.Context, observers ...archive.Observer) error {
	sc.clock = sc.clock.Truncate(24 * time.Hour).Add(26 * time.Hour)
	return sc.snapshotNow(ctx, observers...)
}

func (sc *scenario) snapshotNow(ctx context.Context, observers ...archive.Observer) error {
	sc.pass(time.Second)
	res, err := archive.Run(ctx, sc.repo, []string{sc.site.dir}, archive.Options{Host: host, Tags: []string{asset.Tag(service, documents)}, Time: sc.clock, Observers: observers})
	if err != nil {
		return err
	}
	if len(res.Unreadable) > 0 {
		return fmt.Errorf("take snapshot: %w", res.Unreadable[0])
	}
	sc.ids, sc.last = append(sc.ids, res.Snapshot.ID), res.Snapshot
	sc.pass(6 * time.Hour)
	return nil
}

// attackHistory plays an attack over some days with people at work beside it.
func (sc *scenario) attackHistory(ctx context.Context, f family) (*attack, error) {
	a := newAttack(sc.site, sc.r)
	groups := f.victims(sc.site, sc.r)
	victims := map[string]bool{}
	for _, names := range groups {
		for _, name := range names {
			victims[name] = true
		}
	}
	rounds := [][][]string{groups} // what is struck between two snapshots
	if f.slow() {
		rounds = nil
		for _, g := range groups {
			rounds = append(rounds, [][]string{g})
		}
	}
	rounds = append(rounds, nil) // and a day without
	for _, round := range rounds {
		a.step = len(sc.ids)
		for _, names := range round {
			if err := f.strike(a, names); err != nil {
				return nil, err
			}
		}
		if err := sc.people.work(ctx, sc.site, func(name string) bool { return victims[name] }); err != nil {
			return nil, err
		}
		if err := sc.snapshot(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// workHistory plays a workload over some days with people at work beside it.
func (sc *scenario) workHistory(ctx context.Context, w workload) error {
	if w.prepare != nil {
		if err := w.prepare(ctx, sc); err != nil {
			return err
		}
		if err := sc.snapshot(ctx); err != nil {
			return err
		}
	}
	for day := range workDays {
		before := sc.files()
		if err := w.day(ctx, sc, day); err != nil {
			return err
		}
		// People do not work with what the workload made today.
		if err := sc.people.work(ctx, sc.site, func(name string) bool { return !slices.Contains(before, name) }); err != nil {
			return err
		}
		if err := sc.settle(sc.began); err != nil {
			return err
		}
		if err := sc.snapshot(ctx); err != nil {
			return err
		}
	}
	return nil
}

// assessor asks for an assessment, in the JSON form that `kedge assess --json` promises.
type assessor func(ctx context.Context, sc *scenario) ([]byte, error)

// inProcess asks the package.
func inProcess(ctx context.Context, sc *scenario) ([]byte, error) {
	result, err := assess.History(ctx, sc.repo, snapshot.Filter{}, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// byCommand asks a built kedge, of a copy of the repository on disk.
func byCommand(kedge string) assessor {
	return func(ctx context.Context, sc *scenario) ([]byte, error) {
		dir := filepath.Join(sc.dir, "repository")
		be, err := local.Create(dir)
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		if err := copyBackend(ctx, sc.stored, be); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, kedge, "assess", "--json", "-r", dir)
		cmd.Env = append(os.Environ(), "KEDGE_PASSWORD="+password)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", cmd, err, stderr.Bytes())
		}
		return out, nil
	}
}

func copyBackend(ctx context.Context, from, to backend.Backend) error {
	for _, t := range []backend.Type{backend.Config, backend.Key, backend.Pack, backend.Index, backend.Snapshot} {
		err := from.List(ctx, t, func(info backend.FileInfo) error {
			h := backend.Handle{Type: t, Name: info.Name}
			file, err := from.Open(ctx, h, 0, 0)
			if err != nil {
				return err
			}
			defer file.Close()
			data, err := io.ReadAll(file)
			if err != nil {
				return err
			}
			return to.Save(ctx, h, bytes.NewReader(data))
		})
		if err != nil {
			return fmt.Errorf("copy the repository: %w", err)
		}
	}
	return nil
}
