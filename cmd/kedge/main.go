// Command kedge protects an organisation's services, proves every night that they would come back, and brings
// them back after an attack. README.md says how to begin.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/evidence"
)

// version is what `kedge --version` and every snapshot's program_version tell.
const version = "0.1.0"

func main() {
	limitHeap()
	// Errors of the record's storage are returned; what its driver says besides is of no use to an operator.
	evidence.DriverLog(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A reader of ours that ends must not end us in the middle of work: writing to it fails, and that ends the command in order.
	// And restic sends SIGHUP to the owner of a lock, to see whether it lives.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGHUP)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// limitHeap lets the heap grow by half between two collections, not to double: nearly all of it are buffers without
// pointers, which cost a collection nothing. GOGC, where set, has its way.
func limitHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	working, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	term := &terminal{stdout: stdout, stderr: stderr, lost: lost}
	root := newRootCommand(term)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(term)
	err := root.ExecuteContext(working)
	if err == nil && ctx.Err() == nil {
		err = context.Cause(working)
	}
	status := exitStatus(err)
	if err != nil && ctx.Err() != nil {
		status = exitCancelled
	}
	term.exit(err, status)
	return status
}

// The groups that `kedge --help` sorts the commands into: the users' questions, in order.
const (
	groupRepository = "repository"
	groupEstate     = "estate"
	groupProve      = "prove"
	groupDaemon     = "daemon"
)

func newRootCommand(term *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:   "kedge",
		Short: "Cyber-recovery: protect services, prove that they would come back, and bring them back",
		Long: `kedge keeps an organisation's information services recoverable: it protects them to
restic-format repositories, has a second site pull and verify a copy, restores that copy
to a sandbox and asks the services questions, notices an attack, shuts what was hit and
only that, and brings it back clean.`,
		Example: `  kedge exercise                              see the whole of it on an example estate
  kedge init -r /srv/repository               create a repository (RESTIC_PASSWORD_FILE or --password-file)
  kedge backup -r /srv/repository /srv/files  store a snapshot
  kedge assess -r /srv/repository             which snapshots are clean, which files were damaged
  kedge drill --estate /etc/kedge/kedge.yaml  restore everything to a sandbox, start it, ask it`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolVar(&term.json, "json", false, "print JSON, one object a line")
	root.PersistentFlags().BoolVarP(&term.quiet, "quiet", "q", false, "print results only, no progress")
	root.PersistentFlags().CountVarP(&term.verbose, "verbose", "v", "tell more (-vv: of every file)")
	addLeadingFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupProve, Title: "See it and prove it:"},
		&cobra.Group{ID: groupEstate, Title: "Services (need --estate, or KEDGE_ESTATE):"},
		&cobra.Group{ID: groupRepository, Title: "Repositories (need -r, or KEDGE_REPOSITORY or RESTIC_REPOSITORY):"},
		&cobra.Group{ID: groupDaemon, Title: "Daemons:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupProve, newExerciseCommand(term), newEvidenceCommand(term))
	add(groupEstate, newDrillCommand(term), newRecoverCommand(term), newWebCommand(term))
	rebuildIndex := newRepairIndexCommand(term, "rebuild-index") // restic's older name
	rebuildIndex.Hidden = true
	add(groupRepository, newInitCommand(term), newBackupCommand(term), newSnapshotsCommand(term), newLsCommand(term), newFindCommand(term), newDiffCommand(term), newDumpCommand(term), newMountCommand(term),
		newRestoreCommand(term), newCheckCommand(term), newMirrorCommand(term), newAssessCommand(term), newHuntCommand(term),
		newForgetCommand(term), newPruneCommand(term), newCopyCommand(term), newTagCommand(term), newStatsCommand(term), newKeyCommand(term), newUnlockCommand(term), newRetainCommand(term), newCacheCommand(term),
		newCatCommand(term), newListCommand(term), newRepairCommand(term), rebuildIndex)
	add(groupDaemon, newAgentCommand(term), newWatchCommand(term), newVaultCommand(term), newServeCommand(term))
	root.AddCommand(newApplicationCommand(), newVersionCommand(term))
	return root
}
