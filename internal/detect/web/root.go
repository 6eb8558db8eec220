package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/accesslog"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

// Blobs is what Root asks of a repository.
type Blobs interface {
	LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error)
}

// Root watches the files below a document root as snapshots hold them. It is safe for concurrent use.
type Root struct {
	service, asset, root string
	logs                 []string
	blobs                Blobs

	mu       sync.Mutex
	pending  []snapshot.Change
	shells   map[string]*shell // by path
	known    map[string]bool   // kind and origin of what former pages referred to
	writers  map[uint32]bool   // user IDs that the web server works as
	approved []content.Page    // texts of the pages of an approved release
}

// shell is a program that may be one for an attacker: by how it is written, or, without rules, because the web server wrote it.
type shell struct {
	rules     []string
	served    bool // the web server's user wrote it
	born      time.Time
	requested bool // raised with the requests
}

// fewPrograms at once, written by the web server, are an upload; more are a release that the application installs by itself.
const fewPrograms = 3

// maxFile is how much of a file below the document root is read, in bytes.
const maxFile = content.MaxPage

// logTail is how much of the end of an access log is searched for requests of a new shell, in bytes.
const logTail = 8 << 20

// maxKnown bounds the origins that are remembered.
const maxKnown = 10000

// NewRoot returns a detector for the files below documentRoot, an absolute path. The logs are access logs in the combined
// format; there may be none.
func NewRoot(service, asset, documentRoot string, logs []string, blobs Blobs) *Root {
	return &Root{
		service: service, asset: asset, root: path.Clean(documentRoot), logs: logs, blobs: blobs,
		shells: map[string]*shell{}, known: map[string]bool{},
	}
}

// WrittenBy names the user IDs that the web server works as: programs that these write are told when they are requested.
func (r *Root) WrittenBy(ids map[uint32]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writers = ids
}

// Approved makes what a release has known: files that were changed to be as approved are no attack.
func (r *Root) Approved(release *Release) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.approved = nil
	for _, own := range release.Pages {
		r.approved = append(r.approved, own.Variants...)
		for _, ref := range own.Refs {
			if len(r.known) < maxKnown {
				r.known[ref.Kind+ref.Origin] = true
			}
		}
	}
}

// isApproved tells whether a page has the text of one of the release.
func (r *Root) isApproved(now content.Page) bool {
	return slices.ContainsFunc(r.approved, func(was content.Page) bool {
		c := content.ComparePages(was, now, nil)
		return c.TextKept > 0.9 && c.StructureKept > 0.9 && !c.Claims
	})
}

// Name implements detect.Detector.
func (r *Root) Name() string { return "document root " + r.service + "/" + r.asset }

// Changes takes the differences between the last two snapshots. Those elsewhere are left out.
func (r *Root) Changes(changes []snapshot.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if !strings.HasPrefix(c.Path, strings.TrimSuffix(r.root, "/")+"/") || c.Kind == snapshot.Metadata {
			continue
		}
		r.pending = append(r.pending, c)
	}
}

