package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/limit"
	"github.com/kedge-project/kedge/backend/retry"
)

// storageOptions are what a command asks of storage, beside where it is. Copies share one tellRetry.
type storageOptions struct {
	tokenFile string                                         // holds the credential for a vault
	tellRetry func(op string, err error, wait time.Duration) // is told of each failure of remote storage that is waited out; may be nil
	tls       tlsFlags

	uploadLimit, downloadLimit uint32 // in KiB a second; 0: none
}

func (o *storageOptions) add(flags *pflag.FlagSet) {
	o.tls.add(flags)
	flags.Uint32Var(&o.uploadLimit, "limit-upload", 0, "send at most this many KiB a second; 0 for no limit")
	flags.Uint32Var(&o.downloadLimit, "limit-download", 0, "fetch at most this many KiB a second; 0 for no limit")
}

// open opens the storage that a location names, as bare does. What fails for a moment on remote storage is tried again,
// and the limits hold on every kind of storage.
func (o storageOptions) open(ctx context.Context, location string) (backend.Backend, error) {
	be, err := o.bare(ctx, location)
	if err != nil {
		return nil, err
	}
	return o.decorate(location, be), nil
}

// create prepares storage for a new repository, and opens it as open does.
func (o storageOptions) create(ctx context.Context, location string) (backend.Backend, error) {
	be, err := o.bareCreate(ctx, location)
	if err != nil {
		return nil, err
	}
	return o.decorate(location, be), nil
}

func (o storageOptions) decorate(location string, be backend.Backend) backend.Backend {
	be = limit.Bandwidth(be, int64(o.uploadLimit)<<10, int64(o.downloadLimit)<<10)
	if !remote(location) {
		return be
	}
	return retry.New(be, retry.Options{Notify: o.tellRetry})
}
