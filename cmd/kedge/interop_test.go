package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The interoperation suite: what one program does to a repository, the other judges, in both directions.
//
//	KEDGE_TEST_RESTIC=/path/to/restic go test ./cmd/kedge -run Interop
//
// runs it with another restic than the one on PATH.

func TestInteropInitBackupCheckRestoreForgetPrune(t *testing.T) {
	dir := interopTree(t)
	for _, version := range []string{"1", "2"} {
		t.Run("Version"+version, func(t *testing.T) {
			eachDirection(t, func(t *testing.T, a, b program) {
				repository := filepath.Join(t.TempDir(), "repository")
				a.run(t, repository, "init", "--repository-version", version)
				first := a.backup(t, repository, dir)
				if first.DataBlobs < 6 {
					t.Errorf("%s stored %d data blobs of a tree of more", a.name, first.DataBlobs)
				}
				b.readsAll(t, repository)
				b.restores(t, a, repository, first.SnapshotID, dir)

				again := b.backup(t, repository, dir, "--force")
				if again.DataBlobs != 0 {
					t.Errorf("%s stored %d data blobs again of what %s stored", b.name, again.DataBlobs, a.name)
				}
				a.readsAll(t, repository)
				a.restores(t, b, repository, again.SnapshotID, dir)

				b.run(t, repository, "forget", first.SnapshotID)
				a.run(t, repository, "prune", "--max-unused", "0")
				b.readsAll(t, repository)
				b.restores(t, b, repository, "latest", dir)
			})
		})
	}
}

// Files that the other program stored are not read again where their times say that they are the same. Whether trees are
// stored again depends on the release of restic: one that writes other fields than kedge makes other trees of the same files.
func TestInteropMixedHistoryReadsNothingTwice(t *testing.T) {
	dir := interopTree(t)
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := filepath.Join(t.TempDir(), "repository")
		a.run(t, repository, "init")
		a.dir, b.dir = dir, dir // of an absolute path each parent is stored too, and others change theirs
		a.backup(t, repository, ".")
		for _, p := range []program{b, a, b} {
			s := p.backup(t, repository, ".")
			if s.DataBlobs != 0 || s.FilesUnchanged != s.Processed || s.Processed == 0 {
				t.Errorf("%s stored %d data blobs; %d of %d files unmodified", p.name, s.DataBlobs, s.FilesUnchanged, s.Processed)
			}
			t.Logf("%s: %d tree blobs", p.name, s.TreeBlobs)
			if !a.old && !b.old && s.TreeBlobs != 0 {
				t.Errorf("%s stored %d trees again in which nothing changed", p.name, s.TreeBlobs)
			}
		}
		a.readsAll(t, repository)
	})
}

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

func TestInteropCopyIsReadByTheOther(t *testing.T) {
	dir := interopTree(t)
	eachDirection(t, func(t *testing.T, a, b program) {
		source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
		passwordFile := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(passwordFile, []byte(interopPassword), 0o600); err != nil {
			t.Fatal(err)
		}
		from := []string{"--from-repo", source, "--from-password-file", passwordFile}
		a.run(t, source, "init")
		a.backup(t, source, dir)
		for name, params := range map[string][]string{"SamePolynomial": append([]string{"--copy-chunker-params"}, from...), "OtherPolynomial": nil} {
			target := target + name
			b.run(t, target, append([]string{"init"}, params...)...)
			b.run(t, target, append([]string{"copy"}, from...)...)
			a.readsAll(t, target)
			a.restores(t, a, target, "latest", dir)
			if s := a.backup(t, target, dir, "--force"); params != nil && s.DataBlobs != 0 {
				t.Errorf("%s: %d data blobs stored again", name, s.DataBlobs)
			}
		}
	})
}
