// Package s3 keeps a repository in a bucket of S3 storage, under the names that restic gives its files there, so that
// both programs share one bucket.
//
// It promises that a file is stored whole or not at all, and that the server compared its bytes with their SHA-256
// before it took them. The names of all files but the config are that SHA-256, so what stands under a name is what the
// name says, whoever stored it and whenever.
//
// With Options.Retention set every file but the locks is stored under Object Lock: until its retention ends no one, not
// even the owner of the credentials, can remove or change the stored version, and in mode Compliance not even the
// owner of the account. Object Lock needs a bucket with versions. There a removal and an overwrite only hide a version:
// [Backend.Remove] says so before it does, and a rule of the bucket must end the hidden versions whose retention is
// over ("expire noncurrent versions"), since this package removes none.
package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kedge-project/kedge/backend"
)

// Options are what a location does not say. The zero value is right for a bucket of Amazon's whose credentials stand in
// the shared credentials file, or which the machine's own role may use.
type Options struct {
	// AccessKey and SecretKey, and SessionToken for temporary ones. Without an AccessKey the shared credentials file
	// is read, and after it the role of the instance, container or service account is asked for.
	AccessKey, SecretKey, SessionToken string
	Profile                            string // section of the shared credentials file; "" is AWS_PROFILE, else "default"

	Region string // "" asks the server
	Lookup Lookup // how the bucket is named in a request; "" is LookupAuto

	// StorageClass is the class of packs, such as STANDARD_IA; "" is the bucket's. The other files are small, read
	// often and short of life: they stay in the bucket's class.
	StorageClass string

	TLS *tls.Config // whom to trust and who to be, over https; nil trusts the system's certificates

	// Retention is for how long a file is kept from its upload on, at the least; 0 is no Object Lock.
	Retention time.Duration
	Mode      Mode // of Retention; "" is Compliance
}

// Lookup is how a request names the bucket.
type Lookup string

// The ways to name a bucket.
const (
	LookupAuto Lookup = "auto" // what the endpoint is known to take
	LookupDNS  Lookup = "dns"  // bucket.host
	LookupPath Lookup = "path" // host/bucket
)

// Backend is a repository in a bucket. It is safe for concurrent use, also by several processes.
type Backend struct {
	client  minio.Core // tries once: package retry decides on more
	patient *minio.Client
	loc     Location
	opt     Options

	unconditional atomic.Bool // the server refused If-None-Match
}

var _ backend.Backend = (*Backend)(nil)

// Open opens the repository at location (see ParseLocation) and asks the server whether the bucket may be read.
// A bucket that is not there is backend.ErrNotExist; credentials that are refused are fs.ErrPermission.
func Open(ctx context.Context, location string, opt Options) (*Backend, error) {
	b, err := connect(ctx, location, opt)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", shown(location), err)
	}
	if err := b.probe(ctx); err != nil {
		return nil, fmt.Errorf("open %v: %w", b.loc, b.explain(err))
	}
	if err := b.requireObjectLock(ctx); err != nil {
		return nil, fmt.Errorf("open %v: %w", b.loc, err)
	}
	return b, nil
}

// Create makes the bucket, with Object Lock if Options.Retention is set, unless it is there, and opens the location.
func Create(ctx context.Context, location string, opt Options) (*Backend, error) {
	b, err := connect(ctx, location, opt)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", shown(location), err)
	}
	err = b.probe(ctx)
	if code(err) == minio.NoSuchBucket {
		err = b.client.MakeBucket(ctx, b.loc.Bucket, minio.MakeBucketOptions{Region: opt.Region, ObjectLocking: opt.Retention > 0})
		if c := code(err); c == "BucketAlreadyOwnedByYou" || c == "BucketAlreadyExists" {
			err = b.probe(ctx) // another process made it, or another account owns it
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create %v: %w", b.loc, b.explain(err))
	}
	if err := b.requireObjectLock(ctx); err != nil {
		return nil, fmt.Errorf("create %v: %w", b.loc, err)
	}
	return b, nil
}

