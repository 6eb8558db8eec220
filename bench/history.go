package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	snapshots     = 200 // of a history
	snapshotsKept = 50
)

// history measures the prune of a repository of many snapshots of which most were forgotten, with every program of
// restic's format on a copy of the same repository. Between two snapshots a hundredth of the files is written anew.
func (m *measurement) history(scale float64) error {
	writer := m.peers[0]
	at := m.place(writer)
	if err := os.Mkdir(at.home, 0o755); err != nil {
		return err
	}
	if _, err := writer.run(m.ctx, at, m.dir, writer.init(at)); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	for n := range snapshots {
		if n > 0 {
			if err := m.rewrite(rnd, int(scale*500)); err != nil {
				return fmt.Errorf("change files between snapshots: %w", err)
			}
		}
		if _, err := writer.run(m.ctx, at, m.dir, writer.backup(at, m.data)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(m.data); err != nil { // makes room
		return err
	}
	if _, err := writer.run(m.ctx, at, m.dir, writer.forget(at, snapshotsKept)); err != nil {
		return err
	}
	for _, p := range m.peers {
		if p == writer || p.prune == nil {
			continue
		}
		out, err := exec.CommandContext(m.ctx, "cp", "-a", at.repo, m.place(p).repo).CombinedOutput()
		if err == nil {
			err = os.Mkdir(m.place(p).home, 0o755)
		}
		if err != nil {
			return fmt.Errorf("copy the repository: %w\n%s", err, out)
		}
	}
	prune := func(p *peer) []string {
		if p.prune == nil {
			return nil
		}
		return p.prune(m.place(p))
	}
	work := fmt.Sprintf("prune, %d of %d snapshots kept", snapshotsKept, snapshots)
	return m.each(work, prune, func(work string, p *peer) error {
		// What was kept must be whole: a fast prune that takes too much is none.
		if _, err := p.run(m.ctx, m.place(p), m.dir, p.verify(m.place(p))); err != nil {
			return err
		}
		return m.stored(work, p)
	})
}

// rewrite writes n files of the data anew.
func (m *measurement) rewrite(rnd *rand.Rand, n int) error {
	dirs, err := os.ReadDir(m.data)
	if err != nil {
		return err
	}
	for range n {
		dir := dirs[rnd.IntN(len(dirs))]
		name := filepath.Join(m.data, dir.Name(), fmt.Sprintf("%02d.txt", rnd.IntN(100)))
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not of the data", name)
		}
		if err := writeFile(m.ctx, name, strings.NewReader(words(rnd, 1<<10+rnd.IntN(15<<10)))); err != nil {
			return err
		}
	}
	return nil
}
