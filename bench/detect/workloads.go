package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// workload is ordinary work that may look like an attack. It goes on for some days; people work beside it.
type workload struct {
	name    string
	needs   []string                                               // programs
	prepare func(ctx context.Context, sc *scenario) error          // what is there before; may be nil
	day     func(ctx context.Context, sc *scenario, day int) error // counted from 0
}

// workDays is for how many days a workload goes on.
const workDays = 4

// workloads returns those that the rules of detection may have been written with.
func workloads() []workload {
	return []workload{
		{name: "package upgrade", prepare: installPackage, day: upgradePackage},
		{name: "git: commits, gc, checkout", needs: []string{"git"}, prepare: gitInit, day: gitDay},
		{name: "archives and media are made", day: makeArchives},
		{name: "gpg: single files encrypted, originals deleted", needs: []string{"gpg"}, day: gpgFiles},
		{name: "age: single files encrypted, originals deleted", needs: []string{"age", "age-keygen"}, prepare: ageKey, day: ageFiles},
		{name: "database vacuum", needs: []string{"sqlite3"}, day: vacuum},
		{name: "database files rewritten, truncated and dropped by the server", day: serverRewrites},
		{name: "log rotation and compression", prepare: makeLogs, day: rotateLogs},
		{name: "office autosave", day: autosave},
		{name: "bulk rename", day: bulkRename},
		{name: "bulk extension change", day: extensionChange},
		{name: "photo import", day: photoImport},
		{name: "mail delivery", day: mailDelivery},
		{name: "build", needs: []string{"gcc", "ar"}, prepare: writeProgram, day: buildProgram},
		{name: "restore of old versions", prepare: rememberFiles, day: restoreFiles},
		{name: "rsync", needs: []string{"rsync"}, day: rsyncMirror},
		{name: "key rotation of an encrypted volume file", prepare: makeVolumes, day: rotateVolumes},
		{name: "directories packed to tar.gz, originals deleted", day: packDirectories},
		{name: "files compressed one by one", needs: []string{"gzip", "xz"}, day: compressFiles},
		{name: "photos re-encoded", day: reencodePhotos},
		{name: "conversion to other formats, originals deleted", day: convertFiles},
		{name: "web site deployed: minified and compressed", day: deploySite},
		{name: "password databases rewritten daily", day: rewriteVaults},
		{name: "encrypted nightly backup rotated", prepare: nothingBefore, day: nightlyBackup},
		{name: "backup repository in the tree: filled and pruned", prepare: fillRepository, day: pruneRepository},
		{name: "large cleanup of old files", day: cleanup},
		{name: "ansible-vault and git-crypt files rekeyed", prepare: makeSecrets, day: rekeySecrets},
		{name: "database dump replaced daily", day: dumpDaily},
		{name: "certificates renewed", prepare: renewCertificates, day: func(ctx context.Context, sc *scenario, _ int) error { return renewCertificates(ctx, sc) }},
		{name: "files emptied, caches cleared", prepare: fillCache, day: clearCache},
		{name: "directories moved", day: moveDirectories},
		{name: "downloads into preallocated files, disk images", day: downloads},
		{name: "texts re-encoded and reformatted", day: reformat},
	}
}

func nothingBefore(context.Context, *scenario) error { return nil }

// of returns the files of these kinds.
func (sc *scenario) of(kinds ...string) []string {
	return slices.DeleteFunc(sc.files(), func(name string) bool { return !slices.Contains(kinds, sc.kinds[name]) })
}

// put writes new content of a kind at name; nobody else works with it.
func (sc *scenario) put(ctx context.Context, name, kind string) error {
	data, err := sc.people.content(ctx, kind)
	if err != nil {
		return err
	}
	sc.pass(time.Second)
	return sc.write(name, data)
}

// swap writes data to a temporary name and renames it to name.
func (sc *scenario) swap(name, temporary string, data []byte) error {
	if err := sc.write(temporary, data); err != nil {
		return err
	}
	return sc.rename(temporary, name)
}

