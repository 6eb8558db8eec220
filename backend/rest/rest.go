// Package rest speaks restic's REST protocol, versions 1 and 2: Open is the client and Handler the server side.
//
// The client promises that credentials appear in no error. The handler promises that an upload is visible only
// once its bytes were found to have the SHA-256 that its name says, and that a read-only or append-only
// handler refuses what its mode does not allow. Source: restic documentation, "REST Backend".
package rest

import (
	"github.com/kedge-project/kedge/backend"
)

// The media types by which client and server agree on the version of listings.
const (
	mediaV1 = "application/vnd.x.restic.rest.v1"
	mediaV2 = "application/vnd.x.restic.rest.v2"
)

// listed is one entry of a version 2 listing.
type listed struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// typeOf returns the kind of files that the path element dir holds, 0 if none.
func typeOf(dir string) backend.Type {
	for _, t := range [...]backend.Type{backend.Key, backend.Lock, backend.Snapshot, backend.Index, backend.Pack} {
		if t.Dir() == dir {
			return t
		}
	}
	return 0
}
