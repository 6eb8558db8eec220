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
	stage string
	what  string // of a preparation

	row, program string // of what is measured
	family       string // who does it; "" for what all need
	kept         bool   // later stages build on it

	run func(ctx context.Context) (outcome, error)
}

// plan lists what is to be done, in order: what the wanted stages need, with the programs that take part.
func (s *session) plan(round int) []step {
	base, rest, bar := baseBackup{s}, pgBackRest{s}, s.barman()
	zstd, own := barman{s: s, name: "zstd", zstd: true}, kedge{s}

	var steps []step
	turns := []string{"pg_basebackup", "restic", "cp", "pgbackrest", "barman", "kedge"}
	prepare := func(family, what string, run func(ctx context.Context) error) {
		if family == "" || s.compares(family) {
			steps = append(steps, step{what: what, family: family, run: func(ctx context.Context) (outcome, error) { return outcome{}, run(ctx) }})
		}
	}
	// measured adds the works of one row, in turns: who begins changes from row to row and from round to round.
	row := round
	measured := func(list ...step) {
		row++
		turn := func(family string) int { return (slices.Index(turns, family) + row) % len(turns) }
		slices.SortStableFunc(list, func(a, b step) int { return turn(a.family) - turn(b.family) })
		for _, st := range list {
			if s.compares(st.family) && (st.kept && s.needs(st.stage) || s.wants(st.stage)) {
				steps = append(steps, st)
			}
		}
	}
	prepare("", "fill the cluster", s.fillCluster)
	prepare("restic", "restic makes a repository", base.prepareRestic)
	prepare("pgbackrest", "pgBackRest makes a repository", rest.prepare)
	prepare("barman", "barman makes its directories and slot", bar.prepare)
	prepare("kedge", "kedge makes a repository and its slot", own.prepare)
	if s.needs(stageFirst) {
		measured(
			step{stage: stageFirst, row: rowFirst, family: "pg_basebackup", program: namePlain, run: base.plain},
			step{stage: stageFirst, row: rowFirst, family: "pg_basebackup", program: nameServerZstd, run: base.zstd},
			step{stage: stageFirst, row: rowFirst, family: "restic", program: nameRestic, run: base.restic, kept: true},
			step{stage: stageFirst, row: rowFirst, family: "pgbackrest", program: namePgBackRest, run: rest.backup("full"), kept: true},
			step{stage: stageFirst, row: rowFirst, family: "barman", program: nameBarman, run: bar.backup, kept: true},
			step{stage: stageFirst, row: rowFirst, family: "barman", program: nameBarmanZstd, run: zstd.backupOnce},
			step{stage: stageFirst, row: rowFirst, family: "kedge", program: nameKedge, run: own.base, kept: true},
		)
	}
	if s.needs(stageSecond) {
		prepare("", "run 2,000 transactions", func(ctx context.Context) error { return s.addTransactions(ctx, transactionsBetween) })
		measured(
			step{stage: stageSecond, row: rowSecond, family: "pgbackrest", program: nameIncremental, run: rest.backup("diff"), kept: true},
			step{stage: stageSecond, row: rowSecond, family: "pgbackrest", program: namePgBackRest, run: rest.backup("full")},
			step{stage: stageSecond, row: rowSecond, family: "kedge", program: nameKedge, run: own.base, kept: true},
		)
		prepare("", fmt.Sprintf("load the server for %v", s.opt.load), s.loadServer)
		measured(
			step{stage: stageSecond, row: rowLoad, family: "restic", program: nameRestic, run: base.restic, kept: true},
			step{stage: stageSecond, row: rowLoad, family: "pgbackrest", program: nameIncremental, run: rest.backup("diff"), kept: true},
			step{stage: stageSecond, row: rowLoad, family: "barman", program: nameBarman, run: bar.backup, kept: true},
			step{stage: stageSecond, row: rowLoad, family: "kedge", program: nameKedge, run: own.base, kept: true},
		)
	}
	if s.wants(stageRestore) {
		prepare("kedge", "kedge stores the WAL until now", own.catchUp)
		prepare("pgbackrest", "pgBackRest stores the WAL until now", rest.catchUp)
		prepare("barman", "barman stores the WAL until now", bar.catchUp)
		measured(
			step{stage: stageRestore, row: rowLatest, family: "restic", program: nameRestic, run: base.latest},
			step{stage: stageRestore, row: rowLatest, family: "pgbackrest", program: nameRestore, run: rest.latest},
			step{stage: stageRestore, row: rowLatest, family: "barman", program: nameBarman, run: bar.latest},
			step{stage: stageRestore, row: rowLatest, family: "kedge", program: nameKedge, run: own.latest},
		)
		measured(
			step{stage: stageRestore, row: rowMoment, family: "pgbackrest", program: nameRestore, run: rest.toMoment},
			step{stage: stageRestore, row: rowMoment, family: "barman", program: nameBarman, run: bar.toMoment},
			step{stage: stageRestore, row: rowMoment, family: "kedge", program: nameKedge, run: own.toMoment},
		)
	}
	if s.wants(stageCommit) {
		alone := func(ctx context.Context, load func(context.Context) (outcome, error)) (outcome, error) {
			return load(ctx)
		}
		nothing := func(context.Context) error { return nil }
		measured(
			step{stage: stageCommit, row: rowCommit, family: "kedge", program: "nobody stores WAL", run: s.committing(nothing, alone)},
			step{stage: stageCommit, row: rowCommit, family: "pgbackrest", program: namePush, run: s.committing(rest.catchUp, rest.archiving)},
			step{stage: stageCommit, row: rowCommit, family: "barman", program: nameBarman, run: s.committing(bar.catchUp, bar.receiving)},
			step{stage: stageCommit, row: rowCommit, family: "kedge", program: nameKedge, run: s.committing(own.catchUp, own.capturing)},
		)
	}
	if s.wants(stageBacklog) {
		prepare("kedge", "kedge stores the WAL until now", own.catchUp)
		prepare("barman", "pg_receivewal makes its slot", bar.prepareReceive)
		prepare("", fmt.Sprintf("make %d MiB of WAL", s.opt.backlog), s.prepareBacklog)
		taken := func(take func(context.Context) (outcome, error)) func(context.Context) (outcome, error) {
			return func(ctx context.Context) (outcome, error) {
				out, err := take(ctx)
				out.worked = s.backlogSize
				return out, err
			}
		}
		measured(
			step{stage: stageBacklog, row: rowBacklog, family: "cp", program: "cp", run: taken(s.copyOut)},
			step{stage: stageBacklog, row: rowBacklog, family: "pgbackrest", program: namePush, run: taken(rest.push)},
			step{stage: stageBacklog, row: rowBacklog, family: "pgbackrest", program: namePushAsync, run: taken(rest.pushAsync)},
			step{stage: stageBacklog, row: rowBacklog, family: "barman", program: "pg_receivewal", run: taken(bar.receive)},
			step{stage: stageBacklog, row: rowBacklog, family: "kedge", program: nameKedge, run: taken(own.drain)},
		)
	}
	return steps
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
