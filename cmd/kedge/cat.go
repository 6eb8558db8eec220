package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func newCatCommand(term *terminal) *cobra.Command {
	var flags struct {
		repositoryFlags
		filterFlags
	}
	cmd := &cobra.Command{
		Use:   "cat -r REPOSITORY config|masterkey|snapshot|index|key|lock|pack|blob|tree [ID]",
		Short: "Print an object of the repository as it is stored, decrypted",
		Long: `Print an object of the repository: the config, the master key, a snapshot, index, key or lock file as
indented JSON; a pack as it is stored, a blob and the tree of a snapshot's directory as they were.
An ID may be shortened, but for blobs. A snapshot may be "latest", which --host, --tag and --path
choose among. Whoever has the master key can read and forge everything in the repository.`,
		Example: `  kedge cat -r /srv/repository config
  kedge cat -r /srv/repository snapshot latest
  kedge cat -r /srv/repository tree latest:/srv/files | jq .
  kedge cat -r /srv/repository blob 2f2c9e… > piece`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("no object named: give config, masterkey, snapshot, index, key, lock, pack, blob or tree")
			case args[0] == "config" || args[0] == "masterkey":
				return nil
			case len(args) != 2:
				return fmt.Errorf("cat %.40s: give the ID of one", args[0])
			}
			return nil
		},
		ValidArgs: []string{"config", "masterkey", "snapshot", "index", "key", "lock", "pack", "blob", "tree"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return cat(ctx, term, r, args, flags.filter())
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.damagedIndex = true // what it does not name can still be looked at
	flags.filterFlags.add(cmd)
	return cmd
}

func cat(ctx context.Context, term *terminal, r *repo.Repository, args []string, filter snapshot.Filter) error {
	switch kind := args[0]; kind {
	case "config":
		c := r.Config()
		doc, err := json.Marshal(struct {
			Version    uint   `json:"version"`
			ID         string `json:"id"`
			Polynomial any    `json:"chunker_polynomial"`
		}{c.Version, c.ID, c.Polynomial})
		return catJSON(term, doc, err)
	case "masterkey":
		doc, err := r.MasterKey()
		return catJSON(term, doc, err)
	case "snapshot":
		sn, err := snapshot.Find(ctx, r, args[1], filter)
		if err != nil {
			return err
		}
		doc, err := r.LoadUnpacked(ctx, backend.Snapshot, sn.ID)
		return catJSON(term, doc, err)
	case "tree":
		_, tree, _, err := findTree(ctx, r, args[1], filter)
		if err != nil {
			return err
		}
		data, err := r.LoadBlob(ctx, blob.Handle{ID: tree, Type: blob.Tree}, nil)
		return catBytes(term, data, err)
	case "blob":
		return catBlob(ctx, term, r, args[1])
	case "index", "key", "lock", "pack":
		return catFile(ctx, term, r, kind, args[1])
	default:
		return fmt.Errorf("cat: %.40q is none of config, masterkey, snapshot, index, key, lock, pack, blob and tree", kind)
	}
}

func catFile(ctx context.Context, term *terminal, r *repo.Repository, kind, prefix string) error {
	t := map[string]backend.Type{"index": backend.Index, "key": backend.Key, "lock": backend.Lock, "pack": backend.Pack}[kind]
	id, err := r.FindID(ctx, t, prefix)
	if err != nil {
		return err
	}
	switch t {
	case backend.Pack:
		return catPack(ctx, term, r, id)
	case backend.Key:
		doc, err := r.KeyFile(ctx, id)
		return catJSON(term, doc, err)
	}
	doc, err := r.LoadUnpacked(ctx, t, id)
	return catJSON(term, doc, err)
}

func catBlob(ctx context.Context, term *terminal, r *repo.Repository, name string) error {
	id, err := blob.ParseID(name)
	if err != nil {
		return fmt.Errorf("cat blob: %w", err)
	}
	for _, t := range []blob.Type{blob.Data, blob.Tree} {
		if h := (blob.Handle{ID: id, Type: t}); r.Has(h) {
			data, err := r.LoadBlob(ctx, h, nil)
			return catBytes(term, data, err)
		}
	}
	return fmt.Errorf("cat blob %s: %w", id.Short(), repo.ErrNotFound)
}

// catPack copies the pack's bytes, whatever they are, and then tells if they are not what its name says.
func catPack(ctx context.Context, term *terminal, r *repo.Repository, id blob.ID) error {
	rd, err := r.Backend().Open(ctx, backend.Handle{Type: backend.Pack, Name: id.String()}, 0, 0)
	if err != nil {
		return err
	}
	defer rd.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(term.stdout, sum), rd); err != nil {
		return fmt.Errorf("cat pack %s: %w", id.Short(), err)
	}
	if blob.ID(sum.Sum(nil)) != id {
		return fmt.Errorf("cat pack %s: its content is not what its name says: it is damaged", id.Short())
	}
	return nil
}

func catJSON(term *terminal, doc []byte, err error) error {
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(doc), "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	out.WriteByte('\n')
	return catBytes(term, out.Bytes(), nil)
}

func catBytes(term *terminal, data []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = term.stdout.Write(data)
	return err
}
