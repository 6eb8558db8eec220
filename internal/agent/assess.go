package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/detect/database"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/internal/serverlog"
	"github.com/kedge-project/kedge/internal/wording"
)

// Assessment is the history of services' assets. Each series is a TreeSeries or a ClusterSeries, in the estate's order.
type Assessment struct {
	Series []any `json:"series"`
}

// TreeSeries is the history of a file tree.
type TreeSeries struct {
	Service string `json:"service"`
	Asset   string `json:"asset"`
	Kind    string `json:"kind"` // as the estate declares it
	assess.Series
	Unread []assess.Unread `json:"unread,omitempty"` // what could not be read of the copy, and was not judged
}

// ClusterSeries is the history of a PostgreSQL cluster: its profiles, the oldest first, each judged by those before it and by the transactions between.
type ClusterSeries struct {
	Service   string            `json:"service"`
	Asset     string            `json:"asset"`
	Kind      string            `json:"kind"`
	Snapshots []ClusterSnapshot `json:"snapshots"`
	FirstBad  *FirstBad         `json:"first_bad"`  // nil if there is none
	LastClean *event.CleanPoint `json:"last_clean"` // just before it; the newest profile if there is none; nil without any
	// LeftOut is what the newest profile could not see.
	LeftOut []profile.LeftOut `json:"left_out,omitempty"`
}

// FirstBad is the first transaction that should not have been, as far as it is known.
type FirstBad struct {
	XID  uint32    `json:"xid,omitempty"`
	LSN  string    `json:"lsn"`
	Time time.Time `json:"time"`
	serverlog.Who
}

// ClusterSnapshot is the verdict on one profile. What was bad in one is in those after it.
type ClusterSnapshot struct {
	ID         blob.ID         `json:"id"`
	Time       time.Time       `json:"time"`
	LSN        string          `json:"lsn"`
	Verdict    assess.Verdict  `json:"verdict"`
	Confidence float64         `json:"confidence"` // 0 to 1
	Signals    []assess.Signal `json:"signals"`    // that this profile and the transactions before it raised
}

// Assess judges the history of the services' assets in the copy. Assets of other kinds than files and PostgreSQL have none that is judged.
func (a *Agent) Assess(ctx context.Context, services []string) (Assessment, error) {
	result := Assessment{Series: []any{}}
	err := a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		switch declared.Kind {
		case "files":
			series, unread, err := a.assessTree(ctx, service, declared, nil)
			if err != nil {
				return fmt.Errorf("assess %s: %w", assetKey(service.Name, declared.Name), err)
			}
			result.Series = append(result.Series, TreeSeries{service.Name, declared.Name, declared.Kind, series, unread})
		case "postgres":
			series, err := a.assessCluster(ctx, service, declared, maxAssessed)
			if err != nil {
				return fmt.Errorf("assess %s: %w", assetKey(service.Name, declared.Name), err)
			}
			result.Series = append(result.Series, series)
		}
		return nil
	})
	return result, err
}

const (
	// maxAssessed is how many profiles of a cluster are judged: three weeks of them, one an hour.
	maxAssessed = 500
	// maxInvestigated is how many are, with the WAL since, while a recovery waits: a day of them.
	maxInvestigated = 25
)

// assessCluster judges a cluster's newest profiles, at most so many, and the WAL that was captured since the first of them.
func (a *Agent) assessCluster(ctx context.Context, service *estate.Service, declared estate.Asset, most int) (ClusterSeries, error) {
	series := ClusterSeries{Service: service.Name, Asset: declared.Name, Kind: declared.Kind, Snapshots: []ClusterSnapshot{}}
	r, _, err := a.copyOf(ctx, service.Repository)
	if err != nil {
		return series, err
	}
	names := postgres.Names{}
	var profiles []postgres.StoredProfile
	older, err := postgres.EachProfile(ctx, r, service.Name, declared.Name, most, func(p postgres.StoredProfile) error {
		if len(p.Databases) > 0 { // else it saw nothing
			profiles = append(profiles, p)
			names.Add(p.Profile)
		}
		series.LeftOut = p.LeftOut
		return nil
	})
	if err != nil || len(profiles) == 0 {
		return series, err
	}
	if older > 0 {
		series.LeftOut = append(series.LeftOut, profile.LeftOut{What: wording.Number(int64(older), "older profile"), Reason: fmt.Sprintf("the newest %d are judged", most)})
	}
	dir, err := os.MkdirTemp("", "kedge-assess-")
	if err != nil {
		return series, fmt.Errorf("make room for WAL: %w", err)
	}
	defer os.RemoveAll(dir)
	h := history{judge: database.NewJudge(service.Name, declared.Name), profiles: profiles, found: make([][]event.Signal, len(profiles))}
	_, err = postgres.EachTransaction(ctx, r, service.Name, declared, dir, profiles[0].LSN, func(tx postgres.Transaction) error {
		return h.take(nameTransaction(names, tx))
	})
	if err != nil && !errors.Is(err, postgres.ErrNoWAL) {
		return series, err
	}
	if err := h.finish(); err != nil {
		return series, err
	}
	if err := h.attribute(ctx, service.Watch.DatabaseLogs); err != nil {
		return series, err
	}
	h.tell(&series)
	return series, nil
}

