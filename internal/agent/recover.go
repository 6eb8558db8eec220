package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/contain"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/probe"
	"github.com/kedge-project/kedge/internal/recovery"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// Recover brings the services back from the copy, in the order of their needs: what the adversary brought is put in
// quarantine, what was damaged is restored to its last clean version, each service is started and asked. It resumes
// where a run for the same incident ended. Nothing happens without the name of an approver.
func (a *Agent) Recover(ctx context.Context, incident, approver string, services []string, f Findings) error {
	plan, err := a.plan(incident, services, f)
	if err != nil {
		return err
	}
	site, err := a.copySite(ctx, services)
	if err != nil {
		return err
	}
	planned := event.RecoveryPlanned{Copy: site, Approver: approver, Steps: stepNames(plan)}
	if err := a.append(ctx, planned, about{incident: incident, site: site}); err != nil {
		return err
	}
	plan.Approver = approver
	return plan.Run(ctx, a.journal(incident, "recover"), func(e event.Event) error {
		e.Incident = incident
		return a.record.Append(ctx, e)
	})
}

// Plan returns the names of the steps that Recover would take.
func (a *Agent) Plan(incident string, services []string, f Findings) ([]string, error) {
	plan, err := a.plan(incident, services, f)
	return stepNames(plan), err
}

func stepNames(plan recovery.Plan) []string {
	names := make([]string, 0, len(plan.Steps))
	for _, s := range plan.Steps {
		names = append(names, s.Name)
	}
	return names
}

// copySite returns the site from whose copy the services are brought back.
func (a *Agent) copySite(ctx context.Context, services []string) (string, error) {
	if len(services) == 0 {
		return "", errors.New("no service is named")
	}
	service, err := a.estate.Service(services[0])
	if err != nil {
		return "", err
	}
	_, site, err := a.copyOf(ctx, service.Repository)
	return site, err
}

// plan makes the steps of a recovery.
func (a *Agent) plan(incident string, services []string, f Findings) (recovery.Plan, error) {
	order, err := recovery.Order(a.estate, services)
	if err != nil {
		return recovery.Plan{}, err
	}
	var plan recovery.Plan
	for _, name := range order {
		service, err := a.estate.Service(name)
		if err != nil {
			return recovery.Plan{}, err
		}
		var ready []string        // the steps after which the service may start
		var after []recovery.Step // those that need it started
		for _, declared := range service.Assets {
			steps, loads := a.assetSteps(incident, service, declared, f)
			for _, s := range steps {
				ready = append(ready, s.Name)
			}
			plan.Steps, after = append(plan.Steps, steps...), append(after, loads...)
		}
		for _, need := range service.Needs {
			if slices.Contains(order, need) {
				ready = append(ready, "probe "+need)
			}
		}
		start, ask := a.startStep(incident, service, ready), a.probeStep(incident, service)
		for i := range after {
			after[i].Needs = []string{start.Name}
			ask.Needs = append(ask.Needs, after[i].Name)
		}
		plan.Steps = append(append(append(plan.Steps, start), after...), ask)
	}
	evidenceFirst(plan.Steps)
	return plan, nil
}

// evidenceFirst lets nothing be restored before all that the adversary left was put aside: steps run side by side.
func evidenceFirst(steps []recovery.Step) {
	var aside []string
	for _, s := range steps {
		if strings.HasPrefix(s.Name, stepQuarantine) {
			aside = append(aside, s.Name)
		}
	}
	for i := range steps {
		if strings.HasPrefix(steps[i].Name, stepRestore) {
			steps[i].Needs = append(steps[i].Needs, aside...)
		}
	}
}

// What the names of steps begin with.
const (
	stepQuarantine = "quarantine "
	stepRestore    = "restore "
)

// assetSteps are what must happen to one asset before its service may start, and what can happen only when it was.
func (a *Agent) assetSteps(incident string, service *estate.Service, declared estate.Asset, f Findings) (steps, after []recovery.Step) {
	key := assetKey(service.Name, declared.Name)
	if declared.Kind == "postgres" {
		name := stepRestore + key
		goal, chosen := f.Goals[key]
		if chosen {
			name += " to " + goal.Name
		} else {
			point, bad := f.cleanPoint(service.Name, declared.Name)
			if !bad {
				return nil, nil
			}
			goal = Goal{To: postgres.Target{XID: point.XID, LSN: point.LSN, Before: true}, FromCopy: true}
		}
		return []recovery.Step{{Name: name, Service: service.Name, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
			return a.restoreCluster(ctx, incident, service, declared, goal)
		}}}, nil
	}
	if declared.Kind != "files" {
		if len(f.Files[key]) == 0 {
			return nil, nil
		}
		return a.databaseSteps(incident, service, declared, f)
	}
	tree := f.Trees[key]
	if len(tree.LeaveOut) > 0 {
		steps = append(steps, recovery.Step{Name: stepQuarantine + key, Service: service.Name, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
			return a.putAside(ctx, incident, service, declared, tree.LeaveOut)
		}})
	}
	if len(tree.Take) > 0 {
		steps = append(steps, recovery.Step{Name: stepRestore + key, Service: service.Name, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
			return a.restoreFiles(ctx, service, tree)
		}})
	}
	return steps, nil
}

