package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/profile"
)

// database reads one database and adds it to the profile.
func (p *profiler) database(ctx context.Context, d profile.Database) error {
	conn, err := p.dial(ctx, d.Name)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	// Those that code hangs on, and those whose file tells no longer that they are the system's.
	d.Catalogs, err = catalogs(ctx, conn, `NOT c.relisshared AND c.relkind = 'r' AND (pg_relation_filenode(c.oid) >= 16384
   OR c.relname IN ('pg_proc', 'pg_trigger', 'pg_event_trigger', 'pg_extension', 'pg_policy', 'pg_rewrite', 'pg_language'))`)
	if err != nil {
		return err
	}
	if d.Routines, err = p.routines(ctx, conn, d.Name); err != nil {
		return err
	}
	tables, err := p.tables(ctx, conn, d.Name)
	if err != nil {
		return err
	}
	var before *profile.Database
	if p.opt.Previous != nil {
		before = p.opt.Previous.Database(d.Name)
	}
	for i := range tables {
		t := &tables[i]
		if err := p.look(ctx, conn, d, t, before); err != nil {
			if ctx.Err() != nil || conn.IsClosed() {
				return err
			}
			p.failed[d.Name+"\x00"+reason(err)]++
		}
		d.Tables = append(d.Tables, t.Table)
	}
	p.out.Databases = append(p.out.Databases, d)
	return nil
}

// routineQueries ask for what the server runs: its name, what its definition is made of, and whether it can do more than its caller.
//
// The functions that PostgreSQL came with are one entry: an intruder may replace them too.
func routineQueries() map[string]string {
	const body = `concat_ws(chr(31), p.prosrc, p.probin, p.prosecdef, p.proowner, l.lanname, p.provolatile, p.proconfig::text, p.prosqlbody::text)`
	return map[string]string{
		"function": `
SELECT p.oid::regprocedure::text, encode(sha256(textsend(` + body + `)), 'hex'), p.prosecdef AND o.rolsuper OR NOT l.lanpltrusted AND l.lanname <> 'internal'
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_roles o ON o.oid = p.proowner WHERE p.oid >= 16384`,
		"system functions": `
SELECT 'pg_catalog', encode(sha256(textsend(string_agg(` + body + `, chr(30) ORDER BY p.oid))), 'hex'), true
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid < 16384`,
		"trigger": `
SELECT format('%I on %s', t.tgname, t.tgrelid::regclass), encode(sha256(textsend(pg_get_triggerdef(t.oid) || t.tgenabled::text)), 'hex'), false
  FROM pg_trigger t WHERE NOT t.tgisinternal`,
		"event trigger": `
SELECT evtname, encode(sha256(textsend(concat_ws(chr(31), evtevent, evtfoid::regprocedure, evtenabled, evttags::text))), 'hex'), true FROM pg_event_trigger`,
		"extension": `SELECT extname, encode(sha256(textsend(extversion)), 'hex'), false FROM pg_extension`,
		"rule": `
SELECT format('%I on %s', r.rulename, r.ev_class::regclass), encode(sha256(textsend(pg_get_ruledef(r.oid) || r.ev_enabled::text)), 'hex'), false
  FROM pg_rewrite r WHERE r.rulename <> '_RETURN' AND r.oid >= 16384`,
		"policy": `
SELECT format('%I on %s', p.polname, p.polrelid::regclass), encode(sha256(textsend(concat_ws(chr(31), p.polcmd, p.polpermissive, p.polroles::text,
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))), 'hex'), false FROM pg_policy p`,
	}
}

func (p *profiler) routines(ctx context.Context, conn *pgconn.PgConn, database string) ([]profile.Routine, error) {
	var list []profile.Routine
	queries := routineQueries()
	for _, kind := range []string{"function", "system functions", "trigger", "event trigger", "extension", "rule", "policy"} {
		text := queries[kind]
		if majorOf(conn.ParameterStatus("server_version")) < 14 {
			text = withoutSQLBody(text)
		}
		rows, err := Query(ctx, conn, fmt.Sprintf("%s ORDER BY 1 LIMIT %d", text, profile.MaxRoutines+1))
		if err != nil {
			return nil, err
		}
		var some []profile.Routine
		for _, row := range rows {
			some = append(some, profile.Routine{Kind: kind, Name: row[0], Digest: row[1], Powerful: row[2] == "t"})
		}
		list = append(list, cut(p, fmt.Sprintf("%ss of database %s", kind, database), some, profile.MaxRoutines)...)
	}
	return list, nil
}

