// Package canary keeps files that nobody has reason to touch, so that whoever changes, renames or deletes one says what he is. Reading
// one says nothing.
//
// They are ordinary documents of several kinds, with names and ages as others have, the first and the last of their directories. No
// file that was there is ever overwritten or removed: a canary is made where nothing stood, and one that holds something else than it did is
// put aside before it is healed. The list of them is a file of its own, written before they are.
package canary

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// healAfter is how long a canary must have been left alone before it is healed: not while an attack goes on.
	healAfter = time.Minute
	// maxSize bounds a canary, and what is put aside of what stands in its place, in bytes.
	maxSize = 1 << 20
	// maxList bounds the list, in bytes.
	maxList = 4 << 20
	// maxTries bounds the search for a name that is free.
	maxTries = 50
)

// Directory is where canaries may be, and of what they are part.
type Directory struct{ Path, Service, Asset string }

// File is one canary.
type File struct {
	Path    string    `json:"path"`
	Service string    `json:"service"`
	Asset   string    `json:"asset"`
	Kind    string    `json:"kind"` // "docx", "xlsx", "pdf", "jpg" or "txt"
	Seed    uint64    `json:"seed"` // its content follows from it
	SHA256  string    `json:"sha256"`
	ModTime time.Time `json:"mtime"`
}

// Set is all canaries of an estate. It is safe for concurrent use by one process.
type Set struct {
	list string // the file that lists them
	now  func() time.Time

	mu      sync.Mutex
	files   map[string]File
	touched map[string]time.Time
}

// Open reads the list; one that is not there is empty.
func Open(list string) (*Set, error) {
	s := &Set{list: list, now: time.Now, files: map[string]File{}, touched: map[string]time.Time{}}
	f, err := os.Open(list)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of canaries: %w", err)
	}
	defer f.Close()
	var files []File
	d := json.NewDecoder(io.LimitReader(f, maxList))
	d.DisallowUnknownFields()
	if err := d.Decode(&files); err != nil {
		return nil, fmt.Errorf("read the list of canaries %s: %w; it was changed by something else than kedge", list, err)
	}
	for _, file := range files {
		s.files[file.Path] = file
	}
	return s, nil
}

// Files returns all canaries, sorted by path.
func (s *Set) Files() []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *Set) sorted() []File {
	all := make([]File, 0, len(s.files))
	for _, f := range s.files {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// Is tells whether a canary stands, or should stand, at the path, and whose it is.
func (s *Set) Is(path string) (service, asset string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[path]
	return f.Service, f.Asset, ok
}

// Intact tells whether the canary holds what it should.
func (s *Set) Intact(path string) bool {
	s.mu.Lock()
	f, ok := s.files[path]
	s.mu.Unlock()
	return ok && f.intact()
}

func (f File) intact() bool {
	data, err := readRegular(f.Path)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]) == f.SHA256
}

// readRegular reads at most a little more than a canary can have.
func readRegular(path string) ([]byte, error) {
	in, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	return io.ReadAll(io.LimitReader(in, maxSize+1))
}

// Touched notes that a canary must be healed when nobody touches it any more.
func (s *Set) Touched(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched[path] = s.now()
}

// Place makes two canaries in each directory that has none, and returns those it made. A directory that cannot be written to is an error;
// the others get theirs all the same.
func (s *Set) Place(ctx context.Context, dirs []Directory) ([]File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var placed []File
	var errs []error
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return placed, errors.Join(append(errs, err)...)
		}
		if s.has(dir.Path) {
			continue
		}
		for _, first := range []bool{true, false} {
			f, err := s.place(dir, first)
			if err != nil {
				errs = append(errs, fmt.Errorf("place a canary in %s: %w", dir.Path, err))
				break
			}
			placed = append(placed, f)
		}
	}
	return placed, errors.Join(errs...)
}

func (s *Set) has(dir string) bool {
	for path := range s.files {
		if filepath.Dir(path) == dir {
			return true
		}
	}
	return false
}

