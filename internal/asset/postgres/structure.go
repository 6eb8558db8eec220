package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes that checks are answered with.
const (
	codeLockTimeout    = "55P03"
	codeIndexCorrupted = "XX002"
)

const (
	// firstNormal is the first OID of what is not PostgreSQL's own (access/transam.h: FirstNormalObjectId).
	firstNormal = 16384
	// lockPatience is how long a check waits for a table where prepared transactions may hold it for ever.
	lockPatience = "1s"
)

// structure is one relation to check.
type structure struct {
	database string
	oid      uint32
	kind     byte   // pg_class.relkind: r, m, t(oast), S(equence), i(ndex)
	name     string // quoted as SQL wants it
	label    string // for people
	method   string // of access: heap, btree, …
	sound    bool   // an index that is valid; a view that was filled
	bytes    int64
}

// amcheckFunctions declare amcheck's functions in the session's own schema: they are gone with it, and what an extension
// of whatever version has declared in the database does not matter. The second is new in PostgreSQL 14.
var amcheckFunctions = [2]string{
	`CREATE FUNCTION pg_temp.check_btree(regclass, boolean, boolean) RETURNS void
		AS '$libdir/amcheck', 'bt_index_parent_check' LANGUAGE c STRICT`,
	`CREATE FUNCTION pg_temp.check_heap(relation regclass, boolean, boolean, text, bigint, bigint,
		OUT blkno bigint, OUT offnum integer, OUT attnum integer, OUT msg text) RETURNS SETOF record
		AS '$libdir/amcheck', 'verify_heapam' LANGUAGE c`,
}

// databases lists those that can be connected to, and, quoted, those that are only when admit lets.
func (v *verification) databases(ctx context.Context, x *examiner) (names, shut []string, err error) {
	conn, err := x.connect(ctx, x.database)
	if err != nil {
		return nil, nil, err
	}
	defer hangUp(ctx, conn)
	rows, err := Query(ctx, conn, "SELECT datname, quote_ident(datname), datallowconn, datconnlimit FROM pg_database ORDER BY oid")
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		if row[3] == "-2" { // since the minor releases of August 2023
			v.skip(1, "database "+row[0]+": its removal was broken off")
			continue
		}
		if row[2] == "f" {
			shut = append(shut, row[1])
		}
		names = append(names, row[0])
	}
	return names, shut, nil
}

// admit lets databases, such as template0, be connected to, or not.
func (x *examiner) admit(ctx context.Context, allow bool, databases []string) error {
	conn, err := x.connect(ctx, x.database)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	for _, quoted := range databases {
		if _, err := Query(ctx, conn, fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", quoted, allow)); err != nil {
			return err
		}
	}
	return nil
}

const listStructures = `
SELECT c.oid, c.relkind, c.relisshared, coalesce(quote_ident(n.nspname), '?') || '.' || quote_ident(c.relname),
	coalesce(quote_ident(m.nspname) || '.' || quote_ident(o.relname), ''),
	coalesce(am.amname, ''), coalesce(i.indisvalid AND i.indisready AND i.indislive, c.relispopulated),
	coalesce(pg_relation_size(c.oid), 0), coalesce(pg_relation_filepath(c.oid), '')
FROM pg_class c
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_index i ON i.indexrelid = c.oid
LEFT JOIN pg_class o ON o.relkind IN ('r', 'm') AND o.reltoastrelid = coalesce(i.indrelid, c.oid)
LEFT JOIN pg_namespace m ON m.oid = o.relnamespace
WHERE c.relkind IN ('r', 'm', 't', 'S', 'i') AND c.relpersistence <> 't'`

// list returns what is to be checked in the databases, the largest of each first, and counts what cannot be.
func (v *verification) list(ctx context.Context, x *examiner, databases []string) ([]structure, error) {
	var all []structure
	for n, database := range databases {
		some, err := v.listDatabase(ctx, x, database, n == 0)
		if err != nil && ctx.Err() == nil && code(err) != "" {
			v.found("database "+database, errorText(err))
			continue
		}
		if err != nil {
			return nil, err
		}
		v.result.Databases++
		all = append(all, some...)
	}
	return all, nil
}

