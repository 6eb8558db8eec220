package postgres

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/profile"
)

func readProfile(t *testing.T, c *postgrestest.Cluster, opt ProfileOptions) profile.Profile {
	t.Helper()
	p, err := ReadProfile(t.Context(), declare(c), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tableOf returns a table of database app.
func tableOf(t *testing.T, p profile.Profile, name string) *profile.Table {
	t.Helper()
	d := p.Database("app")
	if d == nil || d.Table(name) == nil {
		t.Fatalf("the profile has no table %s of database app: %+v", name, p)
	}
	return d.Table(name)
}

func routine(d *profile.Database, kind, name string) *profile.Routine {
	for i := range d.Routines {
		if d.Routines[i].Kind == kind && d.Routines[i].Name == name {
			return &d.Routines[i]
		}
	}
	return nil
}

func TestAProfileTellsWhatAClusterLooksLikeAndNoValue(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, `
CREATE TABLE ships (imo int PRIMARY KEY, name text, flag varchar(40), built int);
INSERT INTO ships SELECT g, 'MV Confidential ' || g, CASE WHEN g % 3 = 0 THEN 'Panama' WHEN g % 3 = 1 THEN NULL ELSE 'Côte d''Ivoire' END, 2000 FROM generate_series(1, 9000) g;
CREATE TABLE closed (secret text); INSERT INTO closed VALUES ('x');
GRANT SELECT ON ships TO kedge; ANALYZE ships;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 4242';
CREATE FUNCTION powerful() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER audit BEFORE UPDATE ON ships FOR EACH ROW EXECUTE FUNCTION tf();
CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'hunter2'; CREATE ROLE writer IN ROLE pg_write_server_files;
CREATE ROLE nested IN ROLE writer`)
	c.Superuser(t, "CREATE DATABASE second")
	c.Superuser(t, "CREATE DATABASE locked")
	c.Superuser(t, "REVOKE CONNECT ON DATABASE locked FROM PUBLIC")
	p := readProfile(t, c, ProfileOptions{})

	ships := tableOf(t, p, "public.ships")
	if ships.Rows != 9000 || ships.Bytes < 9000*40 || ships.Inserted != 9000 || len(ships.Columns) != 2 {
		t.Errorf("ships: %+v", ships)
	}
	name, flag := ships.Columns[0], ships.Columns[1]
	if name.Name != "name" || name.Nulls != 0 || name.Lengths[0] != 17 || name.Lengths[6] != 20 || name.Share.Letters < 0.6 || name.Share.Digits < 0.1 || name.Distinct != -1 || len(name.Common) != 0 {
		t.Errorf("ships.name: %+v", name)
	}
	if flag.Nulls < 0.3 || flag.Nulls > 0.37 || len(flag.Common) != 2 || flag.Common[0].Share < 0.45 || flag.Share.Other == 0 || flag.Share.Markup == 0 || flag.Scripts != 0 || !flag.Whole {
		t.Errorf("ships.flag: %+v", flag)
	}
	app := p.Database("app")
	if f := routine(app, "function", "public.f(integer)"); f == nil || len(f.Digest) != 64 || f.Powerful {
		t.Errorf("function f: %+v", f)
	}
	if f := routine(app, "function", "public.powerful()"); f == nil || !f.Powerful {
		t.Errorf("a function that runs as a superuser: %+v", f)
	}
	if routine(app, "trigger", "audit on public.ships") == nil || routine(app, "extension", "plpgsql") == nil || routine(app, "system functions", "pg_catalog") == nil {
		t.Errorf("routines: %+v", app.Routines)
	}
	attributes, members := map[string]string{}, map[string]string{}
	for _, r := range p.Roles {
		attributes[r.Name], members[r.Name] = strings.Join(r.Attributes, " "), strings.Join(r.Member, " ")
	}
	if attributes["boss"] != "login superuser" || attributes["kedge"] != "login replication" || members["nested"] != "pg_write_server_files" || members["boss"] != "" {
		t.Errorf("roles: %v, members of %v", attributes, members)
	}
	if p.Database("second") == nil || p.Database("locked") != nil || p.LogTimezone == "" || p.XID < 3 || p.LSN == "" {
		t.Errorf("profile %+v", p)
	}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Confidential", "Ivoire", "Panama", "hunter2", "SCRAM", "4242"} {
		if strings.Contains(string(data), secret) {
			t.Errorf("the profile tells %q", secret)
		}
	}
	left := ""
	for _, l := range p.LeftOut {
		left += l.What + ": " + l.Reason + "\n"
	}
	for _, want := range []string{"database locked: the role of kedge may not connect", "columns of 1 tables of database app: the role of kedge may not read them", "template1"} {
		if !strings.Contains(left, want) {
			t.Errorf("the profile does not say that %q is missing:\n%s", want, left)
		}
	}
}

