package web

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
)

// AddressOf returns host:port of an address.
func AddressOf(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "https" || u.Scheme == "wss" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}

// Addresses lists host:port of all that the release's pages talk to.
func (r *Release) Addresses() []string {
	var all []string
	for origin := range r.known().origins {
		if u, err := url.Parse(origin); err == nil && u.Hostname() != "" {
			all = append(all, AddressOf(u))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Scripts counts the scripts of the release, each once.
func (r *Release) Scripts() int {
	seen := map[string]bool{}
	for _, a := range r.Pages {
		for _, c := range a.Code {
			seen[c.Hash] = c.Kind != "style"
		}
		for _, s := range a.Sources {
			seen[s.URL] = s.Kind == "script"
		}
	}
	n := 0
	for _, script := range seen {
		if script {
			n++
		}
	}
	return n
}

// NewFileRelease returns a release that nobody approved, to be made of files as they were at a time.
func NewFileRelease(service string, at time.Time) *Release {
	r := newRelease(service)
	r.Time, r.FromFiles = at.UTC(), true
	return r
}

// Add takes a page's file into the release.
func (r *Release) Add(page string, p content.Page) {
	u, err := url.Parse(page)
	if err != nil {
		return
	}
	own := &Approved{Looks: 1, Origins: []string{(&url.URL{Scheme: u.Scheme, Host: u.Host}).String()}, Images: p.Images, Forms: p.Forms, AllForms: p.Forms}
	own.learnText(p)
	own.learnPage(p)
	r.Pages[page] = own
}

// FilesFor lists the names, below a document root, of the files that a server may send for a path, the likeliest first.
func FilesFor(part string) []string {
	name := strings.TrimPrefix(path.Clean("/"+part), "/")
	var all []string
	if name != "" && !strings.HasSuffix(part, "/") {
		all = append(all, name)
	}
	for _, index := range []string{"index.html", "index.htm", "index.php"} {
		all = append(all, path.Join(name, index))
	}
	if path.Ext(name) == "" && name != "" {
		all = append(all, name+".html")
	}
	return all
}
