package main

import (
	"context"
	"fmt"
	"slices"
)

// The stages, and the works in them. Names of programs are those of the tables.
const (
	stageFirst   = "first"
	stageSecond  = "second"
	stageRestore = "restore"
	stageCommit  = "commit"
	stageBacklog = "backlog"

	rowFirst   = "first base backup"
	rowSecond  = "base backup after 2,000 transactions"
	rowLoad    = "base backup after the load"
	rowLatest  = "restore the latest state"
	rowMoment  = "restore to a moment in the load"
	rowCommit  = "what a transaction takes meanwhile"
	rowBacklog = "store a backlog of WAL"

	nameKedge       = "kedge"
	namePlain       = "pg_basebackup"
	nameServerZstd  = "pg_basebackup, server-zstd"
	nameRestic      = "pg_basebackup, then restic"
	namePgBackRest  = "pgBackRest, full"
	nameIncremental = "pgBackRest, block incremental"
	nameRestore     = "pgBackRest"
	nameBarman      = "barman"
	nameBarmanZstd  = "barman, zstd"
	namePush        = "pgBackRest archive-push"
	namePushAsync   = "pgBackRest archive-push, async"
)

func stageNames() []string {
	return []string{stageFirst, stageSecond, stageRestore, stageCommit, stageBacklog}
}

// transactionsBetween is how many transactions rowSecond has behind it.
const transactionsBetween = 2000

// step is one thing to do with a cluster.
type step struct {
	what    string // of a preparation
	family  string // who does it; "" for what all need
	program string // of what is measured, as the tables name it
	kept    bool   // later stages build on it

	stage, row string // of what is measured

	run func(ctx context.Context) (outcome, error)
}

// plan lists what is to be done, in order: what the wanted stages need, with the programs that take part.
func (s *session) plan(round int) []step {
	p := &planner{s: s, row: round}
	base, rest, bar, own := baseBackup{s}, pgBackRest{s}, s.barman(), kedge{s}
	p.prepare("", "fill the cluster", s.fillCluster)
	p.prepare("restic", "restic makes a repository", base.prepareRestic)
	p.prepare("pgbackrest", "pgBackRest makes a repository", rest.prepare)
	p.prepare("barman", "barman makes its directories and slot", bar.prepare)
	p.prepare("kedge", "kedge makes a repository and its slot", own.prepare)
	if s.needs(stageFirst) {
		p.first(base, rest, bar, own)
	}
	if s.needs(stageSecond) {
		p.second(base, rest, bar, own)
	}
	if s.wants(stageRestore) {
		p.restore(base, rest, bar, own)
	}
	if s.wants(stageCommit) || s.wants(stageBacklog) {
		p.prepare("", "make room", s.makeRoom)
	}
	if s.wants(stageCommit) {
		p.commit(rest, bar, own)
	}
	if s.wants(stageBacklog) {
		p.backlog(rest, bar, own)
	}
	return p.steps
}

// planner collects steps.
type planner struct {
	s     *session
	row   int // decides who begins
	steps []step
}

// prepare adds what is not measured. family is who does it; "" for what all need.
func (p *planner) prepare(family, what string, run func(ctx context.Context) error) {
	if family == "" || p.s.compares(family) {
		p.steps = append(p.steps, step{what: what, family: family, run: func(ctx context.Context) (outcome, error) { return outcome{}, run(ctx) }})
	}
}

// measure adds the works of one row, in turns: who begins changes from row to row and from round to round.
func (p *planner) measure(stage, row string, list ...step) {
	p.row++
	turns := append([]string{"kedge"}, familyNames()...)
	turn := func(family string) int { return (slices.Index(turns, family) + p.row) % len(turns) }
	slices.SortStableFunc(list, func(a, b step) int { return turn(a.family) - turn(b.family) })
	for _, st := range list {
		if p.s.compares(st.family) && (st.kept || p.s.wants(stage)) {
			st.stage, st.row = stage, row
			p.steps = append(p.steps, st)
		}
	}
}

func (p *planner) first(base baseBackup, rest pgBackRest, bar barman, own kedge) {
	zstd := barman{s: p.s, name: "zstd", zstd: true}
	p.measure(stageFirst, rowFirst,
		step{family: "pg_basebackup", program: namePlain, run: base.plain},
		step{family: "pg_basebackup", program: nameServerZstd, run: base.zstd},
		step{family: "restic", program: nameRestic, run: base.restic, kept: true},
		step{family: "pgbackrest", program: namePgBackRest, run: rest.backup("full"), kept: true},
		step{family: "barman", program: nameBarman, run: bar.backup, kept: true},
		step{family: "barman", program: nameBarmanZstd, run: zstd.backupOnce},
		step{family: "kedge", program: nameKedge, run: own.base, kept: true},
	)
}

