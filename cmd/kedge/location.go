package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/sftp"
	"github.com/kedge-project/kedge/repo"
)

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

func openREST(location, tokenFile string) (backend.Backend, error) {
	var opt rest.Options
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
