package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/limit"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/backend/retry"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/sftp"
	"github.com/kedge-project/kedge/repo"
)

// storageOptions are what a command asks of storage, beside where it is. Copies share one tellRetry.
type storageOptions struct {
	tokenFile string                                         // holds the credential for a vault
	tellRetry func(op string, err error, wait time.Duration) // is told of each failure of remote storage that is waited out; may be nil

	uploadLimit, downloadLimit uint32 // in KiB a second; 0: none
}

// open opens the storage that a location names, as openBackend does. What fails for a moment on remote storage is tried
// again, and the limits hold on every kind of storage.
func (o storageOptions) open(ctx context.Context, location string) (backend.Backend, error) {
	be, err := openBackend(ctx, location, o.tokenFile)
	if err != nil {
		return nil, err
	}
	return o.decorate(location, be), nil
}

// create prepares storage for a new repository, and opens it as open does.
func (o storageOptions) create(ctx context.Context, location string) (backend.Backend, error) {
	be, err := createBackend(ctx, location, o.tokenFile)
	if err != nil {
		return nil, err
	}
	return o.decorate(location, be), nil
}

func (o storageOptions) decorate(location string, be backend.Backend) backend.Backend {
	be = limit.Bandwidth(be, int64(o.uploadLimit)<<10, int64(o.downloadLimit)<<10)
	if !remote(location) {
		return be
	}
	return retry.New(be, retry.Options{Notify: o.tellRetry})
}

// remote tells whether a location is reached over a network, where calls fail that succeed a moment later.
func remote(location string) bool {
	scheme, _, _ := strings.Cut(location, ":")
	return scheme == "rest" || scheme == "s3" || scheme == "sftp"
}

// noticesOfRetries returns a storageOptions.tellRetry that writes a line for each failure.
func noticesOfRetries(to func() io.Writer) func(op string, err error, wait time.Duration) {
	var mu sync.Mutex
	return func(op string, err error, wait time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(to(), "%s failed, trying again in %v: %v\n", op, wait.Round(time.Millisecond), err)
	}
}

// openBackend opens the storage that a location names: DIR, local:DIR, rest:http://host:port/path/,
// s3:https://host/bucket/prefix or sftp:user@host:/path. tokenFile, where given, holds the credential for a vault.
func openBackend(ctx context.Context, location, tokenFile string) (backend.Backend, error) {
	switch scheme, path, _ := strings.Cut(location, ":"); scheme {
	case "rest":
		return openREST(location, tokenFile)
	case "s3":
		be, err := s3.Open(ctx, location, s3Options())
		return be, noRepository(err)
	case "sftp":
		be, err := sftp.Open(ctx, location, sftp.Options{})
		return be, noRepository(err)
	case "local":
		return openDirectory(path)
	}
	return openDirectory(location)
}

// noRepository lets a bucket or directory that is not there count as a repository that is not.
func noRepository(err error) error {
	if errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("%w: %w", repo.ErrNoRepository, err)
	}
	return err
}

// openREST opens a repository behind a REST server. The variables are restic's, so that a location without a password
// can be kept in a script.
func openREST(location, tokenFile string) (backend.Backend, error) {
	opt := rest.Options{User: environment("REST_USERNAME"), Password: environment("REST_PASSWORD")}
	if tokenFile != "" {
		token, err := readSecret(tokenFile)
		if err != nil {
			return nil, err
		}
		opt.Token = token
	}
	return rest.Open(location, opt)
}

// s3Options reads the variables that Amazon's own programs read. What they leave open the credentials file says.
func s3Options() s3.Options {
	return s3.Options{
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"), Profile: os.Getenv("AWS_PROFILE"),
		Region: cmp.Or(os.Getenv("AWS_DEFAULT_REGION"), os.Getenv("AWS_REGION")),
	}
}

func openDirectory(dir string) (backend.Backend, error) {
	be, err := local.Open(dir)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, fmt.Errorf("open repository %s: %w (create it with: kedge init -r %s)", dir, repo.ErrNoRepository, dir)
	}
	if err != nil {
		return nil, err
	}
	return be, nil
}

// createBackend prepares storage for a new repository.
func createBackend(ctx context.Context, location, tokenFile string) (backend.Backend, error) {
	switch scheme, path, _ := strings.Cut(location, ":"); scheme {
	case "rest":
		return openREST(location, tokenFile)
	case "s3":
		return s3.Create(ctx, location, s3Options())
	case "sftp":
		return sftp.Create(ctx, location, sftp.Options{})
	case "local":
		return local.Create(path)
	}
	return local.Create(location)
}

// secretMax bounds password and token files, in bytes.
const secretMax = 64 << 10

// readSecret returns the first line of a file.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if info.Size() > secretMax {
		return "", fmt.Errorf("read secret %s: %d bytes is not a password", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return firstLine(string(data)), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r")
}
