package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
)

const (
	// passwordTime is what a try of a password should cost whoever guesses, on the machine that makes the key.
	passwordTime = 200 * time.Millisecond

	// maxKeys bounds how often Open tries the password without a hint: each try costs what passwordTime says, or more.
	maxKeys = 20
)

// ErrKeyInUse is returned by RemoveKey for the key that the repository was opened with.
var ErrKeyInUse = errors.New("it is the key that this command opened the repository with")

// KeyInfo is what a key file tells of itself without its password. Nothing vouches for it but whoever wrote the file.
type KeyInfo struct {
	ID                 blob.ID
	Created            time.Time
	Username, Hostname string
	Current            bool // the Repository was opened with it
}

// KeyOptions are what a new key says of itself, and how.
type KeyOptions struct {
	Username, Hostname string // empty means this process's
	NoPassword         bool   // allows an empty password: whoever reads the storage can then open the repository
}

// Keys returns the repository's keys, the oldest first. If some cannot be read, it returns the others together with an
// error that names each of those.
func (r *Repository) Keys(ctx context.Context) ([]KeyInfo, error) {
	names, err := keyNames(ctx, r.be)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var list []KeyInfo
	var bad []error
	for _, name := range names {
		id, err := blob.ParseID(name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		data, err := readKey(ctx, r.be, name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		info, err := crypto.Describe(data)
		if err != nil {
			bad = append(bad, fmt.Errorf("%v: %w", backend.Handle{Type: backend.Key, Name: name}, err))
			continue
		}
		list = append(list, KeyInfo{ID: id, Created: info.Created, Username: info.Username, Hostname: info.Hostname, Current: id == r.keyID})
	}
	slices.SortStableFunc(list, func(a, b KeyInfo) int { return a.Created.Compare(b.Created) })
	return list, errors.Join(bad...)
}

// AddKey stores a new key that password opens, and proves that it does before it returns.
func (r *Repository) AddKey(ctx context.Context, password string, opt KeyOptions) (blob.ID, error) {
	if password == "" && !opt.NoPassword {
		return blob.ID{}, errors.New("add key: an empty password protects nothing")
	}
	id, err := r.saveKey(ctx, password, opt)
	if err != nil {
		return blob.ID{}, fmt.Errorf("add key: %w", err)
	}
	if _, err := openKey(ctx, r.be, id.String(), password); err != nil {
		return blob.ID{}, errors.Join(fmt.Errorf("add key: the new key does not open: %w", err), r.RemoveKey(ctx, id))
	}
	return id, nil
}

// ChangePassword replaces the key that the repository was opened with by a new one, and returns the new one's ID. It must
// not run beside other calls about keys.
func (r *Repository) ChangePassword(ctx context.Context, password string, opt KeyOptions) (blob.ID, error) {
	id, err := r.AddKey(ctx, password, opt)
	if err != nil {
		return blob.ID{}, err
	}
	old := r.keyID
	r.keyID = id
	if err := r.RemoveKey(ctx, old); err != nil {
		return id, fmt.Errorf("the new password is valid, and the old one still is too: %w", err)
	}
	return id, nil
}

// RemoveKey removes a key: its password no longer opens the repository. The key that the Repository was opened with is
// ErrKeyInUse, so that one always remains; one that is not there is ErrNotFound.
//
// Who has read the key file and knows its password can still decrypt all that the repository holds, and will hold.
func (r *Repository) RemoveKey(ctx context.Context, id blob.ID) error {
	if id == r.keyID {
		return fmt.Errorf("remove key %s: %w; open the repository with another", id.Short(), ErrKeyInUse)
	}
	return r.Remove(ctx, backend.Key, id)
}

// KeyFile returns the JSON document of a key file: what protects the master key, and nothing that is secret without its
// password.
func (r *Repository) KeyFile(ctx context.Context, id blob.ID) ([]byte, error) {
	return readKey(ctx, r.be, id.String())
}

// MasterKey returns the repository's master key as restic writes it, in JSON. Whoever has it can read and forge
// everything in the repository, whatever becomes of passwords.
func (r *Repository) MasterKey() ([]byte, error) { return r.key.Marshal() }

// saveKey stores the repository's key under a password, unseen whether it opens.
func (r *Repository) saveKey(ctx context.Context, password string, opt KeyOptions) (blob.ID, error) {
	cost := crypto.Cost{N: r.scryptN, P: 1}
	if r.scryptN == 0 {
		var err error
		if cost, err = crypto.Calibrate(passwordTime); err != nil {
			return blob.ID{}, fmt.Errorf("calibrate key: %w", err)
		}
	}
	host, username := origin()
	if opt.Hostname != "" {
		host = opt.Hostname
	}
	if opt.Username != "" {
		username = opt.Username
	}
	data, err := crypto.SealFile(r.key, password, username, host, cost)
	if err != nil {
		return blob.ID{}, fmt.Errorf("seal key: %w", err)
	}
	id := blob.Hash(data)
	return id, r.be.Save(ctx, backend.Handle{Type: backend.Key, Name: id.String()}, strings.NewReader(string(data)))
}

// origin returns what keys and locks say about where they come from, for people and for the search of dead
// locks; an unknown name is left empty.
func origin() (host, username string) {
	host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		username = u.Username
	}
	return host, username
}

func keyNames(ctx context.Context, be backend.Backend) ([]string, error) {
	var names []string
	err := be.List(ctx, backend.Key, func(info backend.FileInfo) error {
		names = append(names, info.Name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

// readKey reads a key file and compares it with its name.
func readKey(ctx context.Context, be backend.Backend, name string) ([]byte, error) {
	h := backend.Handle{Type: backend.Key, Name: name}
	data, err := readFile(ctx, be, h, crypto.MaxFileSize)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, fmt.Errorf("load %v: %w", h, ErrNotFound)
	}
	if err == nil && blob.Hash(data).String() != name {
		err = fmt.Errorf("%v: %w", h, errDamaged)
	}
	return data, err
}

// openKey tries the password on one key file.
func openKey(ctx context.Context, be backend.Backend, name, password string) (*crypto.Key, error) {
	data, err := readKey(ctx, be, name)
	if err != nil {
		return nil, err
	}
	key, err := crypto.OpenFile(data, password)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", backend.Handle{Type: backend.Key, Name: name}, err)
	}
	return key, nil
}

// findKey returns the key that the password opens, and its name. It tries what the hint names first.
func findKey(ctx context.Context, be backend.Backend, password, hint string) (*crypto.Key, blob.ID, error) {
	names, err := keyNames(ctx, be)
	if err != nil {
		return nil, blob.ID{}, err
	}
	rank := func(name string) int {
		if strings.HasPrefix(name, hint) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	var broken error
	for i, name := range names {
		if i == maxKeys {
			broken = errors.Join(broken, fmt.Errorf("there are %d keys and only the first %d were tried; name the right one with --key-hint", len(names), maxKeys))
			break
		}
		key, err := openKey(ctx, be, name, password)
		if err == nil {
			id, err := blob.ParseID(name)
			return key, id, err
		}
		if ctx.Err() != nil {
			return nil, blob.ID{}, err
		}
		if !errors.Is(err, crypto.ErrPassword) {
			broken = errors.Join(broken, err) // another key may still open
		}
	}
	switch {
	case len(names) == 0:
		return nil, blob.ID{}, errors.New("the repository has no key; bring the directory keys back from a copy")
	case broken != nil:
		return nil, blob.ID{}, fmt.Errorf("%w, or its key is damaged: %w", ErrWrongPassword, broken)
	default:
		return nil, blob.ID{}, fmt.Errorf("%w: none of its %d keys opens", ErrWrongPassword, len(names))
	}
}
