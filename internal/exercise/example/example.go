// Package example builds the example estate of the exercise: an organisation's services out of real software, each
// on loopback ports of its own, in one directory.
//
// It promises that nothing outside that directory is written and no other address is used, that everything runs
// unprivileged, and that the same seed on the same machine gives the same data (passwords and ports apart). What was
// built is kept aside in a reference, which kedge never reads.
package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/reference"
	"github.com/kedge-project/kedge/internal/probe"
	"github.com/kedge-project/kedge/internal/process"
)

const (
	// maxDir bounds the length of the estate's directory: Exim takes 200 bytes as the path of its log, which is twice
	// as deep in a drill.
	maxDir = 80
	// readyWait bounds the time from a service's start to its right answers, and readyPoll is how often it is asked.
	readyWait = 30 * time.Second
	readyPoll = 50 * time.Millisecond
)

// Options of Build. Zero sizes are taken as they are: every service still gets a few files and rows.
type Options struct {
	Dir   string // absolute; made if it is not there. Build makes london, reference, state and kedge.yaml in it
	Seed  uint64
	Files int   // of the file server, at least
	Bytes int64 // of the file server, at least
	Rows  int   // of the ship register, at least
	// Kedge is the path of the program that runs the applications, as "KEDGE application NAME CONFIGURATION".
	Kedge    string
	Progress func(string) // called from several goroutines, one at a time; may be nil
}

// Estate is what was built. Its services do not run until Start.
type Estate struct {
	Dir       string
	Path      string // of kedge.yaml
	Config    *estate.Estate
	Reference *reference.Reference

	seed     uint64
	register register
	owner    reference.Database // the ship register, as the application writes it
	rounds   int                // of Work
}

// builder is what the services' builders share.
type builder struct {
	opt      Options
	programs programs
	account  account
	ports    *ports
	london   string
	mu       sync.Mutex // guards opt.Progress
}

func (b *builder) progressf(format string, args ...any) {
	if b.opt.Progress == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opt.Progress(fmt.Sprintf(format, args...))
}

// home is a service's directory; all that belongs to it is there. Its logs and run files are in log and run below.
func (b *builder) home(service string, elements ...string) string {
	return filepath.Join(append([]string{b.london, service}, elements...)...)
}

// service begins a service with what all have in common: one asset of files, without logs and run files.
func (b *builder) service(name, title string) estate.Service {
	return estate.Service{
		Name: name, Title: title, Repository: "london",
		Assets: []estate.Asset{{
			Name: "files", Kind: "files", Paths: []string{b.home(name)}, Exclude: []string{b.home(name, "log"), b.home(name, "run")},
		}},
		Objectives: estate.Objectives{RPO: time.Hour, RTO: 15 * time.Minute},
	}
}

// process declares a process of a service.
func (b *builder) process(service, name string, argv, listen []string) estate.Process {
	return estate.Process{
		Name: name, Argv: argv, Listen: listen, Directory: b.home(service),
		PIDFile: b.home(service, "run", name+".pid"), Log: b.home(service, "log", name+".log"),
	}
}

// Build makes the estate. It must not run as root, which PostgreSQL refuses.
func Build(ctx context.Context, opt Options) (*Estate, error) {
	e, err := build(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("build example estate: %w", err)
	}
	return e, nil
}

