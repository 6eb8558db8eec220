package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The interoperation suite: what one program does to a repository, the other judges, in both directions.
//
//	KEDGE_TEST_RESTIC=/path/to/restic go test ./cmd/kedge -run Interop
//
// runs it with another restic than the one on PATH.

func TestInteropInitBackupCheckRestoreForgetPrune(t *testing.T) { takeTurns(t, "2") }

// takeTurns has one program begin a repository of the version and both go on with it.
func takeTurns(t *testing.T, version string) {
	dir := interopTree(t)
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
