package main

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// innodbWork: tables are rebuilt under other names and renamed, purged pages become zeros, and two tables are encrypted
// by the server: heads of pages stay.
func innodbWork(_ context.Context, sc *scenario, day int) error {
	names := sc.of("innodb")
	for i, name := range names {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		switch {
		case day == 0: // OPTIMIZE TABLE
			if err := sc.swap(name, path.Join(path.Dir(name), fmt.Sprintf("#sql-ib%d.ibd", i)), tablespace(sc.people.languages[0], sc.r, len(data)*3/4)); err != nil {
				return err
			}
			sc.kinds[name] = "innodb"
			continue
		case day == 1:
			for at := innodbPage; at < len(data); at += innodbPage {
				if sc.r.IntN(5) == 0 {
					clear(data[at : at+innodbPage])
				}
			}
		case day == 2 && i < 2:
			for at := innodbPage; at < len(data); at += innodbPage {
				page := data[at : at+innodbPage]
				copy(page[innodbHead:], noise(sc.r, innodbPage-innodbHead-innodbTail))
				binary.BigEndian.PutUint16(page[24:], 15) // FIL_PAGE_ENCRYPTED
			}
			delete(sc.kinds, name)
		default:
			continue
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	return sc.write("mysql/ib_logfile0", slices.Concat(make([]byte, 2048), noise(sc.r, 60000), make([]byte, 200000)))
}

// migrateDatabases: the application of one directory is upgraded; its databases are exported to encrypted ones, checked,
// and the plain ones removed. SQLCipher's files have no mark at all.
func migrateDatabases(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("sqlite") {
		if path.Dir(name) != "users/lena/AppData" {
			continue
		}
		if day != 1 {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		delete(sc.kinds, name)
		if err := sc.swap(name, name+"-encrypted", noise(sc.r, len(data))); err != nil {
			return err
		}
	}
	return nil
}

// metricBlocks are Prometheus': a directory of chunks and an index for each two hours.
func metricBlocks(_ context.Context, sc *scenario) error {
	for range 6 {
		if err := metricBlock(sc, 40000); err != nil {
			return err
		}
	}
	return nil
}

func metricBlock(sc *scenario, size int) error {
	dir := "metrics/tsdb/01" + base32.HexEncoding.EncodeToString(noise(sc.r, 15))
	chunks := []byte("\x85\xbd\x40\xdd\x01\x00\x00\x00")
	for len(chunks) < size {
		chunks = append(append(chunks, 0x78, 1), deflated(figures(sc.r, 900))...) // dense as XOR-packed samples are
	}
	index := append([]byte("\xba\xaa\xd7\x00\x02"), sc.people.languages[0].document(sc.r, 6000)...)
	return errors.Join(sc.write(dir+"/chunks/000001", chunks), sc.write(dir+"/index", index),
		sc.write(dir+"/meta.json", fmt.Appendf(nil, "{\n\t\"ulid\": %q,\n\t\"version\": 1\n}", path.Base(dir))), sc.write(dir+"/tombstones", []byte("\x01\x30\xba\x30\x01\x00\x00\x00\x00")))
}

// compactBlocks merges all but the newest blocks into one.
func compactBlocks(ctx context.Context, sc *scenario, day int) error {
	files, err := sc.contentsBelow("metrics/tsdb")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	if err := metricBlock(sc, 200000+50000*day); err != nil {
		return err
	}
	return metricBlocks(ctx, sc)
}

// logSegments are Kafka's: batches compressed by Snappy, an index of places, one of times.
func logSegments(_ context.Context, sc *scenario) error {
	for topic := range 4 {
		at := sc.r.IntN(1e9)
		var log, index []byte
		for range 8 {
			packed := s2.EncodeSnappy(nil, sc.people.languages[0].document(sc.r, 20000))
			batch := binary.BigEndian.AppendUint64(nil, uint64(at))
			batch = append(binary.BigEndian.AppendUint32(batch, uint32(49+len(packed))), 0, 0, 0, 0, 2)
			batch = append(append(batch, noise(sc.r, 4)...), make([]byte, 40)...)
			index = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(index, uint32(at)), uint32(len(log)))
			log = append(append(log, batch...), packed...)
			at += 100
		}
		name := fmt.Sprintf("kafka/orders-%d/%020d", topic, at)
		if err := errors.Join(sc.write(name+".log", log), sc.write(name+".index", append(index, make([]byte, 4096)...)), sc.write(name+".timeindex", make([]byte, 4096))); err != nil {
			return err
		}
	}
	return nil
}

func rollSegments(ctx context.Context, sc *scenario, _ int) error {
	files, err := sc.contentsBelow("kafka")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch sc.r.IntN(4) {
		case 0: // expired
			err = errors.Join(sc.rename(name, name+".deleted"), sc.remove(name+".deleted"))
		case 1: // an index is cut to what it holds
			if path.Ext(name) != ".log" {
				err = sc.write(name, files[name][:min(64, len(files[name]))])
			}
		}
		if err != nil {
			return err
		}
	}
	return logSegments(ctx, sc)
}

// journals are systemd's: a header, objects, much of them compressed.
func journals(_ context.Context, sc *scenario) error {
	for i := range 8 {
		if err := sc.write(fmt.Sprintf("logs/journal/system%d.journal", i), journal(sc, 0)); err != nil {
			return err
		}
	}
	return nil
}

func journal(sc *scenario, state byte) []byte {
	b := slices.Concat([]byte("LPKSHHRH\x01\x00\x00\x00\x0c\x00\x00\x00"), []byte{state}, make([]byte, 7), noise(sc.r, 48), make([]byte, 184))
	for len(b) < 150000 {
		text := fmt.Appendf(nil, "MESSAGE=%s", sc.people.languages[0].syslog(sc.r, 150))
		b = append(append(b, 1, 0, 0, 0, 0, 0, 0, 0), noise(sc.r, 40)...)
		b = append(b, text...)
		b = append(b, make([]byte, -len(b)&7)...)
	}
	return append(b, make([]byte, 60000)...)
}

func rotateJournals(_ context.Context, sc *scenario, day int) error {
	for i := range 8 {
		name := fmt.Sprintf("logs/journal/system%d.journal", i)
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		data[16] = 2 // archived
		old := fmt.Sprintf("logs/journal/system%d@%x-%016x.journal", i, noise(sc.r, 16), day)
		if err := errors.Join(sc.write(name, data), sc.rename(name, old), sc.write(name, journal(sc, 1))); err != nil {
			return err
		}
	}
	return nil
}

func ageLogs(ctx context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("log") {
		rotated := fmt.Sprintf("%s.%d", name, day)
		if i%2 != day%2 {
			continue
		}
		delete(sc.kinds, name)
		if err := sc.rename(name, rotated); err != nil {
			return err
		}
		if err := sc.do(ctx, "age", "-e", "-i", filepath.Join(sc.dir, "key"), "-o", rotated+".age", rotated); err != nil {
			return err
		}
		if err := errors.Join(sc.remove(rotated), sc.add(name, "log", sc.people.languages[0].syslog(sc.r, 9000))); err != nil {
			return err
		}
	}
	return nil
}

// recompress reads what is packed by one program and packs it by another; the former file goes.
func recompress(ctx context.Context, sc *scenario, day int) error {
	kind, unpack, from := "xz", "xz", ".xz"
	switch day {
	case 1, 3:
		return nil
	case 2:
		kind, unpack, from = "tgz", "gzip", ".tgz"
	}
	for _, name := range sc.of(kind) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if data, err = sc.ask(ctx, data, unpack, "-dc"); err != nil {
			return err
		}
		if data, err = sc.ask(ctx, data, "zstd", "-q", "-c"); err != nil {
			return err
		}
		if err := errors.Join(sc.write(sc.free(strings.TrimSuffix(name, from)+".zst"), data), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// recodeRecords writes container files anew without compression, and back another day.
func recodeRecords(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	codec := []string{"null", "", "deflate"}[day]
	return sc.rewriteEach(sc.of("avro"), func(_ string, data []byte) ([]byte, error) {
		return avro(sc.people.languages[0], sc.r, len(data)*3/2, codec), nil
	})
}

// pullLayers adds layers as a container engine keeps them: packed by digest, and unpacked under identifiers.
func pullLayers(ctx context.Context, sc *scenario) error {
	for range 4 {
		digest, id := hex.EncodeToString(noise(sc.r, 32)), hex.EncodeToString(noise(sc.r, 32))
		layer, err := packedTarball(sc.r, sc.people.languages[0], 40000)
		if err != nil {
			return err
		}
		if err := sc.write("containers/blobs/sha256/"+digest, layer); err != nil {
			return err
		}
		for i := range 8 {
			kind := one(sc.r, []string{"mo", "html", "png", "tgz", "sqlite"})
			if err := sc.put(ctx, fmt.Sprintf("containers/overlay2/%s/diff/usr/share/%s%d%s", id, one(sc.r, latin), i, sc.people.maker(kind).ext), kind); err != nil {
				return err
			}
		}
		if err := sc.write("containers/overlay2/"+id+"/link", []byte(strings.ToUpper(id[:26]))); err != nil {
			return err
		}
	}
	return nil
}

func pruneLayers(ctx context.Context, sc *scenario, _ int) error {
	if err := errors.Join(sc.root.RemoveAll("containers/overlay2"), sc.root.RemoveAll("containers/blobs")); err != nil {
		return err
	}
	return pullLayers(ctx, sc)
}

func npmInstall(_ context.Context, sc *scenario) error {
	for i := range 30 {
		dir := fmt.Sprintf("app/node_modules/%s-%s%d", one(sc.r, latin), one(sc.r, latin), i)
		code := sc.people.languages[0].source(sc.r, 9000)
		minified := bytes.ReplaceAll(bytes.ReplaceAll(code, []byte("\n"), []byte(";")), []byte("\t"), nil)
		digest := hex.EncodeToString(noise(sc.r, 64))
		packed, err := gzipped(code)
		if err != nil {
			return err
		}
		if err := errors.Join(sc.write(dir+"/package.json", fmt.Appendf(nil, "{\n  \"name\": %q,\n  \"version\": \"1.%d.0\"\n}\n", path.Base(dir), sc.r.IntN(20))),
			sc.write(dir+"/dist/index.min.js", minified),
			sc.write(dir+"/dist/index.min.js.map", fmt.Appendf(nil, "{\"version\":3,\"mappings\":%q}", base64.StdEncoding.EncodeToString(noise(sc.r, 4000)))),
			sc.write(dir+"/lib/core.wasm", append([]byte("\x00asm\x01\x00\x00\x00"), deflated(code)...)),
			sc.write("users/joao/.npm/_cacache/content-v2/sha512/"+digest[:2]+"/"+digest[2:4]+"/"+digest[4:], packed)); err != nil {
			return err
		}
	}
	return nil
}

func npmUpgrade(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	if err := sc.root.RemoveAll("app/node_modules"); err != nil {
		return err
	}
	return npmInstall(ctx, sc)
}

// fillCaches: wheels, what is unpacked of them, and a compiler's results under digests.
func fillCaches(_ context.Context, sc *scenario) error {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	for i := range 20 {
		code := sc.people.languages[0].source(sc.r, 8000)
		wheel, err := zipped(sc.r, []part{{"pkg/__init__.py", code, false}, {"pkg-1.0.dist-info/RECORD", []byte("pkg/__init__.py,sha256=\n"), false}})
		if err != nil {
			return err
		}
		name, digest := fmt.Sprintf("app/venv/lib/python3.11/site-packages/%s%d", one(sc.r, latin), i), base32.HexEncoding.EncodeToString(noise(sc.r, 20))
		if err := errors.Join(sc.write(fmt.Sprintf("users/joao/.cache/pip/wheels/%02x/%s%d-1.0-py3-none-any.whl", i, one(sc.r, latin), i), wheel),
			sc.write(name+"/__init__.py", code), sc.write(name+"/__pycache__/__init__.cpython-311.pyc", bytecode(sc)),
			sc.write("users/joao/.cache/ccache/"+digest[:1]+"/"+digest[1:2]+"/"+digest[2:]+"R", slices.Concat([]byte("cCrS\x01\x01"), noise(sc.r, 8), w.EncodeAll(bytecode(sc), nil)))); err != nil {
			return err
		}
	}
	return nil
}

func evictCaches(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 0 {
		return fillCaches(ctx, sc)
	}
	return errors.Join(sc.root.RemoveAll("users/joao/.cache"), sc.root.RemoveAll("app/venv"), fillCaches(ctx, sc))
}

func languagePacks(ctx context.Context, sc *scenario, day int) error {
	for _, name := range sc.of("mo") {
		var err error
		if strings.Contains(name, "/zh/") && day == 2 {
			err = sc.remove(name)
		} else if day%2 == 0 {
			var data []byte
			if data, err = sc.people.content(ctx, "mo"); err == nil {
				err = sc.swap(name, name+".dpkg-new", data)
				sc.kinds[name] = "mo"
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// relaunch removes a whole site and puts another one there.
func relaunch(ctx context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.files() {
		if strings.HasPrefix(name, "site/") {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	for i := range 40 {
		kind := one(sc.r, []string{"html", "html", "png", "jpeg", "svgz"})
		if err := sc.put(ctx, fmt.Sprintf("site/%s/%s-%d%s", one(sc.r, latin), one(sc.r, latin), i, sc.people.maker(kind).ext), kind); err != nil {
			return err
		}
	}
	return nil
}

func swapFile(_ context.Context, sc *scenario) error {
	swap := make([]byte, 2<<20)
	copy(swap[4086:], "SWAPSPACE2")
	return sc.write("vm/swapfile", swap)
}

// trimDisks: guests write and trim, one day disks are written anew with compressed clusters; the host swaps.
func trimDisks(_ context.Context, sc *scenario, day int) error {
	err := sc.rewriteEach(sc.of("qcow2"), func(name string, data []byte) ([]byte, error) {
		if day == 2 {
			delete(sc.kinds, name)
			packed := slices.Clone(data[:5*cluster])
			for at := 5 * cluster; at < len(data); at += cluster {
				packed = append(packed, deflated(data[at:at+cluster])...)
			}
			return append(packed, make([]byte, -len(packed)&511)...), nil
		}
		for at := 5 * cluster; at < len(data); at += cluster {
			switch sc.r.IntN(4) {
			case 0:
				clear(data[at : at+cluster])
			case 1:
				copy(data[at:], guestCluster(sc.people.languages[0], sc.r))
			}
		}
		return append(data, guestCluster(sc.people.languages[0], sc.r)...), nil
	})
	if err != nil {
		return err
	}
	swap, err := sc.read("vm/swapfile")
	if err != nil {
		return err
	}
	for range 60 {
		page := noise(sc.r, 4096)
		if sc.r.IntN(2) == 0 {
			page = sc.people.languages[0].prose(sc.r, 4096)[:4096]
		}
		copy(swap[4096+sc.r.IntN(len(swap)/4096-1)*4096:], page)
	}
	return sc.write("vm/swapfile", swap)
}
