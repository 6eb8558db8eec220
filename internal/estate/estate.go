// Package estate holds the words of kedge.yaml: sites, repositories and services, and what each service has.
//
// Decoding is strict: an unknown field, a wrong type or a name that refers to nothing is an error with the
// file's line and column. An Estate that Load returned is complete and consistent; nothing changes it after.
package estate

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Estate is the declared whole.
type Estate struct {
	Name         string       `yaml:"name"`
	Sites        []Site       `yaml:"sites"`
	Repositories []Repository `yaml:"repositories"`
	Services     []Service    `yaml:"services"`
	// State is the directory where kedge keeps what it needs between runs: spools, journals, the record, quarantine. Absolute.
	State string `yaml:"state"`
}

// Site is a place that holds data.
type Site struct {
	Name string `yaml:"name"`
	Role string `yaml:"role"` // "headquarters" or "vault"
	// Vault is where a vault's witness is asked to cosign the record, http://host:port, and WitnessKey its public key.
	Vault      string `yaml:"vault,omitempty"`
	WitnessKey string `yaml:"witness_key,omitempty"`
}

// Repository is where an estate's snapshots go, and where their copy stands.
type Repository struct {
	Name         string `yaml:"name"`
	Site         string `yaml:"site"`
	Location     string `yaml:"location"` // as restic's -r: a directory, or rest:http://host:port/path/
	PasswordFile string `yaml:"password_file"`
	Copy         *Copy  `yaml:"copy,omitempty"`
}

// Copy is a repository's twin at another site, reached through that site's vault alone.
type Copy struct {
	Site      string `yaml:"site"`
	Location  string `yaml:"location"`             // rest:http://host:port/name/
	TokenFile string `yaml:"token_file,omitempty"` // credential for reading
}

// Service is what people use.
type Service struct {
	Name       string     `yaml:"name"`
	Title      string     `yaml:"title,omitempty"` // for people
	Key        bool       `yaml:"key,omitempty"`   // shut first
	Needs      []string   `yaml:"needs,omitempty"` // services that it cannot work without
	Repository string     `yaml:"repository"`
	Assets     []Asset    `yaml:"assets"`
	Processes  []Process  `yaml:"processes,omitempty"` // in order of start
	Probes     []Probe    `yaml:"probes"`
	Objectives Objectives `yaml:"objectives"`
	Watch      Watch      `yaml:"watch,omitempty"`
}

// Asset is what a service cannot live without.
type Asset struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"` // "files", "postgres", "sqlite" or "command"

	Paths   []string `yaml:"paths,omitempty"`   // files
	Exclude []string `yaml:"exclude,omitempty"` // files: absolute path prefixes left out, such as logs and run files

	// Connect is a PostgreSQL connection string without a password; the user may replicate, and, if Logical is set, read everything.
	Connect      string `yaml:"connect,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"` // postgres
	Bin          string `yaml:"bin,omitempty"`           // postgres: the directory of its programs
	Logical      bool   `yaml:"logical,omitempty"`       // postgres: keep a pg_dump of each database as well
	// Synchronous makes commits wait until the repository has them, if the server's synchronous_standby_names names
	// kedge_SERVICE_ASSET: nothing that was acknowledged is lost, and no commit returns while the repository takes nothing. postgres only.
	Synchronous bool `yaml:"synchronous,omitempty"`

	Path string `yaml:"path,omitempty"` // sqlite: the database

	Backup  []string `yaml:"backup,omitempty"`  // command: its standard output is what is kept
	Restore []string `yaml:"restore,omitempty"` // command: gets it on standard input
	// Create is a command that makes Data a new and empty database. Only with Data.
	Create  []string      `yaml:"create,omitempty"`
	Offline bool          `yaml:"offline,omitempty"` // command: Restore runs before the service's processes are started, not after
	User    string        `yaml:"user,omitempty"`    // command: the account that all three run as, if kedge is root; default: kedge's own
	Env     []string      `yaml:"env,omitempty"`     // command: NAME=value, added to PATH, HOME and LANG
	Timeout time.Duration `yaml:"timeout,omitempty"` // command: for each of the three; default 1 h

	// Data is the data directory. Of postgres it is needed. Of command it may name where the server keeps what the command dumps:
	// that is then put aside and made anew, empty, before Restore; without it, Restore loads into what is there.
	Data string `yaml:"data,omitempty"`
}

// besides are the files that SQLite keeps beside a database.
var besides = [...]string{"-wal", "-shm", "-journal"}

// Files lists a SQLite database and the files that SQLite may keep beside it, which are worth nothing without it.
func (a Asset) Files() []string {
	files := []string{a.Path}
	for _, suffix := range besides {
		files = append(files, a.Path+suffix)
	}
	return files
}

// Excluded lists what a file asset of the service leaves out: what it says itself, and the service's SQLite databases, whose files
// might be torn where they are read one after another.
func (s *Service) Excluded(a Asset) []string {
	excluded := slices.Clone(a.Exclude)
	for _, other := range s.Assets {
		if other.Kind == "sqlite" {
			excluded = append(excluded, other.Files()...)
		}
	}
	return excluded
}

