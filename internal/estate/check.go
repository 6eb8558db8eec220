package estate

import (
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	// namePattern keeps names usable in paths, tags and addresses.
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	// passwordPattern finds a password in a connection string of the form "key=value …".
	passwordPattern = regexp.MustCompile(`(?i)\bpassword\s*=`)
)

func (c *checker) estate(e *Estate) {
	c.label(path{}, e.Name)
	c.absolute(path{"state"}, e.State)
	if len(e.Services) == 0 {
		c.add(path{"services"}, "services is missing: an estate has at least one")
	}
	sites := make(map[string]string)
	for i, s := range e.Sites {
		p := path{"sites", i}
		c.label(p, s.Name)
		c.unique(p, sites, s.Name, s.Role, "site")
		c.oneOf(p.to("role"), s.Role, "headquarters", "vault")
	}
	repositories := make(map[string]string)
	for i, r := range e.Repositories {
		p := path{"repositories", i}
		c.unique(p, repositories, r.Name, r.Name, "repository")
		c.repository(p, r, sites)
	}
	services := make(map[string]string)
	taken := make(map[string]string) // PID files and addresses, to what has them
	for i := range e.Services {
		p := path{"services", i}
		c.unique(p, services, e.Services[i].Name, e.Services[i].Name, "service")
		c.service(p, &e.Services[i], repositories, taken)
	}
	for i, s := range e.Services {
		for j, need := range s.Needs {
			p := path{"services", i, "needs", j}
			if _, known := services[need]; !known {
				c.add(p, "service %q is not declared", need)
			}
			if slices.Index(s.Needs, need) != j {
				c.add(p, "service %q is named twice", need)
			}
		}
	}
	c.cycles(e)
}

// cycles tells each service that needs itself, directly or through others, once for each circle.
func (c *checker) cycles(e *Estate) {
	index := make(map[string]int, len(e.Services))
	for i, s := range e.Services {
		index[s.Name] = i
	}
	const under, done = 1, 2
	state := make([]int, len(e.Services))
	var trail []string
	var visit func(i int)
	visit = func(i int) {
		state[i] = under
		trail = append(trail, e.Services[i].Name)
		for j, need := range e.Services[i].Needs {
			k, known := index[need]
			switch {
			case known && state[k] == 0:
				visit(k)
			case known && state[k] == under:
				circle := append(trail[slices.Index(trail, need):], need)
				c.add(path{"services", i, "needs", j}, "services need one another in a circle: %s", strings.Join(circle, " needs "))
			}
		}
		trail = trail[:len(trail)-1]
		state[i] = done
	}
	for i := range e.Services {
		if state[i] == 0 {
			visit(i)
		}
	}
}

func (c *checker) repository(p path, r Repository, sites map[string]string) {
	c.label(p, r.Name)
	c.site(p.to("site"), r.Site, sites)
	if remote, isREST := strings.CutPrefix(r.Location, "rest:"); isREST {
		c.url(p.to("location"), remote)
	} else {
		c.absolute(p.to("location"), r.Location)
	}
	c.absolute(p.to("password_file"), r.PasswordFile)
	if r.Copy == nil {
		return
	}
	p = p.to("copy")
	if c.site(p.to("site"), r.Copy.Site, sites); sites[r.Copy.Site] == "headquarters" {
		c.add(p.to("site"), "a copy stands at a vault, and site %q is no vault", r.Copy.Site)
	}
	remote, isREST := strings.CutPrefix(r.Copy.Location, "rest:")
	if !isREST {
		c.add(p.to("location"), "a copy is reached through its vault: write its location as rest:http://host:port/name/")
	} else {
		c.url(p.to("location"), remote)
	}
	c.absoluteIfSet(p.to("token_file"), r.Copy.TokenFile)
}

