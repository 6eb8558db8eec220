package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kedge-project/kedge/internal/exercise/application"
)

// nobody is the account without rights that Debian has.
const nobody = 65534

// TestMain plays the kedge binary when the estate runs it for an application, and, as root, has the tests run by an
// unprivileged user.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "application" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if err := application.Run(ctx, os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	status, err := runAsNobody()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run tests unprivileged:", err)
		status = 1
	}
	os.Exit(status)
}

// runAsNobody runs this test binary again. The go tool's own directory is closed to others, hence the copy.
func runAsNobody() (status int, err error) {
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		return 0, err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	program := filepath.Join(dir, "test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		return 0, err
	}
	// Where the go tool wants its log of files is not ours to write.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile") })
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 0, err
	}
	return 0, nil
}
