package s3_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/s3/s3test"
)

// thief has the credentials of the repository, and uses them as it likes.
func thief(t *testing.T, server *s3test.Server) *minio.Client {
	t.Helper()
	client, err := minio.New(server.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s3test.AccessKey, s3test.SecretKey, ""), TrailingHeaders: true, MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func retaining(d time.Duration) s3.Options {
	opt := options()
	opt.Retention = d
	return opt
}

// version returns the version of an object that is shown, or of a hidden one its latest that holds data.
func version(t *testing.T, client *minio.Client, key string) string {
	t.Helper()
	for object := range client.ListObjectsIter(t.Context(), "bucket", minio.ListObjectsOptions{Prefix: key, WithVersions: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		if !object.IsDeleteMarker {
			return object.VersionID
		}
	}
	t.Fatalf("no version of %s", key)
	return ""
}

func retainedUntil(t *testing.T, client *minio.Client, key string) (mode string, until time.Time) {
	t.Helper()
	info, err := client.StatObject(t.Context(), "bucket", key, minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	until, err = time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		t.Fatalf("%s is not retained: %v", key, err)
	}
	return info.Metadata.Get("X-Amz-Object-Lock-Mode"), until
}

func packKey(h backend.Handle) string { return "data/" + h.Name[:2] + "/" + h.Name }

func TestWhatIsRetainedCannotBeRemovedOrReplacedWithItsOwnCredentials(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Hour))
	h := save(t, be, backend.Pack, "evidence")
	client, key := thief(t, server), packKey(h)
	kept := version(t, client, key)

	for _, bypass := range []bool{false, true} {
		err := client.RemoveObject(t.Context(), "bucket", key, minio.RemoveObjectOptions{VersionID: kept, GovernanceBypass: bypass})
		if err == nil {
			t.Fatalf("the server removed a retained version (bypass %v)", bypass)
		}
	}
	mode, sooner := minio.Compliance, time.Now().Add(time.Minute)
	err := client.PutObjectRetention(t.Context(), "bucket", key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &sooner, GovernanceBypass: true})
	if err == nil {
		t.Error("the server shortened a retention")
	}
	if err := client.RemoveBucketWithOptions(t.Context(), "bucket", minio.RemoveBucketOptions{ForceDelete: true}); err == nil {
		t.Error("the server removed the bucket")
	}
	if _, err := client.PutObject(t.Context(), "bucket", key, strings.NewReader("ransom"), 6, minio.PutObjectOptions{}); err == nil {
		if err := client.RemoveObject(t.Context(), "bucket", key, minio.RemoveObjectOptions{}); err != nil {
			t.Logf("hide the overwritten object: %v", err)
		}
	}
	object, err := client.GetObject(t.Context(), "bucket", key, minio.GetObjectOptions{VersionID: kept})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if got, err := io.ReadAll(object); err != nil || string(got) != "evidence" {
		t.Errorf("after all that the retained version reads %q, %v", got, err)
	}
}

func TestRemoveOfARetainedFileSaysUntilWhenItIsKept(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Hour))
	before := time.Now()
	h, lock := save(t, be, backend.Snapshot, "a snapshot"), save(t, be, backend.Lock, "a lock")

	err := be.Remove(t.Context(), h)
	var retained *s3.RetainedError
	if !errors.As(err, &retained) || !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("remove: %v, want a RetainedError that is an fs.ErrPermission", err)
	}
	if d := retained.Until.Sub(before); d < 59*time.Minute || d > 61*time.Minute || retained.Mode != s3.Compliance {
		t.Errorf("kept for %v in mode %s, want an hour in mode COMPLIANCE", d, retained.Mode)
	}
	if !strings.Contains(err.Error(), retained.Until.UTC().Format("2006-01-02 15:04:05 UTC")) {
		t.Errorf("the error does not say until when: %v", err)
	}
	if found := list(t, be, backend.Snapshot); len(found) != 1 {
		t.Errorf("the snapshot is not listed any more: %v", found)
	}
	if mode, until, err := thief(t, server).GetObjectRetention(t.Context(), "bucket", "locks/"+lock.Name, ""); err == nil {
		t.Errorf("a lock is retained (%v) until %v", mode, until)
	}
	if n, err := be.Extend(t.Context(), slices.Values([]backend.Handle{lock}), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatalf("retain a lock, as a bucket's default may: %d, %v", n, err)
	}
	if err := be.Remove(t.Context(), lock); err != nil {
		t.Errorf("remove a lock: %v", err)
	}
	if found := list(t, be, backend.Lock); len(found) != 0 {
		t.Errorf("the lock is still listed: %v", found)
	}
}

