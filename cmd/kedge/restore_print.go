package main

import (
	"sync"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// restorePrinter tells how a restore goes: to people, or in restic's JSON.
type restorePrinter struct {
	term     *terminal
	snapshot *snapshot.Snapshot
	flags    *restoreFlags
	pace     *pace

	mu  sync.Mutex
	now restore.Progress
}

func newRestorePrinter(term *terminal, sn *snapshot.Snapshot, flags *restoreFlags) *restorePrinter {
	return &restorePrinter{term: term, snapshot: sn, flags: flags, pace: newPace()}
}

// begin makes the restore tell the printer how it goes. The function that it returns ends the showing of progress.
func (p *restorePrinter) begin(opt *restore.Options) (stop func()) {
	busy, stop := p.term.every(p.status)
	if busy {
		opt.Progress = func(now restore.Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.now = now
		}
	}
	if p.term.verbose >= 2 && !p.term.quiet {
		opt.Report = p.item
	}
	return stop
}

// restoreLine is restic's: of a status, and of the summary.
type restoreLine struct {
	MessageType    string  `json:"message_type"`
	SecondsElapsed uint64  `json:"seconds_elapsed,omitempty"`
	PercentDone    float64 `json:"percent_done"` // 0 to 1, as restic has it
	restoreFigures
}

type restoreFigures struct {
	TotalFiles    int64 `json:"total_files,omitempty"`
	FilesRestored int64 `json:"files_restored,omitempty"`
	FilesSkipped  int64 `json:"files_skipped,omitempty"`
	FilesDeleted  int64 `json:"files_deleted,omitempty"`
	TotalBytes    int64 `json:"total_bytes,omitempty"`
	BytesRestored int64 `json:"bytes_restored,omitempty"`
	BytesSkipped  int64 `json:"bytes_skipped,omitempty"`
}

// status shows how far the restore is.
func (p *restorePrinter) status() {
	p.mu.Lock()
	now := p.now
	p.mu.Unlock()
	w := work{files: now.Files, totalFiles: now.TotalFiles, bytes: now.Bytes, totalBytes: now.TotalBytes, current: now.Current}
	p.pace.note(w.bytes)
	if !p.term.json {
		p.term.show(p.pace.line(w))
		return
	}
	p.term.tell(restoreLine{
		MessageType: "status", SecondsElapsed: uint64(p.pace.elapsed().Seconds()), PercentDone: w.part(),
		restoreFigures: restoreFigures{
			TotalFiles: now.TotalFiles, FilesRestored: now.Files - now.SkippedFiles, FilesSkipped: now.SkippedFiles, FilesDeleted: now.Deleted,
			TotalBytes: now.TotalBytes, BytesRestored: now.Bytes - now.SkippedBytes, BytesSkipped: now.SkippedBytes,
		},
	})
}

// item tells of one entry that is done.
func (p *restorePrinter) item(it restore.Item) {
	if p.term.json {
		p.term.tell(struct {
			MessageType string `json:"message_type"`
			Action      string `json:"action"`
			Item        string `json:"item"`
			Size        int64  `json:"size"`
		}{"verbose_status", string(it.Action), it.Path, it.Size})
		return
	}
	p.term.printf("%-10s%s with size %s", it.Action, wording.Plain(it.Path), wording.Size(it.Size))
}

// result tells what the restore did.
func (p *restorePrinter) result(res *restore.Result) {
	for _, e := range res.Errors {
		p.term.problem("restore", "restore", e.Path, e.Err, e.Err.Error())
	}
	p.term.tell(struct {
		MessageType    string `json:"message_type"`
		SecondsElapsed uint64 `json:"seconds_elapsed,omitempty"`
		restoreFigures
	}{"summary", uint64(p.pace.elapsed().Seconds()), restoreFigures{
		TotalFiles: res.Files + res.Dirs, FilesRestored: res.FilesRewritten + res.DirsMade, FilesSkipped: res.FilesUnchanged + res.Dirs - res.DirsMade,
		FilesDeleted: res.Deleted, TotalBytes: res.Bytes, BytesRestored: res.BytesRestored, BytesSkipped: res.BytesUnchanged,
	}})
	verb := "restored"
	if p.flags.dryRun {
		verb = "dry run, nothing written: would restore"
	}
	deleted := ""
	if res.Deleted > 0 {
		deleted = ", " + wording.Count(res.Deleted) + " deleted"
	}
	p.term.printf("%s %s to %s: %d files, %s; %d files and %s written%s", verb, p.snapshot.ID.Short(), p.flags.target,
		res.Files, wording.Size(res.Bytes), res.FilesRewritten, wording.Size(res.BytesWritten), deleted)
}