func TestAProfileTellsWhatWasWrittenSinceTheOneBefore(t *testing.T) {
	c := postgrestest.Start(t)
	s := connect(t, c)
	s.do(`CREATE TABLE pages (id int PRIMARY KEY, body text); INSERT INTO pages SELECT g, 'A page about ship number ' || g FROM generate_series(1, 20000) g;
CREATE TABLE still (x text); INSERT INTO still VALUES ('quiet')`)
	first := readProfile(t, c, ProfileOptions{})
	s.do("UPDATE pages SET body = repeat('!', 300) WHERE id <= 500")
	xid := s.one("UPDATE pages SET body = body || '<SCRIPT src=//x>' WHERE id = 20000 RETURNING pg_current_xact_id()::xid")
	changed := func(_, file uint32) bool { return file == tableOf(t, first, "public.pages").File }
	second := readProfile(t, c, ProfileOptions{Previous: &first, Changed: changed})
	pages := tableOf(t, second, "public.pages")
	if len(pages.Written) != 1 || pages.Written[0].Sampled != 501 || pages.Written[0].Lengths[3] != 300 {
		t.Errorf("what was written: %+v", pages.Written)
	}
	if b := pages.Columns[0]; b.Scripts != 1 || !b.Whole || xid != fmt.Sprint(b.ScriptXID) {
		t.Errorf("one row has a script of transaction %s: %+v", xid, b)
	}
	if still := tableOf(t, second, "public.still"); len(still.Columns) != 1 || still.Written != nil {
		t.Errorf("a table that did not change: %+v", still)
	}
	if b := tableOf(t, first, "public.pages").Columns[0]; b.Scripts != 0 {
		t.Errorf("before: %+v", b)
	}
}

func TestProfilesAndTransactionsAreReadBackFromTheRepository(t *testing.T) {
	c := postgrestest.Start(t)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int, name text)")
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	if _, err := p.Base(t.Context(), r, "main"); err != nil {
		t.Fatal(err)
	}
	var want []string
	var positions []string
	for i := range 3 {
		stored := readProfile(t, c, ProfileOptions{})
		positions = append(positions, stored.LSN)
		if _, err := StoreProfile(t.Context(), r, "main", "gisis", declare(c), stored); err != nil {
			t.Fatal(err)
		}
		for range maxBatch/3 + 1 { // more segments than are read at once
			want = append(want, s.one("INSERT INTO ships VALUES ("+fmt.Sprint(i)+", 'x') RETURNING pg_current_xact_id()::xid"))
			c.Superuser(t, "SELECT pg_switch_wal()")
		}
		if _, err := p.Flush(t.Context(), r, "main"); err != nil {
			t.Fatal(err)
		}
	}

	var got []string
	older, err := EachProfile(t.Context(), r, "gisis", "database", 2, func(p StoredProfile) error {
		got = append(got, p.LSN)
		return nil
	})
	if err != nil || strings.Join(got, " ") != strings.Join(positions[1:], " ") || older != 1 {
		t.Errorf("profiles at %q and %d older (%v), want those at %q and one", got, older, err, positions[1:])
	}
	if newest, err := NewestProfile(t.Context(), r, "gisis", "database"); err != nil || newest.LSN != positions[2] {
		t.Errorf("the newest profile is %+v (%v)", newest, err)
	}
	if none, err := NewestProfile(t.Context(), r, "another", "database"); err != nil || none != nil {
		t.Errorf("a cluster without profiles has %+v (%v)", none, err)
	}
	names := namesOf(t, c)
	var read []string
	dir := t.TempDir()
	_, err = EachTransaction(t.Context(), r, "gisis", declare(c), dir, positions[0], func(tx Transaction) error {
		for relation := range tx.Changes {
			if names[relation].Name == "public.ships" {
				read = append(read, fmt.Sprint(tx.XID))
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > maxBatch+2 {
			t.Errorf("%d segments stand on the disk at once (%v)", len(entries), err)
		}
		return nil
	})
	if err != nil || strings.Join(read, " ") != strings.Join(want, " ") {
		t.Errorf("transactions %q (%v), want %q", read, err, want)
	}
	if _, err := EachTransaction(t.Context(), r, "another", declare(c), t.TempDir(), positions[0], nil); !errors.Is(err, ErrNoWAL) {
		t.Errorf("an asset that was never captured: %v", err)
	}
}
