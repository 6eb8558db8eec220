package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
)

// clusterFlags say to which state a PostgreSQL cluster is restored.
type clusterFlags struct {
	estate      string
	to          string
	before      bool
	from        string
	tablespaces []string
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	addEstateFlag(cmd, &f.estate)
	addTargetFlags(cmd, &f.to, &f.before, "restore a PostgreSQL cluster to this `state`: latest, a time with its zone, a WAL position, or a transaction ID")
	cmd.Flags().StringVar(&f.from, "from", "copy", "with --to: read the second site's copy, or the repository")
	cmd.Flags().StringArrayVar(&f.tablespaces, "tablespace-mapping", nil, "with --to: put the tablespace that stood at OLD to NEW, as `OLD=NEW` (repeatable)")
}

func addTargetFlags(cmd *cobra.Command, to *string, before *bool, usage string) {
	cmd.Flags().StringVar(to, "to", *to, usage)
	cmd.Flags().BoolVar(before, "before", false, "with --to: the state just before")
}

func runRestoreCluster(ctx context.Context, term *terminal, flags *clusterFlags, target, name string) error {
	if target == "" {
		return errors.New("no target named: give --target")
	}
	if flags.from != "copy" && flags.from != "repository" {
		return fmt.Errorf("--from is %q: want copy or repository", flags.from)
	}
	service, cluster, ok := strings.Cut(name, "/")
	if !ok {
		return fmt.Errorf("with --to, name a cluster as SERVICE/ASSET, not %q", name)
	}
	to, err := postgres.ParseTarget(flags.to, flags.before)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	moved, err := postgres.ParseTablespaceMapping(flags.tablespaces)
	if err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	return withAgent(ctx, flags.estate, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
		restored, declared, err := a.RestoreCluster(ctx, service, cluster, flags.from == "copy", postgres.Place{Data: target, Moved: moved, Copy: true}, to)
		if err != nil {
			return err
		}
		start := []string{filepath.Join(declared.Bin, "pg_ctl"), "-D", target, "-w", "start"}
		term.printf("restored %s to %s: %s, %s; the state of %s", name, target, wording.Number(restored.Files, "file"), wording.Size(restored.Bytes),
			restored.Time.UTC().Format(time.RFC3339Nano))
		term.printf("start it, as the user who owns the files, on a port that is free: it replays WAL to there, and takes writes then:\n  %s -o '-p PORT'", strings.Join(start, " "))
		term.printf("it is a copy, and reaches out to nobody: it archives no WAL and applies no subscription. To put it in the original's place, remove the lines that kedge added to %s, and start it anew",
			filepath.Join(target, "postgresql.auto.conf"))
		return term.object(map[string]any{
			"message_type": "summary", "target": target, "files": restored.Files, "bytes": restored.Bytes, "base": restored.Base, "wal": restored.WAL,
			"time": restored.Time, "start": start,
		})
	})
}