// listDatabase lists one database; shared: with what belongs to all of them.
func (v *verification) listDatabase(ctx context.Context, x *examiner, database string, shared bool) ([]structure, error) {
	conn, err := x.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	rows, err := Query(ctx, conn, listStructures)
	if err != nil {
		return nil, err
	}
	var some []structure
	for _, row := range rows {
		s := structure{database: database, kind: row[1][0], name: row[3], method: row[5], sound: row[6] == "t"}
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err == nil {
			s.bytes, err = strconv.ParseInt(row[7], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("list the relations of database %s: %w", database, err)
		}
		if s.oid = uint32(oid); row[2] == "t" && !shared {
			continue
		}
		s.label = s.describe(row[4])
		v.names[row[8]] = s.where()
		v.result.Bytes += s.bytes
		if v.accept(s) {
			some = append(some, s)
		}
	}
	slices.SortStableFunc(some, func(a, b structure) int { return cmp.Compare(b.bytes, a.bytes) })
	return some, nil
}

// accept counts a structure and tells whether it can be checked.
func (v *verification) accept(s structure) bool {
	own := s.oid >= firstNormal && !strings.HasPrefix(s.name, "pg_toast.")
	switch {
	case s.kind == 'i' && s.method != "btree":
		why := "indexes of kind " + s.method
		if v.result.Checksums {
			why += ", but for checksums"
		}
		v.skip(1, why)
		return false
	case s.kind == 'i' && !s.sound:
		v.skip(1, "indexes that PostgreSQL itself calls invalid")
		return false
	case s.kind == 'i' && own:
		v.result.Indexes++
	case (s.kind == 'r' || s.kind == 'm') && own:
		v.result.Tables++
	}
	return true
}

func (s structure) describe(owner string) string {
	what := map[byte]string{'r': "table", 'm': "materialized view", 't': "TOAST table", 'S': "sequence", 'i': "index"}[s.kind]
	if owner == "" {
		return what + " " + s.name
	}
	if s.kind == 'i' {
		what = "TOAST index"
	}
	return what + " of " + owner
}

func (s structure) where() string { return "database " + s.database + ", " + s.label }

// worker checks structures over one connection at a time.
type worker struct {
	*verification
	*examiner
	conn     *pgconn.PgConn
	database string
	closed   string // a database that cannot be worked in
	btree    bool   // amcheck's functions are there
	heap     bool
}

func (w *worker) hangUp(ctx context.Context) {
	if w.conn != nil {
		hangUp(ctx, w.conn)
		w.conn = nil
	}
}

// enter connects to a database, if w is not connected to it already.
func (w *worker) enter(ctx context.Context, database string) error {
	if w.conn != nil && !w.conn.IsClosed() && w.database == database {
		return nil
	}
	w.hangUp(ctx)
	conn, err := w.connect(ctx, database)
	if err != nil {
		return err
	}
	w.conn, w.database = conn, database
	if w.btree, err = w.declare(ctx, amcheckFunctions[0]); err == nil && w.version >= 14 {
		w.heap, err = w.declare(ctx, amcheckFunctions[1])
	}
	if err == nil {
		// Not before: what declares waits for checks.
		_, err = Query(ctx, conn, "SELECT set_config('lock_timeout', '"+lockPatience+"', false) FROM pg_prepared_xacts LIMIT 1")
	}
	return err
}

// declare makes one of amcheck's functions. That its library is missing is no error.
func (w *worker) declare(ctx context.Context, function string) (bool, error) {
	_, err := Query(ctx, w.conn, function)
	if code(err) == codeUndefinedFile {
		return false, nil
	}
	return err == nil, err
}

// check examines one structure. The error is not about it: ctx or the server ended.
func (w *worker) check(ctx context.Context, s structure) error {
	if s.database == w.closed {
		return nil
	}
	if err := w.enter(ctx, s.database); err != nil {
		if code(err) == "" {
			return err
		}
		w.found("database "+s.database, errorText(err))
		w.closed = s.database
		return nil
	}
	switch s.kind {
	case 'i':
		return w.judge(ctx, s, w.checkBtree(ctx, s))
	case 't':
		return w.judge(ctx, s, w.checkHeap(ctx, s))
	case 'r', 'm':
		if err := w.judge(ctx, s, w.checkHeap(ctx, s)); err != nil {
			return err
		}
	}
	return w.judge(ctx, s, w.read(ctx, s))
}

// judge makes damage of what the server says about a structure.
func (w *worker) judge(ctx context.Context, s structure, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case code(err) == codeLockTimeout:
		w.skip(1, "what a transaction that was prepared and not ended holds")
		return nil
	case code(err) == "":
		// With a server that broke down all checks in progress end; one of them is about what broke it.
		w.found(s.where(), "the server broke off while it was checked")
		return fmt.Errorf("the server broke off while it checked %s: %w", s.where(), err)
	}
	w.found(s.where(), errorText(err))
	return nil
}

func (w *worker) checkBtree(ctx context.Context, s structure) error {
	if !w.btree {
		w.skip(1, "indexes against their tables: amcheck is not installed (Debian has it in the server's package, others in postgresql-contrib)")
		return nil
	}
	ask := func(descend bool) error {
		_, err := w.conn.Exec(ctx, fmt.Sprintf("SELECT pg_temp.check_btree(%d, true, %t)", s.oid, descend)).ReadAll()
		return err
	}
	err := ask(true)
	if code(err) == codeNotSupported { // by rootdescend: PostgreSQL 11 or an older one made the index
		err = ask(false)
	}
	return err
}

// checkHeap looks for the first block of a table that is damaged.
func (w *worker) checkHeap(ctx context.Context, s structure) error {
	switch {
	case s.method != "heap":
		w.skip(1, "tables of kind "+s.method+", but for reading them")
		return nil
	case !w.heap && w.version < 14:
		w.skip(1, "tables, but for reading them: amcheck cannot before PostgreSQL 14")
		return nil
	case !w.heap:
		w.skip(1, "tables, but for reading them: amcheck is not installed")
		return nil
	}
	rows, err := Query(ctx, w.conn, fmt.Sprintf("SELECT blkno, offnum, msg FROM pg_temp.check_heap(%d, true, true, 'none', NULL, NULL)", s.oid))
	if err != nil {
		return err
	}
	for _, row := range rows {
		w.found(s.where(), fmt.Sprintf("block %s, line pointer %s: %s", row[0], row[1], row[2]))
	}
	return nil
}

// read lets the server send every row, and forgets it.
func (w *worker) read(ctx context.Context, s structure) error {
	if s.kind == 'm' && !s.sound {
		return nil // it holds nothing
	}
	// As text: there are types that cannot be sent otherwise.
	tag, err := w.conn.CopyTo(ctx, io.Discard, "COPY (SELECT * FROM ONLY "+s.name+") TO STDOUT")
	if err != nil {
		return err
	}
	if s.kind != 'S' && s.oid >= firstNormal {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.result.Rows += tag.RowsAffected()
	}
	return nil
}

// errorText is what the server said, for people.
func errorText(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err.Error()
	}
	if refused.Code == codeIndexCorrupted && refused.Detail != "" {
		return refused.Message + " (" + refused.Detail + ")"
	}
	return refused.Message
}