func installPackage(ctx context.Context, sc *scenario) error {
	for i := range 40 {
		kind := one(sc.r, []string{"elf", "elf", "text", "json"})
		if err := sc.put(ctx, fmt.Sprintf("opt/app/%s/part%d", map[string]string{"elf": "lib", "text": "share", "json": "etc"}[kind], i), kind); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("opt/app/lib/__pycache__/mod%d.cpython-311.pyc", i), bytecode(sc)); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("opt/app/lib/jar/mod%d.jar", i), jar(sc)); err != nil {
			return err
		}
	}
	return nil
}

// bytecode is what Python keeps of a module.
func bytecode(sc *scenario) []byte {
	b := slices.Concat([]byte("\xa7\x0d\x0d\x0a\x00\x00\x00\x00"), noise(sc.r, 4), []byte{0, 0, 0, 0}, []byte("\xe3\x00\x00\x00\x00"))
	for range 50 + sc.r.IntN(300) {
		b = append(b, byte(sc.r.IntN(130)), 0, 0x64, byte(sc.r.IntN(20)), 0x7c, byte(sc.r.IntN(9)))
		b = append(b, one(sc.r, latin)...)
	}
	return b
}

func jar(sc *scenario) []byte {
	data, err := zipped(sc.r, []part{{"META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\n"), false}, {"org/example/Main.class", bytecode(sc), false}})
	if err != nil {
		return nil
	}
	return data
}

// upgradePackage does what dpkg does: every file is written beside its former version and renamed over it.
func upgradePackage(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	before, err := sc.contentsBelow("opt/app")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		var data []byte
		switch path.Ext(name) {
		case ".pyc":
			data = bytecode(sc)
		case ".jar":
			data = jar(sc)
		default:
			kind := map[string]string{"lib": "elf", "share": "text", "etc": "json"}[path.Base(path.Dir(name))]
			if data, err = sc.people.content(ctx, kind); err != nil {
				return err
			}
		}
		if err := sc.swap(name, name+".dpkg-new", data); err != nil {
			return err
		}
	}
	return nil
}

func makeArchives(ctx context.Context, sc *scenario, day int) error {
	for i := range 8 {
		kind := []string{"zip", "mp4", "jpeg", "gzip", "pdf", "png"}[(i+day)%6]
		if err := sc.put(ctx, fmt.Sprintf("shared/out/%d-%d%s", day, i, sc.people.maker(kind).ext), kind); err != nil {
			return err
		}
	}
	packed, err := tarred([]part{{"a", noise(sc.r, 90000), false}, {"b", sc.people.languages[0].prose(sc.r, 90000), false}})
	if err != nil {
		return err
	}
	packed, err = gzipped(packed)
	if err != nil {
		return err
	}
	if err := sc.write(fmt.Sprintf("shared/out/export-%d.tgz", day), packed); err != nil {
		return err
	}
	// Formats that few programs know the insides of.
	return sc.write(fmt.Sprintf("shared/out/take-%d.opus", day), ogg(sc.r, 200000))
}

func makeLogs(_ context.Context, sc *scenario) error {
	for i := range 12 {
		if err := sc.write(fmt.Sprintf("var/log/app%d.log", i), sc.people.languages[0].syslog(sc.r, 30000)); err != nil {
			return err
		}
	}
	return nil
}

// rotateLogs: app.log becomes app.log.1, and app.log.1 app.log.2.gz.
func rotateLogs(_ context.Context, sc *scenario, _ int) error {
	for i := range 12 {
		name := fmt.Sprintf("var/log/app%d.log", i)
		for n := 5; n >= 2; n-- {
			from := fmt.Sprintf("%s.%d.gz", name, n)
			if sc.exists(from) {
				if err := sc.rename(from, fmt.Sprintf("%s.%d.gz", name, n+1)); err != nil {
					return err
				}
			}
		}
		if sc.exists(name + ".1") {
			data, err := sc.read(name + ".1")
			if err != nil {
				return err
			}
			if data, err = gzipped(data); err != nil {
				return err
			}
			if err := sc.write(name+".2.gz", data); err != nil {
				return err
			}
		}
		if err := sc.rename(name, name+".1"); err != nil {
			return err
		}
		if err := sc.write(name, sc.people.languages[0].syslog(sc.r, 20000+sc.r.IntN(20000))); err != nil {
			return err
		}
	}
	return nil
}

