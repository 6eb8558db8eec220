package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"
)

// VerifyResult is what Verify proved.
type VerifyResult struct {
	Origin  string
	Entries uint64    // that the checkpoint covers; an event of more than 64 KiB takes several
	Root    []byte    // SHA-256 Merkle root of these
	Time    time.Time // when the witness cosigned it, UTC, by the witness's clock
	// Pending are entries that were acknowledged after the checkpoint: there, but proven by nobody yet.
	Pending uint64
	// Ignored are the files below "tile" that are no part of what the checkpoint covers: tiles of pending
	// entries, or strays. At most 100 are named.
	Ignored []string
}

// maxIgnored bounds the list of that name.
const maxIgnored = 100

// Verify proves the record in dir from its files and two public keys alone. The checkpoint must carry the log's
// signature and the witness's cosignature and nothing else; every entry is hashed again, the root recomputed and
// compared, and every tile, full or partial, compared with the hashes that the entries give. One changed byte in
// any of these files is an error that names the file.
func Verify(ctx context.Context, dir string, logKey, witnessKey string) (VerifyResult, error) {
	rec, err := openRecord(dir)
	if err != nil {
		return VerifyResult{}, fmt.Errorf("verify record: %w", err)
	}
	defer rec.Close()
	v := verification{record: rec}
	if err := v.run(ctx, logKey, witnessKey); err != nil {
		return VerifyResult{}, fmt.Errorf("verify record %s: %w", dir, err)
	}
	return v.result, nil
}

type verification struct {
	record
	result VerifyResult
	// nodes are the hashes that tiles hold, recomputed from the entries: of the tree's levels 0, 8, 16 and so on.
	nodes [maxLevels][][]byte
}

func (v *verification) run(ctx context.Context, logKey, witnessKey string) error {
	if err := v.checkpoint(logKey, witnessKey); err != nil {
		return fmt.Errorf("%s: %w", layout.CheckpointPath, err)
	}
	if err := v.leaves(ctx); err != nil {
		return err
	}
	if err := v.tiles(ctx); err != nil {
		return err
	}
	if err := v.pending(); err != nil {
		return err
	}
	return v.walk(func(name string) error {
		p, ok := parsePath(name)
		if (!ok || p.width > widthAt(p.level, p.index, v.result.Entries)) && len(v.result.Ignored) < maxIgnored {
			v.result.Ignored = append(v.result.Ignored, name)
		}
		return nil
	})
}

// checkpoint reads the checkpoint, verifies both signatures and sets what it says as the result.
func (v *verification) checkpoint(logKey, witnessKey string) error {
	logVerifier, err := note.NewVerifier(logKey)
	if err != nil {
		return fmt.Errorf("public key of the record %.100q: %w", logKey, err)
	}
	witnessVerifier, err := fnote.NewVerifierForCosignatureV1(witnessKey)
	if err != nil {
		return fmt.Errorf("public key of the witness %.100q: %w", witnessKey, err)
	}
	raw, err := v.read(layout.CheckpointPath, maxCheckpoint)
	if err != nil {
		return err
	}
	cp, _, n, err := log.ParseCheckpoint(raw, logVerifier.Name(), logVerifier, witnessVerifier)
	if err != nil {
		return err
	}
	if len(n.Sigs) != 2 {
		return fmt.Errorf("witness %s has not cosigned it", witnessVerifier.Name())
	}
	if n.Sigs[1].Hash != witnessVerifier.KeyHash() {
		return errors.New("the record's signature does not come first")
	}
	want := n.Text + "\n"
	for _, s := range n.Sigs {
		if err := canonical(s); err != nil {
			return err
		}
		want += signatureLine(s)
	}
	if string(raw) != want {
		return errors.New("holds more than the signatures of the record and the witness")
	}
	if len(cp.Hash) != rfc6962.DefaultHasher.Size() {
		return fmt.Errorf("root of %d bytes", len(cp.Hash))
	}
	cosigned, err := fnote.CoSigV1Timestamp(n.Sigs[1])
	if err != nil {
		return err
	}
	v.result = VerifyResult{Origin: cp.Origin, Entries: cp.Size, Root: cp.Hash, Time: cosigned.UTC()}
	return nil
}

