package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	mebibyte = 1 << 20
	pageSize = 8 << 10 // of the database file
)

// makeData fills dir with the data set name.
func makeData(ctx context.Context, dir, name string, scale float64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	switch name {
	case "random":
		return makeRandom(ctx, dir, int(scale*4096)*mebibyte)
	case "mixed":
		return copyReal(ctx, dir, int64(scale*2.94e9))
	case "small":
		return makeSmall(ctx, dir, int(scale*2000), 1<<10, 16<<10)
	case "history":
		return makeSmall(ctx, dir, int(scale*500), 1<<10, 16<<10)
	case "million":
		return makeSmall(ctx, dir, int(scale*10_000), 64, 1<<10)
	case "db":
		return makeDatabase(ctx, filepath.Join(dir, "relation"), int(scale*(2<<30)/pageSize))
	}
	return fmt.Errorf("data set %q is not known; choose among random, mixed, small, db, million and history", name)
}

// makeRandom writes four files that cannot be compressed.
func makeRandom(ctx context.Context, dir string, size int) error {
	for i := range 4 {
		noise := rand.NewChaCha8([32]byte{byte(i)})
		err := writeFile(ctx, filepath.Join(dir, fmt.Sprint(i)), io.LimitReader(noise, int64(size/4)))
		if err != nil {
			return err
		}
	}
	return nil
}

func writeFile(ctx context.Context, name string, content io.Reader) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// copyReal copies files of this machine, at most so many bytes: what a server is made of.
func copyReal(ctx context.Context, dir string, limit int64) error {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("ask where Go is: %w", err)
	}
	for _, root := range []string{"/usr/share", "/usr/lib", strings.TrimSpace(string(goroot))} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // what cannot be read is not copied: any real files will do
			}
			from, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer from.Close()
			info, err := from.Stat()
			if err != nil {
				return err
			}
			if limit -= info.Size(); limit < 0 {
				return fs.SkipAll
			}
			target := filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return writeFile(ctx, target, from)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// words returns text that compresses about as prose does.
func words(rnd *rand.Rand, n int) string {
	var text strings.Builder
	for text.Len() < n {
		fmt.Fprintf(&text, "%x ", rnd.IntN(1<<(4+rnd.IntN(18))))
	}
	return text.String()[:n]
}

// makeSmall writes 100 text-like files of least to most bytes in each of so many directories.
func makeSmall(ctx context.Context, dir string, dirs, least, most int) error {
	rnd := rand.New(rand.NewPCG(1, 2))
	for d := range dirs {
		sub := filepath.Join(dir, fmt.Sprintf("%04d", d))
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		for f := range 100 {
			text := words(rnd, least+rnd.IntN(most-least))
			if err := writeFile(ctx, filepath.Join(sub, fmt.Sprintf("%02d.txt", f)), strings.NewReader(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// page fills p with what compresses three times.
func page(rnd *rand.Rand, p []byte) {
	const noise = pageSize / 3
	for i := 0; i < noise; i++ {
		p[i] = byte(rnd.Uint32())
	}
	copy(p[noise:], bytes.Repeat([]byte("ledger "), pageSize/7))
}

func makeDatabase(ctx context.Context, name string, pages int) error {
	rnd := rand.New(rand.NewPCG(3, 4))
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	p := make([]byte, pageSize)
	for range pages {
		page(rnd, p)
		if _, err := f.Write(p); err != nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx), f.Close())
		}
	}
	return f.Close()
}

// change rewrites one hundredth of what stands below dir: pages of a database, or whole files. It returns false for
// data in which nothing of that kind is to be changed.
func change(dir, name string) (bool, error) {
	switch name {
	case "db":
		return true, changePages(filepath.Join(dir, "relation"))
	case "mixed":
		return true, scramble(dir)
	}
	return false, nil
}

func changePages(name string) error {
	rnd := rand.New(rand.NewPCG(5, 6))
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	p := make([]byte, pageSize)
	for range info.Size() / pageSize / 100 {
		page(rnd, p)
		if _, err := f.WriteAt(p, rnd.Int64N(info.Size()/pageSize)*pageSize); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// scramble overwrites every hundredth file by noise of the same length.
func scramble(dir string) error {
	noise := rand.NewChaCha8([32]byte{9})
	n := 0
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if n++; n%100 != 0 {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return writeFile(context.Background(), path, io.LimitReader(noise, info.Size()))
	})
}
