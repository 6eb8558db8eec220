package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
)

// CaptureLogical stores a dump of every database of a PostgreSQL asset that takes connections and is no template, as
// SERVICE/ASSET/DATABASE.dump in pg_dump's custom format, which pg_restore brings into this and newer major versions, and the
// roles without their passwords, tablespaces and their grants as SERVICE/ASSET/globals.sql. Each database is dumped as it
// is at one moment, and they one after another. What would stand for a path in a database's name is percent-encoded.
// No snapshot is saved unless every dump ended well.
//
// The dumps are stored as they are written and not compressed by pg_dump, so that rows which stay the same are stored once; nothing of
// them is spooled. For want of a file to go back in, they have no table of where data begins: pg_restore reads them in order.
func CaptureLogical(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, opt asset.CaptureOptions) (_ asset.Captured, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("dump asset %s/%s: %w", service, a.Name, err)
		}
	}()
	if a.Kind != "postgres" {
		return asset.Captured{}, fmt.Errorf("its kind is %q, want postgres", a.Kind)
	}
	d, err := newDumper(a)
	if err != nil {
		return asset.Captured{}, err
	}
	databases, err := d.databases(ctx)
	if err != nil {
		return asset.Captured{}, err
	}
	top := asset.DumpPath(service, a.Name)
	into := opt.Archive(service, a, tagLogical)
	into.Entries = func(ctx context.Context, add func(archive.Entry) error) error {
		for _, database := range databases {
			if err := asset.AddOutput(ctx, add, top+"/"+url.PathEscape(database)+".dump", d.dump(database)); err != nil {
				return remedied(err)
			}
		}
		return remedied(asset.AddOutput(ctx, add, top+"/globals.sql", d.globals()))
	}
	return asset.Capture(ctx, r, repository, []string{top}, into)
}

// dumper runs PostgreSQL's dump programs on one cluster.
type dumper struct {
	asset    estate.Asset
	database string   // that the asset's connection string names
	env      []string // with the password: an argument could be seen by every user of the machine
}

func newDumper(a estate.Asset) (dumper, error) {
	config, err := pgconn.ParseConfig(a.Connect)
	if err != nil {
		return dumper{}, fmt.Errorf("read connection string: %w", err)
	}
	d := dumper{asset: a, database: config.Database, env: []string{"PGAPPNAME=kedge"}}
	if a.PasswordFile != "" {
		password, err := readPassword(a.PasswordFile)
		if err != nil {
			return dumper{}, err
		}
		d.env = append(d.env, "PGPASSWORD="+password)
	}
	return d, nil
}

func (d dumper) databases(ctx context.Context) ([]string, error) {
	conn, err := dial(ctx, d.asset.Connect, d.asset.PasswordFile, false)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	rows, err := Query(ctx, conn, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	return names, nil
}

func (d dumper) dump(database string) asset.Program {
	return d.program("pg_dump", "--format=custom", "--compress=0", "--dbname="+toDatabase(d.asset.Connect, database))
}

func (d dumper) globals() asset.Program {
	return d.program("pg_dumpall", "--globals-only", "--no-role-passwords", "--database="+d.database, "--dbname="+d.asset.Connect)
}

func (d dumper) program(name string, arguments ...string) asset.Program {
	argv := append([]string{filepath.Join(d.asset.Bin, name), "--no-password"}, arguments...)
	return asset.Program{Argv: argv, Env: d.env}
}

// toDatabase is a connection string that leads to another database of the same cluster: of a parameter that is given twice, libpq takes the last.
func toDatabase(connect, database string) string {
	if u, err := url.Parse(connect); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		parameter := "dbname=" + strings.ReplaceAll(url.QueryEscape(database), "+", "%20") // libpq takes a plus sign for itself
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+parameter, "&")
		return u.String()
	}
	return connect + " dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database) + "'"
}

// remedied says what to do about the usual reason for which a dump fails.
func remedied(err error) error {
	if err != nil && strings.Contains(err.Error(), "permission denied") {
		return errors.Join(err, errors.New("a logical dump reads everything: GRANT pg_read_all_data to the role (before PostgreSQL 14, make it a superuser), or remove logical"))
	}
	return err
}
