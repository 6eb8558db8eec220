package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/estate"
)

// askSQL runs a query in PostgreSQL, in a session that reads only. The first row's first column, as text, is
// the answer; no row is a wrong one.
func askSQL(ctx context.Context, p estate.Probe) error {
	config, err := pgconn.ParseConfig(p.Connect)
	if err != nil {
		return err // it names the string without its password
	}
	if p.PasswordFile != "" {
		if config.Password, err = readPassword(p.PasswordFile); err != nil {
			return err
		}
	}
	config.RuntimeParams["default_transaction_read_only"] = "on"
	config.RuntimeParams["application_name"] = "kedge probe"
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows := conn.ExecParams(ctx, p.Query, nil, nil, nil, nil)
	var answer []byte
	found := rows.NextRow()
	if found && len(rows.Values()) > 0 {
		answer = append(answer, rows.Values()[0]...)
	}
	if _, err := rows.Close(); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if !found {
		return errors.New("the query gave no row")
	}
	return compare(p, answer)
}