func (c *checker) service(p path, s *Service, repositories, taken map[string]string) {
	c.label(p, s.Name)
	if len(s.Assets) == 0 && len(s.Processes) == 0 {
		c.add(p.to("assets"), "assets is missing: service %q has neither assets nor processes", s.Name)
	}
	if _, known := repositories[s.Repository]; !known && (s.Repository != "" || len(s.Assets) > 0) {
		c.add(p.to("repository"), "repository %q is not declared", s.Repository)
	}
	if len(s.Probes) == 0 {
		c.add(p.to("probes"), "probes is missing: nothing tells whether service %q works", s.Name)
	}
	if s.Objectives.RPO <= 0 {
		c.add(p.to("objectives", "rpo"), "objectives: rpo is missing, or not positive")
	}
	if s.Objectives.RTO <= 0 {
		c.add(p.to("objectives", "rto"), "objectives: rto is missing, or not positive")
	}
	assets, processes, probes := make(map[string]string), make(map[string]string), make(map[string]string)
	for i, a := range s.Assets {
		c.unique(p.to("assets", i), assets, a.Name, a.Name, "asset")
		c.asset(p.to("assets", i), a)
	}
	for i, process := range s.Processes {
		c.unique(p.to("processes", i), processes, process.Name, process.Name, "process")
		c.process(p.to("processes", i), s, process, taken)
	}
	for i, probe := range s.Probes {
		c.unique(p.to("probes", i), probes, probe.Name, probe.Name, "probe")
		c.probe(p.to("probes", i), probe)
	}
	c.absoluteIfSet(p.to("watch", "document_root"), s.Watch.DocumentRoot)
	for i, page := range s.Watch.Pages {
		c.url(p.to("watch", "pages", i), page)
	}
	for i, dir := range s.Watch.Canaries {
		c.absolute(p.to("watch", "canaries", i), dir)
		if !s.keepsTree(dir) {
			c.add(p.to("watch", "canaries", i), "canaries: %s is in no asset of kind files of service %q, and is not watched", dir, s.Name)
		}
	}
	if s.Watch.Origin != "" {
		c.address(p.to("watch", "origin"), s.Watch.Origin)
	}
	for i, log := range s.Watch.AccessLogs {
		c.absolute(p.to("watch", "access_logs", i), log)
	}
	for i, log := range s.Watch.DatabaseLogs {
		c.absolute(p.to("watch", "database_logs", i), log)
		if _, err := filepath.Match(log, ""); err != nil {
			c.add(p.to("watch", "database_logs", i), "database_logs: %q is no pattern: close its brackets", log)
		}
	}
}

func (c *checker) asset(p path, a Asset) {
	c.label(p, a.Name)
	c.oneOf(p.to("kind"), a.Kind, "files", "postgres", "sqlite", "command")
	switch a.Kind {
	case "files":
		if len(a.Paths) == 0 {
			c.add(p.to("paths"), "paths is missing: what of asset %q is to be kept", a.Name)
		}
		for i, name := range a.Paths {
			c.absolute(p.to("paths", i), name)
		}
		for i, name := range a.Exclude {
			c.absolute(p.to("exclude", i), name)
		}
	case "postgres":
		c.connect(p.to("connect"), a.Connect)
		c.absoluteIfSet(p.to("password_file"), a.PasswordFile)
		c.absolute(p.to("data"), a.Data)
		c.absolute(p.to("bin"), a.Bin)
	case "sqlite":
		c.absolute(p.to("path"), a.Path)
	case "command":
		c.commands(p, a)
	}
	c.onlyOf(p, "an asset", a.Kind, []field{
		{"paths", len(a.Paths) > 0, "files"}, {"exclude", len(a.Exclude) > 0, "files"},
		{"connect", a.Connect != "", "postgres"}, {"password_file", a.PasswordFile != "", "postgres"},
		{"bin", a.Bin != "", "postgres"}, {"logical", a.Logical, "postgres"}, {"synchronous", a.Synchronous, "postgres"}, {"data", a.Data != "", "postgres command"},
		{"path", a.Path != "", "sqlite"},
		{"backup", len(a.Backup) > 0, "command"}, {"restore", len(a.Restore) > 0, "command"}, {"create", len(a.Create) > 0, "command"},
		{"offline", a.Offline, "command"}, {"user", a.User != "", "command"}, {"env", len(a.Env) > 0, "command"}, {"timeout", a.Timeout != 0, "command"},
	})
}

