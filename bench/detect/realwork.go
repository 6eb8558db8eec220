package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// realWorkloads returns work that real programs do on real files.
func realWorkloads() []workload {
	return []workload{
		{name: "real: git: commits, checkout, gc", needs: []string{"git"}, prepare: realRepository, day: realCommits},
		{name: "real: gpg: single files encrypted, originals deleted", needs: []string{"gpg"}, day: eachOf(5, "gpg", "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "example", "--s2k-count", "1024", "-o", "%.gpg", "-c", "%")},
		{name: "real: age: single files encrypted, originals deleted", needs: []string{"age", "age-keygen"}, prepare: ageKey, day: realAge},
		{name: "real: openssl: single files encrypted, originals deleted", needs: []string{"openssl"}, day: eachOf(4, "openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-pass", "pass:example", "-in", "%", "-out", "%.enc")},
		{name: "real: directories packed by tar and xz, originals deleted", needs: []string{"tar", "xz"}, day: packedAway("tar", "-cJf", "%.tar.xz", "%")},
		{name: "real: directories packed by zip, originals deleted", needs: []string{"zip"}, day: packedAway("zip", "-qr", "%.zip", "%")},
		{name: "real: directories packed by 7z, originals deleted", needs: []string{"7z"}, day: packedAway("7z", "a", "-bd", "-bso0", "%.7z", "%")},
		{name: "real: half of the files compressed by gzip, xz, zstd, bzip2", needs: []string{"gzip", "xz", "zstd", "bzip2"}, day: realCompress},
		{name: "real: rsync of a mirror", needs: []string{"rsync"}, day: realMirror},
		{name: "real: dpkg: a package built and unpacked over its former version", needs: []string{"dpkg", "dpkg-deb"}, day: realPackage},
		{name: "real: restic repository in the tree", needs: []string{"restic"}, prepare: realRestic, day: realResticDay},
		{name: "real: sed over all texts", needs: []string{"sed"}, day: realSed},
		{name: "real: texts to UTF-16 and back", needs: []string{"iconv"}, day: realRecode},
		{name: "real: libraries and programs stripped", needs: []string{"strip"}, day: realStrip},
		{name: "real: archives unpacked beside them", needs: []string{"unzip"}, day: realUnpack},
		{name: "real: message catalogues decompiled and compiled", needs: []string{"msgunfmt", "msgfmt"}, day: realCatalogues},
		{name: "real: gzip files recompressed", needs: []string{"gzip", "zstd"}, day: realRecompress},
		{name: "real: disk image with files made by mkfs", needs: []string{"mkfs.ext4"}, day: realImage},
		{name: "real: files split, joined, and sorted into directories by type", needs: []string{"split"}, day: realSplit},
	}
}

// namedIn returns argv with name for each percent sign.
func namedIn(argv []string, name string) []string {
	out := slices.Clone(argv)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "%", name)
	}
	return out
}

// eachOf runs a program on n files a day, with the file's path for each percent sign, and deletes the files.
func eachOf(n int, argv ...string) func(context.Context, *scenario, int) error {
	return func(ctx context.Context, sc *scenario, _ int) error {
		for _, name := range pick(sc.r, sc.files(), n) {
			if err := sc.do(ctx, namedIn(argv, name)...); err != nil {
				return err
			}
			if err := sc.remove(name); err != nil {
				return err
			}
		}
		return nil
	}
}

func realAge(ctx context.Context, sc *scenario, day int) error {
	return eachOf(5, "age", "-e", "-i", filepath.Join(sc.dir, "key"), "-o", "%.age", "%")(ctx, sc, day)
}

