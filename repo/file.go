package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
)

// SaveUnpacked stores a JSON document as a file of its own: a snapshot, lock or index of at most 64, 1 and 256 MiB. It
// returns the file's name.
func (r *Repository) SaveUnpacked(ctx context.Context, t backend.Type, plain []byte) (blob.ID, error) {
	if t != backend.Snapshot && t != backend.Lock && t != backend.Index {
		return blob.ID{}, fmt.Errorf("save document: a %v is not one", t)
	}
	if limit := maxDocument(t); len(plain) > limit {
		return blob.ID{}, fmt.Errorf("save %v: document of %d bytes, at most %d are allowed", t, len(plain), limit)
	}
	encoded, err := r.codec.encodeFile(r.cfg.Version, plain)
	if err != nil {
		return blob.ID{}, fmt.Errorf("save %v: %w", t, err)
	}
	sealed := r.key.Seal(nil, encoded)
	id := blob.Hash(sealed)
	err = r.be.Save(ctx, backend.Handle{Type: t, Name: id.String()}, bytes.NewReader(sealed))
	if err != nil {
		return blob.ID{}, err
	}
	return id, nil
}

// LoadUnpacked returns the document that a snapshot, lock or index file holds: at most 64, 1 and 256 MiB.
func (r *Repository) LoadUnpacked(ctx context.Context, t backend.Type, id blob.ID) ([]byte, error) {
	h := backend.Handle{Type: t, Name: id.String()}
	if t != backend.Snapshot && t != backend.Lock && t != backend.Index {
		return nil, fmt.Errorf("load %v: a %v is not a document", h, t)
	}
	limit := maxDocument(t)
	sealed, err := readFile(ctx, r.be, h, int64(limit+limit/64)) // encryption adds something, and so does compression where nothing shrinks
	if errors.Is(err, backend.ErrNotExist) {
		return nil, fmt.Errorf("load %v: %w", h, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if blob.Hash(sealed) != id {
		return nil, fmt.Errorf("load %v: %w", h, errDamaged)
	}
	plain, err := r.key.OpenInPlace(sealed)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", h, err)
	}
	doc, err := r.codec.decodeFile(r.cfg.Version, plain, limit)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", h, err)
	}
	return doc, nil
}

// List calls fn for every file of type t with its name and size in bytes, in no order, until fn returns an error.
func (r *Repository) List(ctx context.Context, t backend.Type, fn func(id blob.ID, size int64) error) error {
	if t == backend.Config {
		return errors.New("list: the config has no ID")
	}
	return r.be.List(ctx, t, func(info backend.FileInfo) error {
		id, err := blob.ParseID(info.Name)
		if err != nil {
			return fmt.Errorf("list %s: %w", t.Dir(), err)
		}
		return fn(id, info.Size)
	})
}

// FindID returns the one file of type t whose ID begins with prefix. None is ErrNotFound, several are ErrAmbiguous.
func (r *Repository) FindID(ctx context.Context, t backend.Type, prefix string) (blob.ID, error) {
	var found []blob.ID
	err := r.List(ctx, t, func(id blob.ID, _ int64) error {
		if strings.HasPrefix(id.String(), prefix) {
			found = append(found, id)
		}
		return nil
	})
	switch {
	case err != nil:
		return blob.ID{}, fmt.Errorf("find %v %.80q: %w", t, prefix, err)
	case prefix == "" || len(found) == 0:
		return blob.ID{}, fmt.Errorf("find %v %.80q: %w", t, prefix, ErrNotFound)
	case len(found) > 1:
		return blob.ID{}, fmt.Errorf("find %v %.80q: %w", t, prefix, ErrAmbiguous)
	}
	return found[0], nil
}

// Remove deletes a file. A file that is not there is ErrNotFound.
func (r *Repository) Remove(ctx context.Context, t backend.Type, id blob.ID) error {
	h := backend.Handle{Type: t, Name: id.String()}
	err := r.be.Remove(ctx, h)
	if errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("remove %v: %w", h, ErrNotFound)
	}
	return err
}
