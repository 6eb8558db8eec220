package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

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

// repositoryFlags are what every command on one repository takes.
type repositoryFlags struct {
	location     string
	passwordFile string
	tokenFile    string
}

func (f *repositoryFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.location, "repo", "r", environment("REPOSITORY"), "repository: a directory, or rest:http://host:port/path/")
	flags.StringVarP(&f.passwordFile, "password-file", "p", environment("PASSWORD_FILE"), "file that holds the repository's password")
	flags.StringVar(&f.tokenFile, "token-file", os.Getenv("KEDGE_TOKEN_FILE"), "file that holds the token of a vault")
}

// environment reads a setting from kedge's variable, else from restic's.
func environment(name string) string {
	if value := os.Getenv("KEDGE_" + name); value != "" {
		return value
	}
	return os.Getenv("RESTIC_" + name)
}

func (f *repositoryFlags) requireLocation() error {
	if f.location == "" {
		return errors.New("no repository named: give -r, or set KEDGE_REPOSITORY or RESTIC_REPOSITORY")
	}
	return nil
}

func (f *repositoryFlags) password(ctx context.Context) (string, error) {
	if f.passwordFile != "" {
		return readSecret(f.passwordFile)
	}
	if command := environment("PASSWORD_COMMAND"); command != "" {
		argv := strings.Fields(command)
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		if err != nil {
			return "", fmt.Errorf("run password command %s: %w", argv[0], err)
		}
		return firstLine(string(out)), nil
	}
	if password := environment("PASSWORD"); password != "" {
		return password, nil
	}
	return "", errors.New("no password: give --password-file, or set KEDGE_PASSWORD_FILE, _PASSWORD_COMMAND or _PASSWORD (RESTIC_… work too)")
}

// open opens the repository that the flags name.
func (f *repositoryFlags) open(ctx context.Context) (*repo.Repository, error) {
	if err := f.requireLocation(); err != nil {
		return nil, err
	}
	password, err := f.password(ctx)
	if err != nil {
		return nil, err
	}
	be, err := openBackend(ctx, f.location, f.tokenFile)
	if err != nil {
		return nil, err
	}
	r, err := repo.Open(ctx, be, password, repo.Options{})
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", f.location, err)
	}
	return r, nil
}
