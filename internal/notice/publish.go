package notice

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// Publish writes the status page of a whole record into dir, which is made if it is not there:
//
//	index.html      the page
//	feed.atom       all notices, RFC 4287
//	summary.json    components and the incidents that go on, as common status pages have it
//	incidents.json  all incidents
//
// Each file is replaced as a whole: a visitor sees the old one or the new one. Publish is not meant for several
// goroutines at once.
func Publish(dir string, e *estate.Estate, events []event.Event) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make status page directory: %w", err)
	}
	p := read(e, events)
	// The page comes last: what it points to is there before it.
	for _, file := range []struct {
		name  string
		write func() ([]byte, error)
	}{
		{"feed.atom", p.atom},
		{"incidents.json", p.incidentsJSON},
		{"summary.json", p.summaryJSON},
		{"index.html", p.html},
	} {
		data, err := file.write()
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(dir, file.name), data); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file beside path and renames it to path.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Lang    string      `xml:"xml:lang,attr"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  string      `xml:"author>name"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID        string       `xml:"id"`
	Title     string       `xml:"title"`
	Published string       `xml:"published"`
	Updated   string       `xml:"updated"`
	Link      atomLink     `xml:"link"`
	Category  atomCategory `xml:"category"`
	Content   atomText     `xml:"content"`
}

type atomCategory struct {
	Term string `xml:"term,attr"`
}

type atomText struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

// atom writes the feed: every notice an entry, the newest first. A notice never changes, so its entry does not either.
func (p page) atom() ([]byte, error) {
	updated := p.Updated
	if updated.IsZero() {
		updated = time.Unix(0, 0) // a feed must have a time, and an empty record has none
	}
	feed := atomFeed{
		Lang: "en-GB", ID: "urn:uuid:" + identity(sha256.Sum256([]byte("feed\x00"+p.Name))), Title: wording.Plain(p.Name) + ": service status",
		Updated: machine(updated), Author: wording.Plain(p.Name), Links: []atomLink{
			{Rel: "self", Type: "application/atom+xml", Href: "feed.atom"},
			{Rel: "alternate", Type: "text/html", Href: "index.html"},
		},
	}
	for _, in := range p.Incidents {
		for _, u := range in.Updates {
			feed.Entries = append(feed.Entries, atomEntry{
				ID:    "urn:uuid:" + identity(sha256.Sum256([]byte(strings.Join([]string{"notice", p.Name, in.ID, strconv.Itoa(u.Index)}, "\x00")))),
				Title: wording.Plain(u.Title), Published: machine(u.Time), Updated: machine(u.Time),
				Link:     atomLink{Rel: "alternate", Type: "text/html", Href: "index.html#incident-" + hash("incident", in.ID)},
				Category: atomCategory{Term: wording.Plain(u.Stage)},
				Content:  atomText{Type: "text", Text: plainParagraphs(u.Paragraphs)},
			})
		}
	}
	// Incidents may overlap; a feed reader wants one line of time.
	sortEntries(feed.Entries)
	data, err := xml.MarshalIndent(feed, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write feed: %w", err)
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}

func indent(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write status as JSON: %w", err)
	}
	return append(data, '\n'), nil
}

// plainParagraphs joins paragraphs as text feeds have them.
func plainParagraphs(paragraphs []string) string {
	plain := make([]string, len(paragraphs))
	for i, p := range paragraphs {
		plain[i] = wording.Plain(p)
	}
	return strings.Join(plain, "\n\n")
}
