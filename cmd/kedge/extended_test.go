package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/s3"
)

func TestOptionsOfStorageAreUnderstood(t *testing.T) {
	x, err := parseExtended([]string{
		"rest.connections=7", "S3.connections = 3", "s3.region=eu-west-2", "s3.storage-class=STANDARD_IA", "s3.bucket-lookup=path",
		"s3.retain=30d", "s3.object-lock-mode=governance", `sftp.args=-i "key file" -o 'User=a b'`,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := s3.Options{Region: "eu-west-2", StorageClass: "STANDARD_IA", Lookup: s3.LookupPath, Retention: 720 * time.Hour, Mode: s3.Governance}
	if x.s3 != want || x.connections["rest"] != 7 || x.connections["s3"] != 3 || x.connections["local"] != 0 {
		t.Errorf("understood %+v", x)
	}
	if args := []string{"-i", "key file", "-o", "User=a b"}; !slices.Equal(x.sftp.Args, args) {
		t.Errorf("sftp.args are %q, want %q", x.sftp.Args, args)
	}
}

func TestAnOptionOfStorageThatIsWrongSaysWhatIsRight(t *testing.T) {
	for option, says := range map[string]string{
		"s3.reigon=x":                    "s3.region",
		"connections=3":                  "local.connections, rest.connections",
		"rest.connections=0":             "positive number",
		"rest.connections":               "positive number",
		"s3.object-lock-mode=soft":       "compliance or governance",
		"s3.object-lock-mode=":           "compliance or governance",
		"s3.retain=-3h":                  "such as 30d",
		"s3.retain=month":                "such as 30d",
		`sftp.command=ssh "host`:         "not closed",
		"s3.object-lock-mode=COMPLIANCE": "give s3.retain too",
	} {
		if _, err := parseExtended([]string{option}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("-o %s: %v; want it to say %q", option, err, says)
		}
	}
}

func TestConnectionsAreAsManyAsAskedForAtMost(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	var now, most atomic.Int64
	location := restServerAround(t, func(files http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			defer now.Add(-1)
			for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			files.ServeHTTP(w, r)
		})
	})
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{9})
	for i := range 8 {
		data := make([]byte, 4<<20)
		random.Read(data)
		write(t, filepath.Join(dir, fmt.Sprint(i)), data)
	}
	for _, c := range []struct {
		option    []string
		few, many int64
	}{{nil, 2, 100}, {[]string{"-o", "rest.connections=1"}, 1, 1}} {
		most.Store(0)
		for _, args := range [][]string{{"init"}, {"backup", dir, "--force", "--pack-size", "4"}, {"check", "--read-data"}} {
			if args[0] == "init" && c.option != nil {
				continue
			}
			if status, out := kedge(t, slices.Concat(args, []string{"-r", location}, c.option)...); status != exitDone {
				t.Fatalf("kedge %v %v ended with status %d:\n%s", args, c.option, status, out)
			}
		}
		if n := most.Load(); n < c.few || n > c.many {
			t.Errorf("with %q there were %d requests at once, want %d to %d", c.option, n, c.few, c.many)
		}
	}
}

// TestOneConnectionIsEnough would hang if any command held one while it waits for another.
func TestOneConnectionIsEnough(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	dir := t.TempDir()
	for i, text := range []string{"first", "second"} {
		write(t, dir+"/"+text, []byte(strings.Repeat(text, 1000*(i+1))))
	}
	repository := t.TempDir() + "/repository"
	for _, args := range [][]string{
		{"init"}, {"backup", dir}, {"backup", dir, "--force"}, {"check", "--read-data"}, {"restore", "latest", "--target", t.TempDir()},
		{"find", "first"}, {"stats"}, {"ls", "latest"}, {"forget", "--keep-last", "1", "--prune"}, {"repair", "index"}, {"repair", "snapshots"},
		{"dump", "latest", dir + "/first"}, {"check"},
	} {
		args = append(args, "-r", repository, "-o", "local.connections=1")
		if status, out := kedge(t, args...); status != exitDone {
			t.Errorf("kedge %v ended with status %d:\n%s", args, status, out)
		}
	}
}

func TestTheProgramThatSpeaksSFTPIsChosen(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	location := "sftp:nowhere:" + t.TempDir() + "/repository"
	const program = `sftp.command="/usr/lib/openssh/sftp-server" -l QUIET`
	for _, args := range [][]string{{"init"}, {"cat", "config"}} {
		if status, out := kedge(t, append(args, "-r", location, "-o", program)...); status != exitDone {
			t.Errorf("kedge %v ended with status %d:\n%s", args, status, out)
		}
	}
}