func (a *Agent) startStep(incident string, service *estate.Service, ready []string) recovery.Step {
	return recovery.Step{Name: "start " + service.Name, Service: service.Name, Needs: ready, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
		if err := contain.Open(ctx, a.estate, service.Name, a.journal(incident, "contain")); err != nil {
			return event.RecoveryStepDone{}, err
		}
		return event.RecoveryStepDone{}, awaitClusters(ctx, service)
	}}
}

// probeStep reopens the service: it counts as back once every probe has answered.
func (a *Agent) probeStep(incident string, service *estate.Service) recovery.Step {
	return recovery.Step{Name: "probe " + service.Name, Service: service.Name, Needs: []string{"start " + service.Name}, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
		started := time.Now()
		var reopened event.ServiceReopened
		for _, p := range service.Probes {
			result := probe.Await(ctx, p)
			if !result.OK {
				return event.RecoveryStepDone{}, fmt.Errorf("probe %s of %s: %s", p.Name, service.Name, result.Detail)
			}
			reopened.Probes = append(reopened.Probes, result)
		}
		reopened.Seconds = time.Since(started).Seconds()
		if at, ok := a.shutAt[service.Name]; ok {
			reopened.Outage = time.Since(at).Seconds()
		}
		return event.RecoveryStepDone{}, a.append(ctx, reopened, about{incident: incident, service: service.Name})
	}}
}

func (a *Agent) putAside(ctx context.Context, incident string, service *estate.Service, declared estate.Asset, files []string) (event.RecoveryStepDone, error) {
	preserved, err := quarantineFiles(a.quarantine(incident), declared.Paths, files)
	if err != nil {
		return event.RecoveryStepDone{}, err
	}
	done := event.RecoveryStepDone{Quarantined: int64(preserved.Count)}
	return done, a.append(ctx, preserved, about{incident: incident, service: service.Name, asset: declared.Name})
}

// restoreFiles brings files back in place from the copy, each from the snapshot that holds its last clean version, and
// touches nothing else.
func (a *Agent) restoreFiles(ctx context.Context, service *estate.Service, tree restore.SetTree) (event.RecoveryStepDone, error) {
	var done event.RecoveryStepDone
	r, _, err := a.copyOf(ctx, service.Repository)
	if err != nil {
		return done, err
	}
	composed, err := restore.Compose(ctx, r, tree)
	if err != nil {
		return done, err
	}
	result, err := restore.Run(ctx, r, composed.Base.Tree, restore.Options{
		Target: "/", Overwrite: restore.OverwriteAlways, Amend: composed.Amend, Descend: composed.Amends,
		Select: func(path string, _ *snapshot.Node) bool { return composed.Taken(path) },
	})
	if err != nil {
		return done, err
	}
	done.Files, done.Bytes = result.FilesRewritten, result.BytesWritten
	result.Errors = append(result.Errors, composed.Missing...)
	if err := firstError(result); err != nil {
		return done, err
	}
	if want := int64(tree.Taken()); result.Files < want {
		return done, fmt.Errorf("snapshot %s leads to %d of the %d files to restore", tree.Base.Short(), result.Files, want)
	}
	return done, nil
}

// restoreCluster puts the damaged cluster aside whole and makes a new one in the state of the goal.
func (a *Agent) restoreCluster(ctx context.Context, incident string, service *estate.Service, declared estate.Asset, goal Goal) (event.RecoveryStepDone, error) {
	var done event.RecoveryStepDone
	r, err := a.source(ctx, service.Repository, goal.FromCopy)
	if err != nil {
		return done, err
	}
	aside, err := postgres.TablespaceLocations(declared.Data)
	if err != nil {
		return done, err
	}
	for _, dir := range append(aside, declared.Data) {
		if err := setAside(dir, a.quarantine(incident)); err != nil {
			return done, err
		}
	}
	restored, err := postgres.Restore(ctx, r, service.Name, declared, postgres.Place{Data: declared.Data}, goal.To)
	if err != nil {
		return done, err
	}
	done.Files, done.Bytes = restored.Files, restored.Bytes
	return done, nil
}
