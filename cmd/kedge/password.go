package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/term"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/repo"
)

// passwordTries is how often a password that is typed may be wrong, as with restic.
const passwordTries = 3

var errEmptyPassword = errors.New("the password is empty; if that is meant, give --insecure-no-password")

// openRepository opens the repository in storage with the password that is given, else with what is typed on the
// terminal: three times at most, and once for a command that opens the repository again.
func (f *repositoryFlags) openRepository(ctx context.Context, be backend.Backend, password string, given bool, opt repo.Options) (*repo.Repository, error) {
	if given || f.typed != "" {
		return repo.Open(ctx, be, password+f.typed, opt)
	}
	for try := 1; ; try++ {
		password, err := f.ask(ctx, "enter password for "+f.named()+": ")
		if err != nil {
			return nil, err
		}
		r, err := repo.Open(ctx, be, password, opt)
		if err == nil {
			f.typed = password
		}
		if try == passwordTries || !errors.Is(err, repo.ErrWrongPassword) {
			return r, err
		}
		fmt.Fprintf(f.notices(), "wrong password or no key that it opens, try %d of %d\n", try+1, passwordTries)
	}
}

// newPassword returns the password that is given for a repository that is to be made, else asks for it twice.
func (f *repositoryFlags) newPassword(ctx context.Context) (string, error) {
	password, given, err := f.givenPassword(ctx)
	if given || err != nil {
		return password, err
	}
	return f.askTwice(ctx, "enter password for new repository: ")
}

// givenPassword returns the password of the repository, unless only somebody at the terminal can tell it; that nobody is
// there is an error. An empty password must be asked for.
func (f *repositoryFlags) givenPassword(ctx context.Context) (password string, given bool, err error) {
	if f.noPassword {
		return "", true, nil
	}
	password, given, err = f.storedPassword(ctx)
	switch {
	case err != nil:
	case given && password == "":
		err = errEmptyPassword
	case given || term.IsTerminal(int(os.Stdin.Fd())):
	case f.prefix != "":
		err = errors.New("no password of the source: give --from-password-file, or set RESTIC_FROM_PASSWORD_FILE, _PASSWORD_COMMAND or _PASSWORD")
	default:
		err = errors.New("no password: give --password-file, or set KEDGE_PASSWORD_FILE, _PASSWORD_COMMAND or _PASSWORD (RESTIC_… work too); on a terminal it is asked for")
	}
	return password, given, err
}

func (f *repositoryFlags) storedPassword(ctx context.Context) (password string, found bool, err error) {
	if f.passwordFile != "" {
		password, err = readSecret(f.passwordFile)
		return password, true, err
	}
	argv, err := splitWords(f.passwordCommand)
	if err != nil {
		return "", true, fmt.Errorf("read password command: %w", err)
	}
	if len(argv) > 0 {
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		if err != nil {
			return "", true, fmt.Errorf("run password command %s: %w", argv[0], err)
		}
		return firstLine(string(out)), true, nil
	}
	password = environment(f.prefix + "PASSWORD")
	return password, password != "", nil
}

// named tells one repository from the other where a command has two.
func (f *repositoryFlags) named() string {
	if f.prefix != "" {
		return "source repository"
	}
	return "repository"
}

// ask asks for a password on the terminal.
func (f *repositoryFlags) ask(ctx context.Context, question string) (string, error) {
	password, err := readPassword(ctx, f.notices(), question)
	if err == nil && password == "" {
		err = errEmptyPassword
	}
	return password, err
}

// askTwice asks for a new password, and again: what is typed cannot be seen.
func (f *repositoryFlags) askTwice(ctx context.Context, question string) (string, error) {
	password, err := f.ask(ctx, question)
	if err != nil {
		return "", err
	}
	again, err := readPassword(ctx, f.notices(), "enter password again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return password, err
}

// readPassword reads a line from the terminal that is standard input, which does not show it meanwhile. When the context
// ends the terminal is as it was before; the goroutine that reads it stays then until the process ends, which is now.
func readPassword(ctx context.Context, to io.Writer, question string) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	typed := make(chan answer, 1)
	fmt.Fprint(to, question)
	go func() {
		line, err := term.ReadPassword(fd)
		typed <- answer{line, err}
	}()
	defer fmt.Fprintln(to)
	select {
	case a := <-typed:
		if a.err != nil {
			return "", fmt.Errorf("read password: %w", a.err)
		}
		return string(a.line), nil
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return "", fmt.Errorf("read password: %w", ctx.Err())
	}
}
