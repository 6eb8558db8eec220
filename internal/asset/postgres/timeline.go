package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// maxHistory bounds a timeline history file, in bytes.
const maxHistory = 1 << 20

// branch is a timeline that was left.
type branch struct {
	timeline uint32
	end      pglogrepl.LSN // where the next one begins
}

// readBranches returns the timelines that timeline came from, the oldest first, from its history file in dir.
func readBranches(dir string, timeline uint32) ([]branch, error) {
	path := filepath.Join(dir, historyName(timeline))
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxHistory {
		err = fmt.Errorf("%d bytes are too many", info.Size())
	}
	if err != nil {
		return nil, fmt.Errorf("read timeline history: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read timeline history: %w", err)
	}
	branches, err := parseBranches(string(text))
	if err != nil {
		return nil, fmt.Errorf("read timeline history %s: %w", path, err)
	}
	return branches, nil
}

// loadBranches is readBranches of the history file that a snapshot holds as n.
func loadBranches(ctx context.Context, r *repo.Repository, n *snapshot.Node) ([]branch, error) {
	if n.Size > maxHistory {
		return nil, fmt.Errorf("%s has %d bytes, which are too many", n.Name, n.Size)
	}
	text, err := loadContent(ctx, r, n)
	if err != nil {
		return nil, err
	}
	branches, err := parseBranches(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return branches, nil
}

// readBranch returns where timeline left its parent.
func readBranch(dir string, timeline uint32) (pglogrepl.LSN, error) {
	branches, err := readBranches(dir, timeline)
	if err != nil {
		return 0, err
	}
	return branches[len(branches)-1].end, nil
}

// parseBranches reads a history file, of which each line has a timeline, the position where it was left, and the reason. There
// is at least one.
func parseBranches(text string) ([]branch, error) {
	var branches []branch
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("line %.80q has no position", line)
		}
		timeline, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %.80q has no timeline", line)
		}
		end, err := parseLSN(fields[1])
		if err != nil {
			return nil, err
		}
		branches = append(branches, branch{uint32(timeline), end})
	}
	if len(branches) == 0 {
		return nil, errors.New("it names no parent timeline")
	}
	return branches, nil
}

// historyName returns the name of the file that says where a timeline branched off.
func historyName(timeline uint32) string { return fmt.Sprintf("%08X.history", timeline) }

// saveHistory keeps the server's account of how its timeline came to be: recovery along it needs that file.
func (c *Cluster) saveHistory(ctx context.Context, conn *pgconn.PgConn, timeline int32) error {
	if timeline == 1 {
		return nil
	}
	path := filepath.Join(c.walDir(), historyName(uint32(timeline)))
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, timeline)
	if err != nil {
		return fmt.Errorf("ask for the history of timeline %d: %w", timeline, err)
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, history.Content, 0o600); err != nil {
		return fmt.Errorf("keep the history of timeline %d: %w", timeline, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("keep the history of timeline %d: %w", timeline, err)
	}
	return nil
}
