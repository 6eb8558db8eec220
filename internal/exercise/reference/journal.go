package reference

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxJournalLine bounds one line of the journal, in bytes.
const maxJournalLine = 64 << 10

// Row is a row as a transaction leaves it.
type Row struct {
	Database string `json:"database"`
	Table    string `json:"table"`
	Key      string `json:"key"`
	Line     string `json:"line"` // the whole row in COPY text form, without the newline
}

// record is one line of the journal: a row that will be written, or the word that it was committed.
type record struct {
	N    int        `json:"n"`
	Row  *Row       `json:"row,omitempty"`
	XID  uint64     `json:"xid,omitempty"`
	Time *time.Time `json:"time,omitempty"`
}

// Journal notes what a writer asks of the database and what the database acknowledged. For one goroutine.
type Journal struct {
	f *os.File
	n int
}

// Journal begins the journal of the one writer that a reference has.
func (r *Reference) Journal() (*Journal, error) {
	f, err := os.OpenFile(r.journalFile(), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin journal: %w", err)
	}
	return &Journal{f: f}, nil
}

func (r *Reference) journalFile() string { return filepath.Join(r.dir, "journal") }

// Intend notes a row before it is sent, each key once. It returns the number to acknowledge it by.
func (j *Journal) Intend(row Row) (int, error) {
	j.n++
	return j.n, j.append(record{N: j.n, Row: &row})
}

// Acknowledge notes that the database confirmed the commit, as transaction xid.
func (j *Journal) Acknowledge(n int, xid uint64, at time.Time) error {
	return j.append(record{N: n, XID: xid, Time: &at})
}

func (j *Journal) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if _, err := j.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// Close ends the journal.
func (j *Journal) Close() error { return j.f.Close() }

// written is a row of the journal and what became of it.
type written struct {
	row          Row
	acknowledged bool
	time         time.Time // of the acknowledgement
}

// readJournal returns the rows in the order in which they were sent. The last line may still be being written.
func (r *Reference) readJournal() ([]*written, error) {
	f, err := os.Open(r.journalFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no writer ran
	} else if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	var rows []*written
	for rd := bufio.NewReaderSize(f, maxJournalLine); ; {
		line, err := rd.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return nil, fmt.Errorf("read journal line %.60q: %w", line, err)
		}
		switch {
		case rec.Row != nil && rec.N == len(rows)+1:
			rows = append(rows, &written{row: *rec.Row})
		case rec.Row == nil && rec.Time != nil && rec.N >= 1 && rec.N <= len(rows):
			rows[rec.N-1].acknowledged, rows[rec.N-1].time = true, *rec.Time
		default:
			return nil, fmt.Errorf("read journal: line %.60q follows from no other", line)
		}
	}
}
