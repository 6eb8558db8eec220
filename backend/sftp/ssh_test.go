package sftp

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
)

// sshd writes the configuration of an OpenSSH server that knows one key, and returns the arguments with which ssh starts
// it, as its proxy, and trusts it: no port is listened at, and no file of the user's is read.
func sshd(t *testing.T) []string {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("OpenSSH's server is not installed: %v; run make test, which installs what is missing", err)
	}
	const separation = "/run/sshd" // which Debian makes when it starts the service, and sshd asks for when root runs it
	if err := os.Mkdir(separation, 0o755); err == nil {
		t.Cleanup(func() { os.Remove(separation) })
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	hostKey, err := os.ReadFile(file("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("known_hosts", "here "+string(hostKey))
	write("config", fmt.Sprintf(`HostKey %s
AuthorizedKeysFile %s
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp %s
`, file("host"), file("user.pub"), serverProgram))
	return []string{
		"-F", "none", "-i", file("user"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + file("known_hosts"), "-o", "GlobalKnownHostsFile=none",
		"-o", "ProxyCommand=" + program + " -i -f " + file("config"),
	}
}

func TestARepositoryIsReachedThroughSSH(t *testing.T) {
	args := sshd(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	loc := Location{User: me.Username, Host: "here", Dir: filepath.Join(t.TempDir(), "a repo; rm -rf *")}
	be, err := Create(t.Context(), loc.String(), Options{Args: args})
	closing(t, be, err)
	h := put(t, be, backend.Pack, "a pack")
	if names := list(t, be, backend.Pack); len(names) != 1 || names[0] != h.Name {
		t.Errorf("listed %v", names)
	}
	if _, err := os.Stat(filepath.Join(loc.Dir, "data", h.Name[:2], h.Name)); err != nil {
		t.Error(err)
	}

	loc.User = "nobody-of-that-name"
	_, err = Open(t.Context(), loc.String(), Options{Args: args})
	if err == nil || !strings.Contains(err.Error(), "Permission denied") || !strings.Contains(err.Error(), "exit status 255") {
		t.Errorf("as a user that the server does not know: %v; want what ssh says", err)
	}
}
