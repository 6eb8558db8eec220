package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/profile"
)

const (
	// sampleRows and sampleBytes bound what is fetched of one table's rows.
	sampleRows  = 3000
	sampleBytes = 16 << 20
	// sampleBlocks is how much of a table's main file is read for a sample, in bytes.
	sampleBlocks = 16 << 20
	// wholeBytes is up to what size a table is searched whole for scripts, and for the rows that were written lately, in bytes.
	wholeBytes = 64 << 20
	// unknownWidth is what a row is taken to have while the server has not counted the rows, in bytes.
	unknownWidth = 512
	// minWritten is how many rows must have been written since the profile before for a sample of them to say something.
	minWritten = 30
)

// sample reads what the table's columns look like now, and what the rows look like that were written since the profile before.
func (p *profiler) sample(ctx context.Context, conn *pgconn.PgConn, t *lookedAt, old *profile.Table) error {
	part := share(sampleBlocks, t.main)
	columns, err := p.texts(ctx, conn, t, fmt.Sprintf("TABLESAMPLE SYSTEM (%g) REPEATABLE (0)", part), t.limit())
	if err != nil {
		return err
	}
	if t.heap <= wholeBytes {
		if err := p.scripts(ctx, conn, t, columns); err != nil {
			return err
		}
	}
	t.Columns = columns
	if old == nil || p.opt.Previous == nil || old.File != t.File {
		return nil
	}
	written := t.Inserted - old.Inserted + t.Updated - old.Updated
	if written < minWritten && p.opt.Changed == nil {
		return nil
	}
	// The server tells a row's transaction; those of before the profile are older.
	recent := fmt.Sprintf("TABLESAMPLE SYSTEM (%g) REPEATABLE (0) WHERE age(xmin) BETWEEN 0 AND age('%d'::xid)", share(wholeBytes, t.main), p.opt.Previous.XID)
	fresh, err := p.texts(ctx, conn, t, recent, t.limit())
	if err != nil {
		return err
	}
	if fresh[0].Sampled >= minWritten {
		t.Written = fresh
	}
	return nil
}

// share returns what part of size bytes wanted is, in percent.
func share(wanted, size int64) float64 {
	if size <= wanted {
		return 100
	}
	return 100 * float64(wanted) / float64(size)
}

// limit is how many rows are fetched: fewer, where they are long.
func (t *lookedAt) limit() int64 {
	width := int64(unknownWidth)
	if t.Rows > 0 {
		width = t.heap / t.Rows
	}
	return max(10, min(sampleRows, sampleBytes/max(1, width)))
}

// texts gathers the values of the table's columns in up to limit of the rows that from selects.
func (p *profiler) texts(ctx context.Context, conn *pgconn.PgConn, t *lookedAt, from string, limit int64) ([]profile.Column, error) {
	values := make([]string, len(t.quoted))
	for i, name := range t.quoted {
		values[i] = fmt.Sprintf("left(%s::text, %d)", name, profile.MaxValue)
	}
	gathered := make([]profile.Text, len(values))
	for i := range gathered {
		gathered[i].Digest = p.digest
	}
	result := conn.ExecParams(ctx, fmt.Sprintf("SELECT %s FROM ONLY %s %s LIMIT %d", strings.Join(values, ", "), t.relation, from, limit), nil, nil, nil, nil)
	for result.NextRow() {
		for i, value := range result.Values() {
			if value == nil {
				gathered[i].Null()
			} else {
				gathered[i].Add(string(value))
			}
		}
	}
	if _, err := result.Close(); err != nil {
		return nil, fmt.Errorf("sample a table: %w", err)
	}
	columns := make([]profile.Column, len(gathered))
	for i := range gathered {
		columns[i] = gathered[i].Column(t.names[i])
		columns[i].Distinct = t.distinct[i]
	}
	return columns, nil
}

// scripts counts the values with what a browser would run in all rows, and notes the oldest transaction that wrote one.
func (p *profiler) scripts(ctx context.Context, conn *pgconn.PgConn, t *lookedAt, columns []profile.Column) error {
	var values []string
	for _, name := range t.quoted {
		match := fmt.Sprintf("%s::text ~* '%s'", name, profile.ScriptPattern)
		values = append(values, fmt.Sprintf("count(*) FILTER (WHERE %s)", match), fmt.Sprintf("coalesce((array_agg(xmin::text ORDER BY age(xmin) DESC) FILTER (WHERE %s))[1], '0')", match))
	}
	row, err := queryRow(ctx, conn, fmt.Sprintf("SELECT %s FROM ONLY %s", strings.Join(values, ", "), t.relation), len(values))
	if err != nil {
		return fmt.Errorf("look for scripts: %w", err)
	}
	for i := range columns {
		columns[i].Scripts, columns[i].Whole = parseInt(row[2*i]), true
		xid, err := parseOID(row[2*i+1])
		if err != nil {
			return fmt.Errorf("look for scripts: the server says transaction %.20q", row[2*i+1])
		}
		columns[i].ScriptXID = xid
	}
	return nil
}

// withoutSQLBody makes a query fit for PostgreSQL 13, whose functions have no body in SQL's own syntax.
func withoutSQLBody(text string) string { return strings.ReplaceAll(text, ", p.prosqlbody::text", "") }
