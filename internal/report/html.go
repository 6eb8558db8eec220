package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/timeline"
	"github.com/kedge-project/kedge/internal/wording"
)

//go:embed style.css
var style string

//go:embed incident.html
var incidentPage string

//go:embed record.html
var recordPart string

//go:embed iso27001.html
var isoPage string

// policy lets a page have its own style, by hash, and nothing else: no script, no picture, no outside resource.
func policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// HTML returns the report as one page.
func (r IncidentReport) HTML() ([]byte, error) { return render("incident", incidentPage, r) }

// HTML returns the report as one page.
func (r ISOReport) HTML() ([]byte, error) { return render("iso27001", isoPage, r) }

func render(name, text string, report any) ([]byte, error) {
	page, err := template.New(name).Funcs(words).Parse(recordPart + text)
	if err != nil {
		return nil, fmt.Errorf("parse page %s: %w", name, err)
	}
	var b bytes.Buffer
	err = page.Execute(&b, map[string]any{"R": report, "Style": template.CSS(style), "Policy": policy()})
	if err != nil {
		return nil, fmt.Errorf("write page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// words are what the pages call. Everything that came from outside goes through plain or cut, and then through the
// template's own escaping.
var words = template.FuncMap{
	"plain":  wording.Plain,
	"brief":  func(text string) string { return wording.Plain(wording.Cut(text, 160)) },
	"count":  func(n any) string { return wording.Count(whole(n)) },
	"number": func(n any, noun string) string { return wording.Number(whole(n), noun) },
	"plural": func(n any, noun string) string {
		return strings.TrimLeft(wording.Number(whole(n), noun), "0123456789,− ")
	},
	"size":    wording.Size,
	"span":    wording.Span,
	"checked": timeline.Structure,
	"short":   wording.Short,
	"list":    wording.List,
	"when":    func(t time.Time) string { return stamp(t, "2 Jan 2006, 15:04:05 UTC") },
	"day":     func(t time.Time) string { return stamp(t, "2 January 2006, 15:04 UTC") },
	"date":    func(t time.Time) string { return stamp(t, "Mon 2 Jan 2006") },
	"clock":   func(t time.Time) string { return stamp(t, "15:04:05") },
	"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"right":   right,
	"figures": figures,
	"bars":    bars,
	"height":  func(all []bar) int { return max(1, len(all)) * barStep },
	"first":   first[string],
	"heads":   first[Directory],
	"calls":   first[event.Request],
	"less":    func(a, b int) int { return a - b },
	"add":     func(a, b int) int { return a + b },
	"ratio":   func(v float64) string { return fmt.Sprintf("%.2f", v) },
}

func whole(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n)
	}
	return 0
}

func stamp(t time.Time, layout string) string {
	if t.IsZero() {
		return "not known"
	}
	return t.UTC().Format(layout)
}

func first[T any](n int, all []T) []T {
	return all[:min(n, len(all))]
}

// figure is one piece of a signal's evidence.
type figure struct{ Name, Value string }

// figures writes a signal's evidence in the order of its names. What is empty is left out; the JSON report has all.
func figures(evidence map[string]any) []figure {
	out := make([]figure, 0, len(evidence))
	for name, value := range evidence {
		if text := written(value); text != "" {
			out = append(out, figure{wording.Plain(wording.Cut(strings.ReplaceAll(name, "_", " "), 60)), wording.Plain(wording.Cut(text, 120))})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// written is one figure for people: numbers with few digits, lists and small tables in words. A list of tables, such as
// examples, is only counted.
func written(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case float64:
		if v == float64(int64(v)) && (v >= 10000 || v <= -10000) {
			return wording.Count(int64(v))
		}
		return strconv.FormatFloat(v, 'g', 5, 64)
	case []any:
		var parts []string
		for _, element := range v {
			if _, table := element.(map[string]any); table {
				return fmt.Sprintf("%d in the JSON report", len(v))
			}
			parts = append(parts, written(element))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		var parts []string
		for name, element := range v {
			if text := written(element); text != "" && text != "0" {
				parts = append(parts, name+" "+text)
			}
		}
		sort.Strings(parts)
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(value)
}

// bar is one stage in the picture of durations, in the picture's units.
type bar struct {
	Name, Value   string
	Y, Middle     int
	Width, ValueX float64
}

// barRoom is the width of the longest bar, of the picture's 760 units: names stand left of it, figures right.
const barRoom, barLeft, barStep = 520.0, 120.0, 30

func bars(stages []timeline.Stage) []bar {
	longest := 0.0
	for _, s := range stages {
		longest = max(longest, s.Seconds)
	}
	out := make([]bar, 0, len(stages))
	for i, s := range stages {
		width := 2.0 // so that a short stage is seen at all
		if longest > 0 {
			width = max(width, s.Seconds/longest*barRoom)
		}
		width = float64(int(width*10)) / 10
		out = append(out, bar{
			Name: wording.Plain(wording.Cut(s.Name, 16)), Value: wording.Span(s.Seconds), Y: i * barStep, Middle: i*barStep + 15,
			Width: width, ValueX: barLeft + width + 8,
		})
	}
	return out
}