func (p *planner) second(base baseBackup, rest pgBackRest, bar barman, own kedge) {
	p.prepare("", "run 2,000 transactions", func(ctx context.Context) error { return p.s.addTransactions(ctx, transactionsBetween) })
	p.measure(stageSecond, rowSecond,
		step{family: "pgbackrest", program: nameIncremental, run: rest.backup("diff"), kept: true},
		step{family: "pgbackrest", program: namePgBackRest, run: rest.backup("full")},
		step{family: "kedge", program: nameKedge, run: own.base, kept: true},
	)
	p.prepare("", fmt.Sprintf("load the server for %v", p.s.opt.load), p.s.loadServer)
	p.measure(stageSecond, rowLoad,
		step{family: "restic", program: nameRestic, run: base.restic, kept: true},
		step{family: "pgbackrest", program: nameIncremental, run: rest.backup("diff"), kept: true},
		step{family: "barman", program: nameBarman, run: bar.backup, kept: true},
		step{family: "kedge", program: nameKedge, run: own.base, kept: true},
	)
}

func (p *planner) restore(base baseBackup, rest pgBackRest, bar barman, own kedge) {
	p.prepare("kedge", "kedge stores the WAL until now", own.catchUp)
	p.prepare("pgbackrest", "pgBackRest stores the WAL until now", rest.catchUp)
	p.prepare("barman", "barman stores the WAL until now", bar.catchUp)
	p.measure(stageRestore, rowLatest,
		step{family: "restic", program: nameRestic, run: base.latest},
		step{family: "pgbackrest", program: nameRestore, run: rest.latest},
		step{family: "barman", program: nameBarman, run: bar.latest},
		step{family: "kedge", program: nameKedge, run: own.latest},
	)
	p.measure(stageRestore, rowMoment,
		step{family: "pgbackrest", program: nameRestore, run: rest.toMoment},
		step{family: "barman", program: nameBarman, run: bar.toMoment},
		step{family: "kedge", program: nameKedge, run: own.toMoment},
	)
}

func (p *planner) commit(rest pgBackRest, bar barman, own kedge) {
	alone := func(ctx context.Context, load func(context.Context) (outcome, error)) (outcome, error) {
		return load(ctx)
	}
	nothing := func(context.Context) error { return nil }
	p.measure(stageCommit, rowCommit,
		step{family: "kedge", program: "nobody stores WAL", run: p.s.committing(nothing, alone)},
		step{family: "pgbackrest", program: namePush, run: p.s.committing(rest.catchUp, rest.archiving)},
		step{family: "barman", program: nameBarman, run: p.s.committing(bar.catchUp, bar.receiving)},
		step{family: "kedge", program: nameKedge, run: p.s.committing(own.catchUp, own.capturing)},
	)
}

func (p *planner) backlog(rest pgBackRest, bar barman, own kedge) {
	p.prepare("kedge", "kedge stores the WAL until now", own.catchUp)
	p.prepare("barman", "pg_receivewal makes its slot", bar.prepareReceive)
	p.prepare("", fmt.Sprintf("make %d MiB of WAL", p.s.opt.backlog), p.s.prepareBacklog)
	taken := func(take func(context.Context) (outcome, error)) func(context.Context) (outcome, error) {
		return func(ctx context.Context) (outcome, error) {
			out, err := take(ctx)
			out.worked = p.s.backlogSize
			return out, err
		}
	}
	p.measure(stageBacklog, rowBacklog,
		step{family: "cp", program: "cp", run: taken(p.s.copyOut)},
		step{family: "pgbackrest", program: namePush, run: taken(rest.push)},
		step{family: "pgbackrest", program: namePushAsync, run: taken(rest.pushAsync)},
		step{family: "barman", program: "pg_receivewal", run: taken(bar.receive)},
		step{family: "kedge", program: nameKedge, run: taken(own.drain)},
	)
}

// needs tells whether a stage is wanted, or one that builds on it.
func (b *bench) needs(stage string) bool {
	if b.wants(stage) {
		return true
	}
	switch stage {
	case stageFirst:
		return b.wants(stageSecond) || b.wants(stageRestore)
	case stageSecond:
		return b.wants(stageRestore)
	}
	return false
}

// stepsOfCluster is how many steps a cluster takes.
func (b *bench) stepsOfCluster() int { return len((&session{bench: b}).plan(0)) }
