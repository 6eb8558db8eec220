package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

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
