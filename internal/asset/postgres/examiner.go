package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/process"
)

const (
	codeCannotConnectNow = "57P03" // it starts, or recovers

	// examinerDir is, in the data directory, what an examiner needs beside it: the socket, its log, its configuration. The one
	// place that the server's account is sure to reach is its data directory.
	examinerDir = "kedge-examiner"
	// examinerStop bounds the server's shutdown, for which it may have much to write.
	examinerStop = 2 * time.Minute
	// examinerAbort bounds it when ctx has ended.
	examinerAbort = 10 * time.Second
)

// examiner is a server on a data directory that nobody but kedge can reach: it listens on one socket in a private directory,
// reaches no network where the kernel lets, runs as the account that owns the files, and takes none of the settings that
// the cluster brings along.
type examiner struct {
	data    string
	version int // major
	owner   account
	spec    process.Spec
	socket  *os.File // the socket's directory: its path may be longer than a socket's address can be

	database  string // one that accepts connections
	superuser string // empty: none may log in
	plain     string // a role that may

	lastWords string // the end of its log, once it was stopped
}

// account is a user of the system.
type account struct {
	uid, gid int
	name     string // empty: kedge's own account
}

// take makes what kedge made belong to the account.
func (o account) take(path string) error {
	if o.name == "" {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

// startExaminer starts the server and returns once it has recovered and answers.
func startExaminer(ctx context.Context, a estate.Asset) (_ *examiner, err error) {
	x := &examiner{data: a.Data}
	if x.version, err = majorVersion(a.Data); err != nil {
		return nil, err
	}
	if x.owner, err = ownerOf(a.Data); err != nil {
		return nil, err
	}
	dir := filepath.Join(a.Data, examinerDir)
	x.spec = process.Spec{
		Name: "postgres", User: x.owner.name, StopSignal: syscall.SIGINT, Offline: true, Timeout: examinerStop,
		Argv:    append([]string{filepath.Join(a.Bin, "postgres"), "-D", a.Data}, x.settings(dir)...),
		PIDFile: filepath.Join(dir, "kedge.pid"), Log: filepath.Join(dir, "log"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.stop(ctx))
		}
	}()
	// One that was killed with its kedge may still run.
	if err := x.stop(ctx); err != nil {
		return nil, err
	}
	if err := x.furnish(dir); err != nil {
		return nil, err
	}
	if err := process.Start(ctx, x.spec); err != nil {
		return nil, err
	}
	return x, x.await(ctx, a.Connect)
}

// settings win over all that stands in files of the cluster. They keep the server to itself, let it forgive no damage, and make it
// do nothing but what it is asked.
func (x *examiner) settings(dir string) []string {
	list := []string{
		"config_file=" + filepath.Join(dir, "postgresql.conf"), "hba_file=" + filepath.Join(dir, "pg_hba.conf"),
		"ident_file=" + filepath.Join(dir, "pg_ident.conf"), "external_pid_file=",
		"listen_addresses=", "port=5432", "unix_socket_directories=" + examinerDir, "unix_socket_group=", "unix_socket_permissions=0700", "ssl=off",
		"shared_preload_libraries=", "archive_mode=off", "restore_command=false", "archive_cleanup_command=", "recovery_end_command=",
		"primary_conninfo=", "hot_standby=off",
		"wal_level=replica", "max_wal_senders=0", "max_logical_replication_workers=0",
		// Prepared transactions of any number come back; they are few where they are used at all.
		"max_prepared_transactions=500", "max_connections=20", "superuser_reserved_connections=0",
		"autovacuum=off", "autovacuum_freeze_max_age=2000000000", "autovacuum_multixact_freeze_max_age=2000000000",
		"zero_damaged_pages=off", "ignore_checksum_failure=off", "ignore_invalid_pages=off", "ignore_system_indexes=off",
		// What breaks the server down is a finding; it is not to come back by itself.
		"restart_after_crash=off",
		"shared_buffers=128MB", "huge_pages=off", "jit=off", "lc_messages=C",
		"log_destination=stderr", "logging_collector=off", "log_statement=none", "log_min_duration_statement=-1",
	}
	var argv []string
	for _, setting := range list {
		argv = append(argv, "-c", setting)
	}
	return argv
}

// furnish makes the private directory.
func (x *examiner) furnish(dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"postgresql.conf": "", "pg_hba.conf": "local all all trust\n", "pg_ident.conf": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := x.owner.take(path); err != nil {
			return err
		}
	}
	if err := x.owner.take(dir); err != nil {
		return err
	}
	x.socket, err = os.Open(dir)
	return err
}

