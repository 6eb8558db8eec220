// Package attack is the exercise's emulated adversary. It does to the example estate what intruders do to a real one,
// so that detection and recovery meet real damage.
//
// It works only inside a directory that Mark made its own while it was empty, confined there by os.Root, and connects
// only to loopback addresses. The web shell that it uploads is text: nothing in the estate executes it. What each
// method returns is for the reference alone; detectors and recovery must not be told. An Attacker is for one goroutine.
package attack

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/kedge-project/kedge/internal/estate"
)

// Source is the address from which the adversary reaches the services: it is what access logs show.
const Source = "127.66.6.6"

// marker is the file that makes a directory the adversary's playground: a random token, and a hash of the token
// with the directory's path, so that a copied or moved marker is worth nothing.
const marker = ".kedge-exercise"

// Mark makes an empty directory one that Open accepts. It refuses one that holds anything: no data can get under the
// adversary's hands by a mistake in a path.
func Mark(dir string) error {
	if err := check(dir); err != nil {
		return fmt.Errorf("mark directory for the exercise: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("mark directory for the exercise: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("mark directory for the exercise: %s is not empty: choose a new one", dir)
	}
	token := rand.Text()
	// O_EXCL: what another process wrote meanwhile is not overwritten.
	f, err := os.OpenFile(filepath.Join(dir, marker), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("mark directory for the exercise: %w", err)
	}
	_, err = f.WriteString(token + "\n" + seal(token, dir) + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("mark directory for the exercise: %w", err)
	}
	return nil
}

func seal(token, dir string) string {
	sum := sha256.Sum256([]byte(token + "\n" + dir))
	return hex.EncodeToString(sum[:])
}

// check refuses directories that cannot be an exercise's.
func check(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("%q is not a clean absolute path below /", dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if real != dir {
		return fmt.Errorf("%s leads through a symbolic link to %s: name that", dir, real)
	}
	if home, err := os.UserHomeDir(); err == nil {
		if rel, err := filepath.Rel(dir, home); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s is or holds the home directory %s", dir, home)
		}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of this user's own", dir)
	}
	return nil
}

// Marked returns nil if Mark marked the directory, and else an error that says what speaks against it.
func Marked(dir string) error {
	if err := check(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return checkMarker(root, dir)
}

// Attacker is the adversary, in one estate.
type Attacker struct {
	dir    string
	root   *os.Root
	estate *estate.Estate
}

// Open lets the adversary into the estate that was built in dir. It refuses a directory that Mark did not mark.
func Open(dir string) (*Attacker, error) {
	a, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open attack: %w", err)
	}
	return a, nil
}

func open(dir string) (_ *Attacker, err error) {
	if err := check(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			root.Close()
		}
	}()
	if err := checkMarker(root, dir); err != nil {
		return nil, err
	}
	e, err := estate.Load(filepath.Join(dir, "kedge.yaml"))
	if err != nil {
		return nil, err
	}
	return &Attacker{dir: dir, root: root, estate: e}, nil
}

func checkMarker(root *os.Root, dir string) error {
	info, err := root.Lstat(marker)
	if err != nil {
		return fmt.Errorf("%s was not made by the exercise: %w", dir, err)
	}
	if !info.Mode().IsRegular() || info.Size() > 1024 {
		return fmt.Errorf("%s was not made by the exercise: its marker is no small file", dir)
	}
	text, err := root.ReadFile(marker)
	if err != nil {
		return err
	}
	token, rest, _ := strings.Cut(string(text), "\n")
	if len(token) < 16 || subtle.ConstantTimeCompare([]byte(strings.TrimSpace(rest)), []byte(seal(token, dir))) != 1 {
		return fmt.Errorf("%s was not made by the exercise: its marker belongs to another place", dir)
	}
	return nil
}

// Close ends the attack.
func (a *Attacker) Close() error { return a.root.Close() }

// inside returns a declared path as one below the marked directory.
func (a *Attacker) inside(path string) (string, error) {
	rel, err := filepath.Rel(a.dir, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", fmt.Errorf("%s is not inside %s", path, a.dir)
	}
	return rel, nil
}

// rewrite replaces a file's content in place, as a program with the web server's rights does.
func (a *Attacker) rewrite(name string, change func([]byte) ([]byte, error)) error {
	f, err := a.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = rewriteFile(f, change)
	return errors.Join(err, f.Close())
}

func rewriteFile(f *os.File, change func([]byte) ([]byte, error)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", f.Name())
	}
	old, err := io.ReadAll(io.LimitReader(f, maxEncrypted+1))
	if err != nil {
		return err
	}
	if len(old) > maxEncrypted {
		return fmt.Errorf("%s is too large", f.Name())
	}
	changed, err := change(old)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(changed, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(changed)))
}

// loopback refuses to connect anywhere else. It is asked with the address that is really dialled.
func loopback(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("%s is no loopback address", address)
	}
	return nil
}

// dialer connects from source, or, if it is empty, from wherever the kernel chooses.
func dialer(source string) *net.Dialer {
	d := &net.Dialer{Control: loopback}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	return d
}
