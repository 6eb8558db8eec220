package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/browser"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/detect/web"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// maxVersions is how many snapshots are searched for a file as it was approved.
	maxVersions = 100
	// maxChanged bounds the changed files that are listed.
	maxChanged = 10000
)

// PagesDiff is what a service's pages are now against their approved release.
type PagesDiff struct {
	web.Diff
	// Reference is "release", "snapshot ID" of the last clean one where nobody approved a release, or "none".
	Reference string `json:"reference"`
	Approver  string `json:"approver,omitempty"`
	Release   string `json:"release,omitempty"` // SHA-256, hex
	Looked    string `json:"looked"`            // with what
	// Pictures are where the pictures of changed pages are kept, before and after, by URL.
	Pictures map[string][2]string `json:"pictures,omitempty"`
}

// DiffPages compares the pages of the services, or of all, with their approved releases; where there is none, with the document root's
// files in the last clean snapshot. Of each page that differs it says where the change was made.
func (a *Agent) DiffPages(ctx context.Context, services []string) ([]PagesDiff, error) {
	var all []PagesDiff
	err := a.eachWithPages(services, func(service *estate.Service) error {
		diff, err := a.diffPages(ctx, service)
		if errors.Is(err, errNoRelease) {
			diff.Diff = web.Diff{Service: service.Name, Pages: []web.PageDiff{}, Unread: []string{err.Error()}}
			diff.Reference, err = "none", nil
		}
		all = append(all, diff)
		return err
	})
	return all, err
}

func (a *Agent) diffPages(ctx context.Context, service *estate.Service) (diff PagesDiff, err error) {
	release, fact, err := a.loadRelease(ctx, service.Name)
	reference, taken := "release", time.Time{}
	if errors.Is(err, errNoRelease) {
		var id blob.ID
		release, id, taken, err = a.releaseFromFiles(ctx, service)
		reference = "snapshot " + id.String()
	} else if err == nil {
		taken = release.Time
	}
	if err != nil {
		return diff, err
	}
	pages := web.NewPages(service.Name, service.Watch.Pages, release)
	shown := eyes{said: "looked at without a browser, as then"}
	if release.Renderer != "" {
		if shown, err = a.lookWith(ctx, service, release, true); err != nil && !errors.Is(err, browser.ErrNone) {
			return diff, err
		}
	}
	defer func() { err = errors.Join(err, shown.close()) }()
	if shown.browser != nil {
		pages.Render(shown.browser)
	}
	found, err := pages.Diff(ctx)
	diff = PagesDiff{Diff: found, Reference: reference, Approver: fact.Approver, Release: fact.Release, Looked: shown.said}
	if err != nil {
		return diff, err
	}
	sources := a.sourcesOf(service, taken)
	pictures := map[string][]byte{}
	at := time.Now().UTC().Format("20060102T150405.000")
	for i := range diff.Pages {
		d := &diff.Pages[i]
		if d.Kind == "" {
			continue
		}
		place := pages.Locate(ctx, *d, sources)
		d.Where = &place
		if d.Picture != nil {
			pictures[d.URL] = d.Picture
			if diff.Pictures == nil {
				diff.Pictures = map[string][2]string{}
			}
			diff.Pictures[d.URL] = [2]string{a.picture(service.Name, "approved", d.URL), a.picture(service.Name, "changed-"+at, d.URL)}
		}
	}
	return diff, errors.Join(ctx.Err(), a.keepPictures(service.Name, "changed-"+at, pictures))
}

// rootAsset returns the service's file asset that holds its document root.
func rootAsset(service *estate.Service) (estate.Asset, bool) {
	for _, declared := range service.Assets {
		if declared.Kind == "files" && service.Watch.DocumentRoot != "" && estate.Below(service.Watch.DocumentRoot, declared.Paths) {
			return declared, true
		}
	}
	return estate.Asset{}, false
}

// releaseFromFiles makes a release of the document root's files as they were in the last clean snapshot.
func (a *Agent) releaseFromFiles(ctx context.Context, service *estate.Service) (*web.Release, blob.ID, time.Time, error) {
	none := fmt.Errorf("%w: kedge web approve does", errNoRelease)
	declared, ok := rootAsset(service)
	if !ok {
		return nil, blob.ID{}, time.Time{}, fmt.Errorf("%w; and no file asset holds its document root, whose last clean snapshot could stand for it", none)
	}
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return nil, blob.ID{}, time.Time{}, err
	}
	history, err := assess.Run(ctx, r, assess.Options{Filter: assetFilter(service.Name, declared.Name), Documents: service.Watch.DocumentRoot})
	if err != nil {
		return nil, blob.ID{}, time.Time{}, fmt.Errorf("%w; and its snapshots cannot be assessed: %w", none, err)
	}
	if len(history.Series) != 1 || history.Series[0].LastClean == nil {
		return nil, blob.ID{}, time.Time{}, fmt.Errorf("%w; and no snapshot of its document root is clean", none)
	}
	sn, err := snapshot.Find(ctx, r, history.Series[0].LastClean.String(), snapshot.Filter{})
	if err != nil {
		return nil, blob.ID{}, time.Time{}, err
	}
	release := web.NewFileRelease(service.Name, sn.Time)
	for _, page := range service.Watch.Pages {
		u, err := url.Parse(page)
		if err != nil {
			return nil, blob.ID{}, time.Time{}, err
		}
		for _, name := range web.FilesFor(u.Path) {
			data, err := fileIn(ctx, r, sn, path.Join(service.Watch.DocumentRoot, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, blob.ID{}, time.Time{}, err
			}
			if parsed, err := content.ParsePage(bytes.NewReader(data), u); err == nil && content.PageName(name) {
				release.Add(page, parsed)
			}
			break
		}
	}
	if len(release.Pages) == 0 {
		return nil, blob.ID{}, time.Time{}, fmt.Errorf("%w; and none of them is a file of its document root", none)
	}
	return release, sn.ID, sn.Time, nil
}

