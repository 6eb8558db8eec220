package notice

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// page is the status page, read from a record.
type page struct {
	Name       string
	Began      time.Time // of the record's first event; zero: it is empty
	Updated    time.Time // of the newest event that changed the page; Began: none did
	Indicator  string    // "none", "major", "critical", as common status pages have it
	Summary    string
	Components []component
	Incidents  []incident // the newest first
}

// The states of a component, as common status pages name them.
const (
	operational = "operational"
	partial     = "partial_outage"
	outage      = "major_outage"
)

type component struct {
	ID, Name, Title, Status string
	Updated                 time.Time
}

type incident struct {
	ID       string
	Name     string // the newest notice's title
	Status   string // the newest notice's stage
	Impact   string // "minor", "major", "critical"
	Started  time.Time
	Updates  []update // the newest first
	affected []string // names of services that were shut
}

type update struct {
	Index      int // of the event in the record
	Stage      string
	Title      string
	Paragraphs []string
	Time       time.Time
}

// Open says whether the incident goes on.
func (in incident) Open() bool { return in.Status != Resolved }

func (in incident) last() time.Time { return in.Updates[0].Time }

// read makes the page from a record in its order.
func read(e *estate.Estate, events []event.Event) page {
	p := page{Name: e.Name}
	if len(events) > 0 {
		p.Began = events[0].Time.UTC()
		p.Updated = p.Began
	}
	for _, s := range e.Services {
		p.Components = append(p.Components, component{ID: hash("component", e.Name, s.Name), Name: s.Name, Title: e.TitleOf(s.Name), Status: operational})
	}
	shut := map[string][]string{}
	for i, ev := range events {
		switch f := ev.Fact.(type) {
		case event.ServiceContained:
			p.set(ev, outage)
			shut[ev.Incident] = append(shut[ev.Incident], ev.Service)
		case event.ServiceReopened:
			status := operational
			if slices.ContainsFunc(f.Probes, func(r event.ProbeResult) bool { return !r.OK }) {
				status = partial
			}
			p.set(ev, status)
		case event.NoticePublished:
			p.add(i, ev, f)
		}
	}
	for i := range p.Incidents {
		p.Incidents[i].settle(shut, len(p.Components))
	}
	slices.SortStableFunc(p.Incidents, func(a, b incident) int { return b.last().Compare(a.last()) })
	p.summarise()
	return p
}

func (p *page) touch(t time.Time) {
	if t.After(p.Updated) {
		p.Updated = t.UTC()
	}
}

func (p *page) set(ev event.Event, status string) {
	for i := range p.Components {
		if p.Components[i].Name == ev.Service {
			p.Components[i].Status, p.Components[i].Updated = status, ev.Time.UTC()
			p.touch(ev.Time)
		}
	}
}

// add files a notice under its incident; one that names none stands by itself.
func (p *page) add(index int, ev event.Event, f event.NoticePublished) {
	id := ev.Incident
	if id == "" {
		id = "notice-" + strconv.Itoa(index)
	}
	at := slices.IndexFunc(p.Incidents, func(in incident) bool { return in.ID == id })
	if at < 0 {
		at = len(p.Incidents)
		p.Incidents = append(p.Incidents, incident{ID: id, Started: ev.Time.UTC()})
	}
	in := &p.Incidents[at]
	text := update{Index: index, Stage: f.Stage, Title: f.Title, Time: ev.Time.UTC()}
	for part := range strings.SplitSeq(f.Text, "\n\n") {
		if part = strings.TrimSpace(part); part != "" {
			text.Paragraphs = append(text.Paragraphs, part)
		}
	}
	in.Updates = slices.Insert(in.Updates, 0, text)
	p.touch(ev.Time)
}

func (in *incident) settle(shut map[string][]string, services int) {
	in.Name, in.Status = in.Updates[0].Title, in.Updates[0].Stage
	in.affected = slices.Compact(slices.Sorted(slices.Values(shut[in.ID])))
	switch n := len(in.affected); {
	case n == 0:
		in.Impact = "minor"
	case n >= services:
		in.Impact = "critical"
	default:
		in.Impact = "major"
	}
}

// summarise says in one line how things stand.
func (p *page) summarise() {
	down := 0
	for _, c := range p.Components {
		if c.Status != operational {
			down++
		}
	}
	open := slices.ContainsFunc(p.Incidents, incident.Open)
	switch {
	case down > 0 && down == len(p.Components):
		p.Indicator, p.Summary = "critical", "No service is available"
	case down == 1:
		p.Indicator, p.Summary = "major", fmt.Sprintf("1 of %d services is not available", len(p.Components))
	case down > 0:
		p.Indicator, p.Summary = "major", fmt.Sprintf("%d of %d services are not available", down, len(p.Components))
	case open:
		p.Indicator, p.Summary = "minor", "All services are available; an incident is still being worked on"
	default:
		p.Indicator, p.Summary = "none", "All services are available"
	}
}

// stages are how people read a notice's stage.
var stages = map[string]string{Investigating: "Investigating", Identified: "Cause identified", Resolved: "Resolved"}

// html writes the page.
func (p page) html() ([]byte, error) {
	tmpl, err := template.New("page").Funcs(template.FuncMap{
		"plain": wording.Plain, "stamp": stamp, "machine": machine,
		"day": func(t time.Time) string { return t.UTC().Format("2 January 2006") },
		"stage": func(s string) string {
			if word, ok := stages[s]; ok {
				return word
			}
			return wording.Plain(s)
		},
		"anchor": func(id string) string { return "incident-" + hash("incident", id) },
	}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parse status page: %w", err)
	}
	sum := sha256.Sum256([]byte(pageStyle))
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{
		"P": p, "Style": template.CSS(pageStyle),
		"Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
	})
	if err != nil {
		return nil, fmt.Errorf("write status page: %w", err)
	}
	return b.Bytes(), nil
}

// hash is a short name for a thing, the same for good, fit for an address or an attribute.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("%x", sum[:6])
}
