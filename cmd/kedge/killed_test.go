package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/restictest"
)

// killing is one command of the program that is killed at random moments, each time in a scene: a directory with all that the
// command works on. Every second moment is one of the time that it takes, the others are shortly after something
// that it does.
type killing struct {
	*killedWorld
	t     *testing.T
	base  string   // the scene before the command; it stays as it is
	repos []string // the repositories in a scene
	reads string   // that of them which the command only reads
	shows []string // directories in a scene whose names come and go as the command proceeds
	args  func(scene string) []string

	state   func(scene string) string // how far a killed run came
	left    func(scene string)        // fails the test if what it left is not sound, beside the repositories
	done    func(scene string)        // fails the test if the scene is not what a run that nobody killed leaves
	reached []string                  // states that some of many kills must meet

	round  string // for messages
	died   int    // by the signal
	locked int    // of these, those that left a lock
	states map[string]int
}

func TestKilledAtAnyMomentNothingFinishedIsLostAndTheNextRunCompletes(t *testing.T) {
	w := newKilledWorld(t)
	for _, c := range []struct {
		name   string
		killed func(k *killing)
	}{
		{"backup", killedBackup}, {"prune", killedPrune}, {"copy", killedCopy}, {"restore", killedRestore},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &killing{killedWorld: w, t: t, states: make(map[string]int), left: func(string) {}}
			c.killed(k)
			k.killOften(killedMoments)
		})
	}
}

// killOften kills the command in n rounds. Every third begins with what the round before it left.
func (k *killing) killOften(n int) {
	took := time.Hour
	for range 2 { // the first pays for what is not in the system's memory
		scene := k.scene(k.base)
		k.round = "not killed"
		took = min(took, k.complete(scene))
		k.remove(scene)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	before := k.base
	parts, rounds := random.Perm(n), 0
	for ; k.died < n && rounds < 10*n; rounds++ {
		scene := k.scene(before)
		after := time.Duration((float64(parts[rounds%n]) + random.Float64()) / float64(n) * float64(took))
		k.round = fmt.Sprintf("seed %d, round %d, killed after %v of %v", seed, rounds, after, took)
		moment := elapsed(after)
		if rounds%2 == 1 {
			changes, near := 1+random.IntN(3), random.Float64()
			after := time.Duration(near * near * float64(1500*time.Microsecond)) // what is near is met most often
			k.round = fmt.Sprintf("seed %d, round %d, killed %v after change %d in %v", seed, rounds, after, changes, k.shows)
			moment = k.changed(scene, changes, after)
		}
		died := k.strike(scene, moment)
		if before != k.base {
			k.remove(before)
		}
		before = k.base
		if died {
			if k.died%3 == 1 {
				before = k.scene(scene)
			}
			k.inspect(scene)
			k.complete(scene)
		}
		if k.t.Failed() {
			k.t.FailNow()
		}
		k.remove(scene)
	}
	k.t.Logf("seed %d: %d of %d runs, which take %v, died by the signal, %d of them with a lock; the states they left: %v", seed, k.died, rounds, took, k.locked, k.states)
	if k.died < n {
		k.t.Errorf("seed %d: only %d of %d runs, which take %v, died by the signal", seed, k.died, rounds, took)
	}
	if n >= 20 && len(k.states) < 3 {
		k.t.Errorf("seed %d: the kills left few states, only %v", seed, k.states)
	}
	for _, state := range k.reached {
		if n >= 20 && k.states[state] == 0 {
			k.t.Errorf("seed %d: no kill left the state %q, only %v", seed, state, k.states)
		}
	}
}

// elapsed is a moment some time after the beginning. It tells whether it came before done was closed.
func elapsed(after time.Duration) (moment func(done <-chan struct{}) bool) {
	return func(done <-chan struct{}) bool {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-done:
			return false
		}
	}
}

// changed is a moment shortly after names in the directories that show how far the command is have come or gone for the nth
// time, as far as can be seen: what is done within a millisecond is seldom met by chance.
func (k *killing) changed(scene string, n int, after time.Duration) (moment func(done <-chan struct{}) bool) {
	names := func() (all []string) {
		for _, dir := range k.shows {
			entries, _ := os.ReadDir(filepath.Join(scene, dir)) // of what is not there yet there are none
			for _, d := range entries {
				all = append(all, d.Name())
			}
		}
		return all
	}
	return func(done <-chan struct{}) bool {
		seen := names()
		for range n {
			for slices.Equal(seen, names()) {
				if !elapsed(50 * time.Microsecond)(done) {
					return false
				}
			}
			seen = names()
		}
		return elapsed(after)(done)
	}
}

