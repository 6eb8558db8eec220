package s3_test

import (
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend/s3"
)

func TestLocationsOfResticAreRead(t *testing.T) {
	for location, want := range map[string]s3.Location{
		"s3:s3.amazonaws.com/bucket":              {Endpoint: "s3.amazonaws.com", Bucket: "bucket"},
		"s3:s3.amazonaws.com/bucket/":             {Endpoint: "s3.amazonaws.com", Bucket: "bucket"},
		"s3://minio.example/bucket/some/prefix/":  {Endpoint: "minio.example", Bucket: "bucket", Prefix: "some/prefix"},
		"s3:https://[::1]:9000/bucket//a/../b":    {Endpoint: "[::1]:9000", Bucket: "bucket", Prefix: "b"},
		"s3:http://127.0.0.1:9000/bucket":         {Endpoint: "127.0.0.1:9000", Insecure: true, Bucket: "bucket"},
		"s3:http://127.0.0.1:9000/bucket/../../p": {Endpoint: "127.0.0.1:9000", Insecure: true, Bucket: "bucket", Prefix: "p"},
	} {
		if got, err := s3.ParseLocation(location); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", location, got, err, want)
		}
	}
}

func TestWhatIsNoLocationIsRefusedWithoutItsPassword(t *testing.T) {
	for _, location := range []string{
		"", "s3:", "s3:host", "s3:host/", "s3:/bucket", "s3:https:///bucket", "rest:http://host/bucket", "s3:ho st/bucket",
		"s3:host/a", "s3:host/bucket?x=y", "s3:host:port/bucket", "s3:https://key:hunter2@host/bucket", "s3:host#x/bucket",
	} {
		loc, err := s3.ParseLocation(location)
		if err == nil {
			t.Errorf("%q is read as %+v", location, loc)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
		if _, err := s3.Open(t.Context(), location, options()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("open %q: %v", location, err)
		}
	}
}

// FuzzParseLocation holds that a location that is read is read the same again, and names what it seems to.
func FuzzParseLocation(f *testing.F) {
	f.Add("s3:s3.amazonaws.com/bucket/a/b")
	f.Add("s3:http://127.0.0.1:9000/bucket/../x")
	f.Add("s3://[::1]:1/bucket//")
	f.Fuzz(func(t *testing.T, location string) {
		loc, err := s3.ParseLocation(location)
		if err != nil {
			return
		}
		if strings.Contains(loc.Bucket, "/") || strings.HasPrefix(loc.Prefix, "/") || strings.Contains("/"+loc.Prefix+"/", "/../") {
			t.Errorf("%q: %+v", location, loc)
		}
		if again, err := s3.ParseLocation(loc.String()); err != nil || again != loc {
			t.Errorf("%q is %+v, which is written %v and read as %+v, %v", location, loc, loc, again, err)
		}
	})
}
