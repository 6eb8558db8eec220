package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

func newAgentCommand(term *terminal) *cobra.Command {
	var estateFile string
	var opt agent.RunOptions
	cmd := &cobra.Command{
		Use:   "agent --estate FILE",
		Short: "Run a protected host's agent: capture everything, databases continuously",
		Long: `Capture every asset of the estate now and each --interval, until SIGTERM or SIGINT. PostgreSQL
clusters are captured continuously: WAL is stored at each segment's end and at most --within after
a commit, base backups are taken each --base-interval, and at once when the server has lost WAL that
was not captured. What changed between two snapshots of files is looked at for signs of an attack, as
databases and pages are; the first signal that counts opens an incident on the record, which others join.

What goes wrong with one asset is said once, tried again, and does not stop the others. The last WAL is stored before the agent ends.

An asset with "synchronous: true" lets commits wait until the repository has them: name its
replication slot, kedge_SERVICE_ASSET, in the server's synchronous_standby_names. While the
repository takes nothing, or a prune has it locked, no commit returns then.`,
		Example: "  kedge agent --estate /etc/kedge/kedge.yaml\n  kedge agent --estate /etc/kedge/kedge.yaml --interval 15m --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgent(cmd.Context(), term, estateFile, opt)
		},
	}
	addEstateFlag(cmd, &estateFile)
	f := cmd.Flags()
	f.DurationVar(&opt.Interval, "interval", time.Hour, "time between captures of what is not captured continuously")
	f.DurationVar(&opt.BaseInterval, "base-interval", 24*time.Hour, "time between base backups of a cluster")
	f.DurationVar(&opt.Within, "within", 10*time.Second, "a commit is in the repository at most so much later")
	return cmd
}

func runAgent(ctx context.Context, term *terminal, estateFile string, opt agent.RunOptions) error {
	if estateFile == "" {
		return errors.New("no estate named: give --estate, or set KEDGE_ESTATE")
	}
	if opt.Interval <= 0 || opt.BaseInterval <= 0 || opt.Within <= 0 {
		return errors.New("--interval, --base-interval and --within must be longer than 0")
	}
	e, err := estate.Load(estateFile)
	if err != nil {
		return err
	}
	record := &briefRecord{estate: e, every: opt.Interval, unsigned: func(err error) {
		term.warn("kedge: have the record cosigned: %v (nothing is lost: it is tried again with the next fact)", err)
	}}
	a := agent.Open(e, openBackend, record)
	defer a.Close()
	opt.Say = func(s agent.Said) {
		if term.json {
			term.tell(s)
			return
		}
		if s.Kind == "wal" && term.verbose == 0 {
			return
		}
		who := s.Service
		if s.Asset != "" {
			who += "/" + s.Asset
		}
		term.printf("%s %-9s %s: %s", s.Time.Format(time.RFC3339), s.Kind, who, s.Text)
	}
	return a.Run(ctx, opt)
}

// briefRecord opens the record for each fact, and closes it again: other commands append to it while the agent runs. Every so often it
// has the record cosigned.
type briefRecord struct {
	estate   *estate.Estate
	every    time.Duration
	unsigned func(error) // told when it could not be cosigned

	mu     sync.Mutex
	signed time.Time
}

func (b *briefRecord) Append(ctx context.Context, e event.Event) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	record, witnessed, err := openRecord(ctx, b.estate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	if err := record.Append(ctx, e); err != nil {
		return err
	}
	if !witnessed || time.Since(b.signed) < b.every {
		return nil
	}
	if err := record.Checkpoint(ctx); err != nil {
		b.unsigned(err) // the fact is on the record all the same
		return nil
	}
	b.signed = time.Now()
	return nil
}
