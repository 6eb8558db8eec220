// Package vault is the process at the second site: it pulls the repositories of headquarters, holds them where
// headquarters cannot reach, serves them read-only, and cosigns the record's checkpoints.
//
// It promises:
//   - nothing that a client sends can delete, shorten or overwrite what is held: files arrive only by pulling;
//   - every file is compared with the SHA-256 in its name before it is held under that name; a damaged one at the
//     source is refused and reported, and what was held stays;
//   - a checkpoint is cosigned only if it continues the one cosigned before, so that no history is rewritten
//     unseen.
//
// It holds no repository key, and no credential of its own leaves it: headquarters does not know how to ask it.
package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/mirror"
)

// Config says what a vault holds and who may ask it.
type Config struct {
	Dir      string        // where it keeps everything; made if missing
	Listen   string        // host:port
	Sources  []Source      // the repositories that it pulls
	Interval time.Duration // between pulls; 0: only when an operator asks

	ReadTokenFile     string // credential to read copies and status
	OperatorTokenFile string // credential to ask for a pull or a verification; reads too

	// WitnessKeyFile is the key that it cosigns with, as evidence.GenerateKey wrote it; empty: it is no witness.
	WitnessKeyFile string
	LogKey         string // public key of the record that it witnesses
}

// Source is a repository to pull.
type Source struct {
	Name      string // lower-case letters, digits and hyphens: a directory and a part of a URL
	Location  string // rest:http://host:port/path/ or a directory
	TokenFile string // credential for reading it, if it asks for one
}

// Opener opens the storage of a source.
type Opener func(Source) (backend.Backend, error)

// Limits of the server.
const (
	maxConnections = 128
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second // whole request: bodies are a few kilobytes
	writeTimeout   = 15 * time.Minute // a pack of 128 MiB over a line of 1.2 Mbit/s
	idleTimeout    = 2 * time.Minute
	stopTimeout    = 10 * time.Second
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Vault holds copies and cosigns. All methods may be called by several goroutines at once.
type Vault struct {
	cfg           Config
	log           *slog.Logger
	readToken     token
	operatorToken token
	copies        map[string]*held
	witness       *witness // nil: it is none
}

// held is the copy of one source.
type held struct {
	source Source
	open   Opener
	be     backend.Backend
	turn   chan struct{} // holds one token: whoever has it pulls or verifies

	mu     sync.Mutex
	status SourceStatus
}

// Status is what a vault says of itself.
type Status struct {
	Sources []SourceStatus `json:"sources"`
	Witness *WitnessStatus `json:"witness,omitempty"`
}

// SourceStatus is what it says of one copy. All but the name is empty before the first pull of this process.
type SourceStatus struct {
	Name     string             `json:"name"`
	Busy     bool               `json:"busy"`                 // a pull or verification is under way
	Pulled   time.Time          `json:"pulled,omitzero"`      // when the last pull without error ended, UTC
	Verified time.Time          `json:"verified,omitzero"`    // when the last verification without error ended, UTC
	Tried    time.Time          `json:"tried,omitzero"`       // when the last of either ended, however it did, UTC
	Copy     event.CopyVerified `json:"copy"`                 // what that found
	Error    string             `json:"last_error,omitempty"` // what was wrong with it
}

// New prepares a vault: its directory, an empty copy for each new source, and the witness's memory. open may be
// nil: OpenSource.
func New(cfg Config, open Opener, log *slog.Logger) (*Vault, error) {
	if open == nil {
		open = OpenSource
	}
	v := &Vault{cfg: cfg, log: log, copies: map[string]*held{}}
	var err error
	if v.readToken, err = loadToken(cfg.ReadTokenFile); err != nil {
		return nil, fmt.Errorf("start vault: token for readers: %w", err)
	}
	if v.operatorToken, err = loadToken(cfg.OperatorTokenFile); err != nil {
		return nil, fmt.Errorf("start vault: token for operators: %w", err)
	}
	if v.operatorToken == v.readToken {
		return nil, errors.New("start vault: readers and operators have the same token; give them different ones")
	}
	for _, s := range cfg.Sources {
		if !validName.MatchString(s.Name) {
			return nil, fmt.Errorf("start vault: source name %.80q: want lower-case letters, digits and hyphens, at most 63", s.Name)
		}
		if v.copies[s.Name] != nil {
			return nil, fmt.Errorf("start vault: two sources are named %s", s.Name)
		}
		be, err := local.Create(filepath.Join(cfg.Dir, "repository", s.Name))
		if err != nil {
			return nil, fmt.Errorf("start vault: %w", err)
		}
		h := &held{source: s, open: open, be: be, turn: make(chan struct{}, 1), status: SourceStatus{Name: s.Name}}
		v.copies[s.Name] = h
	}
	if cfg.WitnessKeyFile != "" {
		if v.witness, err = newWitness(filepath.Join(cfg.Dir, "witness"), cfg.WitnessKeyFile, cfg.LogKey, log); err != nil {
			return nil, fmt.Errorf("start vault: %w", err)
		}
	}
	return v, nil
}

// OpenSource opens a source's location for reading: a REST server, or a directory.
func OpenSource(s Source) (backend.Backend, error) {
	if !strings.HasPrefix(s.Location, "rest:") {
		return local.Open(s.Location)
	}
	var opt rest.Options
	if s.TokenFile != "" {
		t, err := readToken(s.TokenFile)
		if err != nil {
			return nil, err
		}
		opt.Token = t
	}
	return rest.Open(s.Location, opt)
}

// Pull fetches what the source has and the copy has not. On an error the result says what was done before it, and
// which files were damaged. Pulls and verifications of one copy wait for one another.
func (v *Vault) Pull(ctx context.Context, name string) (event.CopyVerified, error) {
	return v.run(ctx, name, "pull", func(ctx context.Context, h *held) (mirror.Result, error) {
		from, err := h.open(h.source)
		if err != nil {
			return mirror.Result{}, err
		}
		return mirror.Pull(ctx, from, h.be, mirror.Options{})
	})
}

// Verify reads every file of the copy again and compares it with its name. A damaged file is an error, and named
// in the result.
func (v *Vault) Verify(ctx context.Context, name string) (event.CopyVerified, error) {
	return v.run(ctx, name, "verify", func(ctx context.Context, h *held) (mirror.Result, error) {
		return mirror.Verify(ctx, h.be, nil)
	})
}

// errUnknown is returned for a name that is no source's.
var errUnknown = errors.New("the vault holds no such repository")

func (v *Vault) run(ctx context.Context, name, verb string, do func(context.Context, *held) (mirror.Result, error)) (event.CopyVerified, error) {
	h := v.copies[name]
	if h == nil {
		return event.CopyVerified{}, fmt.Errorf("%s %.80q: %w", verb, name, errUnknown)
	}
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return event.CopyVerified{}, fmt.Errorf("%s %s: wait for the one before: %w", verb, name, ctx.Err())
	}
	h.update(func(s *SourceStatus) { s.Busy = true })
	begin := time.Now()
	res, err := do(ctx, h)
	fact := event.CopyVerified{
		Repository: name, Files: res.Files, Bytes: res.Bytes, NewFiles: res.NewFiles, NewBytes: res.NewBytes,
		Damaged: bounded(res.Damaged), Seconds: time.Since(begin).Seconds(),
	}
	if err == nil && len(res.Damaged) > 0 {
		err = fmt.Errorf("%d damaged files: %s", len(res.Damaged), fact.Damaged[0])
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", verb, name, err)
	}
	h.update(func(s *SourceStatus) {
		s.Busy, s.Copy, s.Error, s.Tried = false, fact, "", time.Now().UTC()
		switch {
		case err != nil:
			s.Error = err.Error()
		case verb == "pull":
			s.Pulled = s.Tried
		default:
			s.Verified = s.Tried
		}
	})
	return fact, err
}

