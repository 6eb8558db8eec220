package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// item is what stands under a name.
type item struct {
	content string // "directory", the hash of a file, or the target of a link
	meta    string // mode and modification time; of a link nothing
}

// tree is what stands below a directory, by path from there.
type tree map[string]item

// standing reads all that stands below a directory.
func (k *killing) standing(dir string) tree {
	k.t.Helper()
	all := make(tree)
	k.try(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := item{"directory", fmt.Sprint(info.Mode(), info.ModTime().UnixNano())}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			e.content = fmt.Sprintf("%x", sha256.Sum256(data))
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e = item{target, ""}
		}
		all[path[len(dir)+1:]] = e
		return nil
	}))
	return all
}

// fill makes files of random content, which does not compress: small ones in directories, and large ones.
func (k *killing) fill(dir string, seed uint64, small, large int) {
	k.t.Helper()
	random := rand.NewChaCha8([32]byte{byte(seed)})
	write := func(name string, size int) {
		data := make([]byte, size)
		_, err := random.Read(data)
		path := filepath.Join(dir, name)
		k.try(errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)))
	}
	for i := range small {
		write(fmt.Sprintf("d%d/small%d", i%10, i), 1+int(random.Uint64()%5000))
	}
	for i := range large {
		write(fmt.Sprintf("large%d", i), 4<<20+int(random.Uint64()%(2<<20)))
	}
}

// change writes to a file at an offset.
func (k *killing) change(path string, at int64) {
	k.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	k.try(err)
	_, err = f.WriteAt([]byte("changed since"), at)
	k.try(errors.Join(err, f.Close()))
}

// scene makes a scene like another. Files of repositories are links: no program writes to one once it is there.
func (k *killing) scene(like string) string {
	k.t.Helper()
	scene, err := os.MkdirTemp(k.dir, "scene-")
	k.try(err)
	entries, err := os.ReadDir(like)
	k.try(err)
	for _, d := range entries {
		copyOf := os.Link
		if d.Name() == "target" {
			copyOf = copyFile
		}
		k.clone(filepath.Join(like, d.Name()), filepath.Join(scene, d.Name()), copyOf)
	}
	return scene
}

// clone makes a tree like another, each file by copyOf.
func (k *killing) clone(from, to string, copyOf func(from, to string) error) {
	k.t.Helper()
	k.try(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		copied := to + path[len(from):]
		switch d.Type() {
		case fs.ModeDir:
			return os.MkdirAll(copied, 0o755)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(target, copied))
		}
		return copyOf(path, copied)
	}))
}

// copyFile copies a file with its mode and modification time.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, 0o600), os.Chmod(to, info.Mode()), os.Chtimes(to, info.ModTime(), info.ModTime()))
}
