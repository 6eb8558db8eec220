package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// measureSet has every program do every piece of work on one data set, in turns.
func measureSet(ctx context.Context, dir, name string, scale float64, peers []*peer, results *results) error {
	set := filepath.Join(dir, name)
	defer os.RemoveAll(set)
	data := filepath.Join(set, "data")
	if err := makeData(ctx, data, name, scale); err != nil {
		return fmt.Errorf("make the data: %w", err)
	}
	size, err := sizeBelow(data)
	if err != nil {
		return fmt.Errorf("measure the data: %w", err)
	}
	m := &measurement{ctx: ctx, name: name, dir: set, data: data, size: size, peers: slices.Clone(peers), results: results}
	if name == "history" {
		return m.history(scale)
	}
	for _, p := range m.peers {
		at := m.place(p)
		if err := os.MkdirAll(at.home, 0o755); err != nil {
			return err
		}
		if _, err := p.run(ctx, at, set, p.init(at)); err != nil {
			return err
		}
	}
	backup := func(p *peer) []string { return p.backup(m.place(p), data) }
	if err := m.each("first backup", backup, m.stored); err != nil {
		return err
	}
	if err := m.each("nothing changed", backup, nil); err != nil || name == "million" {
		return err
	}
	if err := m.restores(); err != nil {
		return err
	}
	verify := func(p *peer) []string { return p.verify(m.place(p)) }
	if err := m.each("verify all data", verify, nil); err != nil {
		return err
	}
	changed, err := change(data, name)
	if err != nil || !changed {
		return err
	}
	return m.each("1 % changed", backup, m.stored)
}

// touchMemory fills a file and removes it: the first use of a virtual machine's memory is slow, and should slow nobody.
func touchMemory(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, mebibyte)
	for written := int64(0); written < size; written += mebibyte {
		if _, err := f.Write(buf); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

type measurement struct {
	ctx     context.Context
	name    string // of the data set
	dir     string
	data    string
	size    int64 // of data, in bytes
	peers   []*peer
	results *results
}

func (m *measurement) place(p *peer) place {
	return place{filepath.Join(m.dir, p.name+"-repo"), filepath.Join(m.dir, p.name+"-home")}
}

func (m *measurement) target(p *peer) string { return filepath.Join(m.dir, p.name+"-target") }

// each runs a piece of work with every program that has it. The one who begins changes from work to work.
func (m *measurement) each(work string, argv func(*peer) []string, after func(work string, p *peer) error) error {
	first := m.peers[0]
	m.peers = append(m.peers[1:], first)
	for _, p := range m.peers {
		command := argv(p)
		if command == nil {
			continue
		}
		dir := m.dir
		if target := m.target(p); exists(target) {
			dir = target
		}
		// The host takes back memory that was given up a moment ago; who asks first would pay for all who follow.
		if err := touchMemory(filepath.Join(m.dir, "warm"), m.size); err != nil {
			return fmt.Errorf("touch the memory to be used: %w", err)
		}
		used, err := p.run(m.ctx, m.place(p), dir, command)
		if err != nil {
			return err
		}
		m.results.add(m.name+", "+work, p, used)
		if after != nil {
			if err := after(work, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// restores measures the restore to an empty place and, where something can be scrambled there, over that again.
func (m *measurement) restores() error {
	for _, p := range m.peers {
		if err := os.Mkdir(m.target(p), 0o755); err != nil {
			return err
		}
	}
	restore := func(p *peer) []string { return p.restore(m.place(p), m.data, m.target(p)) }
	if err := m.each("restore", restore, m.compare); err != nil {
		return err
	}
	if m.name == "mixed" {
		for _, how := range []string{"if-changed", "always"} {
			if err := m.restoreInPlace(how); err != nil {
				return err
			}
		}
	}
	for _, p := range m.peers {
		if err := os.RemoveAll(m.target(p)); err != nil {
			return err
		}
	}
	return nil
}

// restoreInPlace scrambles what was restored, a hundredth of the files, and restores it again.
func (m *measurement) restoreInPlace(how string) error {
	for _, p := range m.peers {
		if p.inPlace == nil {
			continue
		}
		if err := scramble(p.restored(m.data, m.target(p))); err != nil {
			return err
		}
	}
	inPlace := func(p *peer) []string {
		if p.inPlace == nil {
			return nil
		}
		return p.inPlace(m.place(p), m.target(p), how)
	}
	return m.each("1 % scrambled, restore in place, "+how, inPlace, m.compare)
}

// compare holds what was restored to the data: a fast restore of something else is none.
func (m *measurement) compare(work string, p *peer) error {
	out, err := exec.CommandContext(m.ctx, "diff", "-r", "--no-dereference", m.data, p.restored(m.data, m.target(p))).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s by %s differs from the data: %w\n%.1000s", work, p.name, err, out)
	}
	return nil
}

// stored notes the size of the repository.
func (m *measurement) stored(work string, p *peer) error {
	size, err := sizeBelow(m.place(p).repo)
	if err != nil {
		return fmt.Errorf("measure the repository of %s: %w", p.name, err)
	}
	m.results.setStored(m.name+", "+work, p, size)
	return nil
}

// sizeBelow adds up the bytes of all files below dir.
func sizeBelow(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
