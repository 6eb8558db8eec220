package exercise

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/notice"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/internal/wording"
)

// approver is who approves the recovery of the example.
const approver = "duty officer of the exercise"

// contain shuts what was hit and what needs it, and tells the public that there are problems.
func (r *run) contain(ctx context.Context) error {
	r.watching.stop()
	signals := r.watching.signals()
	if err := r.agent.OpenIncident(ctx, incident, signals); err != nil {
		return err
	}
	var err error
	if r.shut, err = r.agent.Contain(ctx, incident, signals); err != nil {
		return err
	}
	r.monitor.contained(r.shut)
	if slices.Contains(r.shut, "mail") {
		return fmt.Errorf("mail was shut, though nothing hit it")
	}
	if err := r.publish(ctx, notice.Investigating); err != nil {
		return err
	}
	if _, err := r.pull(ctx); err != nil {
		return err
	}
	r.conclude("shut %s; mail stays up", strings.Join(r.shut, ", "))
	return nil
}

// publish tells the public where the incident stands.
func (r *run) publish(ctx context.Context, stage string) error {
	events, err := evidence.Read(ctx, r.state("record"))
	if err != nil {
		return err
	}
	fact, err := notice.Compose(stage, notice.Read(r.estate, events, incident))
	if err != nil {
		return err
	}
	e := event.New(time.Now(), fact)
	e.Incident = incident
	if err := r.record.Append(ctx, e); err != nil {
		return err
	}
	return notice.Publish(r.path("status"), r.estate, append(events, e))
}

func (r *run) investigate(ctx context.Context) error {
	signals := r.watching.signals()
	class, err := r.agent.ClassifyIncident(ctx, incident, signals)
	if err != nil {
		return err
	}
	if class.Class != "attack" {
		return fmt.Errorf("the incident was classified as %s: %s", class.Class, class.Reason)
	}
	if err := r.publish(ctx, notice.Identified); err != nil {
		return err
	}
	if r.findings, err = r.agent.Investigate(ctx, incident, r.shut, signals); err != nil {
		return err
	}
	if err := r.compareFindings(); err != nil {
		return err
	}
	for _, p := range r.findings.CleanPoints {
		r.notef("%s/%s last clean %s", p.Service, p.Asset, p.Time.Format("15:04:05.000 MST"))
	}
	r.result.FilesDamaged = int64(r.findings.DamagedN)
	r.conclude("%d files damaged, %d brought by %s with %s %s", r.findings.DamagedN, r.findings.AddedN, r.findings.Source,
		r.findings.Entry.Method, r.findings.Entry.Path)
	return nil
}

// compareFindings holds what was found against what the adversary did.
func (r *run) compareFindings() error {
	damaged, added := map[string]bool{}, map[string]bool{}
	for _, tree := range r.findings.Trees {
		for _, take := range tree.Take {
			for _, path := range take.Paths {
				damaged[path] = true
			}
		}
		for _, path := range tree.LeaveOut {
			added[path] = true
		}
	}
	for _, list := range r.findings.Files { // of databases
		for _, d := range list {
			damaged[d.Path] = true
		}
	}
	if err := sameSet("damaged", damaged, r.done.Damaged); err != nil {
		return err
	}
	if err := sameSet("brought by the adversary", added, r.done.Added); err != nil {
		return err
	}
	if r.findings.Entry == nil {
		return fmt.Errorf("the request that brought the shell was not found")
	}
	if r.findings.Source != r.done.Source || r.findings.Entry.Path != r.done.Upload {
		return fmt.Errorf("the way in was taken for %s from %s, and was %s from %s", r.findings.Entry.Path, r.findings.Source, r.done.Upload, r.done.Source)
	}
	return nil
}

func sameSet(what string, found map[string]bool, is []string) error {
	missed := 0
	var example string
	for _, path := range is {
		if !found[path] {
			missed++
			example = path
		}
		delete(found, path)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d files %s were not found, such as %s", missed, len(is), what, example)
	}
	if len(found) > 0 {
		return fmt.Errorf("%d files were taken for %s and are not, such as %s", len(found), what, slices.Min(slices.Collect(maps.Keys(found))))
	}
	return nil
}

// recover brings everything back from geneva alone: headquarters' repository is out of reach.
func (r *run) recover(ctx context.Context) error {
	if err := r.loseRepository(ctx); err != nil {
		return err
	}
	started := time.Now()
	if err := r.agent.Recover(ctx, incident, approver, r.shut, r.findings); err != nil {
		return err
	}
	r.monitor.reopened(r.shut)
	files, bytes, err := r.rewritten(ctx)
	if err != nil {
		return err
	}
	r.result.BytesRewritten = bytes
	r.conclude("%d services back in %.1f s; %d files, %s rewritten", len(r.shut), time.Since(started).Seconds(), files, wording.Size(bytes))
	return nil
}

// loseRepository declares headquarters' repository lost: its server is stopped, its directory moved away, and the agent
// refuses to use it.
func (r *run) loseRepository(ctx context.Context) error {
	if err := process.Stop(ctx, r.sites[0]); err != nil {
		return err
	}
	declared, err := r.estate.Repository(repositoryName)
	if err != nil {
		return err
	}
	r.agent.DeclareLost(repositoryName)
	return os.Rename(declared.Location, declared.Location+".lost")
}
