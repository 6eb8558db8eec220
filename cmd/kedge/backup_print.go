package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/snapshot"
)

// backupPrinter tells how a backup goes: to people, or in restic's JSON.
type backupPrinter struct {
	term    *terminal
	dryRun  bool
	pace    *pace
	mu      sync.Mutex
	now     archive.Progress
	scanned bool // told
}

func newBackupPrinter(term *terminal, dryRun bool) *backupPrinter {
	return &backupPrinter{term: term, dryRun: dryRun, pace: newPace()}
}

// begin makes the backup tell the printer how it goes. The function that it returns ends the showing of progress.
func (p *backupPrinter) begin(opt *archive.Options, scan bool) (stop func()) {
	p.pace = newPace()
	opt.Progress = p.progress
	opt.Error = p.problem
	if p.term.verbose >= 2 && !p.term.quiet {
		opt.Item = p.item
	}
	busy, stop := p.term.every(p.status)
	opt.Scan = scan && busy
	return stop
}

func (p *backupPrinter) progress(now archive.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	if now.Scanned && !p.scanned {
		p.scanned = true
		p.scanFinished(now)
	}
}

func (p *backupPrinter) work() work {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	return work{
		files: now.Files, totalFiles: now.TotalFiles, bytes: now.Bytes, totalBytes: now.TotalBytes,
		errors: int64(now.Errors), current: now.Current,
	}
}

type statusLine struct {
	MessageType      string   `json:"message_type"` // "status"
	SecondsElapsed   uint64   `json:"seconds_elapsed,omitempty"`
	SecondsRemaining uint64   `json:"seconds_remaining,omitempty"`
	PercentDone      float64  `json:"percent_done"` // 0 to 1, as restic has it
	TotalFiles       int64    `json:"total_files,omitempty"`
	FilesDone        int64    `json:"files_done,omitempty"`
	TotalBytes       int64    `json:"total_bytes,omitempty"`
	BytesDone        int64    `json:"bytes_done,omitempty"`
	ErrorCount       int64    `json:"error_count,omitempty"`
	CurrentFiles     []string `json:"current_files,omitempty"`
}

// status shows how far the backup is.
func (p *backupPrinter) status() {
	w := p.work()
	p.pace.note(w.bytes)
	if !p.term.json {
		p.term.show(p.pace.line(w))
		return
	}
	line := statusLine{
		MessageType: "status", SecondsElapsed: uint64(p.pace.elapsed().Seconds()), PercentDone: w.part(),
		TotalFiles: w.totalFiles, FilesDone: w.files, TotalBytes: w.totalBytes, BytesDone: w.bytes, ErrorCount: w.errors,
	}
	if left, ok := p.pace.remaining(w.bytes, w.totalBytes); ok {
		line.SecondsRemaining = uint64(left.Seconds())
	}
	if w.current != "" {
		line.CurrentFiles = []string{w.current}
	}
	p.term.tell(line)
}

// problem tells what could not be read.
func (p *backupPrinter) problem(e archive.FileError) {
	p.term.problem("archival", "read", e.Path, e.Err, e.Op+" "+e.Error())
}

type verboseLine struct {
	MessageType        string  `json:"message_type"` // "verbose_status"
	Action             string  `json:"action"`
	Item               string  `json:"item"`
	Duration           float64 `json:"duration"` // seconds
	DataSize           uint64  `json:"data_size"`
	DataSizeInRepo     uint64  `json:"data_size_in_repo"`
	MetadataSize       uint64  `json:"metadata_size"`
	MetadataSizeInRepo uint64  `json:"metadata_size_in_repo"`
	TotalFiles         int64   `json:"total_files"`
}

