package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/snapshot"
)

func newSnapshotsCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:     "snapshots -r REPOSITORY",
		Short:   "List the snapshots",
		Example: "  kedge snapshots -r /srv/repository\n  kedge snapshots -r /srv/repository --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := flags.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := snapshot.List(cmd.Context(), r)
			if err != nil {
				return err
			}
			if term.json {
				return printSnapshotsJSON(term, list)
			}
			printSnapshots(term, list)
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

func printSnapshots(term *terminal, list []*snapshot.Snapshot) {
	term.printf("%-8s  %-20s  %-16s  %s", "ID", "Time", "Host", "Paths")
	for _, sn := range list {
		term.printf("%-8s  %-20s  %-16s  %s", sn.ID.Short(), sn.Time.UTC().Format("2006-01-02 15:04:05Z"), sn.Hostname, strings.Join(sn.Paths, ", "))
	}
	term.printf("%d snapshots", len(list))
}

// printSnapshotsJSON writes one array, as restic does.
func printSnapshotsJSON(term *terminal, list []*snapshot.Snapshot) error {
	objects := make([]snapshotObject, 0, len(list))
	for _, sn := range list {
		objects = append(objects, snapshotObject{sn, sn.ID.String(), sn.ID.Short()})
	}
	if err := json.NewEncoder(term.stdout).Encode(objects); err != nil {
		return fmt.Errorf("print snapshots: %w", err)
	}
	return nil
}

// snapshotObject is a snapshot with its ID, which its file does not hold.
type snapshotObject struct {
	*snapshot.Snapshot
	ID      string `json:"id"`
	ShortID string `json:"short_id"`
}
