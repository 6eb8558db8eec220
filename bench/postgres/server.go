package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/asset/postgres"
)

// settings are the same for every server, also for restored ones, which find them in their copy. Nothing writes that was not told
// to: no autovacuum, no timed checkpoint. WAL that is done with goes away, for the disk's sake. Commit times are kept, to know what had committed at a moment.
const settings = `
listen_addresses = ''
unix_socket_permissions = 0700
wal_level = replica
archive_mode = on
archive_command = ''
shared_buffers = 512MB
max_connections = 40
max_wal_size = 8GB
wal_recycle = off
wal_init_zero = off
checkpoint_timeout = 1h
autovacuum = off
track_commit_timestamp = on
log_checkpoints = off
`

const (
	// answerTimeout bounds the wait for a server to recover and answer.
	answerTimeout = 10 * time.Minute
	// answerInterval is the time between two questions to it.
	answerInterval = 10 * time.Millisecond
)

// server is a running PostgreSQL server that listens on a socket only.
type server struct {
	s       *session
	data    string
	sockets string // the directory of its socket
	pid     int
	exited  chan struct{}
	log     string
}

// makeCluster makes an empty cluster and starts its server.
func (s *session) makeCluster(ctx context.Context) error {
	data := filepath.Join(s.dir, "data")
	_, err := s.output(ctx, s.pg("initdb"), "--pgdata="+data, "--username=postgres", "--auth=trust", "--data-checksums",
		"--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	fsync := "off"
	if s.opt.fsync {
		fsync = "on"
	}
	_, err = fmt.Fprintf(conf, "%sfsync = %s\nunix_socket_directories = '%s'\n", settings, fsync, s.sockets())
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	if s.server, err = s.start(data, s.sockets()); err != nil {
		return err
	}
	if err := s.server.await(ctx, "postgres"); err != nil {
		return err
	}
	_, err = s.server.ask(ctx, "postgres", "CREATE DATABASE bench")
	return err
}

func (s *session) pg(program string) string { return filepath.Join(s.opt.bin, program) }

// sockets is the directory of the original's socket.
func (s *session) sockets() string { return filepath.Join(s.dir, "sockets") }

// start starts a server on data and does not wait for it.
func (s *session) start(data, sockets string, options ...string) (*server, error) {
	argv := []string{s.pg("postgres"), "-D", data}
	for _, option := range options {
		argv = append(argv, "-c", option)
	}
	sv := &server{s: s, data: data, sockets: sockets, exited: make(chan struct{}), log: filepath.Join(s.dir, filepath.Base(data)+".log")}
	out, err := os.Create(sv.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// stop ends it: what else ends with the run's context needs it until then.
	cmd := s.command(context.Background(), argv...)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	sv.pid = cmd.Process.Pid
	go func() {
		defer close(sv.exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return sv, nil
}

// stop shuts the server down. atOnce leaves it to recover when it is started again.
func (sv *server) stop(atOnce bool) {
	if sv == nil {
		return
	}
	sig := syscall.SIGINT
	if atOnce {
		sig = syscall.SIGQUIT
	}
	_ = syscall.Kill(sv.pid, sig)
	select {
	case <-sv.exited:
	case <-time.After(time.Minute):
		_ = syscall.Kill(-sv.pid, syscall.SIGKILL)
		<-sv.exited
	}
}

func (sv *server) dial(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, fmt.Sprintf("host=%s user=postgres dbname=%s", sv.sockets, database))
}

// ask returns the rows of one or more commands, columns as text.
func (sv *server) ask(ctx context.Context, database, sql string) ([][]string, error) {
	conn, err := sv.dial(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return postgres.Query(ctx, conn, sql)
}

// askOne returns the first column of the one row that sql is answered with.
func (sv *server) askOne(ctx context.Context, sql string) (string, error) {
	rows, err := sv.ask(ctx, "bench", sql)
	if err == nil && (len(rows) != 1 || len(rows[0]) < 1) {
		err = fmt.Errorf("%.100s: %d rows, want one", sql, len(rows))
	}
	if err != nil {
		return "", err
	}
	return rows[0][0], nil
}

// await returns once the server answers a query and takes writes: its recovery has ended.
func (sv *server) await(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ticker := time.NewTicker(answerInterval)
	defer ticker.Stop()
	for {
		rows, err := sv.ask(ctx, database, "SELECT pg_is_in_recovery()")
		if err == nil && rows[0][0] == "f" {
			return nil
		}
		select {
		case <-ticker.C:
		case <-sv.exited:
			return fmt.Errorf("PostgreSQL ended while starting:\n%s", sv.said())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", errors.Join(ctx.Err(), err), sv.said())
		}
	}
}

func (sv *server) said() string {
	text, err := os.ReadFile(sv.log)
	if err != nil {
		return err.Error()
	}
	return last(string(text))
}

// position returns how far the server's WAL goes.
func (sv *server) position(ctx context.Context) (pglogrepl.LSN, error) {
	text, err := sv.askOne(ctx, "SELECT pg_current_wal_lsn()")
	if err != nil {
		return 0, err
	}
	return pglogrepl.ParseLSN(text)
}

// switchWAL completes the segment that is written to and returns its name, and the position where it ends.
func (sv *server) switchWAL(ctx context.Context) (segment string, end pglogrepl.LSN, err error) {
	// What was written since the last switch may be nothing, and then there is no switch.
	if _, err := sv.askOne(ctx, "SELECT pg_logical_emit_message(true, 'bench', 'switch')"); err != nil {
		return "", 0, err
	}
	rows, err := sv.ask(ctx, "bench", "SELECT pg_walfile_name(lsn), lsn FROM (SELECT pg_switch_wal() AS lsn) AS switched")
	if err != nil {
		return "", 0, err
	}
	end, err = pglogrepl.ParseLSN(rows[0][1])
	return rows[0][0], end, err
}

// set changes settings that need no restart, such as archive_command = 'false'.
func (sv *server) set(ctx context.Context, assignment string) error {
	conn, err := sv.dial(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// One by one: ALTER SYSTEM is refused in a transaction.
	for _, sql := range []string{"ALTER SYSTEM SET " + assignment, "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// state is what is compared between the original and what was restored: all that a transaction of pgbench changes.
type state struct {
	accounts, balances, transactions, deltas int64
}

func (sv *server) state(ctx context.Context) (state, error) {
	return sv.readState(ctx, "SELECT count(*), sum(abalance), (SELECT count(*) FROM pgbench_history), (SELECT coalesce(sum(delta), 0) FROM pgbench_history) FROM pgbench_accounts")
}

// stateAt returns what a server had at a moment: what had committed by then, by the server's own account.
func (sv *server) stateAt(ctx context.Context, moment time.Time) (state, error) {
	const by = "FROM pgbench_history WHERE pg_xact_commit_timestamp(xmin) <= '%[1]s'"
	return sv.readState(ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM pgbench_accounts), (SELECT coalesce(sum(delta), 0) "+by+"), (SELECT count(*) "+by+"), (SELECT coalesce(sum(delta), 0) "+by+")",
		stamp(moment)))
}

func (sv *server) readState(ctx context.Context, sql string) (state, error) {
	rows, err := sv.ask(ctx, "bench", sql)
	if err != nil {
		return state{}, fmt.Errorf("ask for the state: %w", err)
	}
	var numbers [4]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(rows[0][i], 10, 64); err != nil {
			return state{}, fmt.Errorf("ask for the state: %w", err)
		}
	}
	return state{numbers[0], numbers[1], numbers[2], numbers[3]}, nil
}

// stamp writes a time as PostgreSQL and the programs around it read it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000+00") }

// parseStamp reads a time that PostgreSQL wrote in UTC.
func parseStamp(text string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05.999999-07", strings.TrimSpace(text))
}
