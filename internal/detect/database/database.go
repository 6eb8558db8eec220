// Package database notices what is done to a database by someone who has SQL access: one transaction that changed far more rows than
// transactions of that database do, many that did so together, roles that can do more than before, code that is new, scripts in text.
//
// It reads what was committed from the captured write-ahead log, which an intruder with SQL access cannot edit, and what the cluster looks like
// from profiles; what is usual it learns from the database itself. Each signal names the first transaction that it is about, as
// far as that is known, and never a later one than the first.
package database

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/internal/serverlog"
)

// Source is a cluster as a Detector sees it.
type Source interface {
	// Transactions returns what was committed, in any order; it may return again what it returned before.
	Transactions(ctx context.Context) ([]Transaction, error)
	// Profile looks at the cluster, and returns when Transactions has all that committed before. changed tells which tables, as
	// "database.schema.table", changed since previous, which may be nil.
	Profile(ctx context.Context, previous *profile.Profile, changed func(table string) bool) (profile.Profile, error)
	// Store keeps a profile for later.
	Store(ctx context.Context, p profile.Profile) error
	// Sessions returns who did transactions, as far as the server's log has it.
	Sessions(ctx context.Context, p *profile.Profile, transactions []serverlog.Transaction) (map[uint32]serverlog.Who, error)
}

const (
	// profileEvery is how often a cluster is looked at in which rows change. What changes roles, code, or unusually many rows is looked at at once.
	profileEvery = time.Minute
	// storeEvery is how often a profile is kept if nothing but rows changed: a repository that nothing is deleted from grows by it, some ten
	// KiB for a hundred tables. What brought a signal is kept at once, but not more often than storeAtMost.
	storeEvery  = time.Hour
	storeAtMost = time.Minute
)

// Detector watches one cluster. It is safe for concurrent use.
type Detector struct {
	service, asset string
	source         Source
	now            func() time.Time

	mu     sync.Mutex
	judge  *Judge
	stored time.Time // when a profile was kept last
	kept   *profile.Profile
	held   []event.Signal // found while learning
}

// New returns a detector that knows nothing yet; judge is what it goes on from, and is no longer the caller's.
func New(service, asset string, source Source, judge *Judge) *Detector {
	return &Detector{service: service, asset: asset, source: source, judge: judge, now: time.Now}
}

// Name implements detect.Detector.
func (d *Detector) Name() string { return "database " + d.service + "/" + d.asset }

// Learn takes what was committed until the newest profile that was stored for ordinary, or until now if none was. What happened since then
// is judged like everything later: an attack while nobody watched is seen.
func (d *Detector) Learn(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	transactions, err := d.source.Transactions(ctx)
	if err != nil {
		return fmt.Errorf("read transactions of %s/%s: %w", d.service, d.asset, err)
	}
	then, later, err := part(transactions, d.judge.before)
	if err != nil {
		return err
	}
	if err := d.judge.Learn(then); err != nil {
		return err
	}
	if d.held, err = d.judge.Transactions(later); err != nil {
		return err
	}
	more, err := d.look(ctx)
	d.held = append(d.held, more...)
	d.judge.settle()
	return err
}

// part returns the transactions that a profile has, and the later ones. No profile has all.
func part(transactions []Transaction, p *profile.Profile) (then, later []Transaction, err error) {
	if p == nil {
		return transactions, nil, nil
	}
	if _, err := parseLSN(p.LSN); err != nil {
		return nil, nil, fmt.Errorf("read profile of %s: %w", p.Time.Format(time.RFC3339), err)
	}
	for _, t := range transactions {
		if After(t, *p) {
			later = append(later, t)
		} else {
			then = append(then, t)
		}
	}
	return then, later, nil
}

// Detect judges the transactions that were committed since the last call, each by those before it, and what the cluster looks like now.
func (d *Detector) Detect(ctx context.Context) ([]event.Signal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	signals := d.held
	d.held = nil
	// What was read counts, whatever could not be.
	transactions, unread := d.source.Transactions(ctx)
	if unread != nil {
		unread = fmt.Errorf("read transactions of %s/%s: %w", d.service, d.asset, unread)
	}
	more, err := d.judge.Transactions(transactions)
	signals = append(signals, more...)
	if err == nil && ctx.Err() == nil && d.judge.due(d.now()) {
		more, err = d.look(ctx)
		signals = append(signals, more...)
	}
	err = errors.Join(unread, err)
	d.name(ctx, signals)
	return signals, err
}

// due tells whether the cluster should be looked at.
func (j *Judge) due(now time.Time) bool {
	if j.before == nil || len(j.suspects) > 0 || j.doubt || j.restructured() {
		return true
	}
	since := now.Sub(j.before.Time)
	return since >= storeEvery || since >= profileEvery && j.busy()
}

