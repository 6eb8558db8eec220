package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/browser"
	"github.com/kedge-project/kedge/internal/detect/web"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
)

// releaseHead is the first line of the signed note that an approved release of pages is kept by.
const releaseHead = "kedge approved pages 1"

const (
	// maxNote bounds that note, in bytes.
	maxNote = 64 << 10
	// maxPictures is how many pictures of changed pages are kept of one service; the oldest go first.
	maxPictures = 40
)

// ApprovedPages says what was approved.
type ApprovedPages struct {
	Service string `json:"service"`
	event.PagesApproved
}

// errNoRelease says that nobody approved a service's pages.
var errNoRelease = errors.New("nobody approved its pages")

// ApprovePages takes the pages of the services, or of all, as they are now for their approved releases, which are signed with the
// record's key, kept in the state directory and put on the record. Services without pages are left out, unless they are named.
func (a *Agent) ApprovePages(ctx context.Context, services []string, approver string, say func(string)) ([]ApprovedPages, error) {
	var all []ApprovedPages
	err := a.eachWithPages(services, func(service *estate.Service) error {
		pages := web.NewPages(service.Name, service.Watch.Pages, nil)
		shown, err := a.lookWith(ctx, service, nil, true)
		if err != nil {
			return err
		}
		defer shown.close()
		if shown.browser != nil {
			pages.Render(shown.browser)
		}
		say(service.Name + ": " + shown.said)
		if err := pages.Approve(ctx); err != nil {
			return err
		}
		fact, err := a.keepRelease(service.Name, pages.Approved(), approver)
		if err != nil {
			return err
		}
		if err := a.keepPictures(service.Name, "approved", pages.Pictures()); err != nil {
			return err
		}
		if err := a.append(ctx, fact, about{service: service.Name}); err != nil {
			return err
		}
		all = append(all, ApprovedPages{Service: service.Name, PagesApproved: fact})
		return nil
	})
	return all, err
}

// eachWithPages calls fn for the named services, or for all that have pages.
func (a *Agent) eachWithPages(services []string, fn func(*estate.Service) error) error {
	named := len(services) > 0
	if !named {
		for _, s := range a.estate.Services {
			services = append(services, s.Name)
		}
	}
	found := false
	for _, name := range services {
		service, err := a.estate.Service(name)
		if err != nil {
			return err
		}
		if len(service.Watch.Pages) == 0 {
			if named {
				return fmt.Errorf("service %s has no pages: declare them as watch: pages", name)
			}
			continue
		}
		found = true
		if err := fn(service); err != nil {
			return fmt.Errorf("pages of %s: %w", name, err)
		}
	}
	if !found {
		return errors.New("no service of the estate has pages: declare them as watch: pages")
	}
	return nil
}

// eyes are what a service's pages are looked at with.
type eyes struct {
	browser *browser.Browser // nil: plainly alone
	said    string
}

func (e eyes) close() error {
	if e.browser == nil {
		return nil
	}
	return e.browser.Close()
}

// lookWith starts a browser, if the service wants its pages rendered. It may talk to what the release talks to; for an approval, with a
// nil release, to all but addresses of this machine and of private networks. eager asks for one too where nothing is declared.
func (a *Agent) lookWith(ctx context.Context, service *estate.Service, release *web.Release, eager bool) (eyes, error) {
	want := service.Watch.Render
	switch {
	case want != nil && !*want:
		return eyes{said: "looked at without a browser, as watch: render says"}, nil
	case want == nil && (!eager || !browser.Installed()):
		return eyes{said: "looked at without a browser: for what scripts do after the load, and for pictures, install the package chromium"}, nil
	}
	allowed := map[string]bool{}
	for _, page := range service.Watch.Pages {
		if u, err := url.Parse(page); err == nil {
			allowed[web.AddressOf(u)] = true
		}
	}
	if release != nil {
		for _, address := range release.Addresses() {
			allowed[address] = true
		}
	}
	b, err := browser.Start(ctx, browser.Options{Allowed: func(address string) bool {
		return allowed[address] || release == nil && browser.Public(address)
	}})
	if err != nil {
		return eyes{}, fmt.Errorf("%w (or set watch: render: false)", err)
	}
	return eyes{browser: b, said: "looked at with " + b.About()}, nil
}

// webDir is where the releases of a service's pages are kept.
func (a *Agent) webDir(service string) string { return filepath.Join(a.estate.State, "web", service) }

// recordKey is what releases are signed with.
func (a *Agent) recordKey() string { return filepath.Join(a.estate.State, "record.key") }