func (c *checker) commands(p path, a Asset) {
	c.program(p.to("backup"), a.Backup)
	c.program(p.to("restore"), a.Restore)
	if len(a.Create) > 0 {
		c.program(p.to("create"), a.Create)
		if a.Data == "" {
			c.add(p.to("create"), "create needs data: the directory that it makes")
		}
	}
	for name, argv := range map[string][]string{"backup": a.Backup, "restore": a.Restore, "create": a.Create} {
		for i, text := range argv {
			if passwordPattern.MatchString(text) {
				c.add(p.to(name, i), "%s must not hold a password, which all users of the machine could read: name a file that does, such as --defaults-extra-file of MariaDB", name)
			}
		}
	}
	c.absoluteIfSet(p.to("data"), a.Data)
	c.env(p.to("env"), a.Env)
	c.notNegative(p.to("timeout"), a.Timeout)
}

func (c *checker) process(p path, s *Service, process Process, taken map[string]string) {
	c.label(p, process.Name)
	who := s.Name + "/" + process.Name
	c.program(p.to("argv"), process.Argv)
	c.absoluteIfSet(p.to("directory"), process.Directory)
	c.env(p.to("env"), process.Env)
	if process.StopSignal != "" && unix.SignalNum(process.StopSignal) == 0 {
		c.add(p.to("stop_signal"), "stop signal %q is unknown: write it as SIGTERM or SIGQUIT", process.StopSignal)
	}
	for i, address := range process.Listen {
		c.address(p.to("listen", i), address)
		c.take(p.to("listen", i), taken, "address "+address, who)
	}
	for i, name := range process.Relocate {
		c.absolute(p.to("relocate", i), name)
		if !s.keeps(name) {
			c.add(p.to("relocate", i), "%s is in no asset of service %q, so that a drill would not have it", name, s.Name)
		}
	}
	c.absolute(p.to("pid_file"), process.PIDFile)
	c.take(p.to("pid_file"), taken, "PID file "+process.PIDFile, who)
	c.absolute(p.to("log"), process.Log)
	c.notNegative(p.to("timeout"), process.Timeout)
}

// keeps reports whether an asset of the service holds the path.
func (s *Service) keeps(name string) bool {
	for _, a := range s.Assets {
		if Below(name, a.Paths) || a.Kind == "postgres" && Below(name, []string{a.Data}) || a.Kind == "sqlite" && name == a.Path {
			return true
		}
	}
	return false
}

// keepsTree reports whether a file asset of the service holds the directory.
func (s *Service) keepsTree(dir string) bool {
	return slices.ContainsFunc(s.Assets, func(a Asset) bool {
		return a.Kind == "files" && Below(dir, a.Paths) && !Below(dir, s.Excluded(a))
	})
}

func (c *checker) probe(p path, probe Probe) {
	// A probe's name is for people and stands in no path.
	if probe.Name == "" || len(probe.Name) > 100 || strings.ContainsFunc(probe.Name, unicode.IsControl) {
		c.add(p.to("name"), "name is missing, longer than 100 bytes, or has control characters")
	}
	c.oneOf(p.to("kind"), probe.Kind, "http", "tcp", "mail", "sql", "command", "files")
	switch probe.Kind {
	case "http":
		c.url(p.to("url"), probe.URL)
		if probe.SignIn != "" {
			c.url(p.to("sign_in"), probe.SignIn)
		} else if len(probe.Form) > 0 {
			c.add(p.to("form"), "form needs sign_in: the URL that it is posted to")
		}
		if probe.Status != 0 && (probe.Status < 200 || probe.Status > 599) {
			c.add(p.to("status"), "no final HTTP status is %d", probe.Status)
		}
	case "tcp":
		c.address(p.to("address"), probe.Address)
	case "mail":
		c.address(p.to("smtp"), probe.SMTP)
		c.address(p.to("imap"), probe.IMAP)
		if !strings.Contains(probe.User, "@") {
			c.add(p.to("user"), "user is missing, or no mail address")
		}
		c.absolute(p.to("password_file"), probe.PasswordFile)
	case "sql":
		c.connect(p.to("connect"), probe.Connect)
		if probe.Query == "" {
			c.add(p.to("query"), "query is missing")
		}
	case "command":
		c.program(p.to("argv"), probe.Argv)
	case "files":
		c.absolute(p.to("path"), probe.Path)
	}
	c.onlyOf(p, "a probe", probe.Kind, []field{
		{"url", probe.URL != "", "http"}, {"form", len(probe.Form) > 0, "http"}, {"sign_in", probe.SignIn != "", "http"}, {"status", probe.Status != 0, "http"},
		{"address", probe.Address != "", "tcp"},
		{"smtp", probe.SMTP != "", "mail"}, {"imap", probe.IMAP != "", "mail"}, {"user", probe.User != "", "mail"},
		{"connect", probe.Connect != "", "sql"}, {"query", probe.Query != "", "sql"},
		{"argv", len(probe.Argv) > 0, "command"},
		{"path", probe.Path != "", "files"},
	})
	c.absoluteIfSet(p.to("password_file"), probe.PasswordFile)
	c.notNegative(p.to("timeout"), probe.Timeout)
}