// autosave is what word processors do all day: a lock file, a temporary file, the old version renamed away, the new one
// renamed to its place. Some stop halfway: their temporary files stay.
func autosave(ctx context.Context, sc *scenario, _ int) error {
	for i, name := range pick(sc.r, sc.of("docx", "xlsx"), 40) {
		dir, file := path.Split(name)
		kind := sc.kinds[name]
		data, err := sc.people.content(ctx, kind)
		if err != nil {
			return err
		}
		if err := sc.write(dir+"~$"+file, append([]byte("\x05amina"), make([]byte, 156)...)); err != nil {
			return err
		}
		temporary := fmt.Sprintf("%s~WRD%04d.tmp", dir, sc.r.IntN(10000))
		if err := sc.write(temporary, data); err != nil {
			return err
		}
		away := fmt.Sprintf("%s~WRL%04d.tmp", dir, sc.r.IntN(10000))
		if err := sc.rename(name, away); err != nil {
			return err
		}
		if err := sc.rename(temporary, name); err != nil {
			return err
		}
		sc.kinds[name] = kind
		delete(sc.kinds, away)
		if i%8 == 0 {
			continue
		}
		if err := sc.remove(away); err != nil {
			return err
		}
		if err := sc.remove(dir + "~$" + file); err != nil {
			return err
		}
	}
	return nil
}

func bulkRename(_ context.Context, sc *scenario, day int) error {
	for i, name := range pick(sc.r, sc.of("docx", "pdf", "jpeg", "xlsx", "text"), 60) {
		to := sc.free(fmt.Sprintf("%s/2026-03-%02d_%03d%s", path.Dir(name), day+1, i, path.Ext(name)))
		if day == 3 { // and one who numbers without extension
			to = sc.free(fmt.Sprintf("%s/IMG_%04d", path.Dir(name), i))
		}
		if err := sc.rename(name, to); err != nil {
			return err
		}
	}
	return nil
}

func extensionChange(_ context.Context, sc *scenario, day int) error {
	change := []struct{ kind, from, to string }{{"jpeg", ".jpg", ".jpeg"}, {"text", ".txt", ".md"}, {"html", ".html", ".htm"}, {"docx", ".docx", ".docx.bak"}}[day]
	for _, name := range sc.of(change.kind) {
		if err := sc.rename(name, sc.free(strings.TrimSuffix(name, change.from)+change.to)); err != nil {
			return err
		}
	}
	return nil
}

func photoImport(_ context.Context, sc *scenario, day int) error {
	for i := range 25 {
		name := fmt.Sprintf("media/photos/2026/%d/DSC_%04d", day, i)
		data, err := photo(sc.r, 60000)
		if err != nil {
			return err
		}
		raw := slices.Concat([]byte("II*\x00\x10\x00\x00\x00CR\x02\x00"), make([]byte, 500), noise(sc.r, 150000))
		sidecar := fmt.Appendf(nil, "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><exposure>1/%d</exposure></x:xmpmeta>\n%s", 30+i, sc.people.languages[0].prose(sc.r, 300))
		if err := errors.Join(sc.write(name+".JPG", data), sc.write(name+".CR2", raw), sc.write(name+".xmp", sidecar)); err != nil {
			return err
		}
	}
	return nil
}

func mailDelivery(ctx context.Context, sc *scenario, day int) error {
	for i := range 30 {
		if err := sc.put(ctx, fmt.Sprintf("mail/amina/new/18%d%05d.M1P2.mail", day, i), "mail"); err != nil {
			return err
		}
	}
	for _, name := range pick(sc.r, sc.of("mail"), 12) { // read, answered, moved to another folder
		to := strings.TrimSuffix(name, ":2,S") + ":2,RS"
		if sc.r.IntN(2) == 0 {
			to = path.Join("mail/amina/.Archive/cur", path.Base(to))
		}
		if err := sc.rename(name, to); err != nil {
			return err
		}
	}
	return nil
}

