package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// standby makes a standby of c, which follows it.
func standby(t *testing.T, c *postgrestest.Cluster) *postgrestest.Cluster {
	t.Helper()
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "standby")
	command := exec.Command(filepath.Join(c.Bin, "pg_basebackup"), "-R", "-X", "stream", "-c", "fast", "-D", data, "-d", c.Connect)
	command.Env = []string{"PGPASSWORD=" + strings.TrimSpace(string(password)), "LC_ALL=C"}
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	return c.Open(t, data)
}

// promote makes a standby the primary, at the address of the one that is gone.
func promote(t *testing.T, gone, standby *postgrestest.Cluster) {
	t.Helper()
	standby.Superuser(t, "DO $$ BEGIN PERFORM pg_promote(); END $$")
	standby.Port = gone.Port
	standby.Restart(t)
}

func TestStreamFollowsAFailOver(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	next := k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	second := standby(t, c)
	s.do("INSERT INTO log VALUES (2)")
	k.stored(s)
	before := s.one("SELECT clock_timestamp()")
	s.do("INSERT INTO log VALUES (3)")
	second.Superuser(t, "DO $$ BEGIN WHILE (SELECT count(*) FROM log) < 3 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$")
	// What the standby never got is on the old timeline alone.
	second.Stop()
	s.do("INSERT INTO log VALUES (99)")
	k.stored(s)
	c.Kill(t)
	second.Restart(t)
	promote(t, c, second)

	s = connect(t, second)
	s.do("INSERT INTO log VALUES (4)")
	after := s.one("SELECT clock_timestamp()")
	s.do("INSERT INTO log VALUES (5)")
	k.stored(s)
	k.await("the slot made again", next, func(n News) bool { return strings.Contains(n.Note, "made again") })
	k.stop()
	if slices.ContainsFunc(k.news, func(n News) bool { return n.Gap != nil }) {
		t.Errorf("a gap was told where the new primary had all: %+v", k.news)
	}
	for to, want := range map[string]string{"latest": "5", before: "2", after: "4"} {
		target, err := ParseTarget(to, false)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, second, r, target, want)
	}
}

func TestFailOverToAServerThatHasForgottenIsHealed(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)
	k.stop()
	second := standby(t, c)
	c.Kill(t)
	promote(t, c, second)
	s = connect(t, second)
	s.do("INSERT INTO log VALUES (2)")
	leaveWAL(t, second)
	again := reopen(t, second, p)
	k = keep(t, again, r, KeepOptions{})
	told, _ := k.await("the gap", 0, func(n News) bool { return n.Gap != nil })
	s.do("INSERT INTO log VALUES (3)")
	k.stored(s)
	k.stop()
	holds(t, second, r, Target{Latest: true}, "3")
	holds(t, second, r, Target{LSN: told.Gap.FromLSN, Before: true}, "1")
}

func TestRestOfATimelineComesFromTheNewPrimary(t *testing.T) {
	c, p, r, s := logged(t)
	c.Superuser(t, "ALTER SYSTEM SET wal_keep_size = '256MB'") // of the standby too
	second := standby(t, c)
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)
	k.stop()
	// While kedge is away the old primary goes on for some segments, which the standby gets.
	for _, n := range []string{"2", "3", "4"} {
		c.Superuser(t, "INSERT INTO log VALUES ("+n+"); SELECT pg_switch_wal()")
	}
	s.do("INSERT INTO log VALUES (5)")
	second.Superuser(t, "DO $$ BEGIN WHILE (SELECT count(*) FROM log) < 5 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$")
	c.Kill(t)
	promote(t, c, second)

	again := reopen(t, second, p)
	k = keep(t, again, r, KeepOptions{})
	s = connect(t, second)
	s.do("INSERT INTO log VALUES (6)")
	k.stored(s)
	k.stop()
	if slices.ContainsFunc(k.news, func(n News) bool { return n.Gap != nil || n.Base != nil }) {
		t.Errorf("a base backup was taken where the new primary had all: %+v", k.news)
	}
	holds(t, second, r, Target{Latest: true}, "6")
}
