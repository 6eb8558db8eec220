package exercise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/exercise/example"
	"github.com/kedge-project/kedge/internal/timeline"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
)

// The example's size at scale 1.
const (
	exampleFiles = 20_000
	exampleBytes = 1 << 30
	exampleRows  = 200_000
)

// build makes the example estate and both sites, and starts everything. From here on the writer commits and the monitor
// asks every service, until the exercise ends.
func (r *run) build(ctx context.Context) error {
	kedge, err := r.installKedge()
	if err != nil {
		return err
	}
	r.example, err = example.Build(ctx, example.Options{
		Dir: r.opt.Dir, Seed: r.opt.Seed, Kedge: kedge,
		Files:    int(exampleFiles * r.opt.Scale),
		Bytes:    int64(exampleBytes * r.opt.Scale),
		Rows:     int(exampleRows * r.opt.Scale),
		Progress: func(text string) { r.progressf("%s", text) },
	})
	if err != nil {
		return err
	}
	r.estate = r.example.Config
	r.onClose(func() error { return r.example.Stop(context.Background()) })
	if err := r.createRepository(ctx); err != nil {
		return err
	}
	if err := r.startSites(ctx, kedge); err != nil {
		return err
	}
	if err := r.saveEstate(); err != nil {
		return err
	}
	if err := r.openRecord(ctx); err != nil {
		return err
	}
	r.agent = agent.Open(r.estate, r.opt.OpenBackend, r.record)
	r.onClose(func() error { r.agent.Close(); return nil })
	r.progressf("starting %d services", len(r.estate.Services))
	if err := r.example.Start(ctx); err != nil {
		return err
	}
	if err := r.startBeside(ctx); err != nil {
		return err
	}
	r.conclude("%d services running in %s", len(r.estate.Services), r.opt.Dir)
	return nil
}

func (r *run) createRepository(ctx context.Context) error {
	declared, err := r.estate.Repository(repositoryName)
	if err != nil {
		return err
	}
	password, err := os.ReadFile(declared.PasswordFile)
	if err != nil {
		return err
	}
	be, err := local.Create(declared.Location)
	if err != nil {
		return err
	}
	_, err = repo.Init(ctx, be, strings.TrimSpace(string(password)), repo.Options{})
	return err
}

// saveEstate writes kedge.yaml again, with the copy at geneva in it.
func (r *run) saveEstate() error {
	data, err := r.estate.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(r.example.Path, data, 0o600)
}

func (r *run) openRecord(ctx context.Context) error {
	log, err := evidence.Open(ctx, r.state("record"), evidence.Options{
		SignerKey: r.state("record.key"),
		Witness:   evidence.WitnessOptions{URL: r.vault.URL, VerifierKey: r.keys.witness},
	})
	if err != nil {
		return err
	}
	r.record = log
	r.onClose(log.Close)
	return nil
}

// startBeside starts what runs beside the stages: the writer and the monitor.
func (r *run) startBeside(ctx context.Context) error {
	writer, err := r.example.NewWriter()
	if err != nil {
		return err
	}
	r.monitor = newMonitor(slices.Clone(r.estate.Services))
	r.goBeside(ctx, writer.Run)
	r.goBeside(ctx, func(ctx context.Context) error { r.monitor.run(ctx); return nil })
	return nil
}

// goBeside runs fn until it returns or the exercise is closed. Its error ends the exercise.
func (r *run) goBeside(ctx context.Context, fn func(context.Context) error) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			r.cancel(err)
		}
	}()
	r.onClose(func() error { stop(); <-done; return nil })
}

func (r *run) protect(ctx context.Context) error {
	var files, bytes, added int64
	var unreadable int
	err := r.agent.Protect(ctx, nil, func(p agent.Protected) {
		files, bytes, added = files+p.Fact.Files, bytes+p.Fact.Bytes, added+p.Fact.Added
		unreadable += p.Fact.Unreadable
		r.progressf("%s/%s: %d files, %s", p.Service, p.Asset, p.Fact.Files, wording.Size(p.Fact.Bytes))
	})
	if err != nil {
		return err
	}
	if unreadable > 0 {
		return fmt.Errorf("%d files could not be read", unreadable)
	}
	r.conclude("%d files, %s in %s of the repository", files, wording.Size(bytes), wording.Size(added))
	return nil
}

func (r *run) replicate(ctx context.Context) error {
	fact, err := r.pull(ctx)
	if err != nil {
		return err
	}
	r.conclude("%d files, %s pulled and verified at geneva", fact.NewFiles, wording.Size(fact.NewBytes))
	return nil
}

// pull makes geneva pull now, and puts what it verified on the record.
func (r *run) pull(ctx context.Context) (event.CopyVerified, error) {
	fact, err := r.vault.Pull(ctx, repositoryName)
	if err != nil {
		return fact, fmt.Errorf("pull to geneva: %w", err)
	}
	r.agent.ForgetCopies()
	e := event.New(time.Now(), fact)
	e.Site = "geneva"
	return fact, r.record.Append(ctx, e)
}

func (r *run) drill(ctx context.Context) error {
	if err := r.breakBeforeDrill(); err != nil {
		return err
	}
	events, err := r.agent.Drill(ctx, r.path("sandbox"), nil, func(what string) { r.progressf("%s", what) })
	var slowest float64
	probes := 0
	for _, e := range events {
		if fact, ok := e.Fact.(event.DrillFinished); ok {
			slowest = max(slowest, fact.RTO)
			probes += len(fact.Probes)
			r.noteDrill(e.Service, fact)
		}
	}
	if err != nil {
		return err
	}
	r.conclude("%d services restored from geneva, started, %d probes answered; slowest after %.1f s", len(events), probes, slowest)
	return nil
}

func (r *run) noteDrill(service string, fact event.DrillFinished) {
	if !fact.Passed {
		r.notef("%s: FAILED: %s", service, fact.Reason)
		return
	}
	r.notef("%-12s RPO %5.1f s  RTO %5.1f s  %6d files  %10s", service, fact.RPO, fact.RTO, fact.Files, wording.Size(fact.Bytes))
	for _, check := range fact.Structure {
		r.notef("%-12s %s", "", timeline.Structure(check))
	}
}

// breakBeforeDrill makes what the fault asks for.
func (r *run) breakBeforeDrill() error {
	switch r.opt.Fault {
	case FaultCopy:
		return r.flipBitOfCopy()
	case FaultProbe:
		service, err := r.estate.Service("website")
		if err != nil {
			return err
		}
		// The monitor asks the services as they were declared; the drill is to ask for something else.
		service.Probes = slices.Clone(service.Probes)
		service.Probes[0].Expect = "a sentence that is on no page"
	}
	return nil
}

// flipBitOfCopy flips one bit of geneva's largest pack, as a failing disk there would.
func (r *run) flipBitOfCopy() error {
	var largest string
	var size int64
	err := filepath.WalkDir(r.path("geneva", "repository"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	if largest == "" {
		return errors.New("geneva holds no file to damage")
	}
	if err := os.Chmod(largest, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := rand.New(rand.NewPCG(r.opt.Seed, 0)).Int64N(size / 2)
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		return err
	}
	one[0] ^= 1
	_, err = f.WriteAt(one, at)
	return err
}