// lookedAt is a table with what is needed to sample it.
type lookedAt struct {
	profile.Table
	relation string   // as SQL names it
	quoted   []string // columns, as SQL names them
	names    []string // columns
	distinct []float64
	main     int64 // bytes without indexes and long values
	heap     int64 // bytes without indexes
	denied   bool  // it has columns of text that may not be read
}

// tables lists the tables, with those of their columns that hold text.
func (p *profiler) tables(ctx context.Context, conn *pgconn.PgConn, database string) ([]lookedAt, error) {
	rows, err := Query(ctx, conn, fmt.Sprintf(`
SELECT c.oid, n.nspname || '.' || c.relname, format('%%I.%%I', n.nspname, c.relname), coalesce(pg_relation_filenode(c.oid), 0), coalesce(pg_relation_filenode(c.reltoastrelid), 0),
       greatest(0, CASE WHEN coalesce(s.n_live_tup, 0) > 0 THEN s.n_live_tup ELSE c.reltuples END)::bigint, coalesce(pg_total_relation_size(c.oid), 0),
       coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0), c.relrowsecurity,
       coalesce(pg_relation_size(c.oid), 0), coalesce(pg_table_size(c.oid), 0), c.relispartition
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_toast'
 ORDER BY 2 LIMIT %d`, profile.MaxTables+1))
	if err != nil {
		return nil, err
	}
	rows = cut(p, "tables of database "+database, rows, profile.MaxTables)
	list, at := make([]lookedAt, len(rows)), make(map[string]int, len(rows))
	for i, row := range rows {
		file, err1 := parseOID(row[3])
		toast, err2 := parseOID(row[4])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("list tables: the server says %.20q and %.20q for %s", row[3], row[4], row[1])
		}
		list[i] = lookedAt{relation: row[2], main: parseInt(row[11]), heap: parseInt(row[12]), Table: profile.Table{
			Name: row[1], File: file, Toast: toast, Rows: parseInt(row[5]), Bytes: parseInt(row[6]),
			Inserted: parseInt(row[7]), Updated: parseInt(row[8]), Deleted: parseInt(row[9]), RowSecurity: row[10] == "t", Partition: row[13] == "t",
		}}
		at[row[0]] = i
	}
	// Columns whose statistics may be read have some: the view leaves out the others.
	rows, err = Query(ctx, conn, `
SELECT a.attrelid, a.attname, quote_ident(a.attname), has_column_privilege(a.attrelid, a.attnum, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE'),
       coalesce((SELECT s.n_distinct FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited), 0)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_toast'
   AND a.attnum > 0 AND NOT a.attisdropped AND (t.typcategory = 'S' OR t.typname IN ('json', 'jsonb', 'xml'))
 ORDER BY a.attrelid, a.attnum`)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		i, known := at[row[0]]
		if !known || len(list[i].names) == profile.MaxColumns {
			continue
		}
		if row[3] != "t" {
			list[i].denied = true
			continue
		}
		distinct, err := strconv.ParseFloat(row[4], 64)
		if err != nil {
			distinct = 0
		}
		list[i].names, list[i].quoted, list[i].distinct = append(list[i].names, row[1]), append(list[i].quoted, row[2]), append(list[i].distinct, distinct)
	}
	return list, nil
}

// look fills in what a table's columns look like; from the profile before, if nothing changed since.
func (p *profiler) look(ctx context.Context, conn *pgconn.PgConn, d profile.Database, t *lookedAt, before *profile.Database) error {
	if t.denied {
		p.failed[d.Name+"\x00the role of kedge may not read them: GRANT pg_read_all_data (PostgreSQL 14 and later) or SELECT on them"]++
	}
	if len(t.names) == 0 || t.File == 0 || p.opt.NamesOnly {
		return nil
	}
	var old *profile.Table
	if before != nil {
		old = before.Table(t.Name)
	}
	changed := old == nil || old.File != t.File || old.Inserted != t.Inserted || old.Updated != t.Updated || old.Deleted != t.Deleted ||
		len(old.Columns) != len(t.names) || p.opt.Changed != nil && p.opt.Changed(d.OID, t.File)
	if !changed {
		t.Columns = old.Columns
		return nil
	}
	if time.Since(p.begun) > profileBudget {
		if old != nil {
			t.Columns = old.Columns
		}
		return fmt.Errorf("sampling took more than %v", profileBudget)
	}
	return p.sample(ctx, conn, t, old)
}
