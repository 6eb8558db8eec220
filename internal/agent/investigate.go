package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/contain"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/investigate"
	"github.com/kedge-project/kedge/restore"
)

// Findings are what an investigation found: the fact on the record, and per file what to bring back from where.
type Findings struct {
	event.InvestigationFinished
	Trees map[string]restore.SetTree  // by service/asset: of file trees, all that was damaged, where the fact's lists are bounded
	Files map[string][]assess.Damaged // by service/asset: of databases
	Goals map[string]Goal             // by service/asset: of databases for which a person chose a state
	// Unread is what could not be read of the copies, and was not judged: what is damaged there is not brought back.
	Unread []assess.Unread
}

// cleanPoint returns the point to bring a cluster back to, if it was damaged.
func (f Findings) cleanPoint(service, name string) (event.CleanPoint, bool) {
	for _, p := range f.CleanPoints {
		if p.Service == service && p.Asset == name && (p.XID != 0 || p.LSN != "") {
			return p, true
		}
	}
	return event.CleanPoint{}, false
}

// Affected returns the services and those that need them, in the order in which they are shut.
func (a *Agent) Affected(services []string) []string {
	order, _ := contain.Affected(a.estate, services)
	return order
}

// Investigate reads the history of the services' assets in the copy, and the access logs: what was damaged, when each
// asset was last clean, and how they got in. signals are what was raised, if anything was: a file that one names is
// looked at whatever it looks like.
func (a *Agent) Investigate(ctx context.Context, incident string, services []string, signals []event.Signal) (Findings, error) {
	f := Findings{Trees: map[string]restore.SetTree{}, Files: map[string][]assess.Damaged{}}
	var shells []investigate.Shell
	var logs []string
	err := a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		switch declared.Kind {
		case "postgres":
			return a.addCluster(ctx, &f, service, declared, signals)
		case "sqlite", "command":
			return a.investigateDatabase(ctx, &f, service, declared, signals)
		}
		series, unread, err := a.assessTree(ctx, service, declared, signals)
		if err != nil {
			return fmt.Errorf("assess %s: %w", assetKey(service.Name, declared.Name), err)
		}
		f.Unread = append(f.Unread, unread...)
		f.addTree(service, declared, series)
		shells = append(shells, shellsOf(service, signals)...)
		return nil
	})
	if err != nil {
		return Findings{}, err
	}
	for _, name := range services {
		service, err := a.estate.Service(name)
		if err != nil {
			return Findings{}, err
		}
		logs = append(logs, service.Watch.AccessLogs...)
	}
	if len(shells) > 0 && len(logs) > 0 {
		found, err := investigate.Entry(ctx, logs, shells)
		if err != nil {
			return Findings{}, err
		}
		found.Fill(&f.InvestigationFinished)
	}
	return f, a.append(ctx, f.InvestigationFinished, about{incident: incident})
}

// assessTree judges the history of one file asset, and tells what of it could not be read. The newest snapshot is what the
// adversary left.
func (a *Agent) assessTree(ctx context.Context, service *estate.Service, declared estate.Asset, signals []event.Signal) (assess.Series, []assess.Unread, error) {
	r, _, err := a.copyOf(ctx, service.Repository)
	if err != nil {
		return assess.Series{}, nil, err
	}
	var hints []event.Signal
	for _, s := range signals {
		if s.Service == service.Name {
			hints = append(hints, s)
		}
	}
	result, err := assess.Run(ctx, r, assess.Options{Filter: assetFilter(service.Name, declared.Name), Hints: hints, Documents: service.Watch.DocumentRoot})
	if err != nil {
		return assess.Series{}, nil, err
	}
	if len(result.Series) != 1 {
		return assess.Series{}, nil, fmt.Errorf("the copy holds %d series of snapshots, want 1", len(result.Series))
	}
	return result.Series[0], result.Unread, nil
}

func (f *Findings) addTree(service *estate.Service, declared estate.Asset, series assess.Series) {
	if len(series.Damaged) > 0 {
		f.Trees[assetKey(service.Name, declared.Name)] = series.RestoreTree()
	}
	if series.LastClean != nil {
		point := event.CleanPoint{Service: service.Name, Asset: declared.Name, Snapshot: series.LastClean.String()}
		for _, sn := range series.Snapshots {
			if sn.ID == *series.LastClean {
				point.Time = sn.Time.UTC()
			}
		}
		f.CleanPoints = append(f.CleanPoints, point)
	}
	for _, d := range series.Damaged {
		if d.LastClean != nil {
			f.DamagedN++
			f.Damaged = appendBounded(f.Damaged, d.Path)
		}
		if path, left := d.Leftover(); left {
			f.AddedN++
			f.Added = appendBounded(f.Added, path)
		}
	}
}

