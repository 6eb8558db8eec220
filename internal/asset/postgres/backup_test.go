package postgres

import (
	"archive/tar"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostileArchivesStayInTheSpool(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 4, Mode: 0o600, Uid: os.Getuid(), Gid: os.Getgid()}
	}
	for name, test := range map[string]struct {
		below   string
		headers []tar.Header
		want    string
	}{
		"climbs out":                   {"", []tar.Header{file("../escaped")}, "leads out"},
		"absolute":                     {"", []tar.Header{file("/escaped")}, "leads out"},
		"symbolic link":                {"", []tar.Header{{Name: "pg_wal", Typeflag: tar.TypeSymlink, Linkname: "/"}}, "neither a file nor a directory"},
		"twice":                        {"", []tar.Header{file("PG_VERSION"), file("./PG_VERSION")}, "twice"},
		"directory climbs":             {"", []tar.Header{{Name: "a/../../escaped/", Typeflag: tar.TypeDir}}, "leads out"},
		"climbs out of its tablespace": {"pg_tblspc/16384", []tar.Header{file("../../PG_VERSION")}, "leads out"},
		"nothing but right":            {"", []tar.Header{{Name: "base/1/", Typeflag: tar.TypeDir}, file("base/1/1259")}, ""},
		"right in a tablespace":        {"pg_tblspc/16384", []tar.Header{{Name: "base/1/", Typeflag: tar.TypeDir}, file("base/1/1259")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, header := range test.headers {
				if err := w.WriteHeader(&header); err != nil {
					t.Fatal(err)
				}
				if header.Size > 0 {
					if _, err := w.Write([]byte("text")); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			spool := filepath.Join(parent, "spool")
			if err := os.Mkdir(spool, 0o700); err != nil {
				t.Fatal(err)
			}
			b := baseBackup{dir: "/data", add: unpackTo(spool), files: map[string]received{}}
			err := b.unpack(tar.NewReader(&archive), test.below)
			if test.want == "" && (err != nil || b.files[path.Join(test.below, "base/1/1259")].size != 4) {
				t.Errorf("a good archive: %v, %v", b.files, err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
				t.Errorf("beside the spool stands %v, %v", entries, err)
			}
		})
	}
}

func TestOlderServersAreRefused(t *testing.T) {
	for version, want := range map[string]int{"15.18 (Debian 15.18-0+deb12u1)": 15, "18beta1": 18, "17": 17, "13.9": 13, "12.22": 0, "9.6.24": 0, "": 0, "new": 0} {
		if major, err := checkVersion(version); major != want || (err == nil) != (want > 0) {
			t.Errorf("server version %q: %d, %v; want %d", version, major, err, want)
		}
	}
}

func TestFilesOfPagesAreTold(t *testing.T) {
	for name, want := range map[string]bool{
		"base/5/16384": true, "base/5/16384.12": true, "base/5/16384_vm": true, "global/1262": true, "pg_tblspc/16400/PG_15_202209061/5/16401": true,
		"base/5/PG_VERSION": false, "base/5/pg_filenode.map": false, "global/pg_control": false, "pg_xact/0000": false, "PG_VERSION": false, "16384": false,
	} {
		if got := isRelation(name); got != want {
			t.Errorf("%s holds pages: %v, want %v", name, got, want)
		}
	}
}

func TestNamesOfArchivesAreThoseOfTheProtocol(t *testing.T) {
	for message, want := range map[string]string{
		"base.tar\x00\x00": "", "16400.tar\x00/srv/fast\x00": "pg_tblspc/16400", "../16400.tar\x00\x00": "error", "16400\x00": "error", "": "error", "-1.tar\x00": "error",
	} {
		got, err := archivePlace([]byte(message))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("archive %q stands in %q, want %q", message, got, want)
		}
	}
}
