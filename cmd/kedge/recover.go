package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/wording"
)

type recoverFlags struct {
	estate   string
	incident string
	approver string
	dryRun   bool
	to       string
	before   bool
	from     string
	set      string // file that holds a restore set
}

func newRecoverCommand(term *terminal) *cobra.Command {
	var flags recoverFlags
	cmd := &cobra.Command{
		Use:   "recover --estate FILE SERVICE...",
		Short: "Bring services back to their last clean point from the second site's copy",
		Long: `Find the last clean point of each asset of the services, in the copy's history and in the
signals on the record; put what the attacker left in quarantine, restore what was damaged and nothing else, start the services
and ask them. Services that run are shut first, and with them those that need them. Run again
with the same --incident, it resumes.

--set takes what to bring back of file trees from a restore set that kedge assess --write-set wrote
of the repository or its copy, and that somebody looked through.

--to brings the services' PostgreSQL clusters back in another state than the last clean one, whether
they were damaged or not: the latest, or that at a time with its zone, at a WAL position, or at the
end of a transaction. Their SQLite databases and what commands dump go back to the newest snapshot
that is not later than the time.`,
		Example: `  kedge recover --estate /etc/kedge/kedge.yaml --dry-run website
  kedge recover --estate /etc/kedge/kedge.yaml --incident 2026-1 --approver "J. Smith" website
  kedge recover --estate /etc/kedge/kedge.yaml --approver "J. Smith" --to latest --from repository register`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.approver == "" && !flags.dryRun {
				return errors.New("recovery over live data needs an approver: give --approver NAME, or look first with --dry-run")
			}
			goal, err := flags.goal()
			if err != nil {
				return err
			}
			return withAgent(cmd.Context(), flags.estate, func(ctx context.Context, e *estate.Estate, a *agent.Agent) error {
				recorded, err := evidence.Read(ctx, filepath.Join(e.State, "record"))
				if err != nil {
					return err
				}
				standing := agent.StandingOf(recorded)
				if flags.incident == "" {
					flags.incident = cmp.Or(standing.Incident, standing.NewIncident(time.Now()))
				}
				return runRecover(ctx, term, a, &flags, goal, args, standing.Signals)
			})
		},
	}
	addEstateFlag(cmd, &flags.estate)
	cmd.Flags().StringVar(&flags.incident, "incident", "", "name of the incident (default: the one that is open on the record, else the day)")
	cmd.Flags().StringVar(&flags.approver, "approver", "", "who approved it")
	flags.to = lastClean
	addTargetFlags(cmd, &flags.to, &flags.before, "bring databases back to this `state`: last-clean, latest, a time with its zone, a WAL position, or a transaction ID")
	cmd.Flags().StringVar(&flags.from, "from", "copy", "with --to: read the second site's copy, or the repository")
	cmd.Flags().StringVar(&flags.set, "set", "", "bring file trees back as this `file`, a restore set, says")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "print the plan and do nothing")
	return cmd
}

// lastClean is the goal of a recovery unless another is named.
const lastClean = "last-clean"

// goal returns the state that clusters are brought back to; nil is the last clean one.
func (f *recoverFlags) goal() (*agent.Goal, error) {
	if f.from != "copy" && f.from != "repository" {
		return nil, fmt.Errorf("--from is %q: want copy or repository", f.from)
	}
	if f.to == lastClean {
		if f.before || f.from != "copy" {
			return nil, errors.New("--before and --from ask for a state by --to: the last clean one is just before the first bad transaction, and comes from the copy")
		}
		return nil, nil
	}
	to, err := postgres.ParseTarget(f.to, f.before)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	name := f.to
	if f.before {
		name = "just before " + name
	}
	return &agent.Goal{To: to, Name: name, FromCopy: f.from == "copy"}, nil
}

func runRecover(ctx context.Context, term *terminal, a *agent.Agent, flags *recoverFlags, goal *agent.Goal, services []string, signals []event.Signal) error {
	affected := a.Affected(services)
	findings, err := a.Investigate(ctx, flags.incident, affected, signals)
	if err != nil {
		return err
	}
	if goal != nil {
		if err := a.Aim(ctx, &findings, services, *goal); err != nil {
			return err
		}
	}
	if flags.set != "" {
		set, err := readSet(flags.set)
		if err != nil {
			return err
		}
		if err := a.UseSet(ctx, &findings, affected, set); err != nil {
			return err
		}
	}
	for i, u := range findings.Unread {
		if i == someLines {
			term.warn("… and %s more could not be read", wording.Count(int64(len(findings.Unread)-i)))
			break
		}
		term.warn("not assessed, and not brought back: %s: %s", wording.Plain(u.Path), u.Error)
	}
	plan, err := a.Plan(flags.incident, affected, findings)
	if err != nil {
		return err
	}
	for _, step := range plan {
		term.printf("%s", step)
	}
	if flags.dryRun {
		return term.object(map[string]any{"message_type": "plan", "steps": plan, "damaged": findings.DamagedN, "added": findings.AddedN})
	}
	if err := a.Shut(ctx, flags.incident, affected); err != nil {
		return err
	}
	if err := a.Recover(ctx, flags.incident, flags.approver, affected, findings); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := a.CloseIncident(ctx, flags.incident, "Recovered: every probe of the services answered."); err != nil {
		return err
	}
	term.printf("recovered: %d damaged files brought back, %d put in quarantine", findings.DamagedN, findings.AddedN)
	return term.object(map[string]any{"message_type": "summary", "result": "recovered", "steps": plan, "damaged": findings.DamagedN, "added": findings.AddedN})
}