// place makes one canary, which is the first or the last of its directory if a name for that is free.
func (s *Set) place(dir Directory, first bool) (File, error) {
	root, err := os.OpenRoot(dir.Path)
	if err != nil {
		return File{}, err
	}
	defer root.Close()
	taken, err := names(root)
	if err != nil {
		return File{}, err
	}
	for range maxTries {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		kind := kinds[r.IntN(len(kinds))]
		f := File{
			Path: filepath.Join(dir.Path, name(r, kind, first, taken)), Service: dir.Service, Asset: dir.Asset, Kind: kind, Seed: seed,
			ModTime: s.now().UTC().Add(-time.Duration(30+r.IntN(900))*24*time.Hour - time.Duration(r.IntN(36000))*time.Second).Truncate(time.Second),
		}
		data, err := f.content()
		if err != nil {
			return f, err
		}
		sum := sha256.Sum256(data)
		f.SHA256 = hex.EncodeToString(sum[:])
		if slices.Contains(taken, filepath.Base(f.Path)) {
			continue
		}
		s.files[f.Path] = f
		if err := s.save(); err != nil {
			delete(s.files, f.Path)
			return f, err
		}
		err = write(root, filepath.Base(f.Path), data, f.ModTime)
		if err == nil {
			return f, nil
		}
		delete(s.files, f.Path)
		if err = errors.Join(err, s.save()); !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return File{}, errors.New("no name is free")
}

func names(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// write makes a file where nothing stands, as old as is said and of the directory's owner.
func write(root *os.Root, name string, data []byte, mtime time.Time) (err error) {
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err == nil {
			err = root.Chtimes(name, mtime, mtime)
		}
	}()
	if _, err := out.Write(data); err != nil {
		return errors.Join(err, root.Remove(name))
	}
	if info, err := root.Stat("."); err == nil && os.Geteuid() == 0 {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			return out.Chown(int(owner.Uid), int(owner.Gid))
		}
	}
	return nil
}

// save writes the list whole, or leaves it as it was.
func (s *Set) save() error {
	data, err := json.MarshalIndent(s.sorted(), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.list), 0o700); err != nil {
		return err
	}
	return replace(s.list, append(data, '\n'), 0o600)
}

func replace(path string, data []byte, mode os.FileMode) (err error) {
	out, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	_, err = out.Write(data)
	if err = errors.Join(err, out.Chmod(mode), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

// Healed is a canary that was made anew.
type Healed struct {
	Path string
	Kept string // where what stood in its place was put aside; empty if nothing did
}

// Heal makes those canaries anew that were touched and have been left alone since. What stands in their place is copied aside first.
// Whatever could not be healed is tried again.
func (s *Set) Heal(ctx context.Context) ([]Healed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var healed []Healed
	var errs []error
	for path, at := range s.touched {
		f, known := s.files[path]
		if ctx.Err() != nil || s.now().Sub(at) < healAfter {
			continue
		}
		if known && !f.intact() {
			kept, err := s.heal(f)
			if err != nil {
				errs = append(errs, fmt.Errorf("heal the canary %s: %w", path, err))
				s.touched[path] = s.now()
				continue
			}
			healed = append(healed, Healed{path, kept})
		}
		delete(s.touched, path)
	}
	return healed, errors.Join(errs...)
}

func (s *Set) heal(f File) (kept string, err error) {
	data, err := f.content()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	if now := hex.EncodeToString(sum[:]); now != f.SHA256 { // made by another version of kedge
		f.SHA256 = now
		s.files[f.Path] = f
		if err := s.save(); err != nil {
			return "", err
		}
	}
	root, err := os.OpenRoot(filepath.Dir(f.Path))
	if err != nil {
		return "", err
	}
	defer root.Close()
	base := filepath.Base(f.Path)
	info, err := root.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return "", write(root, base, data, f.ModTime)
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSize {
		return "", fmt.Errorf("what stands there is no regular file of at most %d bytes: look at it and remove it", maxSize)
	}
	if kept, err = s.putAside(f); err != nil {
		return "", err
	}
	fresh := fmt.Sprintf(".%x.tmp", rand.Uint64())
	if err := write(root, fresh, data, f.ModTime); err != nil {
		return kept, err
	}
	return kept, root.Rename(fresh, base)
}

// putAside copies what stands in a canary's place beside the list: of a known text, what an encryptor made of it is worth a lot.
func (s *Set) putAside(f File) (string, error) {
	data, err := readRegular(f.Path)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(strings.TrimSuffix(s.list, filepath.Ext(s.list)), s.now().UTC().Format("20060102T150405Z")+"-"+filepath.Base(f.Path))
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return "", err
	}
	return kept, replace(kept, data, 0o400)
}

// Remove removes all canaries that hold what they should, or are gone, and forgets them. One that holds something else stays, is forgotten, and
// is an error that names it.
func (s *Set) Remove() (removed []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.sorted() {
		_, err := os.Lstat(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("remove the canary: %w", err))
			continue
		case !f.intact():
			errs = append(errs, fmt.Errorf("the canary %s holds something else now: it is left there", f.Path))
		default:
			if err := os.Remove(f.Path); err != nil {
				errs = append(errs, fmt.Errorf("remove the canary: %w", err))
				continue
			}
			removed = append(removed, f.Path)
		}
		delete(s.files, f.Path)
		delete(s.touched, f.Path)
	}
	return removed, errors.Join(append(errs, s.save())...)
}
