package serverlog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// maxPrefix bounds a log_line_prefix, in bytes, and maxEscapes what it names.
	maxPrefix  = 1024
	maxEscapes = 32
	// maxHead is how much of a line is searched for its prefix, in bytes. Names have 63 each.
	maxHead = 2048
)

// timePattern is a time as the server writes it, with milliseconds or without, and its zone's abbreviation.
const timePattern = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})? [A-Za-z0-9+:<>-]{1,16}`

// severity is what follows the prefix, in whatever language, such as "LOG:  ".
const severity = `([^\s:]{2,20} ?:  )`

// escapePattern returns what a log_line_prefix may name looks like; "" for text that others choose.
//
// Source: PostgreSQL documentation, "Error Reporting and Logging", log_line_prefix.
func escapePattern(verb byte) (pattern string, ok bool) {
	switch verb {
	case 'a', 'u', 'd', 'r', 'h', 'b', 'i':
		return "", true
	case 't', 'm', 's':
		return timePattern, true
	case 'n':
		return `\d{1,12}\.\d{1,6}`, true
	case 'p', 'l', 'x':
		return `\d{1,20}`, true
	case 'P', 'Q':
		return `-?\d{0,20}`, true
	case 'c':
		return `[0-9a-fA-F]{1,16}\.[0-9a-fA-F]{1,16}`, true
	case 'v':
		return `[0-9/]{0,40}`, true
	case 'e':
		return `[0-9A-Z]{5}`, true
	}
	return "", false
}

// prefix reads the beginning of lines. It is safe for concurrent use.
type prefix struct {
	// shortest and longest are the same but for how much text of others' choice they take: where they differ, a line may
	// have been made to look like another, and nothing of it is believed.
	shortest, longest *regexp.Regexp
	verbs             []byte // of the groups
	zone              *time.Location
}

// parsePrefix reads a log_line_prefix.
func parsePrefix(setting string, zone *time.Location) (*prefix, error) {
	if len(setting) > maxPrefix {
		return nil, fmt.Errorf("read log_line_prefix: %d bytes, at most %d are read", len(setting), maxPrefix)
	}
	p := &prefix{zone: zone}
	var shortest, longest strings.Builder
	both := func(s string) { shortest.WriteString(s); longest.WriteString(s) }
	both(`^`)
	for i := 0; i < len(setting); i++ {
		if setting[i] != '%' {
			both(regexp.QuoteMeta(setting[i : i+1]))
			continue
		}
		i++
		width := i
		for i < len(setting) && (setting[i] == '-' && i == width || setting[i] >= '0' && setting[i] <= '9') {
			i++
		}
		if i == len(setting) {
			break // a lone percent sign at the end: the server leaves it out
		}
		switch verb := setting[i]; verb {
		case '%':
			both(`%`)
		case 'q': // what follows is only of sessions, and only those matter
		default:
			pattern, known := escapePattern(verb)
			if !known {
				continue // the server leaves it out
			}
			p.verbs = append(p.verbs, verb)
			pad := ""
			if i > width {
				pad = ` *`
			}
			if pattern == "" {
				shortest.WriteString(pad + `(.*?)` + pad)
				longest.WriteString(pad + `(.*)` + pad)
				continue
			}
			both(pad + `(` + pattern + `)` + pad)
		}
	}
	if len(p.verbs) > maxEscapes {
		return nil, fmt.Errorf("read log_line_prefix: it names %d things, at most %d are read", len(p.verbs), maxEscapes)
	}
	if len(p.verbs) == 0 {
		return nil, fmt.Errorf("read log_line_prefix %q: it says nothing of a line's session; set it to '%%m [%%p] user=%%u db=%%d client=%%h xid=%%x '", setting)
	}
	both(severity)
	var err error
	if p.shortest, err = regexp.Compile(`(?s)` + shortest.String()); err == nil {
		p.longest, err = regexp.Compile(`(?s)` + longest.String())
	}
	if err != nil {
		return nil, fmt.Errorf("read log_line_prefix %q: %w", setting, err)
	}
	return p, nil
}

// parse reads a line; false, if it does not begin with the prefix, or might be read in two ways.
func (p *prefix) parse(text string) (Line, bool) {
	head := text[:min(len(text), maxHead)]
	at := p.shortest.FindStringSubmatchIndex(head)
	other := p.longest.FindStringSubmatchIndex(head)
	if at == nil || other == nil {
		return Line{}, false
	}
	var line Line
	for i, verb := range p.verbs {
		begin, end := at[2*i+2], at[2*i+3]
		value := text[begin:end]
		if value != text[other[2*i+2]:other[2*i+3]] && strings.TrimSpace(value) != strings.TrimSpace(text[other[2*i+2]:other[2*i+3]]) {
			return Line{}, false
		}
		if !line.set(verb, strings.TrimSpace(value), p.zone) {
			return Line{}, false
		}
	}
	line.Message = text[at[len(at)-2]:]
	return line, true
}

// set takes the value of an escape.
func (l *Line) set(verb byte, value string, zone *time.Location) bool {
	if value == "[unknown]" {
		value = ""
	}
	switch verb {
	case 'a':
		l.Application = value
	case 'u':
		l.User = value
	case 'd':
		l.Database = value
	case 'h', 'r':
		if value != "" {
			l.Client = host(value)
		}
	case 't', 'm':
		at, err := parseTime(value, zone)
		l.Time = at
		return err == nil
	case 'n':
		seconds, err := strconv.ParseFloat(value, 64)
		l.Time = time.UnixMicro(int64(seconds * 1e6)).UTC()
		return err == nil
	case 'p':
		pid, err := strconv.ParseUint(value, 10, 32)
		l.PID = uint32(pid)
		return err == nil
	case 'c':
		l.Session = value
	case 'x':
		xid, err := strconv.ParseUint(value, 10, 32)
		l.XID = uint32(xid)
		return err == nil
	}
	return true
}

// host returns the address of "address(port)", "address:port" or an address.
func host(value string) string {
	if i := strings.IndexByte(value, '('); i > 0 {
		return value[:i]
	}
	return value
}

// parseTime reads a time with its zone's abbreviation, which is one of the server's log_timezone.
func parseTime(value string, zone *time.Location) (time.Time, error) {
	at, err := time.ParseInLocation("2006-01-02 15:04:05.999999 MST", value, zone)
	if err != nil {
		at, err = time.ParseInLocation("2006-01-02 15:04:05.999999 -07", value, zone)
	}
	return at.UTC(), err
}
