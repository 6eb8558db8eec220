package main

import (
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/snapshot"
)

func newLsCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:     "ls -r REPOSITORY SNAPSHOT [PATH]",
		Short:   "List the files of a snapshot",
		Example: "  kedge ls -r /srv/repository latest\n  kedge ls -r /srv/repository 4bba301e /srv/files/legal",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			below := "/"
			if len(args) == 2 {
				below = path.Clean("/" + args[1])
			}
			return runLs(cmd, term, &flags, args[0], below)
		},
	}
	flags.add(cmd)
	return cmd
}

// lsNode is restic's line for a file.
type lsNode struct {
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	Path        string    `json:"path"`
	UID         uint32    `json:"uid"`
	GID         uint32    `json:"gid"`
	Size        uint64    `json:"size,omitempty"`
	Mode        uint32    `json:"mode,omitempty"`
	ModTime     time.Time `json:"mtime"`
	StructType  string    `json:"struct_type"`
	MessageType string    `json:"message_type"`
}

func runLs(cmd *cobra.Command, term *terminal, flags *repositoryFlags, spec, below string) error {
	ctx := cmd.Context()
	r, err := flags.open(ctx)
	if err != nil {
		return err
	}
	sn, err := snapshot.Find(ctx, r, spec, snapshot.Filter{})
	if err != nil {
		return err
	}
	term.printf("snapshot %s of %s at %s:", sn.ID.Short(), strings.Join(sn.Paths, ", "), sn.Time.UTC().Format(time.RFC3339))
	return snapshot.Walk(ctx, r, sn.Tree, func(p string, n *snapshot.Node) error {
		inside := below == "/" || p == below || strings.HasPrefix(p, below+"/")
		if !inside {
			if strings.HasPrefix(below, p+"/") {
				return nil
			}
			if n.Type == snapshot.Dir {
				return snapshot.SkipDir
			}
			return nil
		}
		term.printf("%s", p)
		return term.object(lsNode{
			Name: n.Name, Type: string(n.Type), Path: p, UID: n.UID, GID: n.GID, Size: n.Size, Mode: uint32(n.Mode),
			ModTime: n.ModTime, StructType: "node", MessageType: "node",
		})
	})
}
