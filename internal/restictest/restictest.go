// Package restictest lets tests ask Debian's restic, the judge of everything that kedge writes in its format.
package restictest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Program returns the path of restic: KEDGE_TEST_RESTIC, to let another release judge, or what PATH has. A test fails
// where there is none.
func Program(t testing.TB) string {
	t.Helper()
	name := os.Getenv("KEDGE_TEST_RESTIC")
	if name == "" {
		name = "restic"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed; run make test: it installs what is missing", name)
	}
	return program
}

// Since tells whether the restic that judges is this release or a newer one, such as 0.17.
func Since(t testing.TB, major, minor int) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Program(t), "version").Output()
	if err != nil {
		t.Fatalf("restic version: %v", err)
	}
	var version [2]int
	if _, err := fmt.Sscanf(string(out), "restic %d.%d", &version[0], &version[1]); err != nil {
		t.Fatalf("restic version: read %q: %v", out, err)
	}
	return slices.Compare(version[:], []int{major, minor}) >= 0
}

// Run runs restic on a repository and returns its standard output. A failure of restic is one of the test, and so is
// that it is not installed.
func Run(t testing.TB, repository, password string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Program(t), append([]string{"--no-cache", "-r", repository}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+password, "HOME="+t.TempDir())
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("restic %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), problems.Bytes())
	}
	return out.Bytes()
}