// strike runs the command and kills it at the moment, unless it is done by then.
func (k *killing) strike(scene string, moment func(done <-chan struct{}) bool) (died bool) {
	k.t.Helper()
	cmd := exec.Command("kedge", k.args(scene)...)
	k.try(cmd.Start())
	done := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		if moment(done) {
			_ = cmd.Process.Kill() // it may have ended
		}
	})
	err := cmd.Wait()
	close(done)
	killer.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		k.try(err)
		return false
	}
	k.died++
	k.states[k.state(scene)]++
	for _, name := range k.repos {
		if k.locks(filepath.Join(scene, name)) > 0 {
			k.locked++
			break
		}
	}
	return true
}

// inspect fails the test unless what a killed run left is sound. A lock that it left is removed in turns by kedge unlock, by
// the next command on its own, and now and then by restic, which judges too.
func (k *killing) inspect(scene string) {
	k.t.Helper()
	thorough := k.died%5 == 3
	for _, name := range k.repos {
		dir := filepath.Join(scene, name)
		if k.died%2 == 0 {
			k.kedge("unlock", "-r", dir)
			if n := k.locks(dir); n > 0 {
				k.t.Errorf("%s: kedge unlock left %d locks of a dead process in %s", k.round, n, name)
			}
		}
		check := []string{"check"}
		if thorough {
			check = append(check, "--read-data")
		}
		if thorough || k.died%5 == 0 {
			restictest.Run(k.t, dir, killedPassword, "unlock")
			if n := k.locks(dir); n > 0 {
				k.t.Errorf("%s: restic unlock left %d locks of a dead process in %s", k.round, n, name)
			}
			restictest.Run(k.t, dir, killedPassword, check...)
		}
		k.kedge(append(check, "-r", dir)...)
		if thorough || name != k.reads {
			k.whole(scene, name)
		}
		if thorough {
			k.restored(dir)
		}
	}
	k.left(scene)
}

// complete runs the command once more, and fails the test unless everything is as if it had never been killed.
func (k *killing) complete(scene string) (took time.Duration) {
	k.t.Helper()
	began := time.Now()
	out, err := exec.Command("kedge", k.args(scene)...).CombinedOutput()
	took = time.Since(began)
	if err != nil {
		k.t.Fatalf("%s: the next run: %v\n%s", k.round, err, out)
	}
	for _, name := range k.repos {
		dir := filepath.Join(scene, name)
		if n := k.locks(dir); n > 0 {
			k.t.Errorf("%s: the next run left %d locks in %s", k.round, n, name)
		}
		k.kedge("check", "-r", dir)
		k.there(scene, name)
	}
	k.done(scene)
	return took
}

// kedge runs a command that must succeed, in this process.
func (k *killing) kedge(args ...string) (stdout string) {
	k.t.Helper()
	status, stdout, stderr := command(k.t, args...)
	if status != exitDone {
		k.t.Fatalf("%s: kedge %v: status %d, %s", k.round, args, status, stderr)
	}
	return stdout
}

func (k *killing) try(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatalf("%s: %v", k.round, err)
	}
}

func (k *killing) locks(repository string) int {
	k.t.Helper()
	return len(k.names(repository, "locks"))
}

// names returns which files a directory of a repository has.
func (k *killing) names(repository, dir string) []string {
	k.t.Helper()
	pattern := filepath.Join(repository, dir, "*")
	if dir == "data" {
		pattern = filepath.Join(repository, dir, "*", "*")
	}
	paths, err := filepath.Glob(pattern)
	k.try(err)
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}

// changes says what came to a repository and what went since the base.
func (k *killing) changes(scene, name string) (state string) {
	k.t.Helper()
	for _, dir := range []string{"data", "index", "snapshots"} {
		before, after := k.names(filepath.Join(k.base, name), dir), k.names(filepath.Join(scene, name), dir)
		if slices.ContainsFunc(after, func(name string) bool { return !slices.Contains(before, name) }) {
			state += " +" + dir
		}
		if slices.ContainsFunc(before, func(name string) bool { return !slices.Contains(after, name) }) {
			state += " -" + dir
		}
	}
	if state == "" {
		return "nothing"
	}
	return state[1:]
}

func (k *killing) remove(scene string) {
	k.t.Helper()
	k.try(os.RemoveAll(scene))
}