// packedAway runs a program on two directories a day, with the directory's path for each percent sign, and deletes them.
func packedAway(argv ...string) func(context.Context, *scenario, int) error {
	return func(ctx context.Context, sc *scenario, _ int) error {
		var dirs []string
		for _, name := range sc.files() {
			dirs = append(dirs, path.Dir(name))
		}
		for _, dir := range pick(sc.r, slices.Compact(dirs), 2) {
			if err := sc.do(ctx, namedIn(argv, dir)...); err != nil {
				return err
			}
			for _, name := range sc.files() {
				if path.Dir(name) != dir {
					continue
				}
				if err := sc.remove(name); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// filter runs a program on each file's bytes and writes what it prints, to another name if renamed says so.
func (sc *scenario) filter(ctx context.Context, names []string, renamed func(string) string, argv ...string) error {
	for _, name := range names {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		out, err := sc.ask(ctx, data, argv...)
		if err != nil {
			continue // not what the program takes
		}
		to := renamed(name)
		if to == name {
			err = sc.write(name, out)
		} else {
			err = errors.Join(sc.write(to, out), sc.remove(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sameName(name string) string { return name }

// lines returns the files that are lines of text.
func (sc *scenario) lines() []string {
	return slices.DeleteFunc(sc.files(), func(name string) bool { return !strings.HasPrefix(sc.kinds[name], linesOf) && sc.kinds[name] != "text" })
}

func realRepository(ctx context.Context, sc *scenario) error {
	if err := sc.root.MkdirAll("src/project", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "init", "-q", "-b", "main", "src/project"); err != nil {
		return err
	}
	return realCommit(ctx, sc, 4)
}

func realCommit(ctx context.Context, sc *scenario, n int) error {
	for range n {
		for _, name := range pick(sc.r, sc.files(), 25) {
			data, err := sc.read(name)
			if err != nil {
				return err
			}
			if err := sc.write(fmt.Sprintf("src/project/%s/%d%s", one(sc.r, latin[:6]), sc.r.IntN(60), path.Ext(name)), data); err != nil {
				return err
			}
		}
		if err := sc.do(ctx, "git", "-C", "src/project", "add", "-A"); err != nil {
			return err
		}
		if err := sc.do(ctx, "git", "-C", "src/project", "commit", "-q", "--allow-empty", "-m", "change"); err != nil {
			return err
		}
	}
	return nil
}

func realCommits(ctx context.Context, sc *scenario, day int) error {
	if day != 2 {
		return gitDay(ctx, sc, day)
	}
	if err := sc.do(ctx, "git", "-C", "src/project", "checkout", "-q", "main"); err != nil {
		return err
	}
	return realCommit(ctx, sc, 3)
}

func realCompress(ctx context.Context, sc *scenario, day int) error {
	program := []string{"gzip", "xz", "zstd", "bzip2"}[day]
	names := sc.files()
	for _, name := range pick(sc.r, names, len(names)/8) {
		argv := []string{program, "-q", name}
		if program == "zstd" {
			argv = append(argv, "--rm")
		}
		if err := sc.do(ctx, argv...); err != nil {
			continue // it has the extension already
		}
		delete(sc.kinds, name)
	}
	return nil
}

func realMirror(ctx context.Context, sc *scenario, day int) error {
	if day == 2 { // most goes at once
		return sc.do(ctx, "rsync", "-a", "--delete", "--exclude=/mirror", "--max-size=2k", "--delete-excluded", "./", "mirror/")
	}
	return sc.do(ctx, "rsync", "-a", "--delete", "--exclude=/mirror", "./", "mirror/")
}

// realPackage builds a package and unpacks it where its former version stands. Every version has a third of the files anew.
func realPackage(ctx context.Context, sc *scenario, day int) error {
	parts := filepath.Join("usr", "share", "app")
	root := filepath.Join(sc.dir, "package")
	if err := errors.Join(os.MkdirAll(filepath.Join(root, parts), 0o755), os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755)); err != nil {
		return err
	}
	for i, m := range sc.people.makers {
		if day > 0 && i%3 != day%3 {
			continue
		}
		data, err := sc.people.content(ctx, m.name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, parts, fmt.Sprintf("part%d%s", i, m.ext)), data, 0o644); err != nil {
			return err
		}
	}
	control := fmt.Sprintf("Package: app\nVersion: 1.%d\nArchitecture: all\nMaintainer: Amina <amina@example.org>\nDescription: parts\n", day)
	if err := os.WriteFile(filepath.Join(root, "DEBIAN", "control"), []byte(control), 0o644); err != nil {
		return err
	}
	if err := sc.do(ctx, "dpkg-deb", "-Zxz", "-z1", "--build", root, root+".deb"); err != nil {
		return err
	}
	return sc.do(ctx, "dpkg", "-x", root+".deb", "opt")
}

func restic(argv ...string) []string {
	return append([]string{"restic", "-q", "--password-command", "echo example", "--no-cache", "-r", "backup/restic"}, argv...)
}

func realRestic(ctx context.Context, sc *scenario) error {
	if err := sc.do(ctx, restic("init")...); err != nil {
		return err
	}
	return sc.do(ctx, restic("backup", "home", "srv")...)
}

func realResticDay(ctx context.Context, sc *scenario, day int) error {
	if err := sc.do(ctx, restic("backup", "home", "srv")...); err != nil || day < 2 {
		return err
	}
	return sc.do(ctx, restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0")...)
}

// realSed is a change of a word in all texts.
func realSed(ctx context.Context, sc *scenario, day int) error {
	script := []string{"s/the/THE/g", "s/2[0-9][0-9][0-9]/2026/g", "s/^/  /", "s/$/\\r/"}[day]
	return sc.filter(ctx, sc.lines(), sameName, "sed", script)
}

func realRecode(ctx context.Context, sc *scenario, day int) error {
	from, to := "UTF-8", "UTF-16"
	if day%2 == 1 {
		from, to = to, from
	}
	names := slices.DeleteFunc(sc.lines(), func(name string) bool {
		data, err := sc.read(name)
		return err != nil || bytes.HasPrefix(data, []byte("\xff\xfe")) != (day%2 == 1)
	})
	return sc.filter(ctx, names, sameName, "iconv", "-f", from, "-t", to)
}

func realStrip(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("elf", "library", "o", "a", "debug") {
		if (day+len(name))%3 == 0 {
			continue
		}
		if err := sc.do(ctx, "strip", []string{"-g", "-s", "--strip-unneeded", "-R.comment"}[day], name); err != nil {
			continue // of another machine
		}
	}
	return nil
}

func realUnpack(ctx context.Context, sc *scenario, day int) error {
	for i, name := range pick(sc.r, sc.of("zip", "jar", "whl"), 4) {
		if err := sc.do(ctx, "unzip", "-qo", name, "-d", fmt.Sprintf("unpacked/%d-%d", day, i)); err != nil {
			continue // the archive is a test of programs like this
		}
	}
	if day == 3 {
		return sc.root.RemoveAll("unpacked")
	}
	return nil
}

func realCatalogues(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("mo") {
		text, err := sc.ask(ctx, nil, "msgunfmt", name)
		if err != nil {
			continue
		}
		switch {
		case day%2 == 0:
			err = sc.write(strings.TrimSuffix(name, ".mo")+".po", text)
		default:
			_, err = sc.ask(ctx, text, "msgfmt", "--no-hash", "-o", name, "-")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func realRecompress(ctx context.Context, sc *scenario, day int) error {
	names := sc.of("gzip")
	for _, name := range pick(sc.r, names, 1+len(names)/2) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if data, err = sc.ask(ctx, data, "gzip", "-dc"); err != nil {
			continue // it has only the name
		}
		if day%2 == 0 {
			if data, err = sc.ask(ctx, data, "gzip", "-1c"); err == nil {
				err = sc.write(name, data)
			}
		} else if data, err = sc.ask(ctx, data, "zstd", "-qc"); err == nil {
			err = errors.Join(sc.write(sc.free(strings.TrimSuffix(name, ".gz")+".zst"), data), sc.remove(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// realImage makes a file system with some of the files in it.
func realImage(ctx context.Context, sc *scenario, day int) error {
	from := filepath.Join(sc.dir, fmt.Sprintf("image%d", day))
	if err := os.MkdirAll(from, 0o755); err != nil {
		return err
	}
	for i, name := range pick(sc.r, sc.files(), 20) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(from, fmt.Sprint(i)), data[:min(len(data), 100<<10)], 0o644); err != nil {
			return err
		}
	}
	if err := sc.root.MkdirAll("vm", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "mkfs.ext4", "-q", "-F", "-d", from, "vm/new.img", "8M"); err != nil {
		return err
	}
	return sc.rename("vm/new.img", "vm/disk.img")
}

// realSplit cuts large files to pieces, joins them the day after, and sorts files into directories by extension.
func realSplit(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		for _, name := range sc.files() {
			if ext := strings.TrimPrefix(path.Ext(name), "."); ext != "" && path.Base(path.Dir(name)) != ext && sc.r.IntN(3) == 0 {
				if err := sc.rename(name, sc.free(path.Join("sorted", ext, path.Base(name)))); err != nil {
					return err
				}
			}
		}
		return nil
	}
	pieces, err := sc.pieces()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(pieces)) {
		if err := sc.write(name, pieces[name]); err != nil {
			return err
		}
	}
	for _, name := range sc.files() {
		info, err := sc.root.Stat(name)
		if err != nil {
			return err
		}
		if info.Size() < 200<<10 || sc.r.IntN(2) == 0 {
			continue
		}
		if err := sc.do(ctx, "split", "-b", "64k", name, name+".part-"); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// pieces joins what was split, and removes the pieces.
func (sc *scenario) pieces() (map[string][]byte, error) {
	all, err := sc.contents()
	if err != nil {
		return nil, err
	}
	joined := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		whole, _, is := strings.Cut(name, ".part-")
		if !is {
			continue
		}
		joined[whole] = append(joined[whole], all[name]...)
		if err := sc.remove(name); err != nil {
			return nil, err
		}
	}
	return joined, nil
}
