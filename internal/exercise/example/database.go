package example

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/reference"
	"github.com/kedge-project/kedge/internal/process"
)

// settings are those of the cluster that are the same wherever it runs; its port and paths are in the command line.
// The log line's prefix tells who did what in which transaction.
const settings = `
wal_level = replica
max_wal_senders = 8
max_replication_slots = 8
max_connections = 60
shared_buffers = 64MB
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] user=%u db=%d client=%h xid=%x '
log_connections = on
`

const hostRules = `# TYPE  DATABASE     USER  ADDRESS       METHOD
host    all          all   127.0.0.1/32  scram-sha-256
host    replication  kedge 127.0.0.1/32  scram-sha-256
`

// cluster is the PostgreSQL cluster that gisis and imodocs share.
type cluster struct {
	port, address string
	process       estate.Process
	// roles are the login roles with their passwords: postgres, owner, gisis, imodocs, kedge.
	roles       map[string]string
	files       map[string]string  // their password files
	application reference.Database // as the register's application
}

// connect is a connection string without the password.
func (c *cluster) connect(role, database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=disable", c.port, role, database)
}

// gisis makes the cluster and the register's application. The cluster is loaded later.
func (b *builder) gisis(reg register) (estate.Service, *cluster, error) {
	const name = "gisis"
	s := b.service(name, "Ship register")
	s.Key = true
	data := b.home(name, "data")
	s.Assets[0].Exclude = append(s.Assets[0].Exclude, data)
	if err := directories(b.home(name, "conf"), b.home(name, "log"), b.home(name, "run")); err != nil {
		return s, nil, err
	}
	c := &cluster{roles: map[string]string{}, files: map[string]string{}}
	for _, role := range []string{"postgres", "owner", "gisis", "imodocs", "kedge"} {
		var err error
		c.files[role] = b.home(name, "conf", role+".password")
		if c.roles[role], err = newPassword(c.files[role]); err != nil {
			return s, nil, err
		}
	}
	port, address, err := b.ports.take()
	if err != nil {
		return s, nil, err
	}
	c.port, c.address = fmt.Sprint(port), address
	c.process = b.process(name, "postgres", []string{
		filepath.Join(b.programs.postgres, "postgres"), "-D", data, "-p", c.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
	}, []string{address})
	c.process.StopSignal = "SIGINT" // fast: open connections are broken off
	c.application = reference.Database{Name: "gisis", Connect: c.connect("gisis", "gisis"), PasswordFile: c.files["gisis"]}

	_, web, err := b.ports.take()
	if err != nil {
		return s, nil, err
	}
	config := b.home(name, "conf", "application.json")
	if err := configure(config, map[string]string{
		"listen": web, "connect": c.connect("gisis", "gisis"), "password_file": c.files["gisis"],
	}); err != nil {
		return s, nil, err
	}
	application := b.process(name, "application", []string{b.opt.Kedge, "application", name, config}, []string{web})
	application.Relocate = []string{config}
	s.Processes = []estate.Process{c.process, application}
	s.Assets = append(s.Assets, estate.Asset{
		Name: "database", Kind: "postgres", Data: data, Bin: b.programs.postgres,
		Connect: c.connect("kedge", "gisis"), PasswordFile: c.files["kedge"],
	})
	imo := reg.shipNumber(0)
	shipName := strings.Split(reg.ship(0), "\t")[1]
	s.Watch.DatabaseLogs = []string{c.process.Log}
	s.Probes = []estate.Probe{
		{Name: "health", Kind: "http", URL: "http://" + web + "/health", Expect: "ok"},
		{Name: "ship", Kind: "http", URL: fmt.Sprintf("http://%s/ships/%d", web, imo), Expect: shipName},
		{Name: "interface", Kind: "http", URL: fmt.Sprintf("http://%s/api/ships/%d", web, imo), Expect: `"name":"` + shipName + `"`},
		{
			Name: "query", Kind: "sql", Connect: c.connect("gisis", "gisis"), PasswordFile: c.files["gisis"],
			Query: fmt.Sprintf("SELECT name FROM ships WHERE imo = %d", imo), Expect: shipName,
		},
	}
	return s, c, nil
}

