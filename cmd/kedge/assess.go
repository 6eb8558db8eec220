package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/wording"
)

func newAssessCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var filter filterFlags
	cmd := &cobra.Command{
		Use:   "assess -r REPOSITORY",
		Short: "Tell which snapshots are clean, which files were damaged, and their last clean versions",
		Long: `Read a repository's history, restic's too, from its indexes and trees, and little else: which
snapshots are clean, suspect or compromised, when it began, which files were damaged, and
the last clean version of each. The repository is only read.`,
		Example: "  kedge assess -r /srv/repository\n  kedge assess -r /srv/repository --host fs1 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	return cmd
}

func printAssessment(term *terminal, result assess.Result) {
	for _, series := range result.Series {
		term.printf("%s on %s", strings.Join(series.Paths, ", "), series.Host)
		for _, sn := range series.Snapshots {
			reasons := make([]string, 0, len(sn.Signals))
			for _, s := range sn.Signals {
				reasons = append(reasons, s.Kind+" ("+s.Technique+")")
			}
			term.printf("  %s  %s  %-11s  %s", sn.ID.Short(), sn.Time.UTC().Format(time.RFC3339), sn.Verdict, strings.Join(reasons, ", "))
		}
		if series.FirstBad == nil {
			continue
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
	term.printf("read %s of %s in %.1f s", wording.Size(result.Read.Bytes), wording.Size(result.Read.Repository), result.Read.Seconds)
}