func rememberFiles(_ context.Context, sc *scenario) error {
	for _, name := range sc.files() {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.root.MkdirAll("old", 0o755); err != nil {
			return err
		}
		if err := sc.write(path.Join("old", strings.ReplaceAll(name, "/", "_")), data); err != nil {
			return err
		}
	}
	return nil
}

// restoreFiles brings former versions back, one day over the present ones, another to where they were removed.
func restoreFiles(ctx context.Context, sc *scenario, day int) error {
	for _, name := range pick(sc.r, sc.files(), 80) {
		var err error
		switch old := path.Join("old", strings.ReplaceAll(name, "/", "_")); {
		case day%2 == 0:
			err = sc.people.edit(ctx, sc.site, name)
		case sc.exists(old):
			var data []byte
			if data, err = sc.read(old); err == nil {
				err = sc.add(name, sc.kinds[name], data)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeVolumes makes one encrypted container without any header, and one that says what it is.
func makeVolumes(_ context.Context, sc *scenario) error {
	if err := sc.write("shared/private.hc", noise(sc.r, 8<<20)); err != nil {
		return err
	}
	return sc.write("shared/volume.img", slices.Concat([]byte("LUKS\xba\xbe\x00\x01aes\x00"), make([]byte, 4000), noise(sc.r, 4<<20)))
}

func rotateVolumes(ctx context.Context, sc *scenario, day int) error {
	if day == 1 { // some sectors only
		data, err := sc.read("shared/private.hc")
		if err != nil {
			return err
		}
		for range 50 {
			copy(data[sc.r.IntN(len(data)/4096)*4096:], noise(sc.r, 4096))
		}
		return sc.write("shared/private.hc", data)
	}
	return makeVolumes(ctx, sc)
}

func packDirectories(_ context.Context, sc *scenario, day int) error {
	dir := []string{"archive/2019", "projects/alpha", "meetings/2025", "legal/cases"}[day]
	var parts []part
	for _, name := range sc.files() {
		if path.Dir(name) != dir {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		parts = append(parts, part{name, data, false})
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	data, err := tarred(parts)
	if err != nil {
		return err
	}
	if data, err = gzipped(data); err != nil {
		return err
	}
	return sc.write(dir+".tar.gz", data)
}

func reencodePhotos(_ context.Context, sc *scenario, _ int) error {
	for _, name := range pick(sc.r, sc.of("jpeg", "png"), 25) {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		f := photo
		if sc.kinds[name] == "png" {
			f = drawing
		}
		data, err := f(sc.r, max(least, len(before)*2/3))
		if err != nil {
			return err
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// convertFiles writes each file in another format beside the original and deletes that.
func convertFiles(ctx context.Context, sc *scenario, day int) error {
	step := []struct{ from, ext, kind string }{{"png", ".webp", ""}, {"docx", ".pdf", "pdf"}, {"wav", ".flac", ""}, {"jpeg", ".heic", ""}}[day]
	for _, name := range sc.of(step.from) {
		to := sc.free(strings.TrimSuffix(name, path.Ext(name)) + step.ext)
		var data []byte
		var err error
		switch step.ext {
		case ".webp":
			data = riff("WEBP", "VP8 ", noise(sc.r, 16000))
		case ".flac":
			data = flac(sc.r, 60000)
		case ".heic":
			data = append(box("ftyp", []byte("heic\x00\x00\x00\x00mif1heic")), box("mdat", noise(sc.r, 30000))...)
		default:
			data, err = sc.people.content(ctx, step.kind)
		}
		if err != nil {
			return err
		}
		if err := sc.write(to, data); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// deploySite puts a new release there: files named by their digests, each with its compressed twin, the old ones removed.
func deploySite(_ context.Context, sc *scenario, day int) error {
	if err := sc.root.RemoveAll("www/assets"); err != nil {
		return err
	}
	for i := range 25 {
		code := bytes.ReplaceAll(sc.people.languages[0].source(sc.r, 20000), []byte("\n"), []byte(";"))
		name := fmt.Sprintf("www/assets/%s.%s.js", one(sc.r, latin), hex.EncodeToString(noise(sc.r, 4)))
		packed, err := gzipped(code)
		if err != nil {
			return err
		}
		brotli := slices.Concat([]byte{0x1b}, noise(sc.r, len(packed)*9/10))
		font := slices.Concat([]byte("wOF2\x00\x01\x00\x00"), noise(sc.r, 15000))
		if err := errors.Join(sc.write(name, code), sc.write(name+".gz", packed), sc.write(name+".br", brotli), sc.write(fmt.Sprintf("www/assets/font%d.woff2", i), font)); err != nil {
			return err
		}
	}
	return sc.write("www/assets/app.min.js.br", noise(sc.r, 30000+day)) // the same name, other noise
}

func rewriteVaults(_ context.Context, sc *scenario, _ int) error {
	for _, name := range sc.of("kdbx") {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.swap(name, name+".tmp", vault(sc.r, len(before)+sc.r.IntN(200))); err != nil {
			return err
		}
	}
	return sc.write("shared/keys.psafe3", slices.Concat([]byte("PWS3"), noise(sc.r, 9000)))
}

func nightlyBackup(_ context.Context, sc *scenario, day int) error {
	for _, name := range []string{"mail", "web", "erp"} {
		if err := sc.write(fmt.Sprintf("backup/%s-2026-03-%02d.tar.gz.gpg", name, day+5), openPGP(sc.r, noise(sc.r, 300000))); err != nil {
			return err
		}
		if err := sc.write("backup/"+name+"-latest.enc", slices.Concat([]byte("Salted__"), noise(sc.r, 200000))); err != nil {
			return err
		}
		old := fmt.Sprintf("backup/%s-2026-03-%02d.tar.gz.gpg", name, day+3)
		if sc.exists(old) {
			if err := sc.remove(old); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillRepository adds packs of a backup program: noise under names that are digests.
func fillRepository(_ context.Context, sc *scenario) error {
	for range 30 {
		id := hex.EncodeToString(noise(sc.r, 32))
		if err := sc.write("backup/repo/data/"+id[:2]+"/"+id, noise(sc.r, 60000+sc.r.IntN(200000))); err != nil {
			return err
		}
	}
	return nil
}

func pruneRepository(ctx context.Context, sc *scenario, _ int) error {
	packs, err := sc.contentsBelow("backup/repo")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(packs)) {
		if sc.r.IntN(3) == 0 {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return fillRepository(ctx, sc)
}

// cleanup removes what was not changed for long.
func cleanup(_ context.Context, sc *scenario, day int) error {
	for _, name := range sc.files() {
		info, err := sc.root.Stat(name)
		if err != nil {
			return err
		}
		if sc.clock.Sub(info.ModTime()) > time.Duration(600-100*day)*24*time.Hour {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func makeSecrets(_ context.Context, sc *scenario) error {
	for i := range 25 {
		text := []byte("$ANSIBLE_VAULT;1.1;AES256\n")
		for range 20 + sc.r.IntN(60) {
			text = append(hex.AppendEncode(text, noise(sc.r, 40)), '\n')
		}
		if err := sc.write(fmt.Sprintf("src/ansible/group_vars/host%d.yml", i), text); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("src/secrets/key%d.txt", i), slices.Concat([]byte("\x00GITCRYPT\x00"), noise(sc.r, 900))); err != nil {
			return err
		}
	}
	return nil
}

func rekeySecrets(ctx context.Context, sc *scenario, _ int) error { return makeSecrets(ctx, sc) }

func dumpDaily(_ context.Context, sc *scenario, _ int) error {
	for _, name := range []string{"erp", "mail", "web"} {
		packed, err := gzipped(sc.people.languages[0].table(sc.r, 800000))
		if err != nil {
			return err
		}
		if err := sc.swap("backup/dump/"+name+".sql.gz", "backup/dump/."+name+".part", packed); err != nil {
			return err
		}
		if err := sc.write("backup/dump/"+name+".dump", slices.Concat([]byte("PGDMP\x01\x0e\x00\x04\x08\x01"), packed[10:])); err != nil {
			return err
		}
	}
	return nil
}

func renewCertificates(_ context.Context, sc *scenario) error {
	for i := range 15 {
		for _, what := range []string{"CERTIFICATE", "PRIVATE KEY"} {
			var b bytes.Buffer
			fmt.Fprintf(&b, "-----BEGIN %s-----\n", what)
			writeBase64(&b, slices.Concat([]byte{0x30, 0x82, 4, 0}, noise(sc.r, 1200)))
			fmt.Fprintf(&b, "-----END %s-----\n", what)
			if err := sc.write(fmt.Sprintf("etc/ssl/site%d/%s.pem", i, strings.ToLower(strings.ReplaceAll(what, " ", ""))), b.Bytes()); err != nil {
				return err
			}
		}
		if err := sc.write(fmt.Sprintf("etc/ssl/site%d/store.p12", i), slices.Concat([]byte{0x30, 0x82, 9, 0, 2, 1, 3}, noise(sc.r, 2300))); err != nil {
			return err
		}
	}
	return nil
}

// fillCache is a browser's: no names, no extensions, all kinds of content.
func fillCache(ctx context.Context, sc *scenario) error {
	for range 40 {
		kind := one(sc.r, []string{"jpeg", "png", "gzip", "html", "json"})
		if err := sc.put(ctx, fmt.Sprintf("home/amina/.cache/entries/%X", noise(sc.r, 20)), kind); err != nil {
			return err
		}
	}
	return nil
}

func clearCache(ctx context.Context, sc *scenario, day int) error {
	if err := sc.root.RemoveAll("home/amina/.cache/entries"); err != nil {
		return err
	}
	for _, name := range pick(sc.r, sc.of("log"), 8) { // copytruncate
		if err := sc.write(name, nil); err != nil {
			return err
		}
		delete(sc.kinds, name)
	}
	return fillCache(ctx, sc)
}

func moveDirectories(_ context.Context, sc *scenario, day int) error {
	from := []string{"projects/alpha", "legal/treaties", "media/press", "hr"}[day]
	for _, name := range sc.files() {
		if path.Dir(name) == from {
			if err := sc.rename(name, path.Join("archive/moved", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// downloads are preallocated with zeros and filled the day after; a disk image is made anew.
func downloads(_ context.Context, sc *scenario, day int) error {
	for i := range 6 {
		name := fmt.Sprintf("shared/downloads/image%d.iso", i)
		data := make([]byte, 400000)
		if day%2 == 1 {
			copy(data, noise(sc.r, 300000))
			copy(data[0x8001:], "CD001")
		}
		if err := sc.write(name+".part", data); err != nil {
			return err
		}
		if day == 3 {
			if err := sc.rename(name+".part", name); err != nil {
				return err
			}
		}
	}
	disk := make([]byte, 2<<20) // formatted
	copy(disk[510:], "\x55\xaa")
	copy(disk[sc.r.IntN(1<<20):], noise(sc.r, 200000))
	return sc.write("shared/machine.img", disk)
}

// reformat changes texts through and through without changing what they say.
func reformat(_ context.Context, sc *scenario, day int) error {
	kinds := [][]string{{"source", "csv"}, {"json"}, {"text"}, {"html", "markdown"}}[day]
	for _, name := range sc.of(kinds...) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		switch day {
		case 0: // line ends
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		case 1: // no spaces
			data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\n"), nil), []byte(": "), []byte(":"))
		case 2: // UTF-16
			data = utf16LE(data)
		default: // indented
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\n    "))
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
		delete(sc.kinds, name)
	}
	return nil
}
