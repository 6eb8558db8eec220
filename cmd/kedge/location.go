package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/repo"
)

// openBackend opens the storage that a location names: a directory, or rest:http://host:port/path/.
// tokenFile, where given, holds the credential for a vault.
func openBackend(_ context.Context, location, tokenFile string) (backend.Backend, error) {
	if !strings.HasPrefix(location, "rest:") {
		return openDirectory(location)
	}
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
	if strings.HasPrefix(location, "rest:") {
		return openBackend(ctx, location, tokenFile)
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
