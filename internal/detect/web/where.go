package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
)

// Where a change of a page was made.
const (
	InFile     = "file"     // a file of the document root is not as it was in the last clean snapshot
	InDatabase = "database" // the service itself serves it and no file changed: what pages are made of did
	OnTheWay   = "way"      // the service itself does not serve it: a proxy, a content delivery network or the name's address does
	Unknown    = "unknown"
)

// Place is where a change of a page was made, and what that was found by.
type Place struct {
	Where    string   `json:"where"`
	File     string   `json:"file,omitempty"`     // that changed
	Snapshot string   `json:"snapshot,omitempty"` // that has it as it was, full ID
	Compared []string `json:"compared"`           // what was compared with what, and came of it
}

func (p *Place) say(format string, args ...any) {
	p.Compared = append(p.Compared, fmt.Sprintf(format, args...))
}

// Sources are what pages of a service are made of.
type Sources struct {
	DocumentRoot string // absolute; "" if the service has none
	// Clean returns the newest snapshot's version of a file that is acceptable, and the snapshot's ID; fs.ErrNotExist if none is.
	Clean func(ctx context.Context, path string, acceptable func(data []byte) bool) (data []byte, snapshot string, err error)
	// Changed lists files of the document root that are not as in the last snapshot that was taken before the release was approved.
	Changed  func(ctx context.Context) ([]string, error)
	Direct   []string // host:port at which the service itself answers
	Database bool     // it has one, or needs a service that has
}

const (
	// maxSearched bounds the changed files that are searched for what was brought in.
	maxSearched = 500
	// longEnough is how much of a script's text must be found to count as it, in bytes.
	longEnough = 12
)

// Locate finds out where the differences of a page were made. What cannot be looked at is said in Compared.
func (p *Pages) Locate(ctx context.Context, d PageDiff, s Sources) Place {
	place := Place{Where: Unknown, Compared: []string{}}
	release := p.Approved()
	u, err := url.Parse(d.URL)
	if err != nil || release.Pages[d.URL] == nil {
		return place
	}
	shown, asked := p.askDirect(ctx, d, s.Direct, &place)
	resolve(ctx, u, s.Direct, &place)
	if asked && !shown {
		place.Where = OnTheWay
		return place
	}
	if !slices.ContainsFunc(d.Differences, func(f Difference) bool { return f.What != "header" && f.What != "certificate" }) {
		place.say("no file of a page says this: look at the server's configuration")
		return place
	}
	static, changed := p.compareFiles(ctx, d, u, s, &place)
	switch {
	case changed:
		place.Where = InFile
	case asked && (s.Database || !static):
		place.Where = InDatabase
		place.say("the service itself serves it, and no file that it is made of changed: its data did")
	case asked:
		place.say("the service itself serves it, and its file did not change: look at the server's configuration")
	}
	return place
}

// askDirect asks the service itself for the page, past whatever stands before it.
func (p *Pages) askDirect(ctx context.Context, d PageDiff, direct []string, place *Place) (shown, asked bool) {
	as := personas[0]
	for _, other := range personas {
		if len(d.Differences[0].Personas) > 0 && other.Name == d.Differences[0].Personas[0] {
			as = other
		}
	}
	release := p.Approved()
	for _, address := range direct {
		for _, plain := range []bool{false, true} {
			if plain && !strings.HasPrefix(d.URL, "https:") {
				break // it was asked so already
			}
			there := &Pages{service: p.service, plain: directFetcher(address, plain), approved: release}
			s, err := there.look(ctx, as, []string{d.URL})
			if err == nil {
				err = s.failed[d.URL]
			}
			if err != nil && !errors.Is(err, errBoast) {
				place.say("%s itself does not answer: %v", address, err)
				continue
			}
			asked = true
			if slices.ContainsFunc(s.compare(release, release.known())[d.URL], func(f Difference) bool { return sharedBy(f, d.Differences) }) {
				place.say("%s itself serves the change", address)
				return true, true
			}
			place.say("%s itself serves the page without the change", address)
			break
		}
	}
	if !asked {
		place.say("nothing is known to answer for the service itself: declare watch: origin")
	}
	return false, asked
}

// sharedBy tells whether a difference is one of others; one that only a browser sees has its cause in the script that made it.
func sharedBy(f Difference, others []Difference) bool {
	return slices.ContainsFunc(others, func(o Difference) bool { return o.key() == f.key() || f.File != "" && o.File == f.File })
}

// directFetcher returns a fetcher for which all names lead to an address, and which asks without encryption if plain.
func directFetcher(address string, plain bool) *fetcher {
	f := newFetcher(address)
	if plain {
		f.client.Transport = unencrypted{f.client.Transport}
	}
	return f
}

// unencrypted asks by HTTP what was to be asked by HTTPS, as the proxy before a service does.
type unencrypted struct{ http.RoundTripper }

