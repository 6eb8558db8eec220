package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
)

// peer is a backup program. The functions return command lines; nil says that it has no such work.
type peer struct {
	name    string
	version string
	env     []string

	init    func(at place) []string
	backup  func(at place, data string) []string
	restore func(at place, data, target string) []string
	verify  func(at place) []string
	// forget leaves so many snapshots, and prune removes what only the others held. Both are of restic's format alone.
	forget func(at place, keep int) []string
	prune  func(at place) []string
	// inPlace restores over a target that holds most of it already; how is restic's word for what to compare: if-changed
	// believes size and time, always reads the content.
	inPlace func(at place, target, how string) []string
	// restored is where below target the data stands.
	restored func(data, target string) string
}

// place is where one program keeps its things.
type place struct{ repo, home string }

const password = "bench"

// findPeers returns kedge and those of the wanted programs that are on PATH; wanted is a list separated by commas, or
// empty for all.
func findPeers(ctx context.Context, kedge, wanted string) ([]*peer, error) {
	below := func(data, target string) string { return target + data }
	all := []*peer{
		{
			name: "kedge", env: []string{"KEDGE_PASSWORD=" + password},
			init:     func(at place) []string { return []string{kedge, "init", "-q", "-r", at.repo} },
			backup:   func(at place, data string) []string { return []string{kedge, "backup", "-q", "-r", at.repo, data} },
			restore:  func(at place, _, target string) []string { return resticRestore(kedge, at, target) },
			inPlace:  func(at place, target, how string) []string { return resticInPlace(kedge, at, target, how) },
			verify:   func(at place) []string { return []string{kedge, "check", "-q", "-r", at.repo, "--read-data"} },
			forget:   func(at place, keep int) []string { return resticForget(kedge, at, keep) },
			prune:    func(at place) []string { return []string{kedge, "prune", "-q", "-r", at.repo} },
			restored: below,
		},
		{
			name: "restic", env: []string{"RESTIC_PASSWORD=" + password},
			init:     func(at place) []string { return []string{"restic", "init", "-q", "-r", at.repo} },
			backup:   func(at place, data string) []string { return []string{"restic", "backup", "-q", "-r", at.repo, data} },
			restore:  func(at place, _, target string) []string { return resticRestore("restic", at, target) },
			verify:   func(at place) []string { return []string{"restic", "check", "-q", "-r", at.repo, "--read-data"} },
			forget:   func(at place, keep int) []string { return resticForget("restic", at, keep) },
			prune:    func(at place) []string { return []string{"restic", "prune", "-q", "-r", at.repo} },
			restored: below,
		},
		{
			name: "borg", env: []string{"BORG_PASSPHRASE=" + password, "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"},
			init: func(at place) []string { return []string{"borg", "init", "-e", "repokey-blake2", at.repo} },
			backup: func(at place, data string) []string {
				return []string{"borg", "create", "-C", "zstd,1", at.repo + "::{now:%s%f}", data}
			},
			// The newest archive: borg has no word for it, so run asks for its name.
			restore:  func(at place, data, _ string) []string { return []string{"borg", "extract", at.repo + "::LATEST"} },
			verify:   func(at place) []string { return []string{"borg", "check", "--verify-data", at.repo} },
			restored: below,
		},
		{
			name: "kopia", env: []string{"KOPIA_PASSWORD=" + password, "KOPIA_CHECK_FOR_UPDATES=false"},
			init: func(at place) []string {
				return []string{"kopia", "repository", "create", "filesystem", "--path", at.repo}
			},
			backup: func(_ place, data string) []string { return []string{"kopia", "snapshot", "create", data} },
			restore: func(_ place, data, target string) []string {
				return []string{"kopia", "snapshot", "restore", data, target}
			},
			verify:   func(place) []string { return []string{"kopia", "snapshot", "verify", "--verify-files-percent=100"} },
			restored: func(_, target string) string { return target },
		},
	}
	var found []*peer
	for _, p := range all {
		if wanted != "" && p.name != "kedge" && !slices.Contains(strings.Split(wanted, ","), p.name) {
			continue
		}
		program := p.name
		if p.name == "kedge" {
			program = kedge
		}
		argument := "version"
		if p.name == "borg" || p.name == "kopia" || p.name == "kedge" {
			argument = "--version"
		}
		out, err := exec.CommandContext(ctx, program, argument).Output()
		if errors.Is(err, exec.ErrNotFound) && p.name != "kedge" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s for its version: %w", program, err)
		}
		p.version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		if p.name == "restic" && resticComparesWhatIsThere(ctx) {
			p.inPlace = func(at place, target, how string) []string { return resticInPlace("restic", at, target, how) }
		}
		found = append(found, p)
	}
	if len(found) < 2 {
		return nil, errors.New("nothing to compare with: install restic (apt-get install restic borgbackup)")
	}
	return found, nil
}

func resticRestore(program string, at place, target string) []string {
	return []string{program, "restore", "-q", "-r", at.repo, "latest", "--target", target}
}

func resticForget(program string, at place, keep int) []string {
	return []string{program, "forget", "-q", "-r", at.repo, "--keep-last", strconv.Itoa(keep)}
}

func resticInPlace(program string, at place, target, how string) []string {
	return append(resticRestore(program, at, target), "--overwrite", how)
}

// resticComparesWhatIsThere tells whether restic's restore leaves alone what is right already: from 0.17 on.
func resticComparesWhatIsThere(ctx context.Context) bool {
	help, err := exec.CommandContext(ctx, "restic", "restore", "--help").Output()
	return err == nil && bytes.Contains(help, []byte("--overwrite"))
}

// run runs a command of the peer and returns what it took. dir is its working directory.
func (p *peer) run(ctx context.Context, at place, dir string, argv []string) (measure.Usage, error) {
	for i, arg := range argv {
		if archive, ok := strings.CutSuffix(arg, "::LATEST"); ok {
			name, err := p.output(ctx, at, "borg", "list", "--last", "1", "--format", "{archive}", archive)
			if err != nil {
				return measure.Usage{}, err
			}
			argv[i] = archive + "::" + name
		}
	}
	cmd := p.command(ctx, at, argv)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	err := cmd.Run()
	wall := time.Since(begin)
	if err != nil {
		return measure.Usage{}, fmt.Errorf("run %s: %w\n%.2000s", strings.Join(argv, " "), err, out.String())
	}
	rusage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return measure.Usage{}, errors.New("this system does not tell what a process used")
	}
	// The kernel counts what the process had before it became the command: a copy of this one.
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return measure.Usage{}, fmt.Errorf("ask for the memory of this process: %w", err)
	}
	if rusage.Maxrss <= own.Maxrss {
		return measure.Usage{}, fmt.Errorf("%s took no more memory than this program, %d KiB: it cannot be measured", argv[0], own.Maxrss)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return measure.Usage{Wall: wall, CPU: cpu, Memory: rusage.Maxrss << 10}, nil
}

func (p *peer) command(ctx context.Context, at place, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+at.home, "XDG_CACHE_HOME="+at.home, "XDG_CONFIG_HOME="+at.home,
		"TMPDIR="+at.home, "BORG_BASE_DIR="+at.home, "RESTIC_CACHE_DIR="+filepath.Join(at.home, "restic"))
	cmd.Env = append(cmd.Env, p.env...)
	return cmd
}

func (p *peer) output(ctx context.Context, at place, argv ...string) (string, error) {
	out, err := p.command(ctx, at, argv).Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
