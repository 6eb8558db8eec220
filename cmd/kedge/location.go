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
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/sftp"
	"github.com/kedge-project/kedge/repo"
)

// noticesOfRetries returns a storageOptions.tellRetry that writes a line for each failure.
func noticesOfRetries(to func() io.Writer) func(op string, err error, wait time.Duration) {
	var mu sync.Mutex
	return func(op string, err error, wait time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(to(), "%s failed, trying again in %v: %v\n", op, wait.Round(time.Millisecond), err)
	}
}

// openBackend opens the storage that a location names, with what the environment says of it: DIR, local:DIR,
// rest:http://host:port/path/, s3:https://host/bucket/prefix or sftp:user@host:/path. tokenFile, where given, holds the
// credential for a vault.
func openBackend(ctx context.Context, location, tokenFile string) (backend.Backend, error) {
	return storageOptions{tokenFile: tokenFile, tls: tlsFromEnvironment()}.bare(ctx, location, extendedOptions{})
}

// bare opens the storage that a location names, undecorated.
func (o storageOptions) bare(ctx context.Context, location string, x extendedOptions) (backend.Backend, error) {
	switch scheme, path, _ := strings.Cut(location, ":"); scheme {
	case "rest":
		return o.openREST(location)
	case "s3":
		opt, err := o.s3(x.s3)
		if err != nil {
			return nil, err
		}
		be, err := s3.Open(ctx, location, opt)
		return be, noRepository(err)
	case "sftp":
		be, err := sftp.Open(ctx, location, x.sftp)
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
func (o storageOptions) openREST(location string) (backend.Backend, error) {
	trust, err := o.tls.config()
	if err != nil {
		return nil, err
	}
	opt := rest.Options{User: environment("REST_USERNAME"), Password: environment("REST_PASSWORD"), TLS: trust}
	if o.tokenFile != "" {
		if opt.Token, err = readSecret(o.tokenFile); err != nil {
			return nil, err
		}
	}
	return rest.Open(location, opt)
}

// s3 adds to opt what the variables say that Amazon's own programs read. What they leave open the credentials file says.
func (o storageOptions) s3(opt s3.Options) (_ s3.Options, err error) {
	opt.AccessKey, opt.SecretKey = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	opt.SessionToken, opt.Profile = os.Getenv("AWS_SESSION_TOKEN"), os.Getenv("AWS_PROFILE")
	opt.Region = cmp.Or(opt.Region, os.Getenv("AWS_DEFAULT_REGION"), os.Getenv("AWS_REGION"))
	opt.TLS, err = o.tls.config()
	return opt, err
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

// bareCreate prepares storage for a new repository, and opens it as bare does.
func (o storageOptions) bareCreate(ctx context.Context, location string, x extendedOptions) (backend.Backend, error) {
	switch scheme, path, _ := strings.Cut(location, ":"); scheme {
	case "rest":
		return o.openREST(location)
	case "s3":
		opt, err := o.s3(x.s3)
		if err != nil {
			return nil, err
		}
		return s3.Create(ctx, location, opt)
	case "sftp":
		return sftp.Create(ctx, location, x.sftp)
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