// Process is a program that runs in the foreground, as a Type=exec unit of systemd would.
type Process struct {
	Name       string   `yaml:"name"`
	Argv       []string `yaml:"argv"`
	Directory  string   `yaml:"directory,omitempty"`
	User       string   `yaml:"user,omitempty"`        // the account it runs as, if kedge is root; default: kedge's own
	Env        []string `yaml:"env,omitempty"`         // NAME=value, added to PATH, HOME and LANG
	StopSignal string   `yaml:"stop_signal,omitempty"` // default SIGTERM
	// Listen names the addresses it serves, host:port. It is up when all accept; a drill gives it others.
	Listen []string `yaml:"listen,omitempty"`
	// Relocate names files, inside the service's assets, in which a drill replaces paths and addresses.
	Relocate []string      `yaml:"relocate,omitempty"`
	PIDFile  string        `yaml:"pid_file"`
	Log      string        `yaml:"log"`
	Timeout  time.Duration `yaml:"timeout,omitempty"` // to start, and to stop; default 30 s
}

// Probe is a question that a healthy service answers.
type Probe struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"` // "http", "tcp", "mail", "sql", "command", "files"

	URL    string            `yaml:"url,omitempty"`     // http
	Form   map[string]string `yaml:"form,omitempty"`    // http: posted to SignIn first, the cookies kept; {password} in a value is what PasswordFile holds
	SignIn string            `yaml:"sign_in,omitempty"` // http
	Status int               `yaml:"status,omitempty"`  // http: default 200

	Address string `yaml:"address,omitempty"` // tcp: host:port

	SMTP         string `yaml:"smtp,omitempty"` // mail: delivered there
	IMAP         string `yaml:"imap,omitempty"` // mail: and read back from there
	User         string `yaml:"user,omitempty"` // mail: the recipient's address and IMAP login
	PasswordFile string `yaml:"password_file,omitempty"`

	Connect string `yaml:"connect,omitempty"` // sql
	Query   string `yaml:"query,omitempty"`   // sql: its first row's first column is the answer

	Argv []string `yaml:"argv,omitempty"` // command: its standard output is the answer

	Path string `yaml:"path,omitempty"` // files: a file that must be there and not be empty

	Expect  string        `yaml:"expect,omitempty"`  // the answer contains this
	Timeout time.Duration `yaml:"timeout,omitempty"` // default 10 s
}

// Objectives are what the organisation asks of a service.
type Objectives struct {
	RPO time.Duration `yaml:"rpo"` // loss of at most this much time
	RTO time.Duration `yaml:"rto"` // back after at most this long
}

// Watch says where detectors look, beside the assets themselves.
type Watch struct {
	DocumentRoot string   `yaml:"document_root,omitempty"` // files served to visitors
	Pages        []string `yaml:"pages,omitempty"`         // URLs compared with their approved release
	// Render says whether pages are also looked at with a browser: kedge web approve and diff do where Chromium is installed, if
	// this is not set, and kedge agent and watch do only if it is true.
	Render *bool `yaml:"render,omitempty"`
	// Origin is where the service itself answers for its pages, host:port, past proxies and content delivery networks. Default: where
	// its processes listen.
	Origin     string   `yaml:"origin,omitempty"`
	AccessLogs []string `yaml:"access_logs,omitempty"` // combined format
	// DatabaseLogs are PostgreSQL's own logs, or patterns such as /var/log/postgresql/postgresql-15-main.log*, to tell who did what.
	DatabaseLogs []string `yaml:"database_logs,omitempty"`
	// Canaries are directories in the service's file assets in which kedge watch keeps files of its own, which nobody has reason to touch.
	Canaries []string `yaml:"canaries,omitempty"`
	// Freeze lets kedge watch stop, reversibly, whoever is seen to damage the service's files; a process of the service itself too, which then
	// answers no more until kedge watch thaw.
	Freeze bool `yaml:"freeze,omitempty"`
}

// Below tells whether path is one of the paths, or lies below one. All are absolute.
func Below(path string, paths []string) bool {
	path = filepath.Clean(path)
	for _, p := range paths {
		p = filepath.Clean(p)
		if path == p || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

// Service returns the named service.
func (e *Estate) Service(name string) (*Service, error) {
	for i := range e.Services {
		if e.Services[i].Name == name {
			return &e.Services[i], nil
		}
	}
	return nil, fmt.Errorf("service %q is not in estate %s", name, e.Name)
}

// TitleOf returns what people call a service; its name, where it has no title or is not in the estate. e may be nil.
func (e *Estate) TitleOf(service string) string {
	if e != nil {
		if s, err := e.Service(service); err == nil && s.Title != "" {
			return s.Title
		}
	}
	return service
}

// Repository returns the named repository.
func (e *Estate) Repository(name string) (*Repository, error) {
	for i := range e.Repositories {
		if e.Repositories[i].Name == name {
			return &e.Repositories[i], nil
		}
	}
	return nil, fmt.Errorf("repository %q is not in estate %s", name, e.Name)
}