// load makes the cluster's data directory and fills it. Nothing of it runs when load returns.
func (b *builder) load(ctx context.Context, c *cluster, reg register, lib library, ref *reference.Reference) (err error) {
	data := b.home("gisis", "data")
	b.progressf("database: making the cluster")
	initdb := exec.CommandContext(ctx, filepath.Join(b.programs.postgres, "initdb"), "--pgdata", data, "--username=postgres",
		"--pwfile", c.files["postgres"], "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := appendTo(filepath.Join(data, "postgresql.conf"), settings); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hostRules), 0o600); err != nil {
		return err
	}
	spec, err := process.FromEstate(c.process)
	if err != nil {
		return err
	}
	// What is not on the disk yet when the machine fails now is built again.
	spec.Argv = append(spec.Argv, "-c", "fsync=off", "-c", "max_wal_size=4GB")
	if err := process.Start(ctx, spec); err != nil {
		return err
	}
	// It must not stay behind, whatever happened.
	defer func() { err = errors.Join(err, process.Stop(context.WithoutCancel(ctx), spec)) }()

	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	if err := c.createRoles(ctx); err != nil {
		return fmt.Errorf("create roles: %w", err)
	}
	b.progressf("database: %d rows", reg.companies+reg.ships+reg.facilities+reg.casualties+reg.inspections)
	for _, d := range []struct {
		name, tables, keys string
		order              []string
		write              func(w io.Writer, table string) error
	}{
		{"gisis", gisisTables, gisisKeys, gisisOrder, reg.write},
		{"imodocs", imodocsTables, imodocsKeys, []string{"documents"}, lib.write},
	} {
		if err := c.fill(ctx, d.name, d.tables, d.order, d.write, ref); err != nil {
			return fmt.Errorf("fill database %s: %w", d.name, err)
		}
		if err := c.run(ctx, "owner", d.name, d.keys); err != nil {
			return fmt.Errorf("add keys to database %s: %w", d.name, err)
		}
		if err := ref.AddDatabase(reference.Database{
			Name: d.name, Connect: c.connect("owner", d.name), PasswordFile: c.files["owner"], Tables: d.order,
		}); err != nil {
			return err
		}
	}
	return nil
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

var gisisOrder = []string{"companies", "ships", "port_reception_facilities", "casualties", "inspections"}

const gisisTables = `
CREATE TABLE companies (id integer NOT NULL, name text NOT NULL, country text NOT NULL, registered date NOT NULL);
CREATE TABLE ships (imo integer NOT NULL, name text NOT NULL, flag text NOT NULL, type text NOT NULL,
	gross_tonnage integer NOT NULL, built integer NOT NULL, owner integer NOT NULL);
CREATE TABLE port_reception_facilities (id integer NOT NULL, port text NOT NULL, country text NOT NULL, waste text NOT NULL,
	capacity integer NOT NULL, reported date NOT NULL);
CREATE TABLE casualties (id bigint NOT NULL, imo integer NOT NULL, occurred date NOT NULL, kind text NOT NULL, severity text NOT NULL,
	lives_lost integer NOT NULL, summary text NOT NULL);
CREATE TABLE inspections (id bigint NOT NULL, imo integer NOT NULL, port text NOT NULL, inspected date NOT NULL,
	deficiencies integer NOT NULL, detained boolean NOT NULL, closed date);`

// gisisKeys are added after the rows, which is many times faster.
const gisisKeys = `
ALTER TABLE companies ADD PRIMARY KEY (id);
ALTER TABLE ships ADD PRIMARY KEY (imo), ADD FOREIGN KEY (owner) REFERENCES companies;
ALTER TABLE port_reception_facilities ADD PRIMARY KEY (id);
ALTER TABLE casualties ADD PRIMARY KEY (id), ADD FOREIGN KEY (imo) REFERENCES ships;
ALTER TABLE inspections ADD PRIMARY KEY (id), ADD FOREIGN KEY (imo) REFERENCES ships;
CREATE INDEX ON ships (name text_pattern_ops);
CREATE INDEX ON ships (flag);
CREATE INDEX ON casualties (imo);
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO gisis;
ANALYZE;`

const imodocsTables = `
CREATE TABLE documents (id integer NOT NULL, committee text NOT NULL, session integer NOT NULL, symbol text NOT NULL,
	agenda_item integer NOT NULL, language text NOT NULL, title text NOT NULL, path text NOT NULL, published date NOT NULL);`

const imodocsKeys = `
ALTER TABLE documents ADD PRIMARY KEY (id);
CREATE INDEX ON documents (committee, session);
GRANT SELECT ON ALL TABLES IN SCHEMA public TO imodocs;
ANALYZE;`

// createRoles makes the roles and the databases. kedge may replicate and read, no more.
func (c *cluster) createRoles(ctx context.Context) error {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	var script []string
	for _, role := range []string{"owner", "gisis", "imodocs", "kedge"} {
		options := ""
		if role == "kedge" {
			options = " REPLICATION"
		}
		script = append(script, "CREATE ROLE "+role+" LOGIN"+options+" PASSWORD "+quote(c.roles[role]))
	}
	script = append(script, "GRANT pg_read_all_data, pg_monitor, pg_checkpoint TO kedge",
		// Each data-changing statement of the applications is in the server's log, with its transaction.
		"ALTER ROLE gisis SET log_min_duration_statement = 0",
		"CREATE DATABASE gisis OWNER owner", "CREATE DATABASE imodocs OWNER owner")
	for _, statement := range script {
		if err := c.run(ctx, "postgres", "postgres", statement); err != nil {
			return err
		}
	}
	for _, database := range []string{"postgres", "gisis", "imodocs"} {
		if err := c.run(ctx, "postgres", database, "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO kedge"); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) open(ctx context.Context, role, database string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(c.connect(role, database))
	if err != nil {
		return nil, err
	}
	config.Password = c.roles[role]
	return pgconn.ConnectConfig(ctx, config)
}

// awaitReady waits until the server, which accepts connections a little earlier, takes them in.
func (c *cluster) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		err := c.run(ctx, "postgres", "postgres", "SELECT 1")
		var starting *pgconn.PgError
		if err == nil || !errors.As(err, &starting) || starting.Code != "57P03" { // cannot_connect_now
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(readyPoll):
		}
	}
}

