package drill

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/estate"
)

// place is where a drill happens: a directory and ports, and what they stand for.
type place struct {
	dir    string
	root   *os.Root
	paths  []string                // declared by the estate, to be found below dir
	ports  map[string]string       // declared to ours
	held   map[string]net.Listener // our ports, kept from others until their process is started
	hosts  map[string]bool         // declared addresses that are not loopback ones
	scribe rewriter

	declared map[int]bool // ports that any service listens on
}

// newPlace finds a port for each declared one, and all paths that belong to the estate.
func newPlace(e *estate.Estate, dir string) (*place, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	pl := &place{
		dir: dir, root: root, ports: make(map[string]string), held: make(map[string]net.Listener), hosts: make(map[string]bool),
		declared: declaredPorts(e),
	}
	taken := make(map[string]string) // our addresses, to the declared ones
	for _, s := range e.Services {
		pl.paths = append(pl.paths, paths(s)...)
		for _, p := range s.Processes {
			for _, address := range p.Listen {
				ours, err := pl.assign(address)
				if err == nil && taken[ours] != "" && taken[ours] != address {
					err = fmt.Errorf("%s and %s would both be %s in the sandbox: give them different ports", address, taken[ours], ours)
				}
				if err != nil {
					pl.close()
					return nil, err
				}
				taken[ours] = address
				if host, _, err := net.SplitHostPort(address); err == nil && !isLoopback(host) {
					pl.scribe.add(address, ours)
				}
			}
		}
	}
	for _, p := range pl.paths {
		pl.scribe.add(p, below(dir, p))
	}
	pl.scribe.ports = pl.ports
	return pl, nil
}

func declaredPorts(e *estate.Estate) map[int]bool {
	ports := make(map[int]bool)
	for _, s := range e.Services {
		for _, p := range s.Processes {
			for _, address := range p.Listen {
				_, port, err := net.SplitHostPort(address)
				if number, numberErr := strconv.Atoi(port); err == nil && numberErr == nil {
					ports[number] = true
				}
			}
		}
	}
	return ports
}

// paths lists all that is declared of a service to be somewhere.
func paths(s estate.Service) []string {
	all := append([]string{s.Watch.DocumentRoot}, s.Watch.AccessLogs...)
	for _, a := range s.Assets {
		all = append(append(all, a.Data), a.Paths...)
		if a.Path != "" { // a process may be told the directory alone
			all = append(all, a.Path, filepath.Dir(a.Path))
		}
	}
	for _, p := range s.Processes {
		all = append(all, p.PIDFile, p.Log)
	}
	for i := range all {
		all[i] = strings.TrimRight(all[i], "/")
	}
	return slices.DeleteFunc(all, func(p string) bool { return p == "" })
}

// assign finds our address for a declared one.
func (pl *place) assign(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if pl.ports[port] == "" {
		l, err := pl.freePort()
		if err != nil {
			return "", fmt.Errorf("find a port for %s: %w", address, err)
		}
		free := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
		pl.ports[port], pl.held[free] = free, l
	}
	if !isLoopback(host) {
		pl.hosts[address] = true
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, pl.ports[port]), nil
}

// freePort takes a port that is free and that no service declares: one whose service is down now may be started.
func (pl *place) freePort() (l net.Listener, err error) {
	for {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		if !pl.declared[l.Addr().(*net.TCPAddr).Port] {
			return l, nil
		}
		// It is let go of only after another was taken, which is thus not the same.
		defer l.Close()
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// close gives back what a place holds, but not the directory.
func (pl *place) close() {
	for _, l := range pl.held {
		l.Close()
	}
	pl.root.Close()
}

// has reports whether a path is, or lies in, one that the estate declares.
func (pl *place) has(path string) bool {
	return slices.ContainsFunc(pl.paths, func(p string) bool { return isIn(path, p) })
}

func isIn(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimRight(dir, "/")+"/")
}

// path is where a declared path is in the sandbox; others stay.
func (pl *place) path(path string) string {
	if pl.has(path) {
		return below(pl.dir, path)
	}
	return path
}

// address is ours for a declared one.
func (pl *place) address(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	ours, known := pl.ports[port]
	switch {
	case known && isLoopback(host):
		return net.JoinHostPort(host, ours), nil
	case known && pl.hosts[address]:
		return net.JoinHostPort("127.0.0.1", ours), nil
	}
	return "", fmt.Errorf("%s is not in the sandbox: no process declares it in listen", address)
}

func (pl *place) url(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if u.Host, err = pl.address(net.JoinHostPort(u.Hostname(), port)); err != nil {
		return "", err
	}
	return u.String(), nil
}

// connect is our connection string for a declared one. It must lead into the sandbox.
func (pl *place) connect(text string) (string, error) {
	ours := pl.scribe.text(text)
	config, err := pgconn.ParseConfig(ours)
	if err != nil {
		return "", err
	}
	targets := []*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port}}
	for _, t := range append(targets, config.Fallbacks...) {
		_, isPort := pl.held[fmt.Sprint(t.Port)]
		if !isPort || !isLoopback(t.Host) && !isIn(t.Host, pl.dir) {
			return "", fmt.Errorf("connect leads to %s port %d, out of the sandbox: name a loopback host and a port that a process declares in listen", t.Host, t.Port)
		}
	}
	return ours, nil
}

