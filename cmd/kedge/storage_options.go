package main

import (
	"context"
	"strings"
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
	options   []string // of the form name=value

	uploadLimit, downloadLimit uint32 // in KiB a second; 0: none
}

func (o *storageOptions) add(flags *pflag.FlagSet) {
	o.tls.add(flags)
	flags.StringArrayVarP(&o.options, "option", "o", nil, "`name=value` of an option of one kind of storage, such as s3.region=eu-west-2 (repeatable; an unknown one lists them all)")
	flags.Uint32Var(&o.uploadLimit, "limit-upload", 0, "send at most this many KiB a second; 0 for no limit")
	flags.Uint32Var(&o.downloadLimit, "limit-download", 0, "fetch at most this many KiB a second; 0 for no limit")
}

// open opens the storage that a location names, as bare does. What fails for a moment on remote storage is tried again,
// and the limits hold on every kind of storage.
func (o storageOptions) open(ctx context.Context, location string) (backend.Backend, error) {
	return o.reach(location, func(x extendedOptions) (backend.Backend, error) { return o.bare(ctx, location, x) })
}

// create prepares storage for a new repository, and opens it as open does.
func (o storageOptions) create(ctx context.Context, location string) (backend.Backend, error) {
	return o.reach(location, func(x extendedOptions) (backend.Backend, error) { return o.bareCreate(ctx, location, x) })
}

// reach connects and puts the limits and, for what is remote, the tries in front.
func (o storageOptions) reach(location string, connect func(extendedOptions) (backend.Backend, error)) (backend.Backend, error) {
	x, err := parseExtended(o.options)
	if err != nil {
		return nil, err
	}
	be, err := connect(x)
	if err != nil {
		return nil, err
	}
	be = limit.Connections(be, x.connections[scheme(location)])
	be = limit.Bandwidth(be, int64(o.uploadLimit)<<10, int64(o.downloadLimit)<<10)
	if scheme(location) == "local" {
		return be, nil
	}
	return retry.New(be, retry.Options{Notify: o.tellRetry}), nil // what is remote fails, and succeeds a moment later
}

// scheme is the kind of storage that a location is on: rest, s3, sftp or local.
func scheme(location string) string {
	switch name, _, _ := strings.Cut(location, ":"); name {
	case "rest", "s3", "sftp":
		return name
	}
	return "local"
}
