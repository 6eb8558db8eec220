package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/profile"
)

// profileBudget is how long tables are sampled for one profile. Those beyond keep their figures and get no new sample.
const profileBudget = time.Minute

// profileSession are the settings under which a profile is read: it writes nothing, waits for no lock and no slow table, calls no function
// that another put in its way, sees all rows or none, and gets text as the server has it, in whatever encoding.
func profileSession() map[string]string {
	return map[string]string{
		"default_transaction_read_only": "on", "statement_timeout": "30s", "lock_timeout": "2s",
		"standard_conforming_strings": "on", "search_path": "pg_catalog", "row_security": "off", "client_encoding": "SQL_ASCII", "DateStyle": "ISO", "TimeZone": "UTC",
	}
}

// ProfileOptions say how to read a profile. The zero value is right for the first one.
type ProfileOptions struct {
	// Previous is the profile before: tables that did not change since keep what it says of their columns, and of the others the rows are
	// sampled that were written since.
	Previous *profile.Profile
	// Changed tells of tables that are known to have changed since Previous, by the names the WAL has for database and file. It may be nil: the
	// server's own statistics tell too, a moment later.
	Changed func(database, file uint32) bool
	// NamesOnly asks for tables by name and size and nothing that is in them, for Names.
	NamesOnly bool
}

// profiler reads one profile.
type profiler struct {
	asset  estate.Asset
	opt    ProfileOptions
	out    *profile.Profile
	key    []byte // of digests of values
	begun  time.Time
	failed map[string]int // tables that could not be sampled, by database and reason
}

// ReadProfile looks at the cluster over ordinary connections, one for each database that the asset's role may connect to. What it may not
// see, or could not see in time, is listed in the profile and no error; an error is a cluster that does not answer.
// The server's load is bounded: a sample of some thousand rows of each table that changed, and one pass over small ones.
func ReadProfile(ctx context.Context, a estate.Asset, opt ProfileOptions) (profile.Profile, error) {
	p := &profiler{asset: a, opt: opt, out: &profile.Profile{Version: profile.Version}, begun: time.Now(), failed: map[string]int{}}
	databases, err := p.cluster(ctx)
	if err != nil {
		return profile.Profile{}, fmt.Errorf("read profile of asset %s: %w", a.Name, err)
	}
	for _, d := range databases {
		if err := p.database(ctx, d); err != nil {
			if ctx.Err() != nil {
				return profile.Profile{}, fmt.Errorf("read profile of asset %s: %w", a.Name, err)
			}
			p.leaveOut("database "+d.Name, reason(err))
		}
	}
	for what, n := range p.failed {
		where, reason, _ := strings.Cut(what, "\x00")
		p.leaveOut(fmt.Sprintf("columns of %d tables of database %s", n, where), reason)
	}
	slices.SortFunc(p.out.LeftOut, func(a, b profile.LeftOut) int { return strings.Compare(a.What, b.What) })
	return *p.out, nil
}

// UnseenProfile is what stands for the profile of a cluster that could not be looked at.
func UnseenProfile(why error) profile.Profile {
	text := why.Error()
	return profile.Profile{
		Version: profile.Version, Time: time.Now().UTC(), LSN: "0/0",
		LeftOut: []profile.LeftOut{{What: "the cluster", Reason: text[:min(len(text), maxReason)]}},
	}
}

// maxReason bounds why something was left out, in bytes, and maxLeftOut how much is told of.
const (
	maxReason  = 300
	maxLeftOut = 200
)

// reason is what err says to a person: of what the server refused, its own words.
func reason(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Message
	}
	return err.Error()
}

func (p *profiler) leaveOut(what, reason string) {
	if len(p.out.LeftOut) == maxLeftOut {
		p.out.LeftOut[0] = profile.LeftOut{What: "more than is listed", Reason: "the list is full"}
		return
	}
	p.out.LeftOut = append(p.out.LeftOut, profile.LeftOut{What: what, Reason: reason[:min(len(reason), maxReason)]})
}

func (p *profiler) dial(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return dialDatabase(ctx, p.asset.Connect, p.asset.PasswordFile, database, profileSession())
}

// predefined are the roles whose members can do more than read.
const predefined = `'pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files', 'pg_write_all_data', 'pg_read_all_data',
	'pg_maintain', 'pg_create_subscription', 'pg_signal_backend', 'pg_checkpoint'`

