// Package restictest lets tests ask Debian's restic, the judge of everything that kedge writes in its format.
package restictest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Run runs restic on a repository and returns its standard output. A failure of restic is one of the test, and so is
// that it is not installed.
func Run(t testing.TB, repository, password string, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("restic")
	if err != nil {
		t.Fatal("restic is not installed; run make test: it installs what is missing")
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--no-cache", "-r", repository}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+password, "HOME="+t.TempDir())
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("restic %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), problems.Bytes())
	}
	return out.Bytes()
}
