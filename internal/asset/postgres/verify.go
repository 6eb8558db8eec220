package postgres

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/internal/wording"
)

const (
	// maxExaminers bounds the connections that check at the same time; there are no more than processors.
	maxExaminers = 4
	// maxFinding bounds the text of one damage, in bytes.
	maxFinding = 400
	// maxVerdict is how many damages the error tells; the fact holds more.
	maxVerdict = 5
)

// Verify examines a cluster's data directory, a.Data, that no server runs on: one that Restore filled, which it
// makes recover first, or one that was shut down. a.Bin names PostgreSQL's programs, and a.Connect a role that exists in the
// cluster and a database; neither its host nor a password is used.
//
// It starts a server of its own there, as the account that owns the files, without a network where the kernel lets, on a socket
// that only kedge reaches, with settings that let the server forgive nothing. In every database, of the system's catalogs too, it
//
//   - compares every B-tree index with its table and within itself (amcheck's bt_index_parent_check, heapallindexed and
//     rootdescend),
//   - checks every table and its TOAST table block by block (amcheck's verify_heapam, from PostgreSQL 14),
//   - reads every row of every table, materialized view and sequence, and every large object, to the last out-of-line value,
//
// and, once the server was shut down, compares every page's checksum, where the cluster has checksums (pg_checksums).
//
// The error is nil if nothing damaged was found; damage is in the result as well. What could not be checked, because amcheck is
// not installed or no tool knows such an index, is in the result's Unchecked and no error. Data that is whole in structure and
// false is not noticed: that is for probes. The libraries that the cluster preloads are not loaded: one whose WAL needs them can be
// examined only after its own server has recovered it.
//
// The cluster is left shut down, on a new timeline if it recovered, with no extension or function added. When ctx
// ends, the server is gone within seconds; the directory may have to be recovered again then.
func Verify(ctx context.Context, a estate.Asset) (event.StructureCheck, error) {
	began := time.Now()
	v := verification{result: event.StructureCheck{Asset: a.Name}, unchecked: map[string]int{}, names: map[string]string{}}
	err := v.run(ctx, a)
	v.result.Seconds = time.Since(began).Seconds()
	v.settle()
	if err == nil {
		err = v.verdict()
	}
	if err != nil {
		return v.result, fmt.Errorf("verify asset %s: %w", a.Name, err)
	}
	return v.result, nil
}

// verification is one run of Verify.
type verification struct {
	mu        sync.Mutex // guards what follows
	result    event.StructureCheck
	unchecked map[string]int    // reason to number of structures
	names     map[string]string // of relations, by their file's path below the data directory
}

func (v *verification) run(ctx context.Context, a estate.Asset) error {
	var err error
	if a.Data, err = filepath.Abs(a.Data); err != nil {
		return err
	}
	x, err := startExaminer(ctx, a)
	if err != nil {
		return err
	}
	err = v.examine(ctx, x)
	stopErr := x.stop(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w%s", err, x.lastWords)
	}
	if err == nil {
		err = stopErr
	}
	if err == nil && v.result.Checksums {
		err = v.compareChecksums(ctx, a, x.owner)
	}
	return err
}

// examine does all that a running server is needed for.
func (v *verification) examine(ctx context.Context, x *examiner) error {
	if err := v.askChecksums(ctx, x); err != nil {
		return err
	}
	if x.superuser == "" {
		v.skip(1, "the cluster but for checksums: no superuser of it may log in")
		return nil
	}
	databases, shut, err := v.databases(ctx, x)
	if err != nil {
		return err
	}
	if err := x.admit(ctx, true, shut); err != nil {
		return err
	}
	all, err := v.list(ctx, x, databases)
	if err != nil {
		return err
	}
	if err := v.work(ctx, x, all); err != nil {
		return err
	}
	return x.admit(ctx, false, shut)
}

