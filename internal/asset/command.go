package asset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
)

// dumpMode is the mode of what kedge keeps of a command's output: as a rule that is all that a database holds.
const dumpMode fs.FileMode = 0o600

// DumpPath is where a snapshot holds the output of a command asset: one file, or, of a logical dump, the directory of its files.
func DumpPath(service, asset string) string { return "/" + service + "/" + asset }

// CaptureCommand stores what the asset's backup command writes to its standard output. No snapshot is saved if the command fails, is
// killed, takes longer than its timeout or writes nothing; the error then quotes the end of what it complained.
// repository is the repository's name in the estate.
func CaptureCommand(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, opt CaptureOptions) (Captured, error) {
	if a.Kind != "command" {
		return Captured{}, fmt.Errorf("capture asset %s/%s: its kind is %q, want command", service, a.Name, a.Kind)
	}
	path := DumpPath(service, a.Name)
	into := opt.Archive(service, a)
	into.Entries = func(ctx context.Context, add func(archive.Entry) error) error {
		return AddOutput(ctx, add, path, commandOf(a, a.Backup))
	}
	captured, err := Capture(ctx, r, repository, []string{path}, into)
	if err != nil {
		return Captured{}, fmt.Errorf("capture asset %s/%s: %w", service, a.Name, err)
	}
	return captured, nil
}

// AddOutput runs a program and gives what it writes to its standard output to add, as one file. It is an error if the program fails or
// writes nothing: the file must not be kept then.
func AddOutput(ctx context.Context, add func(archive.Entry) error, path string, p Program) error {
	out, end, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	return add(archive.Entry{
		Path: path, Mode: dumpMode, ModTime: time.Now(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Content: out,
	})
}

// commandOf is one of the asset's commands.
func commandOf(a estate.Asset, argv []string) Program {
	return Program{Argv: argv, User: a.User, Env: a.Env, Timeout: cmp.Or(a.Timeout, defaultTimeout)}
}

// LoadCommand gives the content of file, which a capture of the asset stored, to its restore command. An error may leave the database
// half loaded.
func LoadCommand(ctx context.Context, a estate.Asset, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load asset %s: %w", a.Name, err)
	}
	defer f.Close()
	if err := commandOf(a, a.Restore).run(ctx, f); err != nil {
		return fmt.Errorf("load asset %s: %w", a.Name, err)
	}
	return nil
}

// RenewData makes the data directory that a command asset declares, which must be empty or absent, for the asset's user, and runs the
// asset's create command. An asset without a data directory is left as it is.
func RenewData(ctx context.Context, a estate.Asset) error {
	if a.Data == "" {
		return nil
	}
	err := makeData(a)
	if err == nil && len(a.Create) > 0 {
		err = commandOf(a, a.Create).run(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("make data directory of asset %s anew: %w", a.Name, err)
	}
	return nil
}

func makeData(a estate.Asset) error {
	// A server's clients may be others, who must get through to its socket.
	const mode = 0o711
	if err := os.MkdirAll(filepath.Dir(a.Data), mode); err != nil {
		return err
	}
	if err := Claim(a.Data); err != nil {
		return err
	}
	if err := os.Chmod(a.Data, mode); err != nil {
		return err
	}
	if a.User == "" || os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup(a.User)
	if err != nil {
		return err
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return fmt.Errorf("read account %s: %w", a.User, err)
	}
	return os.Chown(a.Data, uid, gid)
}

// Claim makes dir a directory that only its owner enters, and refuses one that holds anything.
func Claim(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("directory %s is not empty: stop its server and move it away, or name another", dir)
	}
	return os.Chmod(dir, 0o700)
}
