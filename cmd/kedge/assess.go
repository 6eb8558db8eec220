package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
)

func newAssessCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var filter filterFlags
	var estateFile string
	cmd := &cobra.Command{
		Use:   "assess {-r REPOSITORY | --estate FILE [SERVICE]...}",
		Short: "Tell which snapshots are clean, which files were damaged, and their last clean versions",
		Long: `Read a repository's history, restic's too, from its indexes and trees, and little else: which
snapshots are clean, suspect or compromised, when it began, which files were damaged, and
the last clean version of each. The repository is only read.

With --estate, the history of the services' assets in the second site's copy. Of a PostgreSQL cluster that is what it looked like at
each capture and the transactions between: rows changed in bulk or one by one, roles that can do more, new or changed functions,
scripts in text; with the first bad transaction and who did it, where the server's log (watch: database_logs) has it.`,
		Example: "  kedge assess -r /srv/repository\n  kedge assess -r /srv/repository --host fs1 --json\n  kedge assess --estate /etc/kedge/kedge.yaml register",
		RunE: func(cmd *cobra.Command, args []string) error {
			if estateFile != "" {
				return runAssessEstate(cmd.Context(), term, estateFile, args)
			}
			if len(args) > 0 {
				return errors.New("services are of an estate: name it with --estate")
			}
			r, err := flags.open(cmd.Context())
			if err != nil {
				return err
			}
			result, err := assess.History(cmd.Context(), r, filter.filter(), nil)
			if err != nil {
				return err
			}
			printAssessment(term, result)
			return term.object(result)
		},
	}
	flags.add(cmd)
	filter.add(cmd)
	// KEDGE_ESTATE is no default: a repository may be named by KEDGE_REPOSITORY as well.
	cmd.Flags().StringVar(&estateFile, "estate", "", "estate file: assess the assets of its services, or of those that are named")
	return cmd
}

func printAssessment(term *terminal, result assess.Result) {
	for _, series := range result.Series {
		printSeries(term, series)
	}
	term.printf("read %s of %s in %.1f s", wording.Size(result.Read.Bytes), wording.Size(result.Read.Repository), result.Read.Seconds)
}

func printSeries(term *terminal, series assess.Series) {
	term.printf("%s on %s", strings.Join(series.Paths, ", "), series.Host)
	for _, sn := range series.Snapshots {
		term.printf("  %s  %s  %-11s  %s", sn.ID.Short(), sn.Time.UTC().Format(time.RFC3339), sn.Verdict, reasons(sn.Signals))
	}
	if series.FirstBad == nil {
		return
	}
	term.printf("  damage began in snapshot %s; %d files are not as they should be:", series.FirstBad.Short(), len(series.Damaged))
	for _, d := range series.Damaged {
		if d.LastClean == nil {
			term.printf("    %s  was added (%s)", d.Path, strings.Join(d.Signals, ", "))
			continue
		}
		term.printf("    %s  last clean in %s (%s)", d.Path, d.LastClean.Short(), strings.Join(d.Signals, ", "))
	}
}

func reasons(signals []assess.Signal) string {
	list := make([]string, 0, len(signals))
	for _, s := range signals {
		text := s.Kind + " (" + s.Technique + ")"
		if subject, ok := s.Evidence["subject"].(string); ok {
			text += " " + subject
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// runAssessEstate assesses the assets of the named services, or of all.
func runAssessEstate(ctx context.Context, term *terminal, estateFile string, services []string) error {
	return withAgent(ctx, estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
		result, err := a.Assess(ctx, services)
		if err != nil {
			return err
		}
		for _, series := range result.Series {
			switch series := series.(type) {
			case agent.TreeSeries:
				term.printf("%s/%s:", series.Service, series.Asset)
				printSeries(term, series.Series)
			case agent.ClusterSeries:
				printCluster(term, series)
			}
		}
		return term.object(result)
	})
}

func printCluster(term *terminal, series agent.ClusterSeries) {
	term.printf("%s/%s:", series.Service, series.Asset)
	if len(series.Snapshots) == 0 {
		term.printf("  nothing tells what it looked like: kedge backup --estate keeps that with each base backup")
	}
	for _, sn := range series.Snapshots {
		term.printf("  %s  %s  %-11s  %s", sn.ID.Short(), sn.Time.UTC().Format(time.RFC3339), sn.Verdict, reasons(sn.Signals))
	}
	for _, l := range series.LeftOut {
		term.printf("  not looked at: %s: %s", l.What, l.Reason)
	}
	if bad := series.FirstBad; bad != nil {
		who := ""
		if bad.By != "" {
			who = fmt.Sprintf(" by %s from %s (process %d)", bad.User, bad.Client, bad.PID)
		}
		term.printf("  it began with transaction %d at %s, %s%s", bad.XID, bad.LSN, bad.Time.Format(time.RFC3339Nano), who)
		term.printf("  last clean just before: kedge recover --estate FILE --approver NAME %s", series.Service)
	}
}
