package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/kedge-project/kedge/internal/event"
)

// An entry of the log is one encoded event, which begins with "{". tlog-tiles gives an entry 65,535 bytes and an
// event may have more: then it is cut into parts, entries that follow one another, each with a first line
//
//	part NUMBER/COUNT SHA256
//
// where SHA256 is the hash of the whole event. Parts without the last ones are an append that was cut short, and
// never acknowledged: they are passed over.
const (
	maxEntry = 1<<16 - 1
	maxPart  = maxEntry - 128 // leaves room for the first line
	maxParts = event.MaxSize/maxPart + 1
)

// split returns the entries that hold an encoded event.
func split(line []byte) [][]byte {
	if len(line) <= maxEntry {
		return [][]byte{line}
	}
	sum := sha256.Sum256(line)
	count := (len(line) + maxPart - 1) / maxPart
	entries := make([][]byte, 0, count)
	for number := 1; number <= count; number++ {
		rest := line[(number-1)*maxPart:]
		entry := fmt.Appendf(nil, "part %d/%d %x\n", number, count, sum)
		entries = append(entries, append(entry, rest[:min(len(rest), maxPart)]...))
	}
	return entries
}

// joiner puts the events of a record together, entry by entry.
type joiner struct {
	have  int // parts so far
	count int
	sum   [sha256.Size]byte
	line  []byte
}

// next takes one entry and returns the event that ends with it, if one does. entry is not kept.
func (j *joiner) next(entry []byte) (event.Event, bool, error) {
	if !bytes.HasPrefix(entry, []byte("part ")) {
		*j = joiner{}
		e, err := event.Decode(entry)
		return e, err == nil, err
	}
	head, body, _ := bytes.Cut(entry, []byte("\n"))
	var number, count int
	var sum []byte
	if _, err := fmt.Sscanf(string(head), "part %d/%d %x", &number, &count, &sum); err != nil || len(sum) != sha256.Size {
		return event.Event{}, false, fmt.Errorf("part of an event with first line %.80q", head)
	}
	if count < 1 || count > maxParts || number < 1 || number > count {
		return event.Event{}, false, fmt.Errorf("part %d/%d of an event: at most %d are read", number, count, maxParts)
	}
	if number == 1 {
		*j = joiner{count: count, sum: [sha256.Size]byte(sum)}
	}
	if number != j.have+1 || count != j.count || [sha256.Size]byte(sum) != j.sum {
		return event.Event{}, false, fmt.Errorf("part %d/%d of an event: the parts before it are missing", number, count)
	}
	j.have = number
	j.line = append(j.line, body...)
	if number < count {
		return event.Event{}, false, nil
	}
	line := j.line
	*j = joiner{}
	if sha256.Sum256(line) != [sha256.Size]byte(sum) {
		return event.Event{}, false, fmt.Errorf("event in %d parts: its SHA-256 is not the one in its parts", count)
	}
	e, err := event.Decode(line)
	return e, err == nil, err
}
