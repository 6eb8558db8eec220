package s3

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Location names a repository in a bucket.
type Location struct {
	Endpoint string // host or host:port
	Insecure bool   // plain HTTP, which the location must say: s3:http://…
	Bucket   string
	Prefix   string // path in the bucket, without slashes around it; "" is the bucket itself
}

// ParseLocation reads restic's forms of a location: s3:HOST/BUCKET[/PREFIX], s3://HOST/BUCKET[/PREFIX] and
// s3:http[s]://HOST[:PORT]/BUCKET[/PREFIX]. No error repeats what stands before an @: it may be a password.
func ParseLocation(location string) (Location, error) {
	raw, ok := strings.CutPrefix(location, "s3:")
	if !ok {
		return Location{}, errors.New(`S3 location: want s3:HOST/BUCKET/PREFIX or s3:https://HOST:PORT/BUCKET/PREFIX`)
	}
	var loc Location
	if rest, plain := strings.CutPrefix(raw, "http://"); plain {
		raw, loc.Insecure = rest, true
	} else if rest, secure := strings.CutPrefix(raw, "https://"); secure {
		raw = rest
	} else {
		raw = strings.TrimPrefix(raw, "//")
	}
	endpoint, rest, _ := strings.Cut(raw, "/")
	if strings.Contains(endpoint, "@") {
		return Location{}, errors.New("S3 location: it must not hold credentials, which every user of the machine could see; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u, err := url.Parse("https://" + endpoint); err != nil || u.Host != endpoint || u.Hostname() == "" {
		return Location{}, fmt.Errorf("S3 location: %.80q is not a host or host:port", endpoint)
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if bucket == "" {
		return Location{}, fmt.Errorf("S3 location: no bucket named: want s3:%s/BUCKET", endpoint)
	}
	if err := s3utils.CheckValidBucketName(bucket); err != nil {
		return Location{}, fmt.Errorf("S3 location: bucket %.80q: %w", bucket, err)
	}
	prefix = strings.TrimPrefix(path.Clean("/"+prefix), "/")
	if prefix != "" {
		if err := s3utils.CheckValidObjectName(prefix + "/config"); err != nil {
			return Location{}, fmt.Errorf("S3 location: prefix %.80q: %w", prefix, err)
		}
	}
	loc.Endpoint, loc.Bucket, loc.Prefix = endpoint, bucket, prefix
	return loc, nil
}

// String returns the location as ParseLocation reads it.
func (l Location) String() string {
	s := "s3:"
	if l.Insecure {
		s += "http://"
	} else {
		s += "https://"
	}
	s += l.Endpoint + "/" + l.Bucket
	if l.Prefix != "" {
		s += "/" + l.Prefix
	}
	return s
}
