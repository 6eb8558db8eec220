// Package agent does an estate's work where its services run: it protects their assets, drills from the copy,
// watches, contains, finds the last clean point and recovers. It wires the capabilities together; what each of
// them means stands in its own package.
//
// Whatever it does goes on the record before it returns. An Agent may be used by one goroutine at a time, but for
// the WAL streams that it owns, which run beside it until Close.
package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
)

// OpenBackend opens the storage that a location names; tokenFile, where not empty, holds a credential for it.
type OpenBackend func(ctx context.Context, location, tokenFile string) (backend.Backend, error)

// Recorder keeps what happened: the record.
type Recorder interface {
	Append(ctx context.Context, e event.Event) error
}

// Agent works for one estate.
type Agent struct {
	estate *estate.Estate
	open   OpenBackend
	record Recorder

	mu           sync.Mutex                  // guards the next three: steps of a recovery run side by side
	repositories map[string]*repo.Repository // by name
	copies       map[string]*repo.Repository // by the repository's name
	lost         map[string]bool             // repositories declared lost
	streams      map[string]*stream          // by service/asset
	shutAt       map[string]time.Time        // when services were contained
}

// Open returns an Agent for the estate. Repositories are opened when they are first needed.
func Open(e *estate.Estate, open OpenBackend, record Recorder) *Agent {
	return &Agent{
		estate: e, open: open, record: record,
		repositories: map[string]*repo.Repository{},
		copies:       map[string]*repo.Repository{},
		streams:      map[string]*stream{},
		lost:         map[string]bool{},
		shutAt:       map[string]time.Time{},
	}
}

// Close ends the WAL streams and waits for them.
func (a *Agent) Close() {
	for key, s := range a.streams {
		s.stop()
		delete(a.streams, key)
	}
}

// DeclareLost makes the agent refuse to use the repository: only its copy is read from then on.
func (a *Agent) DeclareLost(repository string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost[repository] = true
	delete(a.repositories, repository)
}

// repository opens the named repository at headquarters.
func (a *Agent) repository(ctx context.Context, name string) (*repo.Repository, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lockedRepository(ctx, name)
}

func (a *Agent) lockedRepository(ctx context.Context, name string) (*repo.Repository, error) {
	if a.lost[name] {
		return nil, fmt.Errorf("repository %s is declared lost", name)
	}
	if r := a.repositories[name]; r != nil {
		return r, nil
	}
	declared, err := a.estate.Repository(name)
	if err != nil {
		return nil, err
	}
	r, err := a.openRepository(ctx, declared.Location, "", declared.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	a.repositories[name] = r
	return r, nil
}

// copyOf opens the newest state of the repository's copy at the second site, or the repository itself where no
// copy is declared. site is where it stands.
func (a *Agent) copyOf(ctx context.Context, name string) (r *repo.Repository, site string, err error) {
	declared, err := a.estate.Repository(name)
	if err != nil {
		return nil, "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if declared.Copy == nil {
		r, err := a.lockedRepository(ctx, name)
		return r, declared.Site, err
	}
	if r := a.copies[name]; r != nil {
		return r, declared.Copy.Site, nil
	}
	if r, err = a.openRepository(ctx, declared.Copy.Location, declared.Copy.TokenFile, declared.PasswordFile); err != nil {
		return nil, "", fmt.Errorf("open the copy of %s at %s: %w", name, declared.Copy.Site, err)
	}
	a.copies[name] = r
	return r, declared.Copy.Site, nil
}

// ForgetCopies makes the next reading open the copies anew: a vault has pulled since.
func (a *Agent) ForgetCopies() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.copies)
}

func (a *Agent) openRepository(ctx context.Context, location, tokenFile, passwordFile string) (*repo.Repository, error) {
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("read password: %w", err)
	}
	be, err := a.open(ctx, location, tokenFile)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(password), "\n")
	return repo.Open(ctx, be, line, repo.Options{})
}

// append puts a fact on the record.
func (a *Agent) append(ctx context.Context, fact event.Fact, about about) error {
	e := event.New(time.Now(), fact)
	e.Incident, e.Site, e.Service, e.Asset = about.incident, about.site, about.service, about.asset
	return a.record.Append(ctx, e)
}

// appendAll puts events that a capability made on the record.
func (a *Agent) appendAll(ctx context.Context, incident string, events []event.Event) error {
	for _, e := range events {
		e.Incident = incident
		if err := a.record.Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// about says what a fact is about, for its envelope.
type about struct{ incident, site, service, asset string }

// assetKey names an asset in the whole estate, and is the tag of its snapshots.
func assetKey(service, name string) string { return service + "/" + name }

// spool is the private directory of a captured cluster.
func (a *Agent) spool(service, name string) string {
	return filepath.Join(a.estate.State, "spool", service, name)
}

// journal is the file in which an incident's steps are kept, so that they can be resumed.
func (a *Agent) journal(incident, what string) string {
	return filepath.Join(a.estate.State, "incident", incident, what+".journal")
}

// quarantine is where an incident's evidence goes.
func (a *Agent) quarantine(incident string) string {
	return filepath.Join(a.estate.State, "quarantine", incident)
}

// stream is a running WAL capture.
type stream struct {
	cluster *postgres.Cluster
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // valid once done is closed
}

func (s *stream) stop() {
	s.cancel()
	<-s.done
}

// serviceOf returns the service of an assetKey.
func serviceOf(key string) string {
	service, _, _ := strings.Cut(key, "/")
	return service
}