func (v *verification) askChecksums(ctx context.Context, x *examiner) error {
	conn, err := x.dial(ctx, x.plain, x.database, nil)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	row, err := queryRow(ctx, conn, "SHOW data_checksums", 1)
	if err != nil {
		return err
	}
	v.result.Checksums = row[0] == "on"
	return nil
}

// work gives the checks to as many connections as there are processors. Each takes the next one when it is done with one.
func (v *verification) work(ctx context.Context, x *examiner, all []structure) error {
	queue := make(chan structure)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for range min(maxExaminers, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			w := worker{verification: v, examiner: x}
			defer w.hangUp(ctx)
			for s := range queue {
				if err := w.check(ctx, s); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for _, s := range all {
		select {
		case queue <- s:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx) // nil unless a worker or the caller ended it
}

// found notes damage.
func (v *verification) found(where, what string) {
	text := wording.Plain(where + ": " + what)
	if len(text) > maxFinding {
		text = strings.ToValidUTF8(text[:maxFinding], "") + "…"
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Contains(v.result.Damaged, text) {
		return // two checks met the same page
	}
	v.result.DamagedN++
	if len(v.result.Damaged) < event.MaxStructures {
		v.result.Damaged = append(v.result.Damaged, text)
	}
}

// skip notes n structures that cannot be checked.
func (v *verification) skip(n int, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unchecked[wording.Plain(why)] += n
}

// settle brings what workers noted as they came to it into an order.
func (v *verification) settle() {
	slices.Sort(v.result.Damaged)
	for _, why := range slices.Sorted(maps.Keys(v.unchecked)) {
		if n := v.unchecked[why]; n > 1 {
			why = fmt.Sprintf("%s (%d)", why, n)
		}
		if len(v.result.Unchecked) < event.MaxStructures {
			v.result.Unchecked = append(v.result.Unchecked, why)
		}
	}
}

// verdict is the error that damage is.
func (v *verification) verdict() error {
	n := v.result.DamagedN
	if n == 0 {
		return nil
	}
	told := v.result.Damaged[:min(n, maxVerdict, len(v.result.Damaged))]
	text := strings.Join(told, "; ")
	if more := n - len(told); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Errorf("the cluster is damaged: %s", text)
}

var badChecksum = regexp.MustCompile(`checksum verification failed in file "(.+)", (block \d+)`)

// compareChecksums lets pg_checksums read every page of the cluster, which must have been shut down.
func (v *verification) compareChecksums(ctx context.Context, a estate.Asset, owner account) error {
	command := exec.CommandContext(ctx, filepath.Join(a.Bin, "pg_checksums"), "--check", "--pgdata="+a.Data)
	command.Dir, command.Env = "/", []string{"LC_ALL=C"}
	if owner.name != "" {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(owner.uid), Gid: uint32(owner.gid)}}
	}
	out, err := command.StderrPipe()
	if err != nil {
		return fmt.Errorf("run pg_checksums: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("run pg_checksums: %w", err)
	}
	bad := 0
	var complaint process.Complaint
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if match := badChecksum.FindStringSubmatch(lines.Text()); match != nil {
			bad++
			v.found(v.nameOf(strings.TrimPrefix(match[1], a.Data+"/")), match[2]+" does not have its checksum")
			continue
		}
		_, _ = complaint.Write(append(lines.Bytes(), '\n'))
	}
	err = errors.Join(lines.Err(), command.Wait())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if bad == 0 && err != nil {
		return fmt.Errorf("run pg_checksums: %w: %s", err, strings.TrimSpace(string(complaint)))
	}
	return nil
}

var (
	fileSegment = regexp.MustCompile(`\.\d+$`)
	fileFork    = regexp.MustCompile(`_(fsm|vm|init)$`)
)

// nameOf says to which relation a file of the data directory belongs.
func (v *verification) nameOf(path string) string {
	return cmp.Or(v.names[fileFork.ReplaceAllString(fileSegment.ReplaceAllString(path, ""), "")], "file "+path)
}
