package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"time"
)

// truth is what an attack did. Snapshots are counted from 0.
type truth struct {
	damaged map[string]harm // by the path where the last clean version stood
	added   map[string]bool // what the attacker put there, beside the damaged files' successors
}

// harm is the truth about one file.
type harm struct {
	kind     string // its maker's name
	now      string // where the damaged bytes stand; "" if nowhere
	firstBad int    // the first snapshot with the damage; the one before is the last clean one
}

// attack is an attacker at work in a site. Between two of its steps a snapshot is taken.
type attack struct {
	*site
	r     *rand.Rand
	truth truth
	step  int    // the coming snapshot
	key   []byte // of AES-256

	harmed func() error // called after each damaged file; may be nil
}

func newAttack(s *site, r *rand.Rand) *attack {
	return &attack{site: s, r: r, key: noise(r, 32), truth: truth{damaged: map[string]harm{}, added: map[string]bool{}}}
}

// hurt records that a file is damaged.
func (a *attack) hurt(name, kind, now string) error {
	a.truth.damaged[name] = harm{kind, now, a.step}
	a.pass(200 * time.Millisecond)
	if a.harmed != nil {
		return a.harmed()
	}
	return nil
}

// leave puts a file there that was not.
func (a *attack) leave(name string, data []byte) error {
	a.truth.added[name] = true
	return a.write(name, data)
}

// stream returns a key stream that is used for nothing else.
func (a *attack) stream() cipher.Stream {
	block, err := aes.NewCipher(a.key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	return cipher.NewCTR(block, noise(a.r, aes.BlockSize))
}

// family is a kind of attack.
type family struct {
	name    string
	perStep int                           // files between two snapshots; 0: all that it wants, as fast as it can
	wants   func(kind string) bool        // which files; nil: all
	share   float64                       // of the files in a directory; 0: 0.9
	hit     func(*attack, string) error   // damages one file
	group   func(*attack, []string) error // instead of hit: damages some files of one directory
	note    bool                          // leaves a note in each directory
}

func (f family) slow() bool { return f.perStep > 0 }

// victims chooses the files of a site that are to be damaged, in order: directory by directory, or all over the site
// if the family is slow.
func (f family) victims(s *site, r *rand.Rand) [][]string {
	byDir := map[string][]string{}
	var dirs []string
	for _, name := range s.files() {
		if f.wants != nil && !f.wants(s.kinds[name]) {
			continue
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], name)
	}
	share := f.share
	if share == 0 {
		share = 0.9
	}
	var groups [][]string
	for _, dir := range pick(r, dirs, max(1, len(dirs)*2/3)) {
		names := byDir[dir]
		if !f.slow() {
			names = pick(r, names, max(1, int(share*float64(len(names)))))
		}
		groups = append(groups, names)
	}
	if !f.slow() {
		return groups
	}
	all := pick(r, slices.Concat(groups...), slowSteps*f.perStep)
	return slices.Collect(slices.Chunk(all, f.perStep))
}

// slowSteps is between how many snapshots a slow family spreads its work.
const slowSteps = 8

// strike damages one group of files.
func (f family) strike(a *attack, names []string) error {
	if f.group != nil {
		if err := f.group(a, names); err != nil {
			return err
		}
	} else {
		for _, name := range names {
			if err := f.hit(a, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !f.note {
		return nil
	}
	return a.leave(path.Join(path.Dir(names[0]), "HOW_TO_RESTORE.txt"), []byte(note))
}

const note = `All your files have been encrypted with strong algorithms.
To get the decryption key you must pay 2 bitcoin. Do not rename the files, do not use other tools: your data will be lost.
Write to restore@example.org with your ID, or visit our page with the Tor browser. You have 72 hours.
`

// transform returns what an attacker makes of a file's bytes.
type transform func(a *attack, data []byte) []byte

// carrier puts the damaged bytes somewhere and returns where they stand then.
type carrier func(a *attack, name string, data []byte) (string, error)

// rewrite makes a family's hit of what it does to the bytes and how they come to the disk.
func rewrite(t transform, c carrier) func(*attack, string) error {
	return func(a *attack, name string) error {
		before, err := a.read(name)
		if err != nil {
			return err
		}
		kind := a.kinds[name]
		after := t(a, slices.Clone(before))
		if bytes.Equal(before, after) {
			return nil // too short for this family: no harm done
		}
		now, err := c(a, name, after)
		if err != nil {
			return err
		}
		delete(a.kinds, name) // nobody works with it any more
		delete(a.kinds, now)
		return a.hurt(name, kind, now)
	}
}

// The carriers.

func inPlace(a *attack, name string, data []byte) (string, error) { return name, a.write(name, data) }

// timesKept puts the file's own times back.
func timesKept(a *attack, name string, data []byte) (string, error) {
	info, err := a.root.Stat(name)
	if err != nil {
		return "", err
	}
	if err := a.write(name, data); err != nil {
		return "", err
	}
	return name, a.touch(name, info.ModTime())
}

// moved writes in place and then gives the file another name in its directory.
func (a *attack) moved(name, base string, data []byte) (string, error) {
	if err := a.write(name, data); err != nil {
		return "", err
	}
	now := a.free(path.Join(path.Dir(name), base))
	return now, a.rename(name, now)
}

// named writes in place and gives a name that has the old one in it, for %s.
func named(pattern string) carrier {
	return func(a *attack, name string, data []byte) (string, error) {
		return a.moved(name, fmt.Sprintf(pattern, path.Base(name)), data)
	}
}

// appended writes in place and appends an extension to the name.
func appended(extension string) carrier { return named("%s" + extension) }

// randomName writes in place and gives a name that says nothing.
func randomName(a *attack, name string, data []byte) (string, error) {
	return a.moved(name, fmt.Sprintf("%016x", a.r.Uint64()), data)
}

// newFile writes another file beside the original, and deletes that.
func newFile(extension string) carrier {
	return func(a *attack, name string, data []byte) (string, error) {
		if err := a.write(name+extension, data); err != nil {
			return "", err
		}
		return name + extension, a.remove(name)
	}
}

// nextDirectory does the same in a directory of its own.
func nextDirectory(a *attack, name string, data []byte) (string, error) {
	now := path.Join(path.Dir(path.Dir(name)), "vault-"+path.Base(path.Dir(name)), path.Base(name)+".enc")
	if err := a.write(now, data); err != nil {
		return "", err
	}
	return now, a.remove(name)
}

// onTop writes another file and renames it over the original.
func onTop(a *attack, name string, data []byte) (string, error) {
	temporary := path.Join(path.Dir(name), fmt.Sprintf(".%08x", a.r.Uint32()))
	if err := a.write(temporary, data); err != nil {
		return "", err
	}
	return name, a.rename(temporary, name)
}