// cluster reads what all databases share, and returns the databases to look at.
func (p *profiler) cluster(ctx context.Context) ([]profile.Database, error) {
	conn, err := p.dial(ctx, "")
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	// The position first: what is read later holds all that committed before it.
	row, err := queryRow(ctx, conn, `
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
       (pg_snapshot_xmin(pg_current_snapshot())::text::numeric % 4294967296)::text,
       current_setting('log_line_prefix'), current_setting('log_timezone'), (SELECT system_identifier FROM pg_control_system())`, 5)
	if code(err) == codeNoPrivilege {
		row, err = queryRow(ctx, conn, `
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
       (pg_snapshot_xmin(pg_current_snapshot())::text::numeric % 4294967296)::text,
       current_setting('log_line_prefix'), current_setting('log_timezone'), ''`, 5)
	}
	if err != nil {
		return nil, err
	}
	xid, err := parseOID(row[1])
	if err != nil {
		return nil, fmt.Errorf("ask PostgreSQL for its transactions: it says %.40q", row[1])
	}
	p.out.Time, p.out.LSN, p.out.XID = time.Now().UTC(), row[0], xid
	p.out.LogLinePrefix, p.out.LogTimezone = row[2], row[3]
	p.key = []byte("kedge profile " + row[4])
	if p.out.Roles, err = p.roles(ctx, conn); err != nil {
		return nil, err
	}
	p.out.Shared, err = catalogs(ctx, conn, `c.relisshared AND c.relkind = 'r'`)
	if err != nil {
		return nil, err
	}
	return p.databases(ctx, conn)
}

func (p *profiler) roles(ctx context.Context, conn *pgconn.PgConn) ([]profile.Role, error) {
	rows, err := Query(ctx, conn, fmt.Sprintf(`
SELECT r.rolname, concat_ws(',', CASE WHEN r.rolbypassrls THEN 'bypassrls' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
         CASE WHEN r.rolcreaterole THEN 'createrole' END, CASE WHEN r.rolcanlogin THEN 'login' END,
         CASE WHEN r.rolreplication THEN 'replication' END, CASE WHEN r.rolsuper THEN 'superuser' END),
       array_to_string(ARRAY(SELECT m.rolname::text FROM pg_roles m WHERE m.rolname IN (%s) AND NOT r.rolsuper AND m.oid <> r.oid
         AND pg_has_role(r.oid, m.oid, 'MEMBER') ORDER BY 1), ',')
  FROM pg_roles r ORDER BY 1 LIMIT %d`, predefined, profile.MaxRoles+1))
	if err != nil {
		return nil, err
	}
	roles := make([]profile.Role, 0, len(rows))
	for _, row := range rows {
		roles = append(roles, profile.Role{Name: row[0], Attributes: splitList(row[1]), Member: splitList(row[2])})
	}
	return cut(p, "roles", roles, profile.MaxRoles), nil
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// cut keeps the first limit of list, and says so if there are more.
func cut[T any](p *profiler, what string, list []T, limit int) []T {
	if len(list) > limit {
		p.leaveOut(what, fmt.Sprintf("there are more than %d", limit))
		list = list[:limit]
	}
	return list
}

// catalogs returns the system tables that where selects, by the names of their files.
func catalogs(ctx context.Context, conn *pgconn.PgConn, where string) ([]profile.Catalog, error) {
	rows, err := Query(ctx, conn, `
SELECT c.relname, pg_relation_filenode(c.oid) FROM pg_class c
 WHERE c.relnamespace = 'pg_catalog'::regnamespace AND pg_relation_filenode(c.oid) IS NOT NULL AND `+where+` ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	list := make([]profile.Catalog, 0, len(rows))
	for _, row := range rows {
		file, err := parseOID(row[1])
		if err != nil {
			return nil, fmt.Errorf("name system tables: the server says %.20q for %s", row[1], row[0])
		}
		list = append(list, profile.Catalog{Name: row[0], File: file})
	}
	return list, nil
}

func (p *profiler) databases(ctx context.Context, conn *pgconn.PgConn) ([]profile.Database, error) {
	rows, err := Query(ctx, conn, `
SELECT datname, oid, datallowconn, datistemplate, has_database_privilege(oid, 'CONNECT') FROM pg_database
 ORDER BY datname <> current_database(), datname`)
	if err != nil {
		return nil, err
	}
	var list []profile.Database
	for _, row := range rows {
		oid, err := parseOID(row[1])
		if err != nil {
			return nil, fmt.Errorf("list databases: the server says %.20q for %s", row[1], row[0])
		}
		switch {
		case row[3] == "t":
			p.leaveOut("database "+row[0], "it is a template")
		case row[2] != "t":
			p.leaveOut("database "+row[0], "it takes no connections")
		case row[4] != "t":
			p.leaveOut("database "+row[0], "the role of kedge may not connect to it: GRANT CONNECT ON DATABASE")
		default:
			list = append(list, profile.Database{Name: row[0], OID: oid})
		}
	}
	return cut(p, "databases", list, profile.MaxDatabases), nil
}

// digest tells values apart without telling them.
func (p *profiler) digest(value string) uint64 {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(value))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

func parseInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