// await returns when the server takes commands. It finds a superuser by the way.
func (x *examiner) await(ctx context.Context, connect string) error {
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	for {
		err := x.findSuperuser(ctx, connect)
		var refused *pgconn.PgError
		if err == nil || errors.As(err, &refused) && refused.Code != codeCannotConnectNow {
			return err
		}
		running, runErr := process.Running(x.spec)
		if runErr != nil {
			return runErr
		}
		if !running && ctx.Err() == nil {
			return fmt.Errorf("the server ended before it took commands%s", process.LogEnd(x.spec))
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// findSuperuser asks who may do everything. Any role can ask; what is known of one is the asset's own.
func (x *examiner) findSuperuser(ctx context.Context, connect string) error {
	known, err := pgconn.ParseConfig(connect)
	if err != nil {
		return fmt.Errorf("read connection string: %w", err)
	}
	var refused error
	for _, role := range []string{known.User, "postgres"} {
		for _, database := range []string{known.Database, "template1", "postgres"} {
			if database == "" {
				continue
			}
			conn, err := x.dial(ctx, role, database, nil)
			if c := code(err); c != "" && c != codeCannotConnectNow {
				refused = err
				continue
			}
			if err != nil {
				return err
			}
			defer hangUp(ctx, conn)
			rows, err := Query(ctx, conn, "SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1")
			if err != nil {
				return err
			}
			x.database, x.plain = database, role
			if len(rows) > 0 {
				x.superuser = rows[0][0]
			}
			return nil
		}
	}
	return fmt.Errorf("no known role gets into the cluster: %w", refused)
}

// session is what every connection that examines is set to: neither a database nor a role may bring settings along that make the
// server forgive, give up or load anything.
func (x *examiner) session() map[string]string {
	params := map[string]string{
		"search_path": "pg_catalog", "role": "none", "session_replication_role": "replica", "default_transaction_read_only": "off",
		"session_preload_libraries": "", "local_preload_libraries": "", "check_function_bodies": "on",
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"zero_damaged_pages": "off", "ignore_checksum_failure": "off", "max_parallel_workers_per_gather": "0",
		"maintenance_work_mem": "64MB", "jit": "off",
		// Text comes as it is stored.
		"client_encoding": "SQL_ASCII",
	}
	if x.version >= 17 {
		params["event_triggers"], params["transaction_timeout"] = "off", "0"
	}
	return params
}

// connect opens a superuser's session in a database.
func (x *examiner) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return x.dial(ctx, x.superuser, database, x.session())
}

func (x *examiner) dial(ctx context.Context, role, database string, params map[string]string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig("host=/ port=5432 sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, err
	}
	config.User, config.Database, config.RuntimeParams, config.Fallbacks = role, database, params, nil
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/.s.PGSQL.5432", x.socket.Fd()))
	}
	return pgconn.ConnectConfig(ctx, config)
}

// stop ends the server, cleanly if it can, and removes its directory. It is done also when ctx has ended, in seconds then.
func (x *examiner) stop(ctx context.Context) error {
	spec := x.spec
	if ctx.Err() != nil {
		spec.Timeout = examinerAbort
	}
	err := process.Stop(context.WithoutCancel(ctx), spec)
	if x.socket != nil {
		x.socket.Close()
		x.socket = nil
	}
	if err != nil {
		return err
	}
	x.lastWords = process.LogEnd(spec)
	return os.RemoveAll(filepath.Dir(spec.Log))
}

// majorVersion reads which PostgreSQL a data directory is of.
func majorVersion(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("%w: is it the data directory of a cluster?", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(data, "PG_VERSION"), err)
	}
	return version, nil
}

// ownerOf returns the account that a data directory belongs to, as which alone its server runs.
func ownerOf(data string) (account, error) {
	info, err := os.Stat(data)
	if err != nil {
		return account{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, errors.New("this system does not tell the owner of files")
	}
	owner := account{uid: int(stat.Uid), gid: int(stat.Gid)}
	switch euid := os.Geteuid(); {
	case owner.uid == 0:
		return account{}, fmt.Errorf("%s belongs to root, as whom PostgreSQL does not run: give it to the server's account", data)
	case owner.uid == euid:
		return owner, nil
	case euid != 0:
		return account{}, fmt.Errorf("%s belongs to user %d: run kedge as that user or as root", data, owner.uid)
	}
	u, err := user.LookupId(strconv.Itoa(owner.uid))
	if err != nil {
		return account{}, fmt.Errorf("find who owns %s: %w", data, err)
	}
	owner.name = u.Username
	return owner, nil
}
