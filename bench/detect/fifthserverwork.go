package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

func resticShares(ctx context.Context, sc *scenario) error {
	if err := sc.do(ctx, restic("init")...); err != nil {
		return err
	}
	return sc.do(ctx, restic("backup", "shares", "home", "code")...)
}

func resticSharesDay(ctx context.Context, sc *scenario, day int) error {
	if err := sc.do(ctx, restic("backup", "shares", "home", "code", "mail")...); err != nil || day%2 == 0 {
		return err
	}
	return sc.do(ctx, restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0", "--repack-small")...)
}

// firstGeneration and nextGeneration keep a copy of each day; what did not change is a hard link to the former copy.
func firstGeneration(ctx context.Context, sc *scenario) error {
	if err := sc.root.MkdirAll("generations", 0o755); err != nil {
		return err
	}
	return sc.do(ctx, "rsync", "-a", "shares", "home", "generations/daily.0/")
}

func nextGeneration(ctx context.Context, sc *scenario, day int) error {
	if day == 3 {
		if err := sc.root.RemoveAll("generations/daily.3"); err != nil {
			return err
		}
	}
	for n := day; n >= 0; n-- {
		if from := fmt.Sprintf("generations/daily.%d", n); sc.exists(from) {
			if err := sc.rename(from, fmt.Sprintf("generations/daily.%d", n+1)); err != nil {
				return err
			}
		}
	}
	return sc.do(ctx, "rsync", "-a", "--delete", "--link-dest=../daily.1", "shares", "home", "generations/daily.0/")
}

// addVolumes adds what Duplicati keeps: AES Crypt's header and extensions, then noise.
func addVolumes(_ context.Context, sc *scenario) error {
	for range 10 {
		data := slices.Concat([]byte("AES\x02\x00\x00\x21CREATED_BY\x00SharpAESCrypt v1.3.3.0\x00\x80"), make([]byte, 128), []byte{0, 0}, noise(sc.r, 112+90000+sc.r.IntN(90000)))
		if err := sc.write(fmt.Sprintf("backup/duplicati/duplicati-b%x.dblock.zip.aes", noise(sc.r, 16)), data); err != nil {
			return err
		}
	}
	data := slices.Concat([]byte("AES\x02\x00\x00\x21CREATED_BY\x00SharpAESCrypt v1.3.3.0\x00\x80"), make([]byte, 128), []byte{0, 0}, noise(sc.r, 9000))
	return errors.Join(sc.write(fmt.Sprintf("backup/duplicati/duplicati-i%x.dindex.zip.aes", noise(sc.r, 16)), data),
		sc.write(fmt.Sprintf("backup/duplicati/duplicati-202603%02dT010000Z.dlist.zip.aes", 1+sc.r.IntN(28)), data))
}

func compactVolumes(ctx context.Context, sc *scenario, _ int) error {
	if err := sc.removeOneOf(2, "backup/duplicati"); err != nil {
		return err
	}
	return addVolumes(ctx, sc)
}

// offsiteArchive packs the shares every other day; the former archive goes when the new one is there.
func offsiteArchive(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	if err := sc.root.MkdirAll("offsite", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "7z", "a", "-bd", "-bso0", "-mx=1", "-mhe=on", "-pexample", "-v300k", fmt.Sprintf("offsite/shares-%d.7z", day), "shares"); err != nil {
		return err
	}
	if day == 0 {
		return nil
	}
	former, err := sc.contentsBelow("offsite")
	if err != nil {
		return err
	}
	for name := range former {
		if strings.HasPrefix(name, "offsite/shares-0.7z") {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

const containerSize = 3 << 20

func makeContainer(_ context.Context, sc *scenario) error {
	return sc.write("home/omar/Documents/private", noise(sc.r, containerSize))
}

// useContainer writes sectors here and there, as the file system in it wants; the programs put the file's time back.
func useContainer(_ context.Context, sc *scenario, day int) error {
	const name = "home/omar/Documents/private"
	info, err := sc.root.Stat(name)
	if err != nil {
		return err
	}
	data, err := sc.read(name)
	if err != nil {
		return err
	}
	for range 20 + 60*day {
		at := sc.r.IntN(containerSize/4096-8) * 4096
		copy(data[at:], noise(sc.r, 4096*(1+sc.r.IntN(7))))
	}
	return errors.Join(sc.write(name, data), sc.touch(name, info.ModTime()))
}

// passwordStore keeps a small file for each password, as pass does.
func passwordStore(ctx context.Context, sc *scenario) error {
	for i := range 14 {
		name := fmt.Sprintf("home/ines/.password-store/%s/%s%d.gpg", one(sc.r, latin[:5]), one(sc.r, latin), i)
		secret := fmt.Appendf(nil, "%x\nlogin: ines\nurl: https://%s.example.org/\n%s\n", noise(sc.r, 12), one(sc.r, latin), sc.people.language().prose(sc.r, 200))
		if err := sc.encryptTo(ctx, name, secret); err != nil {
			return err
		}
	}
	return sc.write("home/ines/.password-store/.gpg-id", []byte("ines@example.org\n"))
}

func (sc *scenario) encryptTo(ctx context.Context, name string, plain []byte) error {
	packed, err := sc.ask(ctx, plain, "gpg", "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "example", "--s2k-count", "1024", "-c")
	if err != nil {
		return err
	}
	return sc.write(name, packed)
}

// rekeyStore encrypts all of them anew every other day, between which some change.
func rekeyStore(ctx context.Context, sc *scenario, day int) error {
	files, err := sc.contentsBelow("home/ines/.password-store")
	if err != nil {
		return err
	}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".gpg" || day%2 == 1 && i%6 > 0 {
			continue
		}
		if err := sc.encryptTo(ctx, name, sc.people.language().prose(sc.r, 250)); err != nil {
			return err
		}
	}
	return nil
}

// switchOnEncryption does to one folder what a synchronising client does when end-to-end encryption is switched on: files
// get identifiers as names, their former selves go, and a list of the names stands beside them, encrypted as well.
func switchOnEncryption(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	var list []string
	for _, name := range sc.files() {
		if path.Dir(name) != "shares/personnel" {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		id := hex.EncodeToString(noise(sc.r, 16))
		list = append(list, fmt.Sprintf("%q:{\"initializationVector\":%q,\"authenticationTag\":%q}", id, base64.StdEncoding.EncodeToString(noise(sc.r, 16)), base64.StdEncoding.EncodeToString(noise(sc.r, 16))))
		if err := errors.Join(sc.write("shares/personnel/"+id, noise(sc.r, len(data)+16)), sc.remove(name)); err != nil {
			return err
		}
	}
	return sc.write("shares/personnel/.metadata", fmt.Appendf(nil, "{\"metadata\":{\"version\":\"2.0\",\"ciphertext\":%q},\"files\":{%s}}", base64.StdEncoding.EncodeToString(noise(sc.r, 900)), strings.Join(list, ",")))
}

func renewAuthority(ctx context.Context, sc *scenario) error {
	if err := sc.root.MkdirAll("pki/hosts", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Example CA", "-days", "365", "-keyout", "pki/ca.key", "-out", "pki/ca.crt"); err != nil {
		return err
	}
	for i := range 12 {
		host := fmt.Sprintf("pki/hosts/host%d", i)
		if err := sc.do(ctx, "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", fmt.Sprintf("/CN=host%d.example.org", i), "-keyout", host+".key", "-out", host+".csr"); err != nil {
			return err
		}
		if err := sc.do(ctx, "openssl", "x509", "-req", "-in", host+".csr", "-CA", "pki/ca.crt", "-CAkey", "pki/ca.key", "-days", "365", "-out", host+".crt"); err != nil {
			return err
		}
		if err := sc.do(ctx, "openssl", "pkcs12", "-export", "-passout", "pass:example", "-in", host+".crt", "-inkey", host+".key", "-out", host+".p12"); err != nil {
			return err
		}
	}
	return nil
}

func renewAuthorityDay(ctx context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	return renewAuthority(ctx, sc)
}

// migrateToServer dumps databases as SQL, removes them when the server has taken the dumps, and then keeps the server's.
func migrateToServer(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("sqlite") {
		dump := strings.TrimSuffix(name, ".db") + ".sql"
		switch day {
		case 0:
			text, err := sc.ask(ctx, nil, "sqlite3", sc.full(name), ".dump")
			if err != nil {
				return err
			}
			text = bytes.ReplaceAll(text, []byte("PRAGMA foreign_keys=OFF;\n"), []byte("SET client_encoding = 'UTF8';\n"))
			if err := sc.write(dump, text); err != nil {
				return err
			}
		case 2:
			if err := errors.Join(sc.write(sc.free("pg/dumps/"+strings.TrimSuffix(path.Base(dump), ".sql")+".dump"), customDump(sc.people.languages[0], sc.r, 50000)), sc.remove(name)); err != nil {
				return err
			}
			if sc.exists(dump) {
				if err := sc.remove(dump); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// walSegment is one of a write-ahead log: pages with a head, full of changes to pages; what is not written yet is older.
const walSegment = 256 << 10

func walPages(sc *scenario, data []byte, from, to int) {
	for at := from; at < to; at += 8192 {
		page := relation(sc.r, sc.people.languages[0], 8192)
		copy(page, "\x10\xd1\x05\x00\x01\x00\x00\x00")
		binary.LittleEndian.PutUint64(page[8:], uint64(at))
		if sc.r.IntN(4) == 0 { // compressed images of pages
			copy(page[40:], deflated(page[40:]))
		}
		copy(data[at:], page)
	}
}

func walName(n int) string { return fmt.Sprintf("pg/wal/000000010000000A%08X", n) }

func walSegments(_ context.Context, sc *scenario) error {
	for i := range 10 {
		data := make([]byte, walSegment)
		walPages(sc, data, 0, walSegment)
		if err := sc.write(walName(i), data); err != nil {
			return err
		}
	}
	return nil
}

// recycleSegments gives the oldest segments the names of coming ones and writes into them; each is archived before.
func recycleSegments(_ context.Context, sc *scenario, day int) error {
	for i := range 4 {
		old, coming := walName(4*day+i), walName(10+4*day+i)
		data, err := sc.read(old)
		if err != nil {
			return err
		}
		archived, err := gzipped(data)
		if err != nil {
			return err
		}
		walPages(sc, data, 0, walSegment/(1+sc.r.IntN(2)))
		if err := errors.Join(sc.write("pg/archive/"+path.Base(old)+".gz", archived), sc.rename(old, coming), sc.write(coming, data)); err != nil {
			return err
		}
	}
	return nil
}

// shipLogs compresses all logs a day, starts them anew, and removes what was shipped two days ago.
func shipLogs(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("log") {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		packed, err := sc.ask(ctx, data, "zstd", "-q", "-c")
		if err != nil {
			return err
		}
		spool := "logs/spool/" + path.Base(name)
		if err := errors.Join(sc.write(fmt.Sprintf("%s.%d.zst", spool, day), packed), sc.write(name, sc.people.languages[0].syslog(sc.r, 5000+sc.r.IntN(20000)))); err != nil {
			return err
		}
		if old := fmt.Sprintf("%s.%d.zst", spool, day-2); sc.exists(old) {
			if err := sc.remove(old); err != nil {
				return err
			}
		}
	}
	return nil
}

func portalRepository(ctx context.Context, sc *scenario) error {
	if err := sc.root.MkdirAll("src/project", 0o755); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "init", "-q", "-b", "main", "src/project"); err != nil {
		return err
	}
	return commits(ctx, sc, 4, portalFiles())
}

// portalFiles are the types of files that the project's commits change.
func portalFiles() []string { return []string{linesOf + "py", linesOf + "py", "html", "png", "po"} }

// gitMirror keeps a bare mirror and a bundle of the repository, and every other day a work tree of a release.
func gitMirror(ctx context.Context, sc *scenario, day int) error {
	if day == 0 {
		if err := sc.do(ctx, "git", "clone", "-q", "--mirror", "src/project", "mirrors/project.git"); err != nil {
			return err
		}
	}
	if err := commits(ctx, sc, 2, portalFiles()); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "-C", "mirrors/project.git", "remote", "update", "--prune"); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "-C", "mirrors/project.git", "repack", "-q", "-a", "-d"); err != nil {
		return err
	}
	if err := sc.do(ctx, "git", "-C", "src/project", "bundle", "create", "-q", sc.full("mirrors/project.bundle"), "--all"); err != nil {
		return err
	}
	if day%2 == 0 {
		return sc.do(ctx, "git", "-C", "src/project", "worktree", "add", "-q", "-f", "--detach", sc.full(fmt.Sprintf("src/release-%d", day)), "HEAD~1")
	}
	return sc.do(ctx, "git", "-C", "src/project", "worktree", "remove", "--force", sc.full(fmt.Sprintf("src/release-%d", day-1)))
}

// saveImages writes what `docker save` does: layers as tar files under their digests in one tar file.
func saveImages(_ context.Context, sc *scenario) error {
	for i := range 5 {
		var parts []part
		for range 3 {
			layer, err := tarball(sc.r, sc.people.languages[0], 60000)
			if err != nil {
				return err
			}
			parts = append(parts, part{"blobs/sha256/" + hex.EncodeToString(noise(sc.r, 32)), layer, true})
		}
		parts = append(parts, part{"manifest.json", fmt.Appendf(nil, "[{\"Config\":%q,\"RepoTags\":[\"portal:%d\"]}]", parts[0].name, sc.r.IntN(90)), true})
		image, err := tarred(parts)
		if err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("images/portal-%d.tar", i), image); err != nil {
			return err
		}
	}
	return nil
}

// turnOverImages loads images into a directory of layers and saves newer ones under the same names; layers that nobody uses go.
func turnOverImages(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		if err := sc.root.RemoveAll("images/layers"); err != nil {
			return err
		}
		return saveImages(ctx, sc)
	}
	for range 12 {
		layer, err := packedTarball(sc.r, sc.people.languages[0], 50000)
		if err != nil {
			return err
		}
		id := hex.EncodeToString(noise(sc.r, 32))
		if err := errors.Join(sc.write("images/layers/"+id+"/layer.tar.gz", layer), sc.write("images/layers/"+id+"/VERSION", []byte("1.0"))); err != nil {
			return err
		}
	}
	return nil
}
