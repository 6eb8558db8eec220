package exercise

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/probe"
)

// monitorInterval is how often each service that should answer is asked.
const monitorInterval = 2 * time.Second

// monitor asks the probes of all services that should answer, as their users would, through the whole exercise. A
// service is excused from the moment the adversary begins until it is reopened, if it was one of those contained in
// between; a service never contained has no excuse at any time.
type monitor struct {
	services []estate.Service

	mu       sync.Mutex
	excused  map[string]bool // services that need not answer now
	pending  []failure       // failures since the attack began, of services not known yet to be hit or not
	attacked bool
	failures []failure
	asked    int64
}

type failure struct {
	service string
	result  event.ProbeResult
	at      time.Time
}

func newMonitor(services []estate.Service) *monitor {
	return &monitor{services: services, excused: map[string]bool{}}
}

// run asks until ctx ends.
func (m *monitor) run(ctx context.Context) {
	tick := time.NewTicker(monitorInterval)
	defer tick.Stop()
	for {
		for _, service := range m.services {
			m.ask(ctx, service)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *monitor) ask(ctx context.Context, service estate.Service) {
	m.mu.Lock()
	skip := m.excused[service.Name]
	m.mu.Unlock()
	if skip {
		return
	}
	for _, p := range service.Probes {
		result := probe.Ask(ctx, p)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		m.asked++
		if !result.OK {
			m.note(failure{service.Name, result, time.Now().UTC()})
		}
		m.mu.Unlock()
	}
}

// note keeps a failure unless its service is excused; the caller holds mu.
func (m *monitor) note(f failure) {
	switch {
	case m.excused[f.service]:
	case m.attacked:
		m.pending = append(m.pending, f)
	default:
		m.failures = append(m.failures, f)
	}
}

// attackBegins: from now on it is not known which services are hit.
func (m *monitor) attackBegins() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attacked = true
}

// contained: these services were shut. What the others failed since the attack began counts.
func (m *monitor) contained(services []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range services {
		m.excused[s] = true
	}
	for _, f := range m.pending {
		if !m.excused[f.service] {
			m.failures = append(m.failures, f)
		}
	}
	m.pending, m.attacked = nil, false
}

// reopened: these services must answer again.
func (m *monitor) reopened(services []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range services {
		delete(m.excused, s)
	}
}

func (m *monitor) failed() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.failures))
}

func (m *monitor) count() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *monitor) firstFailure() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failures) == 0 {
		return ""
	}
	f := m.failures[0]
	return fmt.Sprintf("%s, probe %s at %s: %s", f.service, f.result.Probe, f.at.Format(time.RFC3339), f.result.Detail)
}