func (c *cluster) run(ctx context.Context, role, database, script string) error {
	conn, err := c.open(ctx, role, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, script).ReadAll()
	return err
}

// fill makes a database's tables and copies the rows into them and, line by line the same, into the reference.
func (c *cluster) fill(ctx context.Context, database, tables string, order []string, write func(io.Writer, string) error, ref *reference.Reference) error {
	conn, err := c.open(ctx, "owner", database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, tables).ReadAll(); err != nil {
		return err
	}
	for _, table := range order {
		if err := copyRows(ctx, conn, database, table, write, ref); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

func copyRows(ctx context.Context, conn *pgconn.PgConn, database, table string, write func(io.Writer, string) error, ref *reference.Reference) error {
	keep, err := ref.Rows(database, table)
	if err != nil {
		return err
	}
	rd, wr := io.Pipe()
	written := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(io.MultiWriter(wr, keep), 64<<10)
		err := errors.Join(write(buffered, table), buffered.Flush())
		wr.CloseWithError(err) // nil ends the rows
		written <- err
	}()
	_, err = conn.CopyFrom(ctx, rd, "COPY "+pgx.Identifier{table}.Sanitize()+" FROM STDIN")
	rd.CloseWithError(errors.New("the server takes no more rows")) // ends the writer if it is not at its end
	return errors.Join(err, <-written, keep.Close())
}
