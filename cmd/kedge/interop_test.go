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
//	one does                              the other
//	init, versions 1 and 2                backs up, checks, restores, prunes
//	backup of every kind of node          check --read-data; restore, compared with its metadata; backup adds 0 data blobs
//	backup, the other's as its parent     reads nothing again, adds 0 trees
//	forget                                decides the same of one history of both
//	prune                                 check --read-data; restore
//	copy, polynomial the same or not      check --read-data; restore; backup adds 0 data blobs where it is the same
//	key add                               opens with it, removes it
//	backup under way                      is refused prune and check, reads; leaves its lock, removes that of a killed one
//	check or prune under way              is refused backup, prune, check, forget
//	two backups under way, two of each    check --read-data; restore of all four
//
//	KEDGE_TEST_RESTIC=/path/to/restic go test ./cmd/kedge -run Interop
//
// runs it with another restic than the one on PATH.

func TestInteropInitBackupCheckRestoreForgetPrune(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		t.Run("Version"+version, func(t *testing.T) { takeTurns(t, version) })
	}
}

// takeTurns has one program begin a repository of the version and both go on with it.
func takeTurns(t *testing.T, version string) {
	dir := interopTree(t)
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := filepath.Join(t.TempDir(), "repository")
		a.begins(t, repository, "--repository-version", version)
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
}

// Files that the other program stored are not read again where their times say that they are the same, and trees are the
// other's byte for byte. Only one differs: restic 0.14 has no linktarget_raw, so the directory that holds the link to a
// target that is not UTF-8 is another tree to it; the second time each finds its own.
func TestInteropMixedHistoryReadsNothingTwice(t *testing.T) {
	dir := interopTree(t)
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := filepath.Join(t.TempDir(), "repository")
		a.begins(t, repository)
		a.dir, b.dir = dir, dir // of an absolute path each parent is stored too, and others change theirs
		a.backup(t, repository, ".")
		for i, p := range []program{b, a, b} {
			s := p.backup(t, repository, ".")
			if s.DataBlobs != 0 || s.FilesUnchanged != s.Processed || s.Processed == 0 {
				t.Errorf("%s stored %d data blobs; %d of %d files unmodified", p.name, s.DataBlobs, s.FilesUnchanged, s.Processed)
			}
			want := 0
			if i == 0 && (a.old || b.old) {
				want = 1
			}
			if s.TreeBlobs != want {
				t.Errorf("%s stored %d trees in turn %d, want %d: nothing changed", p.name, s.TreeBlobs, i+2, want)
			}
			p.restores(t, p, repository, s.SnapshotID, dir)
		}
		a.readsAll(t, repository)
	})
}

func TestInteropEitherOpensWithTheKeysThatTheOtherAddedUntilTheyAreRemoved(t *testing.T) {
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := filepath.Join(t.TempDir(), "repository")
		a.begins(t, repository)
		second := filepath.Join(t.TempDir(), "second")
		if err := os.WriteFile(second, []byte("battery staple\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		opens := func(password string, want int) {
			t.Helper()
			for _, p := range []program{a, b} {
				want := want
				if p.old && want != exitDone {
					want = exitFailed // the status came later
				}
				if status, _, stderr := p.try(t, repository, password, "snapshots"); status != want {
					t.Errorf("%s with the password %q: status %d, want %d: %s", p.name, password, status, want, stderr)
				}
			}
		}
		b.run(t, repository, "key", "add", "--new-password-file", second)
		opens("battery staple", exitDone)
		var keys []struct {
			Current bool
			ID      string
		}
		if err := json.Unmarshal([]byte(a.run(t, repository, "key", "list", "--json")), &keys); err != nil || len(keys) != 2 {
			t.Fatalf("%s lists %+v, %v; want two keys", a.name, keys, err)
		}
		for _, k := range keys {
			if !k.Current {
				a.run(t, repository, "key", "remove", k.ID)
			}
		}
		opens(interopPassword, exitDone)
		opens("battery staple", exitWrongPassword)
	})
}

func TestInteropForgetKeepsTheSame(t *testing.T) {
	kedge, restic := bothPrograms(t)
	dir := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	repository := emptyRepository(t)
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
		a.begins(t, source)
		a.backup(t, source, dir)
		for name, params := range map[string][]string{"SamePolynomial": append([]string{"--copy-chunker-params"}, from...), "OtherPolynomial": nil} {
			target := target + name
			b.begins(t, target, params...)
			b.run(t, target, append([]string{"copy"}, from...)...)
			a.readsAll(t, target)
			a.restores(t, a, target, "latest", dir)
			if s := a.backup(t, target, dir, "--force"); params != nil && s.DataBlobs != 0 {
				t.Errorf("%s: %d data blobs stored again", name, s.DataBlobs)
			}
		}
	})
}