func (t unencrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	plain := r.Clone(r.Context())
	plain.URL.Scheme = "http"
	plain.Host = r.URL.Host
	plain.Header.Set("X-Forwarded-Proto", "https")
	resp, err := t.RoundTripper.RoundTrip(plain)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

// resolve tells where the page's name leads.
func resolve(ctx context.Context, u *url.URL, direct []string, place *Place) {
	if net.ParseIP(u.Hostname()) != nil {
		return
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		place.say("the name %s leads nowhere: %v", u.Hostname(), err)
		return
	}
	place.say("the name %s leads to %s; the service itself is at %s", u.Hostname(), strings.Join(addresses, ", "), strings.Join(direct, ", "))
}

// compareFiles compares the files that the page is made of with the last clean snapshot. static tells whether the page is a file.
func (p *Pages) compareFiles(ctx context.Context, d PageDiff, u *url.URL, s Sources, place *Place) (static, changed bool) {
	if s.DocumentRoot == "" || s.Clean == nil {
		place.say("the service declares no document root")
		return false, false
	}
	root, err := os.OpenRoot(s.DocumentRoot)
	if err != nil {
		place.say("the document root cannot be read: %v", err)
		return false, false
	}
	defer root.Close()
	release := p.Approved()
	k := release.known()
	for _, part := range partsOf(d, u) {
		name, data, err := readPart(root, part)
		if err != nil {
			place.say("no file of the document root is %s", part)
			continue
		}
		static = static || part == u.Path
		full := path.Join(s.DocumentRoot, name)
		clean, snapshot, err := s.Clean(ctx, full, func(data []byte) bool { return p.acceptable(release, k, d.URL, u, part, data) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if p.acceptable(release, k, d.URL, u, part, data) {
				place.say("%s is in no snapshot, and as approved", full)
				continue
			}
			place.say("%s is in no snapshot as it was approved", full)
			place.File, changed = cmp.Or(place.File, full), true
		case err != nil:
			place.say("%s cannot be compared: %v", full, err)
		case bytes.Equal(clean, data):
			place.say("%s is as in snapshot %.8s", full, snapshot)
		default:
			place.say("%s is not as in snapshot %.8s, the last that has it as approved", full, snapshot)
			if place.File == "" {
				place.File, place.Snapshot = full, snapshot
			}
			changed = true
		}
	}
	if !changed {
		changed = p.search(ctx, d, root, s, place)
	}
	return static, changed
}

// partsOf lists the paths of the page and of its own files that differ.
func partsOf(d PageDiff, u *url.URL) []string {
	parts := []string{u.Path}
	for _, f := range d.Differences {
		if file, err := url.Parse(f.File); f.File != "" && err == nil && file.Host == u.Host {
			parts = addTo(parts, file.Path)
		}
	}
	return parts
}

// readPart reads the file that a server sends for a path; never one outside the root.
func readPart(root *os.Root, part string) (name string, data []byte, err error) {
	for _, try := range FilesFor(part) {
		if data, err = readFile(root, try); err == nil {
			return try, data, nil
		}
	}
	return "", nil, err
}

func readFile(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	return io.ReadAll(io.LimitReader(f, maxDownload))
}

// acceptable tells whether a file's content, served for a path, would be as approved.
func (p *Pages) acceptable(release *Release, k *known, page string, u *url.URL, part string, data []byte) bool {
	if part != u.Path {
		address := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: part}).String()
		hash := hashOf(data)
		text := hashOf(bytes.ToValidUTF8(data, nil)) // as scripts are read
		return slices.ContainsFunc(release.Files[address], func(c content.Code) bool { return c.Hash == hash || c.Hash == text })
	}
	parsed, err := content.ParsePage(bytes.NewReader(data), u)
	if err != nil {
		return false
	}
	own := release.Pages[page]
	d := &differ{own: own, known: k}
	d.text(parsed)
	d.page(parsed)
	d.lost(parsed)
	return len(d.found) == 0
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// search looks for what was brought into the page in the files that changed.
func (p *Pages) search(ctx context.Context, d PageDiff, root *os.Root, s Sources, place *Place) bool {
	if s.Changed == nil {
		return false
	}
	changed, err := s.Changed(ctx)
	if err != nil {
		place.say("the changed files cannot be listed: %v", err)
		return false
	}
	if len(changed) == 0 {
		place.say("no file of the document root changed since the release was approved")
		return false
	}
	needles := needlesOf(d.Differences)
	for _, full := range changed[:min(len(changed), maxSearched)] {
		name, ok := strings.CutPrefix(full, strings.TrimSuffix(s.DocumentRoot, "/")+"/")
		if !ok {
			continue
		}
		data, err := readFile(root, name)
		if err != nil {
			continue
		}
		for _, needle := range needles {
			if bytes.Contains(data, []byte(needle)) {
				place.say("%s changed since the release was approved, and has %q", full, needle)
				place.File = full
				return true
			}
		}
	}
	place.say("%d files of the document root changed since the release was approved, and none has what the page was given", len(changed))
	return false
}

// needlesOf are texts that stand wherever the differences were made, if nobody hid them.
func needlesOf(differences []Difference) []string {
	var all []string
	for _, f := range differences {
		if host := hostOf(f.Origin); host != "" {
			all = addTo(all, host)
		}
		if _, head, ok := strings.Cut(f.Now, ": "); ok && len(head) >= longEnough {
			all = addTo(all, head[:min(len(head), 40)])
		}
	}
	return all
}
