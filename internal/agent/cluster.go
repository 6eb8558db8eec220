package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/detect/database"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/internal/serverlog"
)

// clusterSource is a cluster as its detector sees it: the WAL in the spool, the server, and the server's log.
type clusterSource struct {
	agent    *Agent
	service  *estate.Service
	declared estate.Asset
	cluster  *postgres.Cluster
	reader   *postgres.Transactions
	names    postgres.Names
	unknown  map[postgres.Relation]bool // no table of that name is there any more
}

// maxUnknown bounds the names of tables that are gone.
const maxUnknown = 100_000

// Transactions implements database.Source.
func (c *clusterSource) Transactions(ctx context.Context) ([]database.Transaction, error) {
	committed, err := c.reader.Next(ctx)
	err = errors.Join(err, c.learnNames(ctx, committed))
	named := make([]database.Transaction, 0, len(committed))
	for _, tx := range committed {
		named = append(named, nameTransaction(c.names, tx))
	}
	return named, err
}

// learnNames asks the server for the tables that transactions name and that are not known: new ones, and ones that were rewritten.
func (c *clusterSource) learnNames(ctx context.Context, committed []postgres.Transaction) error {
	fresh := map[postgres.Relation]bool{}
	for _, tx := range committed {
		for r := range tx.Changes {
			if _, known := c.names.Look(r); !known && !c.unknown[r] {
				fresh[r] = true
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	p, err := postgres.ReadProfile(ctx, c.declared, postgres.ProfileOptions{NamesOnly: true})
	if err != nil {
		return err
	}
	c.names.Add(p)
	for r := range fresh {
		if _, known := c.names.Look(r); !known && len(c.unknown) < maxUnknown {
			c.unknown[r] = true
		}
	}
	return nil
}

// nameTransaction gives the tables of a transaction their names; one that is not known keeps its numbers.
func nameTransaction(names postgres.Names, tx postgres.Transaction) database.Transaction {
	named := database.Transaction{XID: tx.XID, LSN: tx.LSN, Commit: tx.Commit, Children: tx.Children, Tables: map[string]database.Counts{}}
	for relation, changes := range tx.Changes {
		name, known := names.Look(relation)
		switch {
		case !known:
			named.Tables[fmt.Sprintf("%d.%d", relation.Database, relation.RelFile)] = database.Counts(changes)
		case !name.System:
			named.Tables[name.Database+"."+name.Name] = database.Counts(changes)
		case name.Name != "":
			if named.Catalogs == nil {
				named.Catalogs = map[database.Catalog]database.Counts{}
			}
			named.Catalogs[database.Catalog{Database: name.Database, Name: name.Name}] = database.Counts(changes)
		}
	}
	return named
}

// Profile implements database.Source.
func (c *clusterSource) Profile(ctx context.Context, previous *profile.Profile, changed func(string) bool) (profile.Profile, error) {
	p, err := postgres.ReadProfile(ctx, c.declared, postgres.ProfileOptions{Previous: previous, Changed: func(db, file uint32) bool {
		name, known := c.names.Look(postgres.Relation{Database: db, RelFile: file})
		return !known || changed(name.Database+"."+name.Name)
	}})
	if err != nil {
		return profile.Profile{}, err
	}
	c.names.Add(p)
	return p, c.cluster.CatchUp(ctx)
}

// Store implements database.Source.
func (c *clusterSource) Store(ctx context.Context, p profile.Profile) error {
	r, err := c.agent.repository(ctx, c.service.Repository)
	if err != nil {
		return err
	}
	_, err = postgres.StoreProfile(ctx, r, c.service.Repository, c.service.Name, c.declared, p)
	return err
}

// Sessions implements database.Source.
func (c *clusterSource) Sessions(ctx context.Context, p *profile.Profile, wanted []serverlog.Transaction) (map[uint32]serverlog.Who, error) {
	format := serverlog.Format{LinePrefix: p.LogLinePrefix, Timezone: p.LogTimezone}
	return serverlog.Find(ctx, c.service.Watch.DatabaseLogs, format, wanted)
}

// profileCluster keeps what a cluster looks like beside the base backup that was just taken. A role that may only replicate sees nothing:
// that is no reason not to have a backup, and the profile says what it lacks.
func (a *Agent) profileCluster(ctx context.Context, service *estate.Service, declared estate.Asset) error {
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return err
	}
	previous, err := postgres.NewestProfile(ctx, r, service.Name, declared.Name)
	if err != nil {
		return err
	}
	p, err := postgres.ReadProfile(ctx, declared, postgres.ProfileOptions{Previous: previous})
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		p = postgres.UnseenProfile(err)
	}
	_, err = postgres.StoreProfile(ctx, r, service.Repository, service.Name, declared, p)
	return err
}

// addCluster watches a cluster's transactions and what it looks like. What was done before its newest stored profile is what it
// takes for ordinary.
func (w *Watch) addCluster(ctx context.Context, service *estate.Service, declared estate.Asset) error {
	key := assetKey(service.Name, declared.Name)
	s := w.agent.streams[key]
	if s == nil {
		return fmt.Errorf("the WAL of %s is not being streamed: protect it first", key)
	}
	rows, err := w.agent.newDetector(ctx, service, declared, s.cluster)
	if err != nil {
		return err
	}
	w.clusters = append(w.clusters, watchedCluster{service, declared})
	w.detectors = append(w.detectors, rows)
	return nil
}

// maxRemembered is how many stored profiles say what is usual: a week of them, one an hour.
const maxRemembered = 168

// newDetector makes the detector of a cluster whose WAL is being streamed. It knows what stored profiles say.
func (a *Agent) newDetector(ctx context.Context, service *estate.Service, declared estate.Asset, cluster *postgres.Cluster) (*database.Detector, error) {
	reader, err := postgres.ReadTransactions(declared.Bin, cluster.WAL(), "")
	if err != nil {
		return nil, err
	}
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return nil, err
	}
	source := &clusterSource{
		agent: a, service: service, declared: declared, cluster: cluster, reader: reader,
		names: postgres.Names{}, unknown: map[postgres.Relation]bool{},
	}
	judge := database.NewJudge(service.Name, declared.Name)
	_, err = postgres.EachProfile(ctx, r, service.Name, declared.Name, maxRemembered, func(p postgres.StoredProfile) error {
		judge.Remember(p.Profile)
		if len(p.Databases) > 0 {
			judge.Resume(p.Profile)
		}
		source.names.Add(p.Profile)
		return nil
	})
	if err != nil {
		return nil, err
	}
	d := database.New(service.Name, declared.Name, source, judge)
	if err := d.Learn(ctx); err != nil {
		return nil, fmt.Errorf("learn what is ordinary in %s: %w", assetKey(service.Name, declared.Name), err)
	}
	return d, nil
}

// watchCluster looks at a cluster that is being kept, every interval until ctx ends, and puts what it finds on the record. Trouble
// with it does not stop the capture.
func (r *run) watchCluster(ctx context.Context, service *estate.Service, declared estate.Asset, cluster *postgres.Cluster, interval time.Duration) {
	about := about{service: service.Name, asset: declared.Name}
	watch := about
	watch.asset += " (watch)" // its trouble is another than the capture's
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var d *database.Detector
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var signals []event.Signal
		var err error
		if d == nil {
			d, err = r.newDetector(ctx, service, declared, cluster)
		}
		if err == nil {
			signals, err = d.Detect(ctx)
		}
		for _, s := range signals {
			r.say("signal", about, fmt.Sprintf("%s %s %s, strength %.2f", s.Technique, s.Kind, s.Subject, s.Strength), nil, nil)
			r.note(event.SignalRaised{Signal: s}, about)
		}
		if ctx.Err() == nil {
			r.trouble(watch, err)
		}
	}
}