// fileIn returns the beginning of a file of a snapshot; fs.ErrNotExist if it is not there.
func fileIn(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, name string) ([]byte, error) {
	n, err := nodeIn(ctx, r, sn, name)
	if err != nil {
		return nil, err
	}
	return contentOf(ctx, r, n)
}

func nodeIn(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, name string) (*snapshot.Node, error) {
	var node *snapshot.Node
	search := snapshot.NewSearch(r, func(at string, n *snapshot.Node) (hit, enter bool) {
		return at == name && n.Type == snapshot.File, strings.HasPrefix(name, strings.TrimSuffix(at, "/")+"/")
	})
	err := search.Run(ctx, sn.Tree, func(_ string, _ blob.ID, n *snapshot.Node) error {
		node = n
		return nil
	})
	if err == nil && node == nil {
		err = fs.ErrNotExist
	}
	return node, err
}

func contentOf(ctx context.Context, r *repo.Repository, n *snapshot.Node) ([]byte, error) {
	var data []byte
	for _, id := range n.Content {
		if len(data) > content.MaxPage {
			break
		}
		piece, err := r.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
	return data, nil
}

// sourcesOf tells what the pages of a service are made of. Files are compared with snapshots that were taken before the release was.
func (a *Agent) sourcesOf(service *estate.Service, approved time.Time) web.Sources {
	s := web.Sources{DocumentRoot: service.Watch.DocumentRoot, Database: a.hasDatabase(service)}
	if service.Watch.Origin != "" {
		s.Direct = []string{service.Watch.Origin}
	} else {
		for _, process := range service.Processes {
			s.Direct = append(s.Direct, process.Listen...)
		}
	}
	declared, ok := rootAsset(service)
	if !ok {
		return s
	}
	s.Clean = func(ctx context.Context, name string, acceptable func([]byte) bool) ([]byte, string, error) {
		return a.cleanVersion(ctx, service, declared, name, acceptable)
	}
	s.Changed = func(ctx context.Context) ([]string, error) { return a.changedSince(ctx, service, declared, approved) }
	return s
}

// hasDatabase tells whether a service, or one that it needs, has a database.
func (a *Agent) hasDatabase(service *estate.Service) bool {
	services := []*estate.Service{service}
	for _, need := range service.Needs {
		if needed, err := a.estate.Service(need); err == nil {
			services = append(services, needed)
		}
	}
	return slices.ContainsFunc(services, func(s *estate.Service) bool {
		return slices.ContainsFunc(s.Assets, func(declared estate.Asset) bool { return declared.Kind != "files" })
	})
}

// snapshotsOf lists the snapshots of an asset, the newest first.
func (a *Agent) snapshotsOf(ctx context.Context, service *estate.Service, declared estate.Asset) (*repo.Repository, []*snapshot.Snapshot, error) {
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return nil, nil, err
	}
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	filter := assetFilter(service.Name, declared.Name)
	list = slices.DeleteFunc(list, func(sn *snapshot.Snapshot) bool { return !filter.Match(sn) })
	slices.SortFunc(list, func(x, y *snapshot.Snapshot) int { return y.Time.Compare(x.Time) })
	return r, list, nil
}

// cleanVersion returns the newest acceptable version of a file, and the full ID of the snapshot that has it.
func (a *Agent) cleanVersion(ctx context.Context, service *estate.Service, declared estate.Asset, name string, acceptable func([]byte) bool) ([]byte, string, error) {
	r, list, err := a.snapshotsOf(ctx, service, declared)
	if err != nil {
		return nil, "", err
	}
	judged := map[string]bool{} // by content
	for _, sn := range list[:min(len(list), maxVersions)] {
		n, err := nodeIn(ctx, r, sn, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		key := fmt.Sprint(n.Content)
		if judged[key] {
			continue
		}
		judged[key] = true
		data, err := contentOf(ctx, r, n)
		if err != nil {
			return nil, "", err
		}
		if acceptable(data) {
			return data, sn.ID.String(), nil
		}
	}
	return nil, "", fs.ErrNotExist
}

// changedSince lists files of the document root whose size or time is not as in the last snapshot before a moment.
func (a *Agent) changedSince(ctx context.Context, service *estate.Service, declared estate.Asset, since time.Time) ([]string, error) {
	r, list, err := a.snapshotsOf(ctx, service, declared)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(sn *snapshot.Snapshot) bool { return sn.Time.After(since) })
	if len(list) == 0 {
		return nil, errors.New("there is no snapshot from before the release was approved")
	}
	root := filepath.Clean(service.Watch.DocumentRoot)
	known := map[string]*snapshot.Node{}
	search := snapshot.NewSearch(r, func(at string, n *snapshot.Node) (hit, enter bool) {
		below := strings.HasPrefix(at, strings.TrimSuffix(root, "/")+"/")
		return below && n.Type == snapshot.File, below || at == root || strings.HasPrefix(root, strings.TrimSuffix(at, "/")+"/")
	})
	if err := search.Run(ctx, list[0].Tree, func(at string, _ blob.ID, n *snapshot.Node) error {
		known[at] = n
		return nil
	}); err != nil {
		return nil, err
	}
	var changed []string
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil || !entry.Type().IsRegular() || len(changed) >= maxChanged {
			return ctx.Err() // what cannot be read is not searched
		}
		info, err := entry.Info()
		if err != nil {
			return nil // it is gone meanwhile
		}
		if n := known[name]; n == nil || int64(n.Size) != info.Size() || !n.ModTime.Equal(info.ModTime()) {
			changed = append(changed, name)
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return changed, err
}