// keepRelease writes a release under its hash, then the signed note that makes it the approved one.
func (a *Agent) keepRelease(service string, release *web.Release, approver string) (event.PagesApproved, error) {
	data, err := release.Encode()
	if err != nil {
		return event.PagesApproved{}, err
	}
	sum := sha256.Sum256(data)
	fact := event.PagesApproved{
		Approver: approver, Release: hex.EncodeToString(sum[:]), Pages: len(release.Pages), Scripts: release.Scripts(), Renderer: release.Renderer,
	}
	line, err := json.Marshal(fact)
	if err != nil {
		return fact, fmt.Errorf("keep release: %w", err)
	}
	text := strings.Join([]string{releaseHead, service, release.Time.Format(time.RFC3339Nano), string(line)}, "\n") + "\n"
	note, err := evidence.Sign(a.recordKey(), text)
	if err != nil {
		return fact, fmt.Errorf("keep release: %w", err)
	}
	dir := a.webDir(service)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fact, fmt.Errorf("keep release: %w", err)
	}
	if err := writeWhole(filepath.Join(dir, "release-"+fact.Release+".json"), data); err != nil {
		return fact, fmt.Errorf("keep release: %w", err)
	}
	if err := writeWhole(filepath.Join(dir, "release"), note); err != nil {
		return fact, fmt.Errorf("keep release: %w", err)
	}
	return fact, a.removeOthers(dir, fact.Release)
}

// removeOthers removes the releases that nothing names any more.
func (a *Agent) removeOthers(dir, release string) error {
	names, err := filepath.Glob(filepath.Join(dir, "release-*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if filepath.Base(name) != "release-"+release+".json" {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("remove a former release: %w", err)
			}
		}
	}
	return nil
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// loadRelease reads the approved release of a service's pages: its signature, its hash and that it is the one that the record names last
// must be right. errNoRelease says that there is none.
func (a *Agent) loadRelease(ctx context.Context, service string) (*web.Release, event.PagesApproved, error) {
	dir := a.webDir(service)
	var fact event.PagesApproved
	note, err := readBounded(filepath.Join(dir, "release"), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fact, errNoRelease
	}
	if err != nil {
		return nil, fact, fmt.Errorf("read approved release: %w", err)
	}
	text, err := evidence.OpenSigned(a.recordKey(), note)
	if err != nil {
		return nil, fact, fmt.Errorf("read approved release: %w; somebody changed it, or the record's key is another: approve the pages again", err)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != releaseHead || lines[1] != service {
		return nil, fact, errors.New("read approved release: what is signed is not a release of this service: approve the pages again")
	}
	if err := json.Unmarshal([]byte(lines[3]), &fact); err != nil {
		return nil, fact, fmt.Errorf("read approved release: %w", err)
	}
	data, err := readBounded(filepath.Join(dir, "release-"+filepath.Base(fact.Release)+".json"), web.MaxRelease)
	if err != nil {
		return nil, fact, fmt.Errorf("read approved release: %w", err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != fact.Release {
		return nil, fact, errors.New("read approved release: its content is not what was signed: approve the pages again")
	}
	release, err := web.DecodeRelease(data)
	if err != nil {
		return nil, fact, err
	}
	return release, fact, a.onRecord(ctx, service, fact.Release)
}

// onRecord makes sure that the record's last approval of a service's pages is this one: an older one, put back, is signed as well.
func (a *Agent) onRecord(ctx context.Context, service, release string) error {
	events, err := evidence.Read(ctx, filepath.Join(a.estate.State, "record"))
	if err != nil {
		return fmt.Errorf("read approved release: %w", err)
	}
	for _, e := range slices.Backward(events) {
		if fact, ok := e.Fact.(event.PagesApproved); ok && e.Service == service {
			if fact.Release != release {
				return fmt.Errorf("read approved release: the record names release %.12s, approved by %s at %s, and not %.12s: approve the pages again", fact.Release, fact.Approver, e.Time.Format(time.RFC3339), release)
			}
			return nil
		}
	}
	return fmt.Errorf("read approved release: the record does not name release %.12s: approve the pages again", release)
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return data, err
}

// keepPictures keeps pictures of pages, and removes the oldest of what are too many.
func (a *Agent) keepPictures(service, what string, pictures map[string][]byte) error {
	if len(pictures) == 0 {
		return nil
	}
	dir := filepath.Join(a.webDir(service), "pictures")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep pictures: %w", err)
	}
	for page, png := range pictures {
		if err := writeWhole(a.picture(service, what, page), png); err != nil {
			return fmt.Errorf("keep picture of %s: %w", page, err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "changed-*.png"))
	if err != nil {
		return err
	}
	slices.Sort(names) // by time
	for _, name := range names[:max(0, len(names)-maxPictures)] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove an old picture: %w", err)
		}
	}
	return nil
}

// picture is where a page's picture is kept: the approved one by its page, those of changed pages by the time too.
func (a *Agent) picture(service, what, page string) string {
	sum := sha256.Sum256([]byte(page))
	return filepath.Join(a.webDir(service), "pictures", fmt.Sprintf("%s-%x.png", what, sum[:8]))
}
