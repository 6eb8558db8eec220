package asset

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostileArchivesStayInTheSpool(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 4, Mode: 0o600, Uid: os.Getuid(), Gid: os.Getgid()}
	}
	for name, test := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"climbs out":        {[]tar.Header{file("../escaped")}, "escapes"},
		"absolute":          {[]tar.Header{file("/escaped")}, "escapes"},
		"symbolic link":     {[]tar.Header{{Name: "pg_wal", Typeflag: tar.TypeSymlink, Linkname: "/"}}, "neither a file nor a directory"},
		"twice":             {[]tar.Header{file("PG_VERSION"), file("./PG_VERSION")}, "exists"},
		"directory climbs":  {[]tar.Header{{Name: "a/../../escaped/", Typeflag: tar.TypeDir}}, "escapes"},
		"nothing but right": {[]tar.Header{{Name: "base/1/", Typeflag: tar.TypeDir, Uid: os.Getuid(), Gid: os.Getgid()}, file("base/1/1259")}, ""},
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
			root, err := os.OpenRoot(spool)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			files := map[string]received{}
			err = unpack(tar.NewReader(&archive), root, files)
			if test.want == "" && (err != nil || files["base/1/1259"].size != 4) {
				t.Errorf("a good archive: %v, %v", files, err)
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
	for version, ok := range map[string]bool{"15.18 (Debian 15.18-0+deb12u1)": true, "18beta1": true, "17": true, "14.9": false, "9.6.24": false, "": false, "new": false} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("server version %q: %v", version, err)
		}
	}
}