// service returns the service as it stands in the sandbox.
func (pl *place) service(s *estate.Service) (estate.Service, error) {
	there := *s
	there.Assets = slices.Clone(s.Assets)
	for i := range there.Assets {
		a := &there.Assets[i]
		if slices.Contains(a.Paths, "/") {
			return there, fmt.Errorf("asset %s holds the whole machine: a drill cannot tell its paths from others", a.Name)
		}
		a.Paths, a.Exclude = pl.all(a.Paths, pl.path), pl.all(a.Exclude, pl.path)
		a.Data, a.PasswordFile, a.Path = pl.path(a.Data), pl.path(a.PasswordFile), pl.path(a.Path)
		var err error
		switch {
		case a.Connect != "":
			a.Connect, err = pl.connect(a.Connect)
		case a.Kind == "command":
			err = pl.commands(a)
		}
		if err != nil {
			return there, fmt.Errorf("asset %s: %w", a.Name, err)
		}
	}
	there.Processes = slices.Clone(s.Processes)
	for i := range there.Processes {
		p := &there.Processes[i]
		p.Argv, p.Env, p.Relocate = pl.all(p.Argv, pl.scribe.text), pl.all(p.Env, pl.scribe.text), pl.all(p.Relocate, pl.path)
		p.PIDFile, p.Log = below(pl.dir, p.PIDFile), below(pl.dir, p.Log)
		if p.Directory != "" {
			p.Directory = below(pl.dir, p.Directory)
		}
		p.Listen = slices.Clone(p.Listen)
		for j, address := range p.Listen {
			var err error
			if p.Listen[j], err = pl.address(address); err != nil {
				return there, fmt.Errorf("process %s: %w", p.Name, err)
			}
		}
	}
	there.Probes = slices.Clone(s.Probes)
	for i := range there.Probes {
		if err := pl.probe(&there.Probes[i]); err != nil {
			return there, fmt.Errorf("probe %s: %w", there.Probes[i].Name, err)
		}
	}
	return there, nil
}

// commands makes an asset's commands work on the sandbox. One that is told nothing of it would load into what is live, and is an error.
func (pl *place) commands(a *estate.Asset) error {
	env := pl.all(a.Env, pl.scribe.text)
	for field, argv := range map[string]*[]string{"restore": &a.Restore, "create": &a.Create} {
		ours := pl.all(*argv, pl.scribe.text)
		if len(ours) > 0 && slices.Equal(ours, *argv) && slices.Equal(env, a.Env) {
			return fmt.Errorf("%s would work on what is live: let it name a port that a process declares in listen, or a path of an asset", field)
		}
		*argv = ours
	}
	a.Env = env
	return nil
}

func (pl *place) all(texts []string, replace func(string) string) []string {
	var ours []string
	for _, text := range texts {
		ours = append(ours, replace(text))
	}
	return ours
}

// probe makes a probe ask the sandbox. One that would ask anything else proves nothing, and is an error.
func (pl *place) probe(p *estate.Probe) error {
	var errs []error
	for field, replace := range map[*string]func(string) (string, error){
		&p.URL: pl.url, &p.SignIn: pl.url, &p.Address: pl.address, &p.SMTP: pl.address, &p.IMAP: pl.address, &p.Connect: pl.connect,
	} {
		if *field == "" {
			continue
		}
		ours, err := replace(*field)
		if err != nil {
			errs = append(errs, err)
		}
		*field = ours
	}
	if p.Kind == "files" && !pl.has(p.Path) {
		errs = append(errs, fmt.Errorf("%s is in no asset, so that no drill brings it back", p.Path))
	}
	p.Path, p.PasswordFile, p.Argv = pl.path(p.Path), pl.path(p.PasswordFile), pl.all(p.Argv, pl.scribe.text)
	return errors.Join(errs...)
}

// prepare makes the directories that a process needs and lets go of its ports.
func (pl *place) prepare(p estate.Process) error {
	for _, address := range p.Listen {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		// Closing it twice, for two hosts with one port, does no harm.
		pl.held[port].Close()
	}
	// The root refuses links that lead out of the sandbox, as a restored log directory might be.
	for _, dir := range []string{p.Directory, filepath.Dir(p.PIDFile), filepath.Dir(p.Log)} {
		if dir == "" || dir == pl.dir {
			continue
		}
		if err := pl.root.MkdirAll(strings.TrimPrefix(dir, pl.dir+"/"), 0o700); err != nil {
			return err
		}
	}
	return nil
}