// The checks of single values. Each names the field by the last step of its path.

func (c *checker) label(p path, name string) {
	if !namePattern.MatchString(name) {
		c.add(p.to("name"), "name is missing, or is not made of up to 63 of a-z, 0-9, dot, dash and underscore: %q", name)
	}
}

func (c *checker) unique(p path, seen map[string]string, name, value, what string) {
	if _, twice := seen[name]; twice && name != "" {
		c.add(p.to("name"), "%s %q is declared twice", what, name)
		return
	}
	seen[name] = value
}

func (c *checker) take(p path, taken map[string]string, what, who string) {
	if other, has := taken[what]; has {
		c.add(p, "%s belongs to process %s already", what, other)
		return
	}
	taken[what] = who
}

func (c *checker) oneOf(p path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.add(p, "%v is %q; write %s", last(p), value, strings.Join(allowed, " or "))
	}
}

func (c *checker) site(p path, name string, sites map[string]string) {
	if _, known := sites[name]; !known {
		c.add(p, "site %q is not declared", name)
	}
}

func (c *checker) absolute(p path, name string) {
	switch {
	case name == "":
		c.add(p, "%v is missing", last(p))
	case !filepath.IsAbs(name) || filepath.Clean(name) != strings.TrimSuffix(name, "/") && name != "/" || strings.ContainsRune(name, 0):
		c.add(p, "%v must be an absolute path without . and .., but is %q", last(p), name)
	}
}

func (c *checker) absoluteIfSet(p path, name string) {
	if name != "" {
		c.absolute(p, name)
	}
}

func (c *checker) program(p path, argv []string) {
	switch {
	case len(argv) == 0 || argv[0] == "":
		c.add(p, "%v is missing", last(p))
	case strings.Contains(argv[0], "/"):
		c.absolute(p.to(0), argv[0])
	}
}

func (c *checker) env(p path, env []string) {
	for i, pair := range env {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
			c.add(p.to(i), "%q is not of the form NAME=value", pair)
		}
	}
}

func (c *checker) address(p path, address string) {
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || host == "" || number == 0 {
		c.add(p, "%v must be host:port with a number as port, but is %q", last(p), address)
	}
}

func (c *checker) url(p path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		c.add(p, "%v must name http://host… or https://host…", last(p))
		return
	}
	if _, has := u.User.Password(); has {
		c.add(p, "%v must not hold a password: name a file that does", last(p))
	}
}

func (c *checker) connect(p path, text string) {
	inURL := false
	if u, err := url.Parse(text); err == nil {
		_, inURL = u.User.Password()
	}
	switch {
	case text == "":
		c.add(p, "connect is missing: a PostgreSQL connection string")
	case inURL || passwordPattern.MatchString(text):
		c.add(p, "connect must not hold a password: write it to a file and name that as password_file")
	}
}

func (c *checker) notNegative(p path, d time.Duration) {
	if d < 0 {
		c.add(p, "%v is negative", last(p))
	}
}

// field is one that means something for some kinds only.
type field struct {
	name  string
	set   bool
	kinds string // separated by spaces
}

// onlyOf tells of fields that are set and mean nothing for the kind. Of an unknown kind nothing can be said.
func (c *checker) onlyOf(p path, what, kind string, fields []field) {
	known := slices.ContainsFunc(fields, func(f field) bool { return slices.Contains(strings.Fields(f.kinds), kind) })
	for _, f := range fields {
		if known && f.set && !slices.Contains(strings.Fields(f.kinds), kind) {
			c.add(p.to(f.name), "%s means nothing for %s of kind %q", f.name, what, kind)
		}
	}
}

// last is the name of the value that p leads to, or of the list that it is in.
func last(p path) any {
	for i := len(p) - 1; i >= 0; i-- {
		if name, ok := p[i].(string); ok {
			return name
		}
	}
	return "value"
}