// addCluster takes the first bad transaction from the signals about a cluster; if none counts, from its history of the last day or so.
func (a *Agent) addCluster(ctx context.Context, f *Findings, service *estate.Service, declared estate.Asset, signals []event.Signal) error {
	point, bad := lastCleanPoint(service.Name, declared.Name, signals)
	if !bad {
		series, err := a.assessCluster(ctx, service, declared, maxInvestigated)
		if err != nil {
			return fmt.Errorf("assess %s: %w", assetKey(service.Name, declared.Name), err)
		}
		if series.LastClean != nil && series.FirstBad != nil {
			point = *series.LastClean
		}
	}
	f.CleanPoints = append(f.CleanPoints, point)
	return nil
}

const (
	// counted is the strength from which a signal makes an incident, and moves the last clean point of a cluster: what every deployment raises
	// is weaker.
	counted = 0.5
	// together is how long before the first such signal a weaker one belongs to it: an intruder's function before an intruder's change.
	together = time.Hour
)

// lastCleanPoint returns the moment just before the first bad transaction over all signals about a cluster; false, if there is none, and
// the point is now.
func lastCleanPoint(service, name string, signals []event.Signal) (event.CleanPoint, bool) {
	first := event.CleanPoint{Service: service, Asset: name, Time: time.Now().UTC()}
	bad := false
	consider := func(count func(s event.Signal, at time.Time) bool) {
		for _, s := range signals {
			point, ok := pointBefore(s)
			if !ok || s.Service != service || s.Asset != name || !count(s, point.Time) {
				continue
			}
			if !bad || point.Time.Before(first.Time) {
				first, bad = point, true
			}
		}
	}
	consider(func(s event.Signal, _ time.Time) bool { return s.Strength >= counted })
	if strong := first.Time; bad {
		consider(func(s event.Signal, at time.Time) bool { return strong.Sub(at) <= together })
	}
	return first, bad
}

// pointBefore returns the moment before what a signal about a cluster is about: its first transaction, or, if that is not known, the
// profile before it.
func pointBefore(s event.Signal) (event.CleanPoint, bool) {
	point := event.CleanPoint{Service: s.Service, Asset: s.Asset}
	if xid, lsn, commit, ok := transactionOf(s); ok {
		point.XID, point.LSN, point.Time = xid, lsn, commit
		return point, true
	}
	point.LSN, _ = s.Evidence["clean_lsn"].(string)
	point.Time = timeOf(s.Evidence["clean_time"])
	return point, point.LSN != "" && !point.Time.IsZero()
}

// transactionOf reads which transaction a signal is about. Evidence that came from the record went through JSON.
func transactionOf(s event.Signal) (xid uint32, lsn string, commit time.Time, ok bool) {
	switch n := s.Evidence["xid"].(type) {
	case uint32:
		xid = n
	case float64:
		xid = uint32(n)
	}
	lsn, _ = s.Evidence["lsn"].(string)
	commit = timeOf(s.Evidence["commit"])
	return xid, lsn, commit, xid != 0 && !commit.IsZero()
}

// timeOf reads a time of a signal's evidence; the zero time, if it is none.
func timeOf(value any) time.Time {
	switch at := value.(type) {
	case time.Time:
		return at
	case string:
		parsed, err := time.Parse(time.RFC3339Nano, at)
		if err == nil {
			return parsed
		}
	}
	return time.Time{}
}

// shellsOf lists the web shells that signals about a service name.
func shellsOf(service *estate.Service, signals []event.Signal) []investigate.Shell {
	var shells []investigate.Shell
	for _, s := range signals {
		if s.Service != service.Name || s.Technique != "T1505.003" {
			continue
		}
		for _, path := range s.Touched {
			shell := investigate.Shell{Path: path, Born: s.Time}
			if rel, err := filepath.Rel(service.Watch.DocumentRoot, path); err == nil && !strings.HasPrefix(rel, "..") {
				shell.URLPath = "/" + filepath.ToSlash(rel)
			}
			shells = append(shells, shell)
		}
	}
	return shells
}

func appendBounded(list []string, s string) []string {
	if len(list) < event.MaxTouched {
		list = append(list, s)
	}
	return list
}
