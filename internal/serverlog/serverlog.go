// Package serverlog reads PostgreSQL's own log, to tell who did what is known from elsewhere: the session of a transaction.
//
// The log is written by whoever talks to the server: every line is taken as hostile. Lines that are too long, not of the declared format, or
// that could be read in two ways (a user may be named like the rest of a prefix) are skipped, never guessed at. It promises
// to hold no more than a bounded part of the log, and to return no text of statements, where passwords may stand.
package serverlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxLine is the longest line that is read, in bytes; of CSV, the longest record.
	MaxLine = 256 << 10
	// MaxScan is how much of the end of each file is read, in bytes.
	MaxScan = 1 << 30
	// maxFiles bounds the files that a pattern stands for, the newest first.
	maxFiles = 100
	// maxLines bounds the lines that are held.
	maxLines = 100_000
)

// Format says how a server writes its log.
type Format struct {
	LinePrefix string // log_line_prefix; for files that are neither CSV nor JSON
	Timezone   string // log_timezone
}

// Line is one line of a log.
type Line struct {
	Time        time.Time // UTC
	PID         uint32
	Session     string
	User        string
	Database    string
	Client      string // address
	Application string
	XID         uint32 // 0 if the session had no transaction yet, or no more
	Message     string
}

// Transaction is one to find the session of.
type Transaction struct {
	XID    uint32
	Commit time.Time
}

// Who is the session that did a transaction.
type Who struct {
	User        string `json:"user,omitempty"`
	Database    string `json:"database,omitempty"`
	Client      string `json:"client,omitempty"` // address
	Application string `json:"application,omitempty"`
	PID         uint32 `json:"pid,omitempty"`
	// By tells how it was found: "xid", where a line names the transaction, or "time", where one session alone did something that changes
	// data when it committed.
	By  string `json:"by"`
	Log string `json:"log"` // file
}

// parser reads one record of a log.
type parser func(record string) (Line, bool)

// Find returns the sessions of those transactions for which the logs have one. Logs are files, or patterns of filepath.Match that stand
// for several; what ends in ".csv" or ".json" is read as such. A log that does not exist is an error.
func Find(ctx context.Context, logs []string, format Format, wanted []Transaction) (map[uint32]Who, error) {
	found := map[uint32]Who{}
	if len(wanted) == 0 || len(logs) == 0 {
		return found, nil
	}
	zone, err := loadZone(format.Timezone)
	if err != nil {
		return nil, err
	}
	files, err := expand(logs)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		s := search{wanted: wanted, zone: zone, near: map[uint32][]near{}, found: map[uint32]Line{}, sessions: map[uint32]Line{}}
		if err := s.file(ctx, file, format.LinePrefix); err != nil {
			return nil, fmt.Errorf("read the server's log %s: %w", file, err)
		}
		for _, tx := range wanted {
			who, ok := s.who(tx)
			if known := found[tx.XID]; ok && (known.By == "" || known.By == "time" && who.By == "xid") {
				who.Log = file
				found[tx.XID] = who
			}
		}
	}
	return found, nil
}

func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("read the server's log: its time zone: %w (set log_timezone to UTC)", err)
	}
	return zone, nil
}