// busy tells whether rows or tables changed since the newest profile.
func (j *Judge) busy() bool {
	for _, h := range j.tables {
		if h.transactions > 0 {
			return true
		}
	}
	return len(j.structure) > 0
}

// look takes a profile and judges it.
func (d *Detector) look(ctx context.Context) ([]event.Signal, error) {
	changed := map[string]bool{}
	for name, h := range d.judge.tables {
		if h.transactions > 0 {
			changed[name] = true
		}
	}
	p, err := d.source.Profile(ctx, d.judge.before, func(table string) bool { return changed[table] })
	if err != nil {
		return nil, fmt.Errorf("look at %s/%s: %w", d.service, d.asset, err)
	}
	transactions, err := d.source.Transactions(ctx)
	if err != nil {
		return nil, fmt.Errorf("read transactions of %s/%s: %w", d.service, d.asset, err)
	}
	then, later, err := part(transactions, &p)
	if err != nil {
		return nil, err
	}
	signals, err := d.judge.Transactions(then)
	if err != nil {
		return signals, err
	}
	material, busy := d.material(&p), d.judge.busy()
	signals = append(signals, d.judge.Profile(&p)...)
	more, err := d.judge.Transactions(later)
	signals = append(signals, more...)
	if err != nil {
		return signals, err
	}
	if age := d.now().Sub(d.stored); age >= storeEvery && (busy || material) || age >= storeAtMost && (material || len(signals) > 0) {
		if err := d.source.Store(ctx, p); err != nil {
			return signals, fmt.Errorf("keep what %s/%s looks like: %w", d.service, d.asset, err)
		}
		d.stored, d.kept = d.now(), &p
	}
	return signals, nil
}

// material tells whether a profile has other roles, code or tables than the one that was kept last.
func (d *Detector) material(p *profile.Profile) bool {
	if d.kept == nil || len(p.Roles) != len(d.kept.Roles) || len(p.Databases) != len(d.kept.Databases) {
		return true
	}
	for i := range p.Databases {
		now := &p.Databases[i]
		old := d.kept.Database(now.Name)
		if old == nil || len(old.Tables) != len(now.Tables) {
			return true
		}
		if c := compareRoutines(old.Routines, now.Routines); len(c.fresh)+len(c.changed)+len(c.open) > 0 {
			return true
		}
	}
	return false
}

// name adds to signals who did the first transaction of each, where the server's log has it, or why it could not be read.
func (d *Detector) name(ctx context.Context, signals []event.Signal) {
	wanted := FirstTransactions(signals)
	if len(wanted) == 0 || d.judge.before == nil {
		return
	}
	found, err := d.source.Sessions(ctx, d.judge.before, wanted)
	if err != nil {
		for _, s := range signals {
			s.Evidence["session_unknown"] = err.Error()
		}
	}
	Attribute(signals, found)
}

// FirstTransactions returns the transactions that signals are about.
func FirstTransactions(signals []event.Signal) []serverlog.Transaction {
	var list []serverlog.Transaction
	for _, s := range signals {
		if tx, ok := transactionOf(s); ok {
			list = append(list, tx)
		}
	}
	return list
}

// transactionOf returns the transaction that a signal is about.
func transactionOf(s event.Signal) (serverlog.Transaction, bool) {
	xid, ok1 := s.Evidence["xid"].(uint32)
	commit, ok2 := s.Evidence["commit"].(time.Time)
	return serverlog.Transaction{XID: xid, Commit: commit}, ok1 && ok2
}

// Attribute adds to the evidence of signals the session of their first transaction.
func Attribute(signals []event.Signal, sessions map[uint32]serverlog.Who) {
	for _, s := range signals {
		tx, ok := transactionOf(s)
		who, found := sessions[tx.XID]
		if !ok || !found {
			continue
		}
		for key, value := range map[string]string{"user": who.User, "database": who.Database, "client": who.Client, "application": who.Application, "session_by": who.By, "log": who.Log} {
			if value != "" {
				s.Evidence[key] = value
			}
		}
		s.Evidence["pid"] = who.PID
	}
}

// SessionOf reads back what Attribute added.
func SessionOf(s event.Signal) serverlog.Who {
	text := func(key string) string { value, _ := s.Evidence[key].(string); return value }
	pid, _ := s.Evidence["pid"].(uint32)
	return serverlog.Who{
		User: text("user"), Database: text("database"), Client: text("client"), Application: text("application"), PID: pid,
		By: text("session_by"), Log: text("log"),
	}
}

// After tells whether a transaction committed after a profile was taken.
func After(t Transaction, p profile.Profile) bool {
	at, err1 := parseLSN(t.LSN)
	taken, err2 := parseLSN(p.LSN)
	return err1 == nil && err2 == nil && at > taken
}
