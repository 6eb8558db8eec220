package repo

import (
	"bytes"
	"context"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
)

// WithCacheMin makes a repository large from so many bytes of index files.
func (o Options) WithCacheMin(size int64) Options {
	o.cacheMin = size
	return o
}

// Key is what a hostile writer of the repository seals with.
func (r *Repository) Key() *crypto.Key { return r.key }

// SaveSealed stores a file whose plain is what a hostile writer wants it to be, encoding and all.
func (r *Repository) SaveSealed(ctx context.Context, t backend.Type, plain []byte) (backend.Handle, error) {
	sealed := r.key.Seal(nil, plain)
	h := backend.Handle{Type: t}
	if t != backend.Config {
		h.Name = blob.Hash(sealed).String()
	}
	return h, r.be.Save(ctx, h, bytes.NewReader(sealed))
}
