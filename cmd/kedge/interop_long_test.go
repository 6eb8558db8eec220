//go:build long

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestInteropVersion1(t *testing.T) { takeTurns(t, "1") }

func TestInteropEitherOpensWithTheKeysThatTheOtherAdded(t *testing.T) {
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := filepath.Join(t.TempDir(), "repository")
		a.run(t, repository, "init")
		second := filepath.Join(t.TempDir(), "second")
		if err := os.WriteFile(second, []byte("battery staple\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.run(t, repository, "key", "add", "--new-password-file", second)
		for _, p := range []program{a, b} {
			for password, opens := range map[string]bool{interopPassword: true, "battery staple": true, "wrong": false} {
				if status, _, stderr := p.try(t, repository, password, "snapshots"); (status == 0) != opens {
					t.Errorf("%s with the password %q: status %d, %s", p.name, password, status, stderr)
				}
			}
		}
	})
}

func TestInteropForgetKeepsTheSame(t *testing.T) {
	kedge, restic := bothPrograms(t)
	dir := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(t.TempDir(), "repository")
	restic.run(t, repository, "init")
	for i, when := range []string{"2024-01-31 23:59:59", "2024-02-01 00:00:00", "2024-02-29 12:00:00", "2024-03-01 08:00:00", "2024-03-01 09:00:00"} {
		p := []program{kedge, restic}[i%2]
		p.run(t, repository, "backup", dir, "--time", when, "--host", []string{"fs1", "fs2"}[i/3], "--tag", []string{"a", "b", "a,b"}[i%3])
	}
	for _, policy := range []string{
		"--keep-last 1", "--keep-daily 2", "--keep-weekly 2", "--keep-monthly 2", "--keep-within 1d", "--keep-within-daily 1m", "--keep-tag b", "--keep-tag a,b --group-by=",
		"--keep-last 2 --group-by host", "--keep-daily 2 --group-by tags", "--keep-hourly 3 --group-by paths",
	} {
		args := append([]string{"forget", "--dry-run", "--json"}, strings.Fields(policy)...)
		want, got := decisions(t, restic.run(t, repository, args...), false), decisions(t, kedge.run(t, repository, args...), restic.old)
		if len(want) != 5 || !slices.Equal(want, got) {
			t.Errorf("forget %s: restic decides\n%s\nkedge\n%s", policy, strings.Join(want, "\n"), strings.Join(got, "\n"))
		}
	}
}

// decisions lists what a forget keeps and removes; without the rule that the oldest snapshot is kept while there are too
// few, which old releases of restic do not have.
func decisions(t *testing.T, stdout string, withoutOldest bool) (lines []string) {
	t.Helper()
	type sn struct{ ID string }
	var groups []struct {
		Keep, Remove []sn
		Reasons      []struct {
			Snapshot sn
			Matches  []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &groups); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	for _, g := range groups {
		for i, s := range g.Keep {
			oldest := i < len(g.Reasons) && !slices.ContainsFunc(g.Reasons[i].Matches, func(m string) bool { return !strings.HasPrefix(m, "oldest ") })
			if oldest && withoutOldest {
				lines = append(lines, s.ID+" removed")
			} else {
				lines = append(lines, s.ID+" kept")
			}
		}
		for _, s := range g.Remove {
			lines = append(lines, s.ID+" removed")
		}
	}
	slices.Sort(lines)
	return lines
}
