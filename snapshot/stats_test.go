package snapshot_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/snapshot"
)

func TestStatsCountAsResticDoes(t *testing.T) {
	place, source := filepath.Join(t.TempDir(), "repo"), t.TempDir()
	random := make([]byte, 7<<20)
	rand.NewChaCha8([32]byte{5}).Read(random)
	write := func(name string, data []byte) {
		try(t, os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755))
		try(t, os.WriteFile(filepath.Join(source, name), data, 0o600))
	}
	write("zeros", make([]byte, 9<<20)) // the same blob many times
	write("a/big", random)
	write("b/big", append(bytes.Clone(random), "and more"...)) // shares blobs with the other
	write("b/copy", random)
	write("b/empty", nil)
	try(t, os.Link(filepath.Join(source, "a/big"), filepath.Join(source, "b/link")))
	try(t, os.Symlink("nowhere", filepath.Join(source, "symlink")))
	r := inDirectory(t, place)
	restic(t, place, "backup", source)
	write("a/big", []byte("another version"))
	write("c", []byte("another version"))
	restic(t, place, "backup", source)
	restic(t, place, "backup", "--host", "elsewhere", filepath.Join(source, "b"))

	try(t, r.Refresh(t.Context()))
	list, err := snapshot.List(t.Context(), r)
	try(t, err)
	for _, mode := range []snapshot.StatsMode{snapshot.RestoreSize, snapshot.FilesByContents, snapshot.RawData, snapshot.BlobsPerFile} {
		for _, chosen := range [][]*snapshot.Snapshot{list, list[:1], list[1:2]} {
			args := []string{"stats", "--json", "--mode", string(mode)}
			if len(chosen) == 1 {
				args = append(args, chosen[0].ID.String())
			}
			var want struct {
				Size  int64 `json:"total_size"`
				Files int   `json:"total_file_count"`
				Blobs int   `json:"total_blob_count"`
			}
			try(t, json.Unmarshal(restic(t, place, args...), &want))
			got, err := snapshot.Stats(t.Context(), r, chosen, mode, nil)
			try(t, err)
			if mode == snapshot.BlobsPerFile && len(chosen) > 1 {
				want.Files = got.Files // of several snapshots restic counts what chance lets it meet first
			}
			if got.Size != want.Size || got.Files != want.Files || got.Blobs != want.Blobs {
				t.Errorf("%s of %d snapshots: %+v; restic counts %+v", mode, len(chosen), got, want)
			}
			if mode == snapshot.RawData && (got.Raw.Plain <= got.Raw.Stored || got.Raw.CompressedStored > got.Raw.Stored) {
				t.Errorf("%s: %+v", mode, got.Raw)
			}
		}
	}
	if _, err := snapshot.Stats(t.Context(), r, list, "sideways", nil); err == nil {
		t.Error("an unknown mode is counted")
	}
}
