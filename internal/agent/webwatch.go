package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/detect/web"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// pagesInterval is how often a running agent looks at pages: each kind of visitor looks every 20 minutes.
const pagesInterval = 5 * time.Minute

// watchedPages looks at a service's pages again and again, and reads their approved release again when another is approved.
type watchedPages struct {
	agent   *Agent
	service *estate.Service
	pages   *web.Pages
	read    time.Time // when the release's file was written
}

var _ detect.Detector = (*watchedPages)(nil)

// pageDetector returns what looks at a service's pages. They are compared with the approved release; until there is one, with what they
// are now.
func (a *Agent) pageDetector(ctx context.Context, service *estate.Service) (detect.Detector, error) {
	w := &watchedPages{agent: a, service: service}
	if err := w.renew(ctx); err != nil {
		return nil, err
	}
	if w.pages == nil {
		w.pages = web.NewPages(service.Name, service.Watch.Pages, nil)
		if err := w.pages.Approve(ctx); err != nil {
			return nil, fmt.Errorf("approve pages of %s: %w", service.Name, err)
		}
	}
	return w, nil
}

// Name implements detect.Detector.
func (w *watchedPages) Name() string { return "pages " + w.service.Name }

// renew reads the approved release, if there is one and it was not read yet.
func (w *watchedPages) renew(ctx context.Context) error {
	info, err := os.Stat(filepath.Join(w.agent.webDir(w.service.Name), "release"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read approved release: %w", err)
	}
	if w.pages != nil && info.ModTime().Equal(w.read) {
		return nil
	}
	release, _, err := w.agent.loadRelease(ctx, w.service.Name)
	if err != nil {
		return err
	}
	w.pages, w.read = web.NewPages(w.service.Name, w.service.Watch.Pages, release), info.ModTime()
	return nil
}

// Detect implements detect.Detector. Pages of which there is no release to compare with raise nothing.
func (w *watchedPages) Detect(ctx context.Context) ([]event.Signal, error) {
	if err := w.renew(ctx); err != nil || w.pages == nil {
		return nil, err
	}
	signals, err := w.pages.Detect(ctx)
	if err != nil || w.service.Watch.Render == nil || !*w.service.Watch.Render {
		return signals, err
	}
	rendered, err := w.render(ctx)
	return append(signals, rendered...), err
}

// newRoot returns what looks at the files of a service's document root.
func (a *Agent) newRoot(ctx context.Context, service *estate.Service, declared estate.Asset, blobs web.Blobs) *web.Root {
	root := web.NewRoot(service.Name, declared.Name, service.Watch.DocumentRoot, service.Watch.AccessLogs, blobs)
	root.WrittenBy(writers(service))
	if release, _, err := a.loadRelease(ctx, service.Name); err == nil {
		root.Approved(release) // another error is told where pages are compared
	}
	return root
}

// webAccounts are those that web servers which begin as root give their work to.
var webAccounts = []string{"www-data", "apache", "nginx", "http"}

// writers returns the user IDs that a service's server works as.
func writers(service *estate.Service) map[uint32]bool {
	ids := map[uint32]bool{}
	add := func(account string) {
		if u, err := user.Lookup(account); err == nil {
			if id, err := strconv.ParseUint(u.Uid, 10, 32); err == nil && id != 0 {
				ids[uint32(id)] = true
			}
		}
	}
	for _, process := range service.Processes {
		switch {
		case process.User != "":
			add(process.User)
		case os.Geteuid() != 0:
			ids[uint32(os.Geteuid())] = true
		default:
			for _, account := range webAccounts {
				add(account)
			}
		}
	}
	return ids
}

// watchPages looks at the pages of services that have an approved release until ctx ends.
func (r *run) watchPages(ctx context.Context) {
	watched := map[string]*watchedPages{}
	tick := time.NewTicker(pagesInterval)
	defer tick.Stop()
	for {
		for i := range r.estate.Services {
			service := &r.estate.Services[i]
			if len(service.Watch.Pages) == 0 || ctx.Err() != nil {
				continue
			}
			if watched[service.Name] == nil {
				watched[service.Name] = &watchedPages{agent: r.Agent, service: service}
			}
			about := about{service: service.Name}
			signals, err := watched[service.Name].Detect(ctx)
			if ctx.Err() != nil {
				return
			}
			r.trouble(about, err)
			for _, s := range signals {
				r.say("signal", about, fmt.Sprintf("%s (%s): %s", s.Kind, s.Technique, s.Subject), nil, nil)
				r.note(event.SignalRaised{Signal: s}, about)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// render looks at the next page with a browser.
func (w *watchedPages) render(ctx context.Context) (signals []event.Signal, err error) {
	if w.pages.Approved().Renderer == "" {
		return nil, errors.New("watch: render is true, and the pages were approved without a browser: kedge web approve does it again")
	}
	shown, err := w.agent.lookWith(ctx, w.service, w.pages.Approved(), true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, shown.close()) }()
	return w.pages.DetectRendered(ctx, shown.browser)
}

// PageReports takes what visitors' browsers report of the estate's pages, those of a service at the path /SERVICE, or at any path if one
// service alone has pages.
type PageReports struct {
	agent *Agent
	mux   http.ServeMux
	all   []*web.Reports
	mu    sync.Mutex // one Tell at a time
}

// PageReports returns a handler for reports. Tell puts on the record what they amount to.
func (a *Agent) PageReports(ctx context.Context) (*PageReports, error) {
	p := &PageReports{agent: a}
	err := a.eachWithPages(nil, func(service *estate.Service) error {
		release, _, err := a.loadRelease(ctx, service.Name)
		if err != nil && !errors.Is(err, errNoRelease) {
			return err
		}
		r := web.NewReports(service.Name, service.Watch.Pages, release)
		p.all = append(p.all, r)
		p.mux.Handle("/"+service.Name, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(p.all) == 1 {
		p.mux.Handle("/", p.all[0])
	}
	return p, nil
}

// ServeHTTP takes a report.
func (p *PageReports) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// Tell returns the signals that reports since the last call amount to. They are on the record.
func (p *PageReports) Tell(ctx context.Context) ([]event.Signal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var signals []event.Signal
	for _, r := range p.all {
		found, err := r.Detect(ctx)
		if err != nil {
			return signals, err
		}
		for _, s := range found {
			if err := p.agent.append(ctx, event.SignalRaised{Signal: s}, about{service: s.Service}); err != nil {
				return signals, err
			}
			signals = append(signals, s)
		}
	}
	return signals, nil
}
