package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/s3/s3test"
)

func options() s3.Options {
	return s3.Options{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey}
}

func create(t *testing.T, location string, opt s3.Options) *s3.Backend {
	t.Helper()
	be, err := s3.Create(t.Context(), location, opt)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

func TestS3Conforms(t *testing.T) {
	server := s3test.Start(t)
	var buckets atomic.Int64
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return create(t, server.Location(fmt.Sprintf("plain-%d", buckets.Add(1))), options())
	})
}

// The bucket keeps versions, so what is removed and saved again has a history.
func TestS3ConformsInABucketWithObjectLock(t *testing.T) {
	server := s3test.Start(t)
	locked := options()
	locked.Retention = time.Hour
	create(t, server.Location("locked"), locked)
	var prefixes atomic.Int64
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return create(t, server.Location(fmt.Sprintf("locked/a/b/%d", prefixes.Add(1))), options())
	})
}
