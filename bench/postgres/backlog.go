package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The server marks a completed segment with a file of its name and ready; who archived it renames that to done.
const (
	ready = ".ready"
	done  = ".done"
)

func (s *session) statusDir() string {
	return filepath.Join(s.server.data, "pg_wal", "archive_status")
}

// await asks until the answer is yes.
func await(ctx context.Context, what string, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		yes, err := is()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

// awaitPushed waits until the server has archived every segment.
func (s *session) awaitPushed(ctx context.Context) error {
	return await(ctx, "the server to archive its WAL", func() (bool, error) {
		list, err := marked(s.statusDir(), ready)
		return len(list) == 0, err
	})
}

// archivingNothing has the server believe its WAL archived while work is done: the end of barman's base backup waits for that,
// though barman's WAL comes by streaming. What pgBackRest is still to have is marked again as ready afterwards.
func (s *session) archivingNothing(ctx context.Context, work func() (outcome, error)) (outcome, error) {
	before, err := marked(s.statusDir(), done)
	if err != nil {
		return outcome{}, err
	}
	if err := s.server.set(ctx, "archive_command = '/bin/true'"); err != nil {
		return outcome{}, err
	}
	out, err := work()
	ctx = context.WithoutCancel(ctx)
	err = errors.Join(err, s.awaitPushed(ctx), s.server.set(ctx, "archive_command = ''"))
	after, listing := marked(s.statusDir(), done)
	return out, errors.Join(err, listing, s.markReady(slices.DeleteFunc(after, func(name string) bool { return slices.Contains(before, name) })))
}

// markReady takes back that segments are archived.
func (s *session) markReady(names []string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(s.statusDir(), name+done), filepath.Join(s.statusDir(), name+ready)); err != nil {
			return fmt.Errorf("mark a segment as ready: %w", err)
		}
	}
	return nil
}

// marked returns the names of the segments with such a mark, in order.
func marked(dir, mark string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), mark); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// makeRoom removes what only restores needed.
func (s *session) makeRoom(context.Context) error {
	err := errors.Join(os.RemoveAll(baseBackup{s}.repository()), os.RemoveAll(filepath.Join(pgBackRest{s}.repository(), "backup")))
	copies, globbing := filepath.Glob(filepath.Join(s.barman().home(), "*", "base", "*", "data"))
	err = errors.Join(err, globbing)
	for _, dir := range copies {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// prepareBacklog makes the WAL that waits.
func (s *session) prepareBacklog(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(s.barman().home()), s.forgetMarks()); err != nil { // barman is not needed any more
		return err
	}
	if _, err := s.server.askOne(ctx, "SELECT 1 FROM (SELECT pg_switch_wal()) AS switched"); err != nil {
		return err
	}
	begin, err := s.server.position(ctx)
	if err != nil {
		return err
	}
	if _, err := s.server.ask(ctx, "bench", "CHECKPOINT"); err != nil {
		return err
	}
	if err := s.makeBacklog(ctx, int64(s.opt.backlog)*mebibyte); err != nil {
		return err
	}
	if _, s.backlogEnd, err = s.server.switchWAL(ctx); err != nil {
		return err
	}
	s.backlogSize = int64(s.backlogEnd - begin)
	return nil
}

// forgetMarks takes the marks from all older segments, so that the backlog alone is pushed.
func (s *session) forgetMarks() error {
	for _, mark := range []string{ready, done} {
		names, err := marked(s.statusDir(), mark)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.Remove(filepath.Join(s.statusDir(), name+mark)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// pushBacklog has a program archive the backlog, segment by segment, as the server would start it.
func (s *session) pushBacklog(ctx context.Context, command ...string) (outcome, error) {
	names, err := marked(s.statusDir(), done)
	if err != nil {
		return outcome{}, err
	}
	if err := s.markReady(names); err != nil { // they were archived by the program before
		return outcome{}, err
	}
	return s.timed(ctx, append([]string{s.program, wordPush, s.server.data}, command...))
}

// copyOut is the archive_command of PostgreSQL's documentation, without its question whether the file is there already.
func (s *session) copyOut(ctx context.Context) (outcome, error) {
	dir := filepath.Join(s.dir, "copied")
	defer os.RemoveAll(dir)
	if err := s.user.mkdir(dir); err != nil {
		return outcome{}, err
	}
	return s.growing(dir, func() (outcome, error) {
		return s.pushBacklog(ctx, "cp", "%p", filepath.Join(dir, "%f"))
	})
}

// wordPush starts this program as runPush.
const wordPush = "push"

// runPush stands in for the server's archiver: it starts the command for one ready segment after the other, with %p and %f as
// PostgreSQL has them. What a command leaves running is its child too, so that it is waited for and its processor time counted.
func runPush(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("push: name a data directory and a command")
	}
	data, command := args[0], args[1:]
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("push: take over children's children: %w", err)
	}
	status := filepath.Join(data, "pg_wal", "archive_status")
	names, err := marked(status, ready)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if len(names) == 0 {
		return errors.New("push: there is no backlog")
	}
	for _, name := range names {
		argv := make([]string, len(command))
		for i, word := range command {
			word = strings.ReplaceAll(word, "%p", filepath.Join("pg_wal", name))
			argv[i] = strings.ReplaceAll(word, "%f", name)
		}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = data
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("push %s: %w\n%s", name, err, last(string(out)))
		}
		if err := os.Rename(filepath.Join(status, name+ready), filepath.Join(status, name+done)); err != nil {
			return fmt.Errorf("push: %w", err)
		}
	}
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("push: wait for what was left running: %w", err)
		}
	}
}
