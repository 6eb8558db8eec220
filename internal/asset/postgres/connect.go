package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes that kedge acts on (PostgreSQL documentation, appendix A).
const (
	codeInvalidPassword      = "28P01"
	codeInvalidAuthorization = "28000" // no line in pg_hba.conf, or the role does not exist
	codeNoPrivilege          = "42501"
	codeNotSupported         = "0A000" // a command that this version does not know, or a check that it cannot do
	codeUndefinedFile        = "58P01" // a WAL segment that the server no longer has
	codeInUse                = "55006" // a slot that somebody streams from
	codeDuplicateObject      = "42710"
	codeNotInState           = "55000" // a slot that the server gave up on
)

// maxPassword bounds what is read of a password file, in bytes.
const maxPassword = 4096

// crossings is how often a connection that was reset is tried. In TLS 1.3 a client is done before the server has looked at its
// certificate: what it sends may cross the refusal, and then the reason is lost.
const crossings = 4

// closeTimeout bounds the goodbye to a server.
const closeTimeout = 2 * time.Second

// readPassword returns the first line of file, which holds nothing else.
func readPassword(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read PostgreSQL password: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("read PostgreSQL password: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 || len(text) > maxPassword || bytes.ContainsAny(text, "\x00\r\n") {
		return "", fmt.Errorf("read PostgreSQL password from %s: want one line of 1 to %d characters", file, maxPassword)
	}
	return string(text), nil
}

// dial connects to a server; replication asks for a connection of the streaming replication protocol. The password is read from
// its file each time, so that a changed one is used at once. passwordFile may be empty.
func dial(ctx context.Context, connect, passwordFile string, replication bool) (*pgconn.PgConn, error) {
	parameters := map[string]string{}
	if replication {
		parameters["replication"] = "true"
	}
	return dialDatabase(ctx, connect, passwordFile, "", parameters)
}

// dialDatabase is dial to the named database, "" for the one that connect names, with these parameters of the session.
func dialDatabase(ctx context.Context, connect, passwordFile, database string, parameters map[string]string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(connect)
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	if database != "" {
		config.Database = database
	}
	if passwordFile != "" {
		password, err := readPassword(passwordFile)
		if err != nil {
			return nil, err
		}
		config.Password = password
	}
	config.RuntimeParams["application_name"] = "kedge"
	maps.Copy(config.RuntimeParams, parameters)
	conn, err := pgconn.ConnectConfig(ctx, config)
	for try := 1; try < crossings && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)); try++ {
		conn, err = pgconn.ConnectConfig(ctx, config)
	}
	if err == nil {
		return conn, nil
	}
	address := fmt.Sprintf("%s:%d", config.Host, config.Port)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w (%s)", address, err, connectRemedy(config, err))
	}
	switch refused.Code {
	case codeInvalidPassword:
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w (check that %q holds the password of role %s)", address, refused, passwordFile, config.User)
	case codeInvalidAuthorization, codeNoPrivilege:
		what := "database " + config.Database
		if parameters["replication"] != "" {
			what = "replication"
		}
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w (let role %s connect to %s in pg_hba.conf; for capture it needs the attribute REPLICATION)",
			address, refused, config.User, what)
	}
	return nil, fmt.Errorf("connect to PostgreSQL at %s: %w", address, refused)
}

// hangUp closes conn, also when ctx has ended; the server notices a lost goodbye by itself.
func hangUp(ctx context.Context, conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// Query returns the rows of one or more commands, columns as text; NULL is empty.
func Query(ctx context.Context, conn *pgconn.PgConn, command string) ([][]string, error) {
	results, err := conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("ask PostgreSQL %q: %w", command, err)
	}
	var rows [][]string
	for _, result := range results {
		for _, values := range result.Rows {
			row := make([]string, len(values))
			for i, value := range values {
				row[i] = string(value)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// queryRow returns the one row, of the wanted number of columns, that command is answered with.
func queryRow(ctx context.Context, conn *pgconn.PgConn, command string, columns int) ([]string, error) {
	rows, err := Query(ctx, conn, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) != columns {
		return nil, fmt.Errorf("ask PostgreSQL %q: want one row of %d columns, got %d rows", command, columns, len(rows))
	}
	return rows[0], nil
}

// majorOf returns the major version out of what a server calls its version, such as "15.8 (Debian 15.8-0+deb12u1)"; 0 if there is none.
func majorOf(version string) int {
	digits := len(version) - len(strings.TrimLeft(version, "0123456789"))
	major, err := strconv.Atoi(version[:digits])
	if err != nil {
		return 0
	}
	return major
}

// code returns the SQLSTATE of an error that the server sent, or "".
func code(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// waitInterval is the time between two questions to a server that recovers.
const waitInterval = 100 * time.Millisecond

// WaitPromoted asks the server until it says that its recovery has ended and it takes writes. A server that does not accept
// connections yet is asked again. The wait ends with ctx, with what the server last said. passwordFile may be empty.
func WaitPromoted(ctx context.Context, connect, passwordFile string) error {
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	for {
		recovering, err := inRecovery(ctx, connect, passwordFile)
		if err == nil && !recovering {
			return nil
		}
		if c := code(err); c == codeInvalidPassword || c == codeInvalidAuthorization {
			return fmt.Errorf("wait for the end of recovery: %w", err)
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New("the server is still in recovery")
			}
			return fmt.Errorf("wait for the end of recovery: %w (look into the server's log)", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func inRecovery(ctx context.Context, connect, passwordFile string) (bool, error) {
	conn, err := dial(ctx, connect, passwordFile, false)
	if err != nil {
		return false, err
	}
	defer hangUp(ctx, conn)
	row, err := queryRow(ctx, conn, "SELECT pg_is_in_recovery()", 1)
	if err != nil {
		return false, err
	}
	return row[0] == "t", nil
}
