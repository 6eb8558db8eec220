package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-project/kedge/internal/contain"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// Contain shuts the services that signals name, and those that need them, and no other. It returns them in the order
// in which they were shut. Before a cluster is shut its WAL is stored to the last byte, and after the services are shut
// their file trees are: what stood there is evidence, and tells the investigation what was damaged last.
func (a *Agent) Contain(ctx context.Context, incident string, signals []event.Signal) ([]string, error) {
	order, _ := contain.Affected(a.estate, hitServices(signals))
	if err := a.flushAll(ctx, order); err != nil {
		return nil, err
	}
	if err := a.Shut(ctx, incident, order); err != nil {
		return order, err
	}
	return order, a.storeEvidence(ctx, incident, order)
}

// Shut stops the services' processes, in the given order, and nothing else. Services that do not run stay as they are.
func (a *Agent) Shut(ctx context.Context, incident string, order []string) error {
	events, err := contain.Shut(ctx, a.estate, order, a.journal(incident, "contain"), false)
	for _, e := range events {
		a.shutAt[e.Service] = e.Time
	}
	if err := errors.Join(err, a.appendAll(ctx, incident, events)); err != nil {
		return fmt.Errorf("contain: %w", err)
	}
	a.stopStreams(order)
	return nil
}

// hitServices lists the services that signals name, each once, in the order of their signals. What every deployment raises hits none.
func hitServices(signals []event.Signal) []string {
	var hit []string
	seen := map[string]bool{}
	for _, s := range signals {
		if !seen[s.Service] && s.Strength >= counted {
			seen[s.Service] = true
			hit = append(hit, s.Service)
		}
	}
	return hit
}

// flushAll stores the WAL of the services' clusters.
func (a *Agent) flushAll(ctx context.Context, services []string) error {
	return a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		if declared.Kind != "postgres" {
			return nil
		}
		captured, err := a.flush(ctx, service, declared)
		if err != nil {
			return err
		}
		return a.append(ctx, captured.Fact, about{service: service.Name, asset: declared.Name})
	})
}

// stopStreams ends the WAL capture of clusters that were shut.
func (a *Agent) stopStreams(services []string) {
	for _, name := range services {
		for key, s := range a.streams {
			if serviceOf(key) == name {
				s.stop()
				delete(a.streams, key)
			}
		}
	}
}

// storeEvidence captures the file trees of shut services as the adversary left them.
func (a *Agent) storeEvidence(ctx context.Context, incident string, services []string) error {
	return a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		if declared.Kind != "files" {
			return nil
		}
		captured, err := a.capture(ctx, service, declared)
		if err != nil {
			return fmt.Errorf("store evidence of %s: %w", assetKey(service.Name, declared.Name), err)
		}
		return a.append(ctx, captured.Fact, about{incident: incident, service: service.Name, asset: declared.Name})
	})
}

// OpenIncident puts on the record that signals belong together, and what they are taken for.
func (a *Agent) OpenIncident(ctx context.Context, incident string, signals []event.Signal) error {
	return a.append(ctx, opened(signals), about{incident: incident})
}

func opened(signals []event.Signal) event.IncidentOpened {
	hit := hitServices(signals)
	return event.IncidentOpened{
		Title:    fmt.Sprintf("%s on %s", wording.Number(int64(len(signals)), "signal"), wording.Number(int64(len(hit)), "service")),
		Services: hit,
		Signals:  len(signals),
	}
}

// attackStrength is the strength from which one signal alone is taken for an attack; two kinds of signals that belong
// together are one too, but for those that every deployment raises.
const attackStrength = 0.9

// attack is the class of an incident that is no fault.
const attack = "attack"

// Classify says whether an incident's signals are an attack or a fault.
func Classify(signals []event.Signal) event.IncidentClassified {
	var techniques []string
	kinds, counting := map[string]bool{}, map[string]bool{}
	strongest := 0.0
	for _, s := range signals {
		if !kinds[s.Technique] {
			kinds[s.Technique] = true
			techniques = append(techniques, s.Technique)
		}
		if s.Strength >= counted {
			counting[s.Technique] = true
		}
		strongest = max(strongest, s.Strength)
	}
	c := event.IncidentClassified{Class: "fault", Techniques: techniques}
	c.Reason = fmt.Sprintf("%d techniques seen, the strongest signal at %.2f", len(techniques), strongest)
	if len(counting) >= 2 || strongest >= attackStrength {
		c.Class = attack
	}
	return c
}

// ClassifyIncident puts the classification on the record.
func (a *Agent) ClassifyIncident(ctx context.Context, incident string, signals []event.Signal) (event.IncidentClassified, error) {
	c := Classify(signals)
	return c, a.append(ctx, c, about{incident: incident})
}

// CloseIncident puts on the record that an incident is over.
func (a *Agent) CloseIncident(ctx context.Context, incident, summary string) error {
	return a.append(ctx, event.IncidentClosed{Summary: summary}, about{incident: incident})
}
