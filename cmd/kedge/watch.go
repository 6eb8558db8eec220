package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/detect/live"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/fileevent"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// renewal is how often a newer snapshot is looked for.
const renewal = 5 * time.Minute

func newWatchCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var estateFile string
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "watch {--estate FILE | [-r REPOSITORY] DIR...}",
		Short: "Notice an attack on files while it happens",
		Long: `Watch until SIGTERM or SIGINT, and print a line for each signal: files being encrypted, renamed, packed away or wiped, and ransom
notes. As root, whole file systems are watched by fanotify and signals name the process; else directories by inotify, which tells
none. Nothing is captured: kedge agent does that, in a process of its own.

With directories: these. With -r, files are compared with what the repository's newest snapshot knows of them, which finds
more; the repository is only read.

With --estate: all file assets of the services, each compared with its newest snapshot, and the pages each --interval. Signals
go on the record, where kedge recover finds them: the first one that counts opens an incident, the others join it. In the directories that watch: canaries names, files are kept that nobody
has reason to touch: whoever changes, renames or deletes one is told at once. Where watch: freeze is true, the process that
damages a service's files is stopped where it stands, with its group, never ended; kedge watch thaw lets it go on. It may be
the service's own, which then answers no more.

The first line says when the watch stands. With --json each line is an object: its message_type is "watching", "signal" (with the
signal's fields beside it), "incident", "frozen", "canary", "note", "trouble", "mended", or "summary", which is the last.`,
		Example: `  kedge watch /srv/files
  kedge watch -r /srv/repository /srv/files /srv/www
  kedge watch --json /srv/files | jq -r 'select(.message_type == "signal").touched[]'
  kedge watch --estate /etc/kedge/kedge.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && cmd.Flags().Changed("estate"):
				return errors.New("an estate says itself what is watched: leave out either --estate or the directories")
			case len(args) > 0:
				return runWatch(cmd.Context(), term, &flags, args)
			case estateFile == "":
				return errors.New("nothing to watch: name directories, or an estate with --estate or KEDGE_ESTATE")
			case interval <= 0:
				return errors.New("--interval must be longer than 0")
			}
			return runWatchEstate(cmd.Context(), term, estateFile, interval)
		},
	}
	flags.add(cmd)
	addEstateFlag(cmd, &estateFile)
	cmd.Flags().DurationVar(&interval, "interval", time.Minute, "with --estate: time between two looks at pages, and for newer snapshots")
	cmd.AddCommand(newThawCommand(term), newCanariesCommand(term))
	return cmd
}

func newThawCommand(term *terminal) *cobra.Command {
	var estateFile string
	cmd := &cobra.Command{
		Use:     "thaw --estate FILE [PID]...",
		Short:   "Let processes go on that kedge watch has frozen: all, or those named",
		Example: "  kedge watch thaw --estate /etc/kedge/kedge.yaml\n  kedge watch thaw --estate /etc/kedge/kedge.yaml 4711",
		RunE: func(cmd *cobra.Command, args []string) error {
			var pids []int
			for _, arg := range args {
				pid, err := strconv.Atoi(arg)
				if err != nil || pid <= 0 {
					return fmt.Errorf("%q is no number of a process", arg)
				}
				pids = append(pids, pid)
			}
			return withAgent(cmd.Context(), estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
				thawed, err := a.Thaw(ctx, pids)
				for _, t := range thawed {
					term.printf("PID %d (%s) goes on, %s", t.PID, t.Executable, wording.Number(int64(t.Processes), "process"))
					term.tell(t)
				}
				if err == nil && len(thawed) == 0 {
					term.printf("nothing is frozen")
				}
				return err
			})
		},
	}
	addEstateFlag(cmd, &estateFile)
	return cmd
}

func newCanariesCommand(term *terminal) *cobra.Command {
	var estateFile string
	cmd := &cobra.Command{
		Use:     "canaries --estate FILE {list | remove}",
		Short:   "List the canaries that kedge watch has placed, or remove them all",
		Long:    "List the canaries that kedge watch has placed, or remove them all. One that holds something else by now is left where it is, and named.\nTake the directories out of watch: canaries first, or the next kedge watch places them again.",
		Example: "  kedge watch canaries list --estate /etc/kedge/kedge.yaml\n  kedge watch canaries remove --estate /etc/kedge/kedge.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "list" && args[0] != "remove" {
				return fmt.Errorf("%q is neither list nor remove", args[0])
			}
			if estateFile == "" {
				return errors.New("no estate named: give --estate, or set KEDGE_ESTATE")
			}
			e, err := estate.Load(estateFile)
			if err != nil {
				return err
			}
			set, err := agent.Open(e, openBackend, nil).OpenCanaries()
			if err != nil {
				return err
			}
			if args[0] == "list" {
				for _, f := range set.Files() {
					term.printf("%s  %s/%s", f.Path, f.Service, f.Asset)
				}
				return term.object(set.Files())
			}
			removed, err := set.Remove()
			term.printf("%s removed", wording.Number(int64(len(removed)), "file"))
			return errors.Join(err, term.object(removed))
		},
	}
	addEstateFlag(cmd, &estateFile)
	return cmd
}

func runWatchEstate(ctx context.Context, term *terminal, estateFile string, interval time.Duration) error {
	e, err := estate.Load(estateFile)
	if err != nil {
		return err
	}
	record := &briefRecord{estate: e, every: interval, unsigned: func(err error) {
		term.warn("kedge: have the record cosigned: %v (nothing is lost: it is tried again with the next fact)", err)
	}}
	a := agent.Open(e, openBackend, record)
	defer a.Close()
	sum, err := a.Live(ctx, agent.LiveOptions{
		Interval: interval,
		Raise:    func(s event.Signal) { printSignal(term, s) },
		Say: func(s agent.Said) {
			if term.json {
				term.tell(s)
				return
			}
			who := s.Service
			if s.Asset != "" {
				who += "/" + s.Asset
			}
			if who != "" {
				who += ": "
			}
			if s.Kind == "watching" {
				term.printf("%s", s.Text)
			} else {
				term.printf("%s  %s  %s%s", s.Time.Format(time.RFC3339), s.Kind, who, wording.Plain(s.Text))
			}
		},
	})
	if err != nil {
		return err
	}
	return printWatchSummary(term, sum)
}

// watchLine is one line of kedge watch --json.
type watchLine struct {
	Type string    `json:"message_type"`
	Time time.Time `json:"time"`
	Text string    `json:"text,omitempty"`
}

// signalLine is a signal with its type beside its fields.
type signalLine struct {
	Type string `json:"message_type"`
	event.Signal
}

func runWatch(ctx context.Context, term *terminal, flags *repositoryFlags, dirs []string) (err error) {
	roots, err := fileevent.Roots(dirs)
	if err != nil {
		return err
	}
	trees := make([]live.Tree, len(roots))
	for i, root := range roots {
		trees[i] = live.Tree{Paths: []string{root}}
	}
	if flags.location != "" || flags.locationFile != "" {
		r, err := flags.open(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, backend.Close(r.Backend())) }()
		if err := compareWithSnapshots(ctx, term, r, trees); err != nil {
			return err
		}
		renewing, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			renewSnapshots(renewing, term, r, trees)
		}()
		defer func() { stop(); <-done }()
	}
	say := func(kind, text string) {
		if kind == "trouble" && !term.json {
			term.warn("kedge: %s", text)
			return
		}
		term.printf("%s", text)
		term.tell(watchLine{kind, time.Now().UTC(), text})
	}
	w, err := live.Open(live.Options{
		Trees:   trees,
		Trouble: func(err error) { say("trouble", err.Error()) },
		Note:    func(text string) { say("note", text) },
		Raise:   func(_ context.Context, a live.Alarm) { printSignal(term, a.Signal) },
	})
	if err != nil {
		return err
	}
	say("watching", fmt.Sprintf("watching %s by %s", wording.Number(int64(len(roots)), "directory"), w.How()))
	sum, err := w.Run(ctx)
	if err != nil {
		return err
	}
	return printWatchSummary(term, sum)
}

func printSignal(term *terminal, s event.Signal) {
	term.tell(signalLine{"signal", s})
	of := ""
	if s.Service != "" {
		of = s.Service + "/" + s.Asset + ", "
	}
	who := "process unknown"
	if by := live.Blamed(s); by != "" {
		who = "by " + by
	}
	term.printf("%s  signal  %s%s (%s): %s in %s, strength %.2f, %s", s.Time.Format(time.RFC3339), of, s.Kind, s.Technique,
		wording.Number(int64(s.Count), "file"), wording.Plain(s.Subject), s.Strength, wording.Plain(who))
}

func printWatchSummary(term *terminal, sum live.Summary) error {
	term.printf("%s; %s looked at, %s of them compared whole, %s only glanced at; events were lost and looked for %s", wording.Number(sum.Signals, "signal"),
		wording.Number(sum.Files, "file"), wording.Count(sum.Close), wording.Count(sum.Skipped), wording.Number(sum.Losses, "time"))
	return term.object(struct {
		Type string `json:"message_type"`
		live.Summary
	}{"summary", sum})
}

// compareWithSnapshots gives each tree the newest snapshot that holds it.
func compareWithSnapshots(ctx context.Context, term *terminal, r *repo.Repository, trees []live.Tree) error {
	list, err := newestFirst(ctx, r)
	if err != nil {
		return err
	}
	for i := range trees {
		root := trees[i].Paths[0]
		sn, ok := newestOf(list, root)
		if !ok {
			term.warn("kedge: no snapshot holds %s: its files are judged by themselves", wording.Plain(root))
			continue
		}
		trees[i].Former = live.NewFormer(r, sn)
	}
	return nil
}

// renewSnapshots looks for newer snapshots until ctx ends.
func renewSnapshots(ctx context.Context, term *terminal, r *repo.Repository, trees []live.Tree) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := r.Refresh(ctx)
		var list []*snapshot.Snapshot
		if err == nil {
			list, err = newestFirst(ctx, r)
		}
		if err != nil {
			if ctx.Err() == nil {
				term.warn("kedge: look for a newer snapshot: %v", err)
			}
			continue
		}
		for _, t := range trees {
			if sn, ok := newestOf(list, t.Paths[0]); ok && t.Former != nil {
				t.Former.Use(sn)
			}
		}
	}
}

func newestFirst(ctx context.Context, r *repo.Repository) ([]*snapshot.Snapshot, error) {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b *snapshot.Snapshot) int { return b.Time.Compare(a.Time) })
	return list, nil
}

func newestOf(list []*snapshot.Snapshot, root string) (*snapshot.Snapshot, bool) {
	for _, sn := range list {
		if estate.Below(root, sn.Paths) || slices.ContainsFunc(sn.Paths, func(p string) bool { return strings.HasPrefix(p, root+"/") }) {
			return sn, true
		}
	}
	return nil, false
}