// item tells of one file or directory.
func (p *backupPrinter) item(it archive.Item) {
	path := it.Path
	if it.Dir {
		path += "/"
	}
	if p.term.json {
		p.term.tell(verboseLine{
			MessageType: "verbose_status", Action: string(it.Action), Item: path, Duration: it.Took.Seconds(),
			DataSize: it.Data, DataSizeInRepo: it.DataStored, MetadataSize: it.Tree, MetadataSizeInRepo: it.TreeStored,
		})
		return
	}
	added := wording.Size(int64(it.Data)) + " added"
	if it.Dir {
		added = wording.Size(int64(it.Tree)) + " of metadata added"
	}
	if it.Action == archive.Unchanged {
		p.term.printf("%-10s%s", it.Action, wording.Plain(path))
		return
	}
	p.term.printf("%-10s%s, saved in %.3fs (%s)", it.Action, wording.Plain(path), it.Took.Seconds(), added)
}

func (p *backupPrinter) scanFinished(now archive.Progress) {
	switch {
	case p.term.verbose == 0 || p.term.quiet:
	case !p.term.json:
		p.term.printf("scan finished in %.3fs: %s, %s", p.pace.elapsed().Seconds(), wording.Number(now.TotalFiles, "file"), wording.Size(now.TotalBytes))
	case p.term.verbose >= 2:
		p.term.tell(verboseLine{
			MessageType: "verbose_status", Action: "scan_finished", Duration: p.pace.elapsed().Seconds(),
			DataSize: uint64(now.TotalBytes), TotalFiles: now.TotalFiles,
		})
	}
}

// result tells what the backup made.
func (p *backupPrinter) result(result *archive.Result) error {
	sn, took := result.Snapshot, p.pace.elapsed()
	s := sn.Summary
	p.people(sn, took)
	line := struct {
		MessageType string `json:"message_type"`
		*snapshot.Summary
		TotalDuration float64 `json:"total_duration"`
		SnapshotID    string  `json:"snapshot_id,omitempty"`
		DryRun        bool    `json:"dry_run,omitempty"`
	}{"summary", s, took.Seconds(), "", p.dryRun}
	if !sn.ID.IsZero() {
		line.SnapshotID = sn.ID.String()
	}
	if err := p.term.object(line); err != nil {
		return err
	}
	if n := len(result.Unreadable); n > 0 {
		return fmt.Errorf("%s could not be read: %w", wording.Number(int64(n), "file"), errIncomplete)
	}
	return nil
}

// people writes the result for people: in one line, or as restic does where they ask for more.
func (p *backupPrinter) people(sn *snapshot.Snapshot, took time.Duration) {
	s := sn.Summary
	what := "snapshot " + sn.ID.Short() + " stored"
	switch {
	case p.dryRun:
		what = "dry run, nothing stored"
	case sn.ID.IsZero():
		what = "nothing has changed, no snapshot stored"
	}
	if p.term.verbose == 0 {
		p.term.printf("%s: %d files, %s in %s; %d new, %d changed; %s added", what, s.TotalFilesProcessed,
			wording.Size(int64(s.TotalBytesProcessed)), took.Round(time.Millisecond), s.FilesNew, s.FilesChanged, wording.Size(int64(s.DataAddedPacked)))
		return
	}
	p.term.printf("")
	p.term.printf("Files:       %5d new, %5d changed, %5d unmodified", s.FilesNew, s.FilesChanged, s.FilesUnmodified)
	p.term.printf("Dirs:        %5d new, %5d changed, %5d unmodified", s.DirsNew, s.DirsChanged, s.DirsUnmodified)
	if p.term.verbose >= 2 {
		p.term.printf("Data Blobs:  %5d new", s.DataBlobs)
		p.term.printf("Tree Blobs:  %5d new", s.TreeBlobs)
	}
	verb := "Added"
	if p.dryRun {
		verb = "Would add"
	}
	p.term.printf("%s to the repository: %s (%s stored)\n", verb, wording.Size(int64(s.DataAdded)), wording.Size(int64(s.DataAddedPacked)))
	p.term.printf("processed %s, %s in %s", wording.Number(int64(s.TotalFilesProcessed), "file"), wording.Size(int64(s.TotalBytesProcessed)), clock(took))
	p.term.printf("%s", what)
}