// expand returns the files that logs stand for, those of a pattern the newest first.
func expand(logs []string) ([]string, error) {
	var files []string
	for _, log := range logs {
		matches, err := filepath.Glob(log)
		if err != nil {
			return nil, fmt.Errorf("find the server's log %q: %w", log, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("find the server's log %q: %w", log, os.ErrNotExist)
		}
		slices.Sort(matches)
		slices.Reverse(matches)
		files = append(files, matches[:min(len(matches), maxFiles)]...)
	}
	return files, nil
}

// before and after are how far a transaction's lines may be from its commit.
const (
	before = 24 * time.Hour
	after  = time.Minute
	// begun is how long before its commit a statement may have been logged that was logged when it began.
	begun = time.Second
)

// search looks through one file.
type search struct {
	wanted   []Transaction
	zone     *time.Location
	found    map[uint32]Line   // by XID
	near     map[uint32][]near // by XID: lines of statements about the time of its commit
	sessions map[uint32]Line   // by PID: what is known of a session
	held     int
}

// near is a line of a statement that was under way when a transaction committed.
type near struct {
	Line
	surely bool // it changes something
}

func (s *search) file(ctx context.Context, name, linePrefix string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	if info.Size() > MaxScan {
		if _, err := f.Seek(info.Size()-MaxScan, io.SeekStart); err != nil {
			return err
		}
	}
	rd := bufio.NewReaderSize(f, 64<<10)
	switch filepath.Ext(name) {
	case ".csv":
		return eachRecord(ctx, rd, s.take(func(record string) (Line, bool) { return parseCSV(record, s.zone) }))
	case ".json":
		return eachLine(ctx, rd, s.take(func(record string) (Line, bool) { return parseJSON(record, s.zone) }))
	}
	p, err := parsePrefix(linePrefix, s.zone)
	if err != nil {
		return err
	}
	return eachLine(ctx, rd, s.take(p.parse))
}

// take returns a function that keeps what matters of a record. Parsing is dear: records with neither the number nor the minute of a
// transaction, and that do not begin a session, are passed over.
func (s *search) take(parse parser) func(record []byte) {
	needles := [][]byte{[]byte("connection authorized"), []byte("connection received")}
	for _, tx := range s.wanted {
		needles = append(needles, []byte(strconv.FormatUint(uint64(tx.XID), 10)))
		for _, at := range []time.Time{tx.Commit.Add(-begun), tx.Commit.Add(begun)} {
			needles = append(needles, []byte(at.In(s.zone).Format("2006-01-02 15:04")), []byte(strconv.FormatInt(at.Unix()/100, 10)))
		}
	}
	return func(record []byte) {
		if s.held >= maxLines || !slices.ContainsFunc(needles, func(n []byte) bool { return bytes.Contains(record, n) }) {
			return
		}
		if line, ok := parse(string(record)); ok && line.PID != 0 {
			s.keep(line)
		}
	}
}

func (s *search) keep(line Line) {
	_, text, _ := strings.Cut(line.Message, ":  ") // the severity; what others write comes later
	switch {
	case strings.HasPrefix(text, "connection received: host="):
		s.begin(Line{PID: line.PID, Client: firstWord(strings.TrimPrefix(text, "connection received: host="))})
	case strings.HasPrefix(text, "connection authorized: "):
		if rest, ok := cutAfter(text, " application_name="); ok && line.Application == "" {
			line.Application = firstWord(rest)
		}
		s.begin(merge(line, s.sessions[line.PID]))
	}
	line = merge(line, s.sessions[line.PID])
	for _, tx := range s.wanted {
		apart := tx.Commit.Sub(line.Time)
		if line.XID == tx.XID && apart < before && apart > -after {
			s.found[tx.XID] = merge(line, s.found[tx.XID])
			s.held++
		}
		if is, surely := covers(line, tx.Commit); is && line.XID == 0 {
			s.near[tx.XID] = append(s.near[tx.XID], near{line, surely})
			s.held++
		}
	}
}

// begin notes what is known of a session. The number of its process may have been another's before.
func (s *search) begin(session Line) {
	if len(s.sessions) < maxLines {
		s.sessions[session.PID] = session
	}
}

// merge fills what a does not say from b.
func merge(a, b Line) Line {
	for _, field := range []struct{ to, from *string }{
		{&a.User, &b.User}, {&a.Database, &b.Database}, {&a.Client, &b.Client}, {&a.Application, &b.Application}, {&a.Session, &b.Session},
	} {
		if *field.to == "" {
			*field.to = *field.from
		}
	}
	return a
}

func cutAfter(s, mark string) (string, bool) {
	_, rest, ok := strings.Cut(s, mark)
	return rest, ok
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// changes tells whether a statement that begins with a word changes something: surely, or perhaps.
func changes(word string) (surely, perhaps bool) {
	switch strings.ToUpper(strings.TrimRight(word, ";")) {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMIT", "END", "DO", "CALL":
		return true, true
	case "WITH", "SELECT", "EXECUTE":
		return false, true
	}
	return false, false
}

// covers tells whether a line says that a statement was under way when a transaction committed, and whether that surely changes
// something. What a session logs after its statement ended says how long that took; what it logs when it begins does not.
func covers(line Line, commit time.Time) (is, surely bool) {
	_, text, _ := strings.Cut(line.Message, ":  ") // the severity
	// A millisecond either way: the log has no more.
	begin, end := line.Time.Add(-time.Millisecond), line.Time.Add(begun)
	if rest, timed := strings.CutPrefix(text, "duration: "); timed {
		digits, statement, ok := strings.Cut(rest, " ms  ")
		ms, err := strconv.ParseFloat(digits, 64)
		if !ok || err != nil || !(ms >= 0 && ms < 1e9) {
			return false, false
		}
		text = statement
		begin, end = line.Time.Add(-time.Duration(ms*float64(time.Millisecond))-time.Millisecond), line.Time.Add(time.Millisecond)
	}
	// Other steps, such as "parse" and "bind", do nothing yet.
	step, statement, ok := strings.Cut(text, ": ")
	if !ok || step != "statement" && !strings.HasPrefix(step, "execute ") {
		return false, false
	}
	surely, perhaps := changes(firstWord(strings.TrimSpace(statement)))
	return perhaps && !commit.Before(begin) && !commit.After(end), surely
}

func (s *search) who(tx Transaction) (Who, bool) {
	line, exact := s.found[tx.XID]
	by := "xid"
	if !exact {
		one, ok := only(s.near[tx.XID])
		if !ok {
			return Who{}, false
		}
		line, by = one, "time"
	}
	return Who{User: line.User, Database: line.Database, Client: line.Client, Application: line.Application, PID: line.PID, By: by}, true
}

// only returns a line of the one session that surely changed something, or else perhaps; false, if there are several or none.
func only(lines []near) (Line, bool) {
	for _, surely := range []bool{true, false} {
		sessions := map[uint32]Line{}
		for _, l := range lines {
			if l.surely || !surely {
				sessions[l.PID] = l.Line
			}
		}
		if len(sessions) > 0 {
			for _, line := range sessions {
				return line, len(sessions) == 1
			}
		}
	}
	return Line{}, false
}

// eachLine calls fn for every line that is not too long.
func eachLine(ctx context.Context, rd *bufio.Reader, fn func([]byte)) error {
	for n := 1; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, long, err := readLine(rd)
		if len(line) > 0 && !long {
			fn(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine returns the next line, without its end; long, if it was too long and is not all there.
func readLine(rd *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := rd.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			long = true
		} else {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimRight(line, "\r\n"), long, err
	}
}

// eachRecord calls fn for every CSV record: lines up to the one that closes what quotes opened.
func eachRecord(ctx context.Context, rd *bufio.Reader, fn func([]byte)) error {
	var record []byte
	quotes := 0
	for n := 1; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, long, err := readLine(rd)
		if len(record)+len(line) > MaxLine || long {
			record, quotes = record[:0], 0 // a damaged one: begin anew
		} else {
			record = append(record, line...)
			quotes += bytes.Count(line, []byte{'"'})
			if quotes%2 == 0 {
				if len(record) > 0 {
					fn(record)
				}
				record, quotes = record[:0], 0
			} else {
				record = append(record, '\n')
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parseCSV reads a record of csvlog.
//
// Source: PostgreSQL documentation, "Using CSV-Format Log Output": the columns' order.
func parseCSV(record string, zone *time.Location) (Line, bool) {
	rd := csv.NewReader(strings.NewReader(record))
	rd.FieldsPerRecord = -1
	fields, err := rd.Read()
	if err != nil || len(fields) < 23 {
		return Line{}, false
	}
	at, err := parseTime(fields[0], zone)
	pid, err2 := strconv.ParseUint(fields[3], 10, 32)
	xid, err3 := strconv.ParseUint(fields[10], 10, 32)
	if err != nil || err2 != nil || err3 != nil {
		return Line{}, false
	}
	client := fields[4]
	if i := strings.LastIndexByte(client, ':'); i > 0 {
		client = client[:i]
	}
	return Line{
		Time: at, PID: uint32(pid), Session: fields[5], User: fields[1], Database: fields[2], Client: client,
		XID: uint32(xid), Application: fields[22], Message: fields[11] + ":  " + fields[13],
	}, true
}

// parseJSON reads a line of jsonlog.
func parseJSON(record string, zone *time.Location) (Line, bool) {
	var fields struct {
		Timestamp, User, DBName, Message string
		PID, TxID                        uint32
		RemoteHost                       string `json:"remote_host"`
		SessionID                        string `json:"session_id"`
		Severity                         string `json:"error_severity"`
		Application                      string `json:"application_name"`
	}
	if err := json.Unmarshal([]byte(record), &fields); err != nil {
		return Line{}, false
	}
	at, err := parseTime(fields.Timestamp, zone)
	if err != nil {
		return Line{}, false
	}
	return Line{
		Time: at, PID: fields.PID, Session: fields.SessionID, User: fields.User, Database: fields.DBName, Client: fields.RemoteHost,
		XID: fields.TxID, Application: fields.Application, Message: fields.Severity + ":  " + fields.Message,
	}, true
}