// leaves hashes all entries and compares the root with the checkpoint's. The hash tiles say which bundle is to
// blame: whichever of the two gives the signed root is right.
func (v *verification) leaves(ctx context.Context) error {
	size := v.result.Entries
	ranges := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	fromEntries, fromTiles := ranges.NewEmptyRange(0), ranges.NewEmptyRange(0)
	var earlier error
	var differ []string // the first bundle whose tile has other hashes, and that tile
	for index := uint64(0); index*layout.EntryBundleWidth < size; index++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, raw, entries, err := v.bundle(index, size)
		if err != nil {
			return err
		}
		tile, hashes, err := v.tile(0, index)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			hash := rfc6962.DefaultHasher.HashLeaf(entry)
			if err := errors.Join(fromEntries.Append(hash, v.keep), fromTiles.Append(hashes[i], nil)); err != nil {
				return err
			}
			if differ == nil && !bytes.Equal(hash, hashes[i]) {
				differ = []string{name, tile}
			}
		}
		if earlier == nil { // told only once today's bundles are known to be right
			earlier = v.earlierBundles(index, raw)
		}
	}
	entriesRoot, err := rootOf(fromEntries)
	if err != nil {
		return err
	}
	tilesRoot, err := rootOf(fromTiles)
	if err != nil {
		return err
	}
	switch entriesRight, tilesRight := bytes.Equal(entriesRoot, v.result.Root), bytes.Equal(tilesRoot, v.result.Root); {
	case entriesRight && tilesRight:
		return earlier
	case entriesRight:
		return fmt.Errorf("%s was changed: its hashes are not those of %s", differ[1], differ[0])
	case tilesRight:
		return fmt.Errorf("%s was changed: its entries do not have the hashes in %s", differ[0], differ[1])
	case differ != nil:
		return fmt.Errorf("%s and %s were changed: neither gives the root that was signed", differ[0], differ[1])
	}
	return fmt.Errorf("the entries were changed and the tiles with them: their root %x is not the one in %s", entriesRoot, layout.CheckpointPath)
}

// keep is called for each complete subtree of the entries.
func (v *verification) keep(id compact.NodeID, hash []byte) {
	if id.Level%layout.TileHeight == 0 {
		v.nodes[id.Level/layout.TileHeight] = append(v.nodes[id.Level/layout.TileHeight], hash)
	}
}

// tile returns the hashes of one tile that the checkpoint covers, and the file that holds them.
func (v *verification) tile(level, index uint64) (name string, hashes [][]byte, err error) {
	width := widthAt(level, index, v.result.Entries)
	name = tilePath{level: level, index: index, width: width}.name()
	raw, err := v.read(name, maxTile)
	if err != nil {
		return name, nil, err
	}
	size := rfc6962.DefaultHasher.Size()
	if uint64(len(raw)) != width*uint64(size) {
		return name, nil, fmt.Errorf("%s was changed: %d bytes, want %d", name, len(raw), width*uint64(size))
	}
	for ; len(raw) > 0; raw = raw[size:] {
		hashes = append(hashes, raw[:size])
	}
	return name, hashes, nil
}

// tiles compares every tile with the hashes that the entries gave.
func (v *verification) tiles(ctx context.Context) error {
	for level := uint64(0); level < maxLevels && len(v.nodes[level]) > 0; level++ {
		for index := uint64(0); widthAt(level, index, v.result.Entries) > 0; index++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			name, hashes, err := v.tile(level, index)
			if err != nil {
				return err
			}
			want := v.nodes[level][index*layout.TileWidth:]
			for i, hash := range hashes {
				if !bytes.Equal(hash, want[i]) {
					return fmt.Errorf("%s was changed: hash %d is not that of its entries", name, i)
				}
			}
			if err := v.earlierTiles(level, index, bytes.Join(hashes, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// earlierTiles compares the partial tiles of earlier checkpoints: each is the beginning of today's.
func (v *verification) earlierTiles(level, index uint64, full []byte) error {
	for p := range v.partials(level, index) {
		if p.entries || p.width >= widthAt(level, index, v.result.Entries) {
			continue
		}
		raw, err := v.read(p.name(), maxTile)
		if err != nil {
			return err
		}
		if !bytes.Equal(raw, full[:p.width*uint64(rfc6962.DefaultHasher.Size())]) {
			return fmt.Errorf("%s was changed: it is not the beginning of the tile that followed it", p.name())
		}
	}
	return nil
}

// earlierBundles does the same for bundles. full has been parsed already, so its lengths are sound.
func (v *verification) earlierBundles(index uint64, full []byte) error {
	for p := range v.partials(0, index) {
		if !p.entries || p.width >= widthAt(0, index, v.result.Entries) {
			continue
		}
		raw, err := v.read(p.name(), maxBundle)
		if err != nil {
			return err
		}
		end := 0
		for range p.width {
			end += 2 + int(full[end])<<8 + int(full[end+1])
		}
		if !bytes.Equal(raw, full[:end]) {
			return fmt.Errorf("%s was changed: it is not the beginning of the bundle that followed it", p.name())
		}
	}
	return nil
}

// pending counts what was acknowledged since the checkpoint, where the driver's state is there to tell.
func (v *verification) pending() error {
	size, err := v.integrated()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a copy without it
	}
	if err != nil {
		return err
	}
	v.result.Pending = max(size, v.result.Entries) - v.result.Entries
	return nil
}