func TestARetentionThatHasEndedAllowsRemoval(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Second))
	h := save(t, be, backend.Pack, "old")
	_, until := retainedUntil(t, thief(t, server), packKey(h))
	timer := time.NewTimer(time.Until(until) + 10*time.Millisecond) // the server's own clock
	defer timer.Stop()
	<-timer.C
	if err := be.Remove(t.Context(), h); err != nil {
		t.Errorf("remove: %v", err)
	}
	if found := list(t, be, backend.Pack); len(found) != 0 {
		t.Errorf("it is still listed: %v", found)
	}
}

func TestExtendLengthensAndNeverShortens(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Hour))
	client := thief(t, server)
	plain, err := s3.Open(t.Context(), server.Location("bucket"), options()) // a program that retains nothing, as restic
	if err != nil {
		t.Fatal(err)
	}
	open := save(t, plain, backend.Pack, "stored without retention")
	short := save(t, be, backend.Pack, "kept for an hour")
	opt := retaining(48 * time.Hour)
	opt.Mode = s3.Governance
	firm, err := s3.Open(t.Context(), server.Location("bucket"), opt)
	if err != nil {
		t.Fatal(err)
	}
	long := save(t, firm, backend.Pack, "kept for two days")
	files := slices.Values([]backend.Handle{open, short, long})

	day := time.Now().Add(24 * time.Hour)
	if n, err := be.Extend(t.Context(), files, day); n != 2 || err != nil {
		t.Errorf("extended %d, %v; want the two that ended sooner", n, err)
	}
	for _, c := range []struct {
		h    backend.Handle
		mode s3.Mode
		want time.Duration
	}{{open, s3.Compliance, 24 * time.Hour}, {short, s3.Compliance, 24 * time.Hour}, {long, s3.Governance, 48 * time.Hour}} {
		mode, until := retainedUntil(t, client, packKey(c.h))
		if off := time.Until(until) - c.want; mode != string(c.mode) || off.Abs() > time.Minute {
			t.Errorf("%v is kept (%s) for %v, want %s for %v", c.h, mode, time.Until(until), c.mode, c.want)
		}
	}
	if n, err := be.Extend(t.Context(), files, day); n != 0 || err != nil {
		t.Errorf("a second time: %d, %v; want nothing to do", n, err)
	}
	if n, err := be.Extend(t.Context(), files, day.Add(48*time.Hour)); n != 3 || err != nil {
		t.Errorf("three days: %d, %v; want all", n, err)
	}
	if mode, _ := retainedUntil(t, client, packKey(long)); mode != string(s3.Governance) {
		t.Errorf("extension changed the mode to %s", mode)
	}
}

func TestExtendNamesWhatItCannotProtectAndGoesOn(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Hour))
	sound, replaced := save(t, be, backend.Pack, "sound"), save(t, be, backend.Pack, "replaced")
	_, err := thief(t, server).PutObject(t.Context(), "bucket", packKey(replaced), strings.NewReader("junk"), 4,
		minio.PutObjectOptions{DisableContentSha256: true, UserMetadata: map[string]string{"x-amz-checksum-sha256": "74daFwWl/awga+mW9Nwfcm6mtohh63QcN973J38Xnjc="}})
	if err != nil {
		t.Fatalf("a bucket with versions takes a new one: %v", err)
	}
	missing := handle(backend.Pack, "missing")
	n, err := be.Extend(t.Context(), slices.Values([]backend.Handle{missing, replaced, sound}), time.Now().Add(24*time.Hour))
	if n != 1 {
		t.Errorf("extended %d, want the sound one", n)
	}
	if !errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), missing.Name) || !strings.Contains(err.Error(), replaced.Name) {
		t.Errorf("error %v, want one that names the missing and the replaced file", err)
	}
}

func TestExtendStopsAtAFailureThatAllWouldMeet(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), retaining(time.Hour))
	h := save(t, be, backend.Pack, "pack")
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	many := func(yield func(backend.Handle) bool) {
		for asked < 1000 && yield(h) {
			if asked++; asked == 3 {
				cancel()
			}
		}
	}
	if _, err := be.Extend(ctx, many, time.Now().Add(24*time.Hour)); !errors.Is(err, context.Canceled) || asked > 3 {
		t.Errorf("%v after %d files, want context.Canceled after 3", err, asked)
	}
}

func TestRetentionNeedsABucketWithObjectLock(t *testing.T) {
	server := s3test.Start(t)
	create(t, server.Location("plain"), options())
	if _, err := s3.Open(t.Context(), server.Location("plain"), retaining(time.Hour)); err == nil || !strings.Contains(err.Error(), "has no Object Lock") {
		t.Errorf("open: %v", err)
	}
	if _, err := s3.Create(t.Context(), server.Location("plain"), retaining(time.Hour)); err == nil || !strings.Contains(err.Error(), "has no Object Lock") {
		t.Errorf("create: %v", err)
	}
}
