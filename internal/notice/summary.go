package notice

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The shapes below are those of Statuspage's public API, version 2, which monitoring tools read:
// https://confluence.status.atlassian.com/api. Its summary holds the incidents that go
// on; all of them are in incidents.json.

type jsonPage struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	URL      string  `json:"url"` // the record does not know where the files are served
	TimeZone string  `json:"time_zone"`
	Updated  *string `json:"updated_at"`
}

type jsonComponent struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Status      string  `json:"status"`
	Created     *string `json:"created_at"`
	Updated     *string `json:"updated_at"`
	Position    int     `json:"position"` // from 1
	Description *string `json:"description"`
	Showcase    bool    `json:"showcase"`
	GroupID     *string `json:"group_id"`
	Group       bool    `json:"group"`
	OnlyIfBad   bool    `json:"only_show_if_degraded"`
	PageID      string  `json:"page_id"`
}

type jsonIncident struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Status     string          `json:"status"`
	Impact     string          `json:"impact"`
	Created    string          `json:"created_at"`
	Started    string          `json:"started_at"`
	Updated    string          `json:"updated_at"`
	Monitoring *string         `json:"monitoring_at"`
	Resolved   *string         `json:"resolved_at"`
	Shortlink  string          `json:"shortlink"`
	PageID     string          `json:"page_id"`
	Updates    []jsonUpdate    `json:"incident_updates"`
	Components []jsonComponent `json:"components"`
}

type jsonUpdate struct {
	ID         string `json:"id"`
	Status     string `json:"status"`
	Body       string `json:"body"`
	IncidentID string `json:"incident_id"`
	Created    string `json:"created_at"`
	Display    string `json:"display_at"`
	Updated    string `json:"updated_at"`
}

type jsonStatus struct {
	Indicator   string `json:"indicator"`
	Description string `json:"description"`
}

type jsonSummary struct {
	Page         jsonPage        `json:"page"`
	Components   []jsonComponent `json:"components"`
	Incidents    []jsonIncident  `json:"incidents"`
	Maintenances []struct{}      `json:"scheduled_maintenances"`
	Status       jsonStatus      `json:"status"`
}

type jsonIncidents struct {
	Page      jsonPage       `json:"page"`
	Incidents []jsonIncident `json:"incidents"`
}

func (p page) summaryJSON() ([]byte, error) {
	return indent(jsonSummary{
		Page: p.jsonPage(), Components: p.jsonComponents(nil), Incidents: p.jsonIncidents(true), Maintenances: []struct{}{},
		Status: jsonStatus{Indicator: p.Indicator, Description: p.Summary},
	})
}

func (p page) incidentsJSON() ([]byte, error) {
	return indent(jsonIncidents{Page: p.jsonPage(), Incidents: p.jsonIncidents(false)})
}

func (p page) jsonPage() jsonPage {
	return jsonPage{ID: hash("page", p.Name), Name: p.Name, TimeZone: "Etc/UTC", Updated: moment(p.Updated)}
}

// jsonComponents gives all components, or with names only those.
func (p page) jsonComponents(names []string) []jsonComponent {
	out := []jsonComponent{}
	for i, c := range p.Components {
		if names != nil && !slices.Contains(names, c.Name) {
			continue
		}
		updated := c.Updated
		if updated.IsZero() {
			updated = p.Began
		}
		out = append(out, jsonComponent{
			ID: c.ID, Name: c.Title, Status: c.Status, Created: moment(p.Began), Updated: moment(updated), Position: i + 1,
			Showcase: true, PageID: hash("page", p.Name),
		})
	}
	return out
}

func (p page) jsonIncidents(openOnly bool) []jsonIncident {
	out := []jsonIncident{}
	for _, in := range p.Incidents {
		if openOnly && !in.Open() {
			continue
		}
		j := jsonIncident{
			ID: in.ID, Name: in.Name, Status: in.Status, Impact: in.Impact, Created: machine(in.Started), Started: machine(in.Started),
			Updated: machine(in.last()), Shortlink: "index.html#incident-" + hash("incident", in.ID), PageID: hash("page", p.Name),
			Components: p.jsonComponents(append([]string{}, in.affected...)),
		}
		if !in.Open() {
			j.Resolved = moment(in.last())
		}
		for _, u := range in.Updates {
			j.Updates = append(j.Updates, jsonUpdate{
				ID: hash("update", in.ID, strconv.Itoa(u.Index)), Status: u.Stage, Body: strings.Join(u.Paragraphs, "\n\n"), IncidentID: in.ID,
				Created: machine(u.Time), Display: machine(u.Time), Updated: machine(u.Time),
			})
		}
		out = append(out, j)
	}
	return out
}

func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := machine(t)
	return &s
}

// sortEntries puts the newest first; entries of one second keep their order.
func sortEntries(entries []atomEntry) {
	slices.SortStableFunc(entries, func(a, b atomEntry) int { return strings.Compare(b.Updated, a.Updated) })
}