func build(ctx context.Context, opt Options) (*Estate, error) {
	b, err := prepare(opt)
	if err != nil {
		return nil, err
	}
	ref, err := reference.Create(filepath.Join(opt.Dir, "reference"), opt.Dir)
	if err != nil {
		return nil, err
	}
	reg := register{seed: opt.Seed}
	reg.size(opt.Rows)

	// One result for each builder; they share nothing else that changes.
	services := make([]estate.Service, 6)
	library := planLibrary(opt)
	var cluster *cluster
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		services[0], err = b.fileserver(groupCtx)
		return err
	})
	group.Go(func() (err error) {
		if services[1], cluster, err = b.gisis(reg); err != nil {
			return err
		}
		services[2], err = b.imodocs(groupCtx, library, cluster)
		if err != nil {
			return err
		}
		return b.load(groupCtx, cluster, reg, library, ref)
	})
	group.Go(func() (err error) {
		if services[3], err = b.publications(); err != nil {
			return err
		}
		if services[4], err = b.website(); err != nil {
			return err
		}
		services[5], err = b.mail()
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}

	e := &Estate{Dir: opt.Dir, Reference: ref, seed: opt.Seed, register: reg, owner: cluster.application}
	if err := b.declare(e, services); err != nil {
		return nil, err
	}
	b.progressf("keeping a reference copy")
	for _, s := range e.Config.Services {
		a := s.Assets[0]
		if err := ref.Keep(ctx, reference.Tree{Path: a.Paths[0], Exclude: a.Exclude, Mail: s.Name == "mail"}); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func prepare(opt Options) (*builder, error) {
	if os.Geteuid() == 0 {
		return nil, errors.New("PostgreSQL, Dovecot and Exim are run unprivileged: build as another user than root")
	}
	if !filepath.IsAbs(opt.Dir) || !filepath.IsAbs(opt.Kedge) {
		return nil, fmt.Errorf("directory %q and program %q must be absolute paths", opt.Dir, opt.Kedge)
	}
	if len(opt.Dir) > maxDir {
		return nil, fmt.Errorf("directory %s: its path is longer than %d bytes, too long for Exim: choose a shorter one", opt.Dir, maxDir)
	}
	p, err := findPrograms()
	if err != nil {
		return nil, err
	}
	who, err := currentAccount()
	if err != nil {
		return nil, err
	}
	b := &builder{opt: opt, programs: p, account: who, ports: newPorts(), london: filepath.Join(opt.Dir, "london")}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, err
	}
	for _, dir := range []string{b.london, filepath.Join(opt.Dir, "state")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// declare writes kedge.yaml and reads it back.
func (b *builder) declare(e *Estate, services []estate.Service) error {
	password := filepath.Join(b.london, "repository.password")
	if _, err := newPassword(password); err != nil {
		return err
	}
	config := &estate.Estate{
		Name: "example", State: filepath.Join(b.opt.Dir, "state"), Services: services,
		Sites: []estate.Site{{Name: "london", Role: "headquarters"}, {Name: "geneva", Role: "vault"}},
		Repositories: []estate.Repository{{
			Name: "london", Site: "london", Location: filepath.Join(b.london, "repository"), PasswordFile: password,
		}},
	}
	data, err := config.Encode()
	if err != nil {
		return err
	}
	e.Path = filepath.Join(b.opt.Dir, "kedge.yaml")
	if err := os.WriteFile(e.Path, data, 0o600); err != nil {
		return err
	}
	e.Config, err = estate.Load(e.Path)
	return err
}

// Start starts all services in the order in which they are declared, needs first. It returns when every probe has
// been answered rightly once: a server that accepts connections may not serve yet.
func (e *Estate) Start(ctx context.Context) error {
	for _, s := range e.Config.Services {
		for _, p := range s.Processes {
			spec, err := process.FromEstate(p)
			if err != nil {
				return fmt.Errorf("start service %s: %w", s.Name, err)
			}
			if err := process.Start(ctx, spec); err != nil {
				return fmt.Errorf("start service %s: %w", s.Name, err)
			}
		}
		if err := awaitProbes(ctx, s); err != nil {
			return fmt.Errorf("start service %s: %w", s.Name, err)
		}
	}
	return nil
}

func awaitProbes(ctx context.Context, s estate.Service) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for _, p := range s.Probes {
		for {
			result := probe.Ask(ctx, p)
			if result.OK {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("probe %s: %s: %w", p.Name, result.Detail, ctx.Err())
			case <-time.After(readyPoll):
			}
		}
	}
	return nil
}

// Stop stops all services, the last started first. It tries all, whatever fails.
func (e *Estate) Stop(ctx context.Context) error {
	var errs []error
	for i := len(e.Config.Services) - 1; i >= 0; i-- {
		s := e.Config.Services[i]
		for j := len(s.Processes) - 1; j >= 0; j-- {
			spec, err := process.FromEstate(s.Processes[j])
			if err == nil {
				err = process.Stop(ctx, spec)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("stop service %s: %w", s.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// account is who everything runs as.
type account struct {
	uid, gid    string
	name, group string // Dovecot wants names
}

func currentAccount() (account, error) {
	u, err := user.Current()
	if err != nil {
		return account{}, fmt.Errorf("look up the current user: %w", err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("look up the group of user %s: %w", u.Username, err)
	}
	return account{uid: u.Uid, gid: u.Gid, name: u.Username, group: g.Name}, nil
}
