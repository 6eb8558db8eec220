package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// command runs kedge and returns its exit status and what it wrote.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	status = run(t.Context(), args, &out, &problems)
	return status, out.String(), problems.String()
}

func TestALockedRepositoryIsTheExitStatusAndAnObject(t *testing.T) {
	flags, other, _ := flagsFor(t)
	err := other.WithLock(t.Context(), false, func(context.Context) error {
		for _, args := range [][]string{{"prune"}, {"forget", "--keep-last", "1"}, {"check"}, {"tag", "--add", "x"}, {"repair", "index"}, {"key", "passwd", "--new-insecure-no-password"}} {
			status, _, stderr := command(t, append(args, "-r", flags.location, "--json")...)
			var exit exitObject
			if err := json.Unmarshal([]byte(stderr), &exit); err != nil || status != exitLocked || exit.Code != exitLocked || exit.MessageType != "exit_error" || exit.Message == "" {
				t.Errorf("kedge %v: status %d, %s", args, status, stderr)
			}
		}
		for _, args := range [][]string{{"snapshots"}, {"prune", "--dry-run"}, {"stats"}, {"check", "--no-lock"}, {"unlock"}} {
			if status, _, stderr := command(t, append(args, "-r", flags.location)...); status != exitDone {
				t.Errorf("kedge %v beside another reader: status %d, %s", args, status, stderr)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestADamagedIndexKeepsNobodyFromLocksKeysAndTheConfig(t *testing.T) {
	flags, _, _ := flagsFor(t)
	junk := blob.Hash([]byte("junk")).String()
	if err := os.WriteFile(filepath.Join(flags.location, "index", junk), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := command(t, "snapshots", "-r", flags.location); status != exitFailed {
		t.Errorf("snapshots of a damaged index: status %d", status)
	}
	for _, args := range [][]string{{"unlock"}, {"key", "list"}, {"cat", "config"}, {"cat", "masterkey"}} {
		if status, _, stderr := command(t, append(args, "-r", flags.location)...); status != exitDone {
			t.Errorf("kedge %v: status %d, %s", args, status, stderr)
		}
	}
	status, stdout, _ := command(t, "check", "-r", flags.location, "--json")
	var summary checkObject
	if err := json.Unmarshal([]byte(stdout), &summary); err != nil || status != exitFailed || summary.NumErrors != 1 || !summary.SuggestRepairIndex {
		t.Errorf("check: status %d, %s", status, stdout)
	}
	if status, _, stderr := command(t, "repair", "index", "-r", flags.location); status != exitDone {
		t.Errorf("repair index: status %d, %s", status, stderr)
	}
	if status, _, stderr := command(t, "check", "-r", flags.location); status != exitDone {
		t.Errorf("check after the repair: status %d, %s", status, stderr)
	}
}

// What was stored while a prune waited for its lock would look to it like what nothing names.
func TestACommandKnowsWhatWasStoredBeforeItGotTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags, other, _ := flagsFor(t)
		flags.retryLock = time.Minute
		h := blob.Handle{ID: blob.Hash([]byte("late")), Type: blob.Data}
		done := make(chan error)
		go func() {
			done <- other.WithLock(t.Context(), false, func(ctx context.Context) error {
				time.Sleep(10 * time.Second) // in the bubble's time
				return other.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error {
					_, err := up.SaveBlob(ctx, blob.Data, []byte("late"))
					return err
				})
			})
		}()
		time.Sleep(time.Second)
		err := flags.with(t.Context(), exclusiveLock, func(_ context.Context, r *repo.Repository) error {
			if !r.Has(h) {
				t.Error("a blob that was stored while the command waited is not known to it")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
