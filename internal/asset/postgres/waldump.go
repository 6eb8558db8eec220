package postgres

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/internal/process"
)

const (
	// maxLine bounds what is kept of one line of pg_waldump, in bytes. Longer ones are lists of more than 100,000
	// subtransactions or dropped tables, of which the rest is left out.
	maxLine = 1 << 20
	// maxRecord is the longest record that PostgreSQL writes, in bytes.
	maxRecord = 1020 << 20
	// walPage is PostgreSQL's WAL page size, in bytes, as every distribution builds it.
	walPage = 8 << 10
	// magic15 is the first two bytes of each WAL page of PostgreSQL 15, as a number; later versions have higher ones.
	//
	// Source: PostgreSQL's access/xlog_internal.h: XLOG_PAGE_MAGIC.
	magic15 = 0xD110
)

// dump is one run of pg_waldump over one timeline.
type dump struct {
	bin, wal string
	size     uint64        // of a segment, bytes
	newest   segment       // of the timeline
	start    pglogrepl.LSN // where to begin
	exact    bool          // a record begins at start; else start is a segment's beginning
	managers []string      // the kinds of records to read; nil: those that transactions are made of
}

// each calls fn for every record of the kinds that are asked for, and returns where the last record that pg_waldump
// could read begins (0 if it did not say). It returns nil at the end of what was received.
func (d dump) each(ctx context.Context, fn func(record) error) (last pglogrepl.LSN, err error) {
	// What is received while pg_waldump reads is left for the next run.
	end, err := d.dataEnd()
	if err != nil {
		return 0, err
	}
	if end == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.managers == nil {
		d.managers = []string{"Heap", "Heap2", "Transaction", "XLOG"}
	}
	// Without an end pg_waldump waits five seconds for a segment that is not there yet.
	arguments := []string{
		"--path=" + d.wal, fmt.Sprintf("--timeline=%d", d.newest.timeline), "--start=" + d.start.String(),
		"--end=" + pglogrepl.LSN((d.newest.number+1)*d.size).String(),
	}
	choosy, err := d.choosy()
	if err != nil {
		return 0, err
	}
	if choosy {
		for _, manager := range d.managers {
			arguments = append(arguments, "--rmgr="+manager)
		}
	}
	command := exec.CommandContext(ctx, filepath.Join(d.bin, "pg_waldump"), arguments...)
	command.Env = []string{"TZ=UTC", "LC_ALL=C"}
	var complaint process.Complaint
	command.Stderr = &complaint
	out, err := command.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("run pg_waldump: %w", err)
	}
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("run pg_waldump: %w (the asset's bin names the directory of PostgreSQL's programs)", err)
	}
	if err := eachRecord(out, !choosy, fn); err != nil {
		cancel()
		_ = command.Wait() // killed: its own error says nothing
		return 0, err
	}
	err = command.Wait()
	var failed *exec.ExitError
	if err == nil || ctx.Err() != nil || !errors.As(err, &failed) {
		return 0, err
	}
	return d.judge(string(complaint), end)
}

// choosy tells whether pg_waldump can be asked for the wanted kinds of records alone. Before PostgreSQL 15 it would heed the last one
// only; there all records are read if there is more than one.
func (d dump) choosy() (bool, error) {
	if len(d.managers) == 1 {
		return true, nil
	}
	head, err := d.uint32At(d.start - d.start%pglogrepl.LSN(d.size))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil // pg_waldump says which segment is missing
	}
	return head&0xFFFF >= magic15, err
}

// judge decides whether what pg_waldump stopped at is the end of the received WAL, which it always reports as an error.
func (d dump) judge(complaint string, end pglogrepl.LSN) (last pglogrepl.LSN, err error) {
	damaged := fmt.Errorf("pg_waldump: %s", strings.TrimSpace(complaint))
	if missing, ok := missingSegment(complaint); ok {
		// The last record goes on, or the next one begins, in a segment that was not received yet.
		s, ok := parseSegment(missing, d.size)
		if ok && s.timeline == d.newest.timeline && s.number == d.newest.number+1 {
			return 0, nil
		}
		return 0, damaged
	}
	last, ok := lastRecord(complaint)
	if !ok {
		// Not even one record is whole: nothing but the beginning of the first segment was received.
		if !d.exact && end <= d.start+walPage {
			return 0, nil
		}
		return 0, damaged
	}
	length, err := d.uint32At(last)
	if err != nil {
		return 0, err
	}
	next := d.after(last, length)
	if switched, err := d.switched(last); err != nil {
		return 0, err
	} else if switched { // WAL goes on in the next segment
		next = pglogrepl.LSN((uint64(last)/d.size + 1) * d.size)
		next += pglogrepl.LSN(d.header(uint64(next)))
	}
	if next >= end {
		return last, nil
	}
	length, err = d.uint32At(next)
	if err != nil {
		return 0, err
	}
	if length != 0 && length <= maxRecord && d.after(next, length) > end {
		return last, nil // cut in the middle
	}
	if length == 0 && uint64(next)/d.size == d.newest.number {
		// Zeros up to the page's end, then more: WAL that was archived while it was written.
		blank, err := d.blankPage(next)
		if err == nil && blank {
			return last, nil
		}
	}
	return 0, damaged
}