// history judges profiles and the transactions between them in the order in which they were.
type history struct {
	judge    *database.Judge
	profiles []postgres.StoredProfile
	next     int // of profiles
	found    [][]event.Signal
	pending  []database.Transaction // not judged yet
}

// maxPending is how many transactions are judged at once.
const maxPending = 1000

// take takes the next transaction.
func (h *history) take(tx database.Transaction) error {
	for h.next < len(h.profiles) && database.After(tx, h.profiles[h.next].Profile) {
		if err := h.turn(); err != nil {
			return err
		}
	}
	h.pending = append(h.pending, tx)
	if len(h.pending) >= maxPending {
		return h.flush()
	}
	return nil
}

// flush judges what is pending: what was before the first profile is taken for ordinary, and what is after the newest belongs to it.
func (h *history) flush() error {
	pending := h.pending
	h.pending = nil
	if h.next == 0 {
		return h.judge.Learn(pending)
	}
	signals, err := h.judge.Transactions(pending)
	at := min(h.next, len(h.profiles)-1)
	h.found[at] = append(h.found[at], signals...)
	return err
}

// turn judges the next profile.
func (h *history) turn() error {
	if err := h.flush(); err != nil {
		return err
	}
	h.found[h.next] = append(h.found[h.next], h.judge.Profile(&h.profiles[h.next].Profile)...)
	h.next++
	return nil
}

func (h *history) finish() error {
	for h.next < len(h.profiles) {
		if err := h.turn(); err != nil {
			return err
		}
	}
	if err := h.flush(); err != nil {
		return err
	}
	last := len(h.found) - 1
	h.found[last] = append(h.found[last], h.judge.Suspects()...)
	return nil
}

// all returns all signals in the order in which they were raised.
func (h *history) all() []event.Signal {
	var all []event.Signal
	for _, signals := range h.found {
		all = append(all, signals...)
	}
	return all
}

// attribute names the sessions of the first transactions, as the newest profile says that the log is written.
func (h *history) attribute(ctx context.Context, logs []string) error {
	all := h.all()
	newest := h.profiles[len(h.profiles)-1]
	sessions, err := serverlog.Find(ctx, logs, serverlog.Format{LinePrefix: newest.LogLinePrefix, Timezone: newest.LogTimezone}, database.FirstTransactions(all))
	if errors.Is(err, os.ErrNotExist) {
		return nil // another host, or an old log: the history stands without it
	}
	if err != nil {
		return err
	}
	database.Attribute(all, sessions)
	return nil
}

// tell fills in the verdicts.
func (h *history) tell(series *ClusterSeries) {
	var carried []event.Signal // what later profiles hold too
	for i, p := range h.profiles {
		s := ClusterSnapshot{ID: p.Snapshot.ID, Time: p.Time, LSN: p.LSN, Signals: []assess.Signal{}}
		for _, found := range h.found[i] {
			found.Evidence["subject"], found.Evidence["count"] = found.Subject, found.Count
			s.Signals = append(s.Signals, assess.Signal{Kind: found.Kind, Technique: found.Technique, Strength: found.Strength, Evidence: found.Evidence})
		}
		s.Verdict, s.Confidence = verdict(append(carried, h.found[i]...))
		for _, found := range h.found[i] {
			if found.Strength >= counted {
				carried = append(carried, found)
			}
		}
		series.Snapshots = append(series.Snapshots, s)
	}
	newest := h.profiles[len(h.profiles)-1]
	point, bad := lastCleanPoint(series.Service, series.Asset, h.all())
	if !bad {
		point.Time, point.LSN, point.Snapshot = newest.Time, newest.LSN, newest.Snapshot.ID.String()
		series.LastClean = &point
		return
	}
	series.LastClean = &point
	series.FirstBad = &FirstBad{XID: point.XID, LSN: point.LSN, Time: point.Time}
	for _, s := range h.all() {
		if xid, _, _, ok := transactionOf(s); ok && xid == point.XID {
			series.FirstBad.Who = database.SessionOf(s)
		}
	}
}

// compromisedStrength is the strength from which one signal alone makes a cluster compromised.
const compromisedStrength = 0.8

// verdict weighs the signals about one state of a cluster.
func verdict(signals []event.Signal) (assess.Verdict, float64) {
	techniques := map[string]bool{}
	strongest := 0.0
	for _, s := range signals {
		techniques[s.Technique] = true
		strongest = max(strongest, s.Strength)
	}
	switch {
	case len(signals) == 0:
		return assess.Clean, 0.9
	case strongest >= compromisedStrength, len(techniques) >= 2 && strongest >= counted:
		return assess.Compromised, min(0.99, max(compromisedStrength, strongest))
	}
	return assess.Suspect, 0.5
}
