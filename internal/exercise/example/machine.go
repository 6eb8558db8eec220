package example

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// programs are what the services run on, with their Debian packages.
type programs struct {
	postgres             string // PostgreSQL's directory of programs
	nginx, dovecot, exim string
}

func findPrograms() (programs, error) {
	p := programs{nginx: "/usr/sbin/nginx", dovecot: "/usr/sbin/dovecot", exim: "/usr/sbin/exim4"}
	var missing []string
	for _, need := range [][2]string{{p.nginx, "nginx-light"}, {p.dovecot, "dovecot-imapd dovecot-lmtpd"}, {p.exim, "exim4-daemon-light"}} {
		if _, err := os.Stat(need[0]); err != nil {
			missing = append(missing, need[1])
		}
	}
	newest := 0
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return programs{}, err
	}
	for _, s := range servers {
		bin := filepath.Dir(s)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			newest, p.postgres = version, bin
		}
	}
	if newest == 0 {
		missing = append(missing, "postgresql")
	}
	if len(missing) > 0 {
		return programs{}, fmt.Errorf("software is missing: apt-get install %s", strings.Join(missing, " "))
	}
	return p, nil
}

// ports gives out addresses. It stays below the range from which the kernel takes the ports of outgoing
// connections: one of those could have a service's port just when it is started again.
type ports struct {
	mu   sync.Mutex
	next int
}

const firstPort, lastPort = 20000, 32000

func newPorts() *ports { return &ports{next: firstPort + mathrand.IntN(lastPort-firstPort)} }

// take returns a free port of the loopback interface and the address of it.
func (p *ports) take() (port int, address string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range lastPort - firstPort {
		if p.next++; p.next >= lastPort {
			p.next = firstPort
		}
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.next))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return p.next, address, listener.Close()
	}
	return 0, "", errors.New("no loopback port is free")
}

// newPassword writes a password of 128 random bits to a new private file, and returns it.
func newPassword(file string) (string, error) {
	password := rand.Text()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("write password: %w", err)
	}
	if _, err := f.WriteString(password + "\n"); err != nil {
		return "", errors.Join(fmt.Errorf("write password: %w", err), f.Close())
	}
	return password, f.Close()
}

// directories makes directories, private ones.
func directories(dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the configuration of an application, in the shape that the applications read.
func configure(file string, settings map[string]string) error {
	data, err := json.MarshalIndent(settings, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}
