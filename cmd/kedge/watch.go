package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
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
	cmd := &cobra.Command{
		Use:   "watch {[-r REPOSITORY] DIR...}",
		Short: "Notice an attack on files while it happens",
		Long: `Watch directories until SIGTERM or SIGINT, and print a line for each signal: files being encrypted, renamed or destroyed, and ransom
notes. With -r, files are compared with what the newest snapshot of the repository knows of them, which finds more; the repository is
only read. As root, whole file systems are watched by fanotify and the signals name the process; else directories by inotify, which tells none.

The first line says when the watch stands. With --json each line is an object: its message_type is "watching", "signal" (with the
signal's fields beside it), "note", "trouble" or "summary", which is the last.`,
		Example: `  kedge watch /srv/files
  kedge watch -r /srv/repository /srv/files /srv/www
  kedge watch --json /srv/files | while read -r line; do notify "$line"; done`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("nothing to watch: name directories")
			}
			return runWatch(cmd.Context(), term, &flags, args)
		},
	}
	flags.add(cmd)
	return cmd
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
		Raise:   func(_ context.Context, a live.Alarm) { printSignal(term, a) },
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

func printSignal(term *terminal, a live.Alarm) {
	s := a.Signal
	term.tell(signalLine{"signal", s})
	who := "process unknown"
	if len(a.Who) > 0 {
		who = "by " + a.Who[0].String()
	}
	term.printf("%s  %s  %s  %s in %s, strength %.2f, %s", s.Time.Format(time.RFC3339), s.Kind, s.Technique,
		wording.Number(int64(s.Count), "file"), wording.Plain(s.Subject), s.Strength, who)
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
		tree, ok := newestOf(list, root)
		if !ok {
			term.warn("kedge: no snapshot holds %s: its files are judged by themselves", wording.Plain(root))
			continue
		}
		trees[i].Former = live.NewFormer(r, tree)
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
			if tree, ok := newestOf(list, t.Paths[0]); ok && t.Former != nil {
				t.Former.Use(tree)
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

func newestOf(list []*snapshot.Snapshot, root string) (blob.ID, bool) {
	for _, sn := range list {
		if estate.Below(root, sn.Paths) || slices.ContainsFunc(sn.Paths, func(p string) bool { return strings.HasPrefix(p, root+"/") }) {
			return sn.Tree, true
		}
	}
	return blob.ID{}, false
}