// Detect looks at the changes taken since the last call. Signals are "shell.uploaded" (T1505.003), one for each file and a
// second one when the access log first shows a request for it; "page.injected" (T1189), one for each set of origins; and
// "page.defaced" (T1491.002). Files that could not be read are in the error; the others were looked at.
func (r *Root) Detect(ctx context.Context) ([]event.Signal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pending := r.pending
	r.pending = nil
	var signals []event.Signal
	var errs []error
	fresh := map[string]bool{}
	pages := map[string]*event.Signal{}
	programs := r.programs(pending)
	for _, c := range pending {
		if c.Kind == snapshot.Removed {
			delete(r.shells, c.Path)
			continue
		}
		if c.New == nil || c.New.Type != snapshot.File {
			continue
		}
		data, err := r.load(ctx, c.New)
		if err == nil {
			if err = r.script(ctx, c, data, fresh, programs <= fewPrograms); err == nil {
				err = r.page(ctx, c, data, pages)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look at %s: %w", c.Path, err))
		}
	}
	for _, s := range pages {
		signals = append(signals, *s)
	}
	found, err := r.judgeShells(ctx, fresh)
	signals = append(signals, found...)
	slices.SortFunc(signals, func(a, b event.Signal) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return signals, errors.Join(append(errs, err)...)
}

// programs counts the new files that a web server may run and that its user wrote.
func (r *Root) programs(changes []snapshot.Change) int {
	n := 0
	for _, c := range changes {
		if c.Kind == snapshot.Added && c.New != nil && c.New.Type == snapshot.File && r.writers[c.New.UID] && content.Script(c.Path, nil) {
			n++
		}
	}
	return n
}

// script looks whether a file became a web shell. One that already was like that, as some applications are, is known. few tells whether
// the web server wrote few programs.
func (r *Root) script(ctx context.Context, c snapshot.Change, data []byte, fresh map[string]bool, few bool) error {
	rules := content.Shell(c.Path, data)
	served := r.writers[c.New.UID] && content.Script(c.Path, data)
	if rules == nil {
		if r.shells[c.Path] == nil && c.Kind == snapshot.Added && served && few {
			r.shells[c.Path] = &shell{served: true, born: c.New.ChangeTime}
		} else if s := r.shells[c.Path]; s != nil && s.rules != nil {
			delete(r.shells, c.Path)
		}
		return nil
	}
	if r.shells[c.Path] != nil {
		return nil
	}
	if c.Old != nil && c.Old.Type == snapshot.File {
		before, err := r.load(ctx, c.Old)
		if err != nil || content.Shell(c.Path, before) != nil {
			return err
		}
	}
	r.shells[c.Path] = &shell{rules: rules, served: served, born: c.New.ChangeTime}
	fresh[c.Path] = true
	return nil
}

// page compares a page with what it was, and adds it to the signal for what was brought in.
func (r *Root) page(ctx context.Context, c snapshot.Change, data []byte, pages map[string]*event.Signal) error {
	if !content.PageName(c.Path) || c.Kind != snapshot.Modified || c.Old == nil || c.Old.Type != snapshot.File {
		return nil
	}
	before, err := r.load(ctx, c.Old)
	if err != nil {
		return err
	}
	old, err := content.ParsePage(bytes.NewReader(before), nil)
	if err != nil {
		return err
	}
	now, err := content.ParsePage(bytes.NewReader(data), nil)
	if err != nil {
		return err
	}
	for _, ref := range old.Refs {
		if len(r.known) < maxKnown {
			r.known[ref.Kind+ref.Origin] = true
		}
	}
	change := content.ComparePages(old, now, func(ref content.Ref) bool { return r.known[ref.Kind+ref.Origin] })
	s := pageSignal(change, old, now)
	if s == nil || s.Kind == "page.defaced" && r.isApproved(now) {
		return nil
	}
	key := fmt.Sprint(s.Kind, change.Origins())
	if s.Kind == "page.defaced" {
		key += c.Path
	}
	if pages[key] == nil {
		s.Time, s.Service, s.Asset, s.Subject = time.Now().UTC(), r.service, r.asset, c.Path
		pages[key] = s
	}
	add(pages[key], c.Path)
	return nil
}

// add appends a path to what a signal is about; with a second one, it is about their directory.
func add(s *event.Signal, name string) {
	if s.Count++; s.Count > 1 {
		dir := s.Subject
		for dir != "/" && !strings.HasPrefix(name, dir+"/") {
			dir = path.Dir(dir)
		}
		s.Subject = dir
	}
	if len(s.Touched) < event.MaxTouched {
		s.Touched = append(s.Touched, name)
	}
	s.Evidence["pages"] = s.Count
}

// judgeShells raises new shells, and those that are requested for the first time.
func (r *Root) judgeShells(ctx context.Context, fresh map[string]bool) ([]event.Signal, error) {
	requests, err := r.requests(ctx)
	var signals []event.Signal
	for name, s := range r.shells {
		asked := requests[name]
		if s.requested || !fresh[name] && len(asked) == 0 {
			continue
		}
		evidence := map[string]any{"rules": s.rules, "written_by_server": s.served, "requests": len(asked), "document_root": r.root}
		strength := min(0.95, 0.75+0.05*float64(len(s.rules)))
		if len(asked) > 0 {
			s.requested, strength = true, 0.99
			if s.rules == nil {
				strength = 0.8
			}
			evidence["first_request"], evidence["source"] = asked[0].Target, asked[0].Source
		}
		signals = append(signals, event.Signal{
			Kind: "shell.uploaded", Technique: webShell, Time: time.Now().UTC(), Service: r.service, Asset: r.asset,
			Subject: name, Strength: strength, Evidence: evidence, Touched: []string{name}, Count: 1,
		})
	}
	return signals, err
}

// requests finds in the ends of the logs who asked for shells that nobody was seen to ask for yet.
func (r *Root) requests(ctx context.Context) (map[string][]accesslog.Entry, error) {
	waiting := map[string][]string{} // paths by last element
	for name, s := range r.shells {
		if !s.requested {
			waiting[path.Base(name)] = append(waiting[path.Base(name)], name)
		}
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	found := map[string][]accesslog.Entry{}
	var errs []error
	for _, log := range r.logs {
		err := readTail(ctx, log, func(e accesslog.Entry) error {
			for _, name := range waiting[path.Base(e.Path())] {
				// Log times are whole seconds.
				if !e.Time.Before(r.shells[name].born.Add(-time.Second)) && len(found[name]) < event.MaxTouched {
					found[name] = append(found[name], e)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // not written yet, or being rotated
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

func readTail(ctx context.Context, name string, fn func(accesslog.Entry) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read access log: %w", err)
	}
	start := max(0, info.Size()-logTail)
	if _, err := accesslog.Read(ctx, io.NewSectionReader(f, start, info.Size()-start), fn); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// load returns the beginning of a file, at most maxFile bytes.
func (r *Root) load(ctx context.Context, n *snapshot.Node) ([]byte, error) {
	var data []byte
	for _, id := range n.Content {
		if len(data) >= maxFile {
			break
		}
		piece, err := r.blobs.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
	return data[:min(len(data), maxFile)], nil
}
