package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// quarantineFiles moves files that the adversary left into dir, each below its former path and readable by the owner
// alone, and lists them with their SHA-256. A file that is gone already is left out: a resumed recovery moved it before.
// Only paths below the asset's own are moved.
func quarantineFiles(dir string, assetPaths, files []string) (event.EvidencePreserved, error) {
	kept := event.EvidencePreserved{Directory: dir}
	for _, path := range files {
		if !estate.Below(path, assetPaths) {
			return kept, fmt.Errorf("quarantine %s: it is not in the asset", path)
		}
		to, err := unused(filepath.Join(dir, path))
		if err != nil {
			return kept, fmt.Errorf("quarantine %s: %w", path, err)
		}
		sum, err := moveAside(path, to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return kept, fmt.Errorf("quarantine %s: %w", path, err)
		}
		kept.Count++
		if len(kept.Files) < event.MaxTouched {
			kept.Files = append(kept.Files, path+" sha256:"+sum)
		}
	}
	return kept, nil
}

// moveAside moves one regular file and returns its SHA-256 in hexadecimal.
func moveAside(from, to string) (string, error) {
	info, err := os.Lstat(from)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", os.Rename(from, to)
	}
	sum, err := copyAside(from, to)
	if err != nil {
		return "", err
	}
	return sum, os.Remove(from)
}

// copyAside copies, so that quarantine may stand on another file system, and makes the copy durable before the original
// is removed.
func copyAside(from, to string) (sum string, err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o400)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, hash), in); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), out.Sync()
}

// setAside moves a whole data directory into quarantine. A resumed recovery finds either the damaged cluster, or what
// its earlier run had begun to restore: that goes aside too, under a name of its own.
func setAside(data, quarantine string) error {
	if _, err := os.Lstat(data); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to, err := unused(filepath.Join(quarantine, data))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err != nil {
		return fmt.Errorf("set %s aside: %w", data, err)
	}
	if err := os.Rename(data, to); err != nil {
		return fmt.Errorf("set %s aside: %w (quarantine must stand on the same file system)", data, err)
	}
	return nil
}

// unused returns path, or path with a number, at which nothing stands: what is in quarantine stays as it is.
func unused(path string) (string, error) {
	for n, name := 1, path; ; name = fmt.Sprintf("%s.%d", path, n) {
		_, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		n++
	}
}