// dataEnd returns the position after the last byte of the timeline that is not zero; 0 if all are.
func (d dump) dataEnd() (pglogrepl.LSN, error) {
	for s := d.newest; ; s.number-- {
		end, err := lastByte(filepath.Join(d.wal, s.name(d.size)))
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read WAL: %w", err)
		}
		if end > 0 {
			return pglogrepl.LSN(s.number*d.size + uint64(end)), nil
		}
		if s.number == 0 {
			return 0, nil
		}
	}
}

// lastByte returns the offset after the file's last byte that is not zero.
func lastByte(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, 256<<10)
	for end := info.Size(); end > 0; {
		begin := max(0, end-int64(len(block)))
		part := block[:end-begin]
		if _, err := f.ReadAt(part, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n := len(bytes.TrimRight(part, "\x00")); n > 0 {
			return begin + int64(n), nil
		}
		end = begin
	}
	return 0, nil
}

// after returns where the record behind one of length bytes at at begins. Records skip the header of every page and are aligned
// to 8 bytes.
//
// Source: PostgreSQL's access/xlog_internal.h: XLogPageHeaderData and XLogLongPageHeaderData.
func (d dump) after(at pglogrepl.LSN, length uint32) pglogrepl.LSN {
	position, rest := uint64(at), uint64(length)
	for {
		room := walPage - position%walPage
		if position%walPage == 0 {
			position += d.header(position)
			room = walPage - position%walPage
		}
		if rest < room {
			position = (position + rest + 7) &^ 7
			break
		}
		position, rest = position+room, rest-room
		if rest == 0 {
			break
		}
	}
	if position%walPage == 0 {
		position += d.header(position)
	}
	return pglogrepl.LSN(position)
}

// header returns the length of the header of the page that begins at position.
func (d dump) header(position uint64) uint64 {
	if position%d.size == 0 {
		return 40
	}
	return 24
}

// switched tells whether the record at a position is one after which the rest of its segment is empty.
//
// Source: PostgreSQL's access/xlogrecord.h: XLogRecord; catalog/pg_control.h: XLOG_SWITCH.
func (d dump) switched(at pglogrepl.LSN) (bool, error) {
	const infoAt, xlogSwitch = 16, 0x40
	if uint64(at)%walPage > walPage-infoAt-2 {
		return false, nil // its head goes on in the next page
	}
	var kind [2]byte // information and resource manager
	if err := d.readAt(kind[:], at+infoAt); err != nil {
		return false, err
	}
	return kind[0]&0xf0 == xlogSwitch && kind[1] == 0, nil
}

func (d dump) uint32At(at pglogrepl.LSN) (uint32, error) {
	var word [4]byte
	if err := d.readAt(word[:], at); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(word[:]), nil
}

// blankPage tells whether all bytes from at to its page's end are zero.
func (d dump) blankPage(at pglogrepl.LSN) (bool, error) {
	rest := make([]byte, walPage-uint64(at)%walPage)
	if err := d.readAt(rest, at); err != nil {
		return false, err
	}
	return len(bytes.TrimRight(rest, "\x00")) == 0, nil
}

// readAt fills p, which stays within one page, from position at. WAL that was not received is an error.
func (d dump) readAt(p []byte, at pglogrepl.LSN) error {
	s := segment{d.newest.timeline, uint64(at) / d.size}
	f, err := os.Open(filepath.Join(d.wal, s.name(d.size)))
	if err != nil {
		return fmt.Errorf("read WAL: %w", err)
	}
	defer f.Close()
	if _, err := f.ReadAt(p, int64(uint64(at)%d.size)); err != nil {
		return fmt.Errorf("read WAL: %w", err)
	}
	return nil
}

var (
	missingPattern = regexp.MustCompile(`could not find file "([0-9A-F]{24})"`)
	lastPattern    = regexp.MustCompile(`error in WAL record at ([0-9A-F]{1,8}/[0-9A-F]{1,8}):`)
)

func missingSegment(complaint string) (string, bool) {
	match := missingPattern.FindStringSubmatch(complaint)
	if match == nil {
		return "", false
	}
	return match[1], true
}

func lastRecord(complaint string) (pglogrepl.LSN, bool) {
	match := lastPattern.FindStringSubmatch(complaint)
	if match == nil {
		return 0, false
	}
	at, err := parseLSN(match[1])
	return at, err == nil
}

// eachRecord calls fn for every line of out that is a record of interest. Each must name the one before it, if whole says that out holds
// all records, else that or a later one: names that users choose stand in some, with line breaks that could pass for a record.
func eachRecord(out io.Reader, whole bool, fn func(record) error) error {
	rd := bufio.NewReaderSize(out, 64<<10)
	var line []byte
	var before pglogrepl.LSN
	for {
		part, err := rd.ReadSlice('\n')
		line = append(line, part[:min(len(part), maxLine-len(line))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read pg_waldump: %w", err)
		}
		if len(line) > 0 {
			r, problem := parseRecord(string(bytes.TrimRight(line, "\r\n")))
			if problem == nil && r.lsn != 0 {
				if r.prev < before || whole && before != 0 && r.prev != before {
					return fmt.Errorf("read pg_waldump: the record after %s is said to be at %s, after %s", before, r.lsn, r.prev)
				}
				before = r.lsn
			}
			if problem == nil && r.kind != recordOther {
				problem = fn(r)
			}
			if problem != nil {
				return problem
			}
		}
		if err != nil {
			return nil
		}
		line = line[:0]
	}
}