// shown is the location for an error that may say that it is not one: such a text may hold a password.
func shown(location string) string {
	if loc, err := ParseLocation(location); err == nil {
		return loc.String()
	}
	return "S3 repository"
}

// connect makes the client. It talks to no one unless the credentials must be asked for.
func connect(ctx context.Context, location string, opt Options) (*Backend, error) {
	loc, err := ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if err := opt.complete(); err != nil {
		return nil, err
	}
	lookup, err := opt.Lookup.minio()
	if err != nil {
		return nil, err
	}
	transport, err := minio.DefaultTransport(!loc.Insecure)
	if err != nil {
		return nil, err
	}
	if !loc.Insecure && opt.TLS != nil {
		transport.TLSClientConfig = opt.TLS.Clone()
	}
	transport.MaxIdleConnsPerHost = 64 // an assessment looks at dozens of files at once
	creds, err := findCredentials(ctx, opt, transport)
	if err != nil {
		return nil, err
	}
	settings := minio.Options{
		Creds: creds, Secure: !loc.Insecure, Transport: transport, Region: opt.Region, BucketLookup: lookup, MaxRetries: 1,
	}
	client, err := minio.NewCore(loc.Endpoint, &settings)
	if err != nil {
		return nil, err
	}
	settings.MaxRetries = minio.MaxRetry
	patient, err := minio.New(loc.Endpoint, &settings)
	if err != nil {
		return nil, err
	}
	return &Backend{client: *client, patient: patient, loc: loc, opt: opt}, nil
}

func (l Lookup) minio() (minio.BucketLookupType, error) {
	switch l {
	case "", LookupAuto:
		return minio.BucketLookupAuto, nil
	case LookupDNS:
		return minio.BucketLookupDNS, nil
	case LookupPath:
		return minio.BucketLookupPath, nil
	}
	return 0, fmt.Errorf("bucket lookup %.20q: want auto, dns or path", string(l))
}

// complete fills in what was left out and refuses what cannot be.
func (o *Options) complete() error {
	if o.Mode == "" {
		o.Mode = Compliance
	}
	switch {
	case !minio.RetentionMode(o.Mode).IsValid():
		return fmt.Errorf("retention mode %.20q: want %s or %s", string(o.Mode), Compliance, Governance)
	case o.Retention < 0:
		return fmt.Errorf("retention %v: want a duration from now on", o.Retention)
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return errors.New("half of the credentials: set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return nil
}

// metadataTimeout bounds the search for a role: where there is none, no one answers at the address to ask.
const metadataTimeout = 2 * time.Second

// findCredentials returns the credentials that are given, else those of the shared file, else those of a role.
func findCredentials(ctx context.Context, opt Options, transport http.RoundTripper) (*credentials.Credentials, error) {
	if opt.AccessKey != "" {
		return credentials.NewStaticV4(opt.AccessKey, opt.SecretKey, opt.SessionToken), nil
	}
	metadata := &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: metadataTimeout}).DialContext,
			ResponseHeaderTimeout: 5 * metadataTimeout, // a token service of a cloud is asked in this way too
			DisableKeepAlives:     true,
		},
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.FileAWSCredentials{Profile: opt.Profile},
		&credentials.IAM{Client: metadata, Region: opt.Region},
	})
	found, err := creds.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: transport}, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("find credentials: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find credentials: %w", err)
	}
	if found.AccessKeyID == "" {
		return nil, errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a section of ~/.aws/credentials")
	}
	return creds, nil
}

// probe asks for one name. Unlike a HEAD request, whose answer has no body, the server's refusal says why.
func (b *Backend) probe(ctx context.Context) error {
	for object := range b.client.ListObjectsIter(ctx, b.loc.Bucket, minio.ListObjectsOptions{Prefix: b.key(backend.Handle{Type: backend.Config}), MaxKeys: 1}) {
		return object.Err
	}
	return ctx.Err()
}