func (h *held) update(change func(*SourceStatus)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
}

// bounded cuts a list to what fits on the record, and says so in its last line.
func bounded(names []string) []string {
	if len(names) <= event.MaxTouched {
		return names
	}
	return append(slices.Clone(names[:event.MaxTouched-1]), fmt.Sprintf("and %d more", len(names)-event.MaxTouched+1))
}

// Status tells how each copy and the witness stand.
func (v *Vault) Status() Status {
	st := Status{Sources: []SourceStatus{}}
	for _, s := range v.cfg.Sources {
		h := v.copies[s.Name]
		h.update(func(s *SourceStatus) { st.Sources = append(st.Sources, *s) })
	}
	if v.witness != nil {
		w := v.witness.report()
		st.Witness = &w
	}
	return st
}

// Run listens, serves and pulls until ctx ends, then stops what is under way and returns nil.
func (v *Vault) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", v.cfg.Listen)
	if err != nil {
		return fmt.Errorf("run vault: %w", err)
	}
	return v.Serve(ctx, l)
}

// Serve is Run on a listener, which it closes.
func (v *Vault) Serve(ctx context.Context, l net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	server := &http.Server{
		Handler:           v.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(v.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	group.Go(func() error {
		if err := server.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("run vault: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Shutdown(soon); err != nil {
			return errors.Join(fmt.Errorf("stop vault: %w", err), server.Close())
		}
		return nil
	})
	if v.cfg.Interval > 0 {
		group.Go(func() error { v.pullOften(ctx); return nil })
	}
	v.log.Info("vault serves", "address", l.Addr().String(), "sources", len(v.cfg.Sources))
	return group.Wait()
}

// pullOften pulls every source at once and then after each interval. A pull that fails is tried again at the
// next; until then status and log say what was wrong.
func (v *Vault) pullOften(ctx context.Context) {
	tick := time.NewTicker(v.cfg.Interval)
	defer tick.Stop()
	for {
		for _, s := range v.cfg.Sources {
			fact, err := v.Pull(ctx, s.Name)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				v.log.Error("pull failed", "repository", s.Name, "error", err, "damaged", len(fact.Damaged))
			default:
				v.log.Info("pulled", "repository", s.Name, "files", fact.Files, "new_files", fact.NewFiles, "new_bytes", fact.NewBytes)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
