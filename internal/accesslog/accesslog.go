// Package accesslog reads web server access logs in the combined format, as nginx and Apache write them.
//
// Logs are written by whoever sends requests: every line is taken as hostile. Lines that are too long or not of the
// format are skipped and counted, never guessed at.
//
// Source: nginx's ngx_http_log_module, format "combined" with its default escaping.
package accesslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxLine is the longest line that is read, in bytes. nginx takes request lines of 8 KiB by default.
const MaxLine = 64 << 10

// Entry is one request.
type Entry struct {
	Line     int // in the log, from 1
	Source   string
	User     string // "" if not signed in
	Time     time.Time
	Method   string
	Target   string // as sent, with its query
	Status   int
	Bytes    int64
	Referrer string
	Agent    string
}

// Path returns the decoded path of the target, without the query. What cannot be decoded is returned as it is.
func (e Entry) Path() string {
	p, _, _ := strings.Cut(e.Target, "?")
	if rest, ok := strings.CutPrefix(p, "http://"); ok { // a request as to a proxy
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			p = rest[i:]
		}
	}
	if decoded, err := url.PathUnescape(p); err == nil {
		return decoded
	}
	return p
}

var errFormat = errors.New("not a line of the combined format")

// Parse reads one line, without its newline.
func Parse(line string) (Entry, error) {
	if len(line) > MaxLine {
		return Entry{}, fmt.Errorf("parse access log line: %d bytes, at most %d are read", len(line), MaxLine)
	}
	head, quoted, ok := strings.Cut(line, ` "`)
	if !ok {
		return Entry{}, errFormat
	}
	var e Entry
	if err := e.parseHead(head); err != nil {
		return Entry{}, err
	}
	request, rest, ok := cutQuoted(quoted)
	if !ok {
		return Entry{}, errFormat
	}
	e.Method, e.Target, _ = strings.Cut(unescape(request), " ")
	if i := strings.LastIndexByte(e.Target, ' '); i >= 0 {
		e.Target = e.Target[:i] // the protocol
	}
	fields := strings.SplitN(strings.TrimPrefix(rest, " "), " ", 3)
	if len(fields) < 2 {
		return Entry{}, errFormat
	}
	status, err := strconv.Atoi(fields[0])
	if err != nil || status < 0 || status > 999 {
		return Entry{}, errFormat
	}
	e.Status = status
	if fields[1] != "-" {
		if e.Bytes, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
			return Entry{}, errFormat
		}
	}
	if len(fields) == 3 {
		e.parseTail(fields[2])
	}
	return e, nil
}

// parseHead reads `address - user [time]`. The user's name may hold spaces.
func (e *Entry) parseHead(head string) error {
	source, rest, ok := strings.Cut(head, " ")
	if !ok {
		return errFormat
	}
	if _, err := netip.ParseAddr(source); err != nil && !strings.HasPrefix(source, "unix:") {
		return errFormat
	}
	open := strings.LastIndexByte(rest, '[')
	if open < 0 || !strings.HasSuffix(rest, "]") {
		return errFormat
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", rest[open+1:len(rest)-1])
	if err != nil {
		return errFormat
	}
	_, user, _ := strings.Cut(strings.TrimSpace(rest[:open]), " ")
	if user == "-" {
		user = ""
	}
	e.Source, e.User, e.Time = source, unescape(user), at.UTC()
	return nil
}

// parseTail reads `"referrer" "agent"`, as far as they are there.
func (e *Entry) parseTail(tail string) {
	for _, into := range []*string{&e.Referrer, &e.Agent} {
		quoted, ok := strings.CutPrefix(tail, `"`)
		if !ok {
			return
		}
		value, rest, ok := cutQuoted(quoted)
		if !ok {
			return
		}
		if value = unescape(value); value != "-" {
			*into = value
		}
		tail = strings.TrimPrefix(rest, " ")
	}
}

// cutQuoted returns what stands before the closing quote: one that no backslash escapes.
func cutQuoted(s string) (value, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

// unescape undoes nginx's \xXX and Apache's \" and \\.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if s[i+1] == 'x' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

// Read calls fn for each entry in order until fn fails or the log ends, and returns how many lines were skipped. It
// holds one line at a time.
func Read(ctx context.Context, rd io.Reader, fn func(Entry) error) (skipped int, err error) {
	br := bufio.NewReaderSize(rd, MaxLine)
	for n := 1; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return skipped, ctx.Err()
		}
		line, err := readLine(br)
		if err == io.EOF {
			return skipped, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return skipped, fmt.Errorf("read access log, line %d: %w", n, err)
		}
		e, parseErr := Parse(line)
		if err != nil || parseErr != nil {
			skipped++
			continue
		}
		e.Line = n
		if err := fn(e); err != nil {
			return skipped, err
		}
	}
}

// readLine returns the next line; bufio.ErrBufferFull says that it was too long and was passed over.
func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return "", err
		}
		return "", bufio.ErrBufferFull
	}
	if err == io.EOF && len(line) > 0 {
		err = nil // the last line, not yet ended
	}
	return strings.TrimRight(string(line), "\r\n"), err
}
