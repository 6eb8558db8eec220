package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kedge-project/kedge/backend/s3/s3test"
)

// retentions returns until when each object of the bucket is kept, by its name, and how: "" for not at all.
func retentions(t *testing.T, server *s3test.Server, bucket string) (until map[string]time.Time, mode map[string]string) {
	t.Helper()
	client, err := minio.New(server.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3test.AccessKey, s3test.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	until, mode = make(map[string]time.Time), make(map[string]string)
	for object := range client.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		info, err := client.StatObject(t.Context(), bucket, object.Key, minio.StatObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		until[object.Key], _ = time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		mode[object.Key] = info.Metadata.Get("X-Amz-Object-Lock-Mode")
	}
	return until, mode
}

// TestWhatSnapshotsNeedIsRetained tells a bucket's life under Object Lock by the commands alone.
func TestWhatSnapshotsNeedIsRetained(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("KEDGE_REPOSITORY", server.Location("retained"))
	do := func(args ...string) string {
		t.Helper()
		status, out := kedge(t, args...)
		if status != exitDone {
			t.Fatalf("kedge %v ended with status %d:\n%s", args, status, out)
		}
		return out
	}
	store := func(name string, options ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		do(append([]string{"backup", file, "--tag", name}, options...)...)
	}
	do("init", "-o", "s3.retain=2h", "-o", "s3.object-lock-mode=governance")
	store("old") // by somebody who does not know of retention
	before, _ := retentions(t, server, "retained")
	store("new", "-o", "s3.retain=2h", "-o", "s3.object-lock-mode=governance", "-o", "s3.bucket-lookup=path", "-o", "s3.region=us-east-1")
	until, mode := retentions(t, server, "retained")
	for key := range until {
		if _, old := before[key]; !old && mode[key] != "GOVERNANCE" {
			t.Errorf("%s is stored with mode %q, want GOVERNANCE", key, mode[key])
		}
	}
	do("forget", "--tag", "old", "--unsafe-allow-remove-all")

	if status, out := kedge(t, "retain"); status != exitFailed || !strings.Contains(out, "--for") {
		t.Errorf("retain without a time: status %d\n%s", status, out)
	}
	soon := time.Now().Add(3 * time.Hour)
	if out := do("retain", "--for", "10d", "--dry-run"); !strings.Contains(out, "nothing was changed") {
		t.Errorf("dry run told %s", out)
	}
	until, _ = retentions(t, server, "retained")
	for key, ends := range until {
		if ends.After(soon) {
			t.Errorf("a dry run extended %s", key)
		}
	}

	var told struct {
		Files, Extended int
		Until           time.Time
	}
	if err := json.Unmarshal([]byte(do("retain", "--for", "10d", "--json", "-o", "s3.object-lock-mode=governance")), &told); err != nil {
		t.Fatal(err)
	}
	extended, packs := 0, 0
	until, mode = retentions(t, server, "retained")
	for key, ends := range until {
		needed := !strings.HasPrefix(key, "locks/")
		if _, old := before[key]; old && strings.HasPrefix(key, "data/") {
			needed = false // what only the forgotten snapshot needs
			packs++
		}
		if needed {
			extended++
		}
		if needed != !ends.Before(told.Until) {
			t.Errorf("%s is kept until %v; that it is needed until %v is %t", key, ends, told.Until, needed)
		}
		if needed && mode[key] != "GOVERNANCE" {
			t.Errorf("%s has mode %q now; want GOVERNANCE", key, mode[key])
		}
	}
	if packs == 0 || told.Extended != extended || told.Files != extended {
		t.Errorf("told of %+v; %d files are needed, %d old packs are not", told, extended, packs)
	}
	if out := do("retain", "--for", "9d"); !strings.Contains(out, "of 0 was extended") {
		t.Errorf("a shorter time told %s", out)
	}
}

func TestRetainNamesWhatItNeeds(t *testing.T) {
	flags, _, _ := flagsFor(t)
	if status, out := kedge(t, "retain", "-r", flags.location, "--for", "30d"); status != exitFailed || !strings.Contains(out, "S3 storage with Object Lock") {
		t.Errorf("on a directory: status %d\n%s", status, out)
	}
}
