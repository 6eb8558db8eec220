// Package notice tells the public where an incident stands: it words the notices and writes the status page, as
// HTML, as an Atom feed and as JSON in the shape of common status pages.
//
// A notice says what the record holds and no more: "an attack" only once that is classified, a step only when it was
// taken, "restored" only after proof. The page is a reading of the record: the same events give the same bytes.
package notice

import (
	"fmt"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// The stages of a notice, in the words of common status pages.
const (
	Investigating = "investigating" // at containment: the cause is not named
	Identified    = "identified"    // once classified
	Resolved      = "resolved"      // after proof
)

// Situation is what a notice may say of an incident. Services are named by their titles.
type Situation struct {
	Incident  string
	Since     time.Time // the first containment, or else the opening; zero: not known
	Affected  []string  // hit or shut
	Shut      []string  // shut, and not open again
	Available []string  // all others
	Class     string    // "attack", "fault"; empty: not classified
	Contained bool      // services were shut
	Preserved bool      // evidence was put aside
	Planned   string    // recovery was approved, from the copy at this site; empty: not yet
	Longest   float64   // longest outage of one service, in seconds
	Proof     *event.ProofFinished
	// Experts says that experts from outside have been engaged. No event tells it, so the caller must.
	Experts bool
}

// Read gathers a Situation from a whole record.
func Read(e *estate.Estate, events []event.Event, incident string) Situation {
	s := Situation{Incident: incident}
	affected, shut := map[string]bool{}, map[string]bool{}
	opened := time.Time{}
	for _, ev := range events {
		if ev.Incident != incident {
			continue
		}
		switch f := ev.Fact.(type) {
		case event.IncidentOpened:
			opened = ev.Time
			for _, name := range f.Services {
				affected[name] = true
			}
		case event.IncidentClassified:
			s.Class = f.Class
		case event.ServiceContained:
			if s.Since.IsZero() {
				s.Since = ev.Time.UTC()
			}
			s.Contained, affected[ev.Service], shut[ev.Service] = true, true, true
		case event.ServiceReopened:
			s.Longest = max(s.Longest, f.Outage)
			delete(shut, ev.Service)
		case event.EvidencePreserved:
			s.Preserved = s.Preserved || f.Count > 0
		case event.RecoveryPlanned:
			s.Planned = f.Copy
		case event.ProofFinished:
			s.Proof = &f
		}
	}
	if s.Since.IsZero() && !opened.IsZero() {
		s.Since = opened.UTC()
	}
	for _, service := range e.Services {
		title := e.TitleOf(service.Name)
		if affected[service.Name] {
			s.Affected = append(s.Affected, title)
		} else {
			s.Available = append(s.Available, title)
		}
		if shut[service.Name] {
			s.Shut = append(s.Shut, title)
		}
	}
	return s
}

// Compose words the notice of a stage. It refuses to say what the situation does not bear out: Identified needs a
// classification, Resolved a proof that succeeded and no service still shut.
func Compose(stage string, s Situation) (event.NoticePublished, error) {
	switch stage {
	case Investigating:
		return s.investigating(), nil
	case Identified:
		switch s.Class {
		case "attack":
			return s.attack(), nil
		case "fault":
			return s.fault(), nil
		}
		return event.NoticePublished{}, fmt.Errorf("compose notice %s: incident %s is not classified: classify it first", stage, s.Incident)
	case Resolved:
		if s.Proof == nil || !s.Proof.OK {
			return event.NoticePublished{}, fmt.Errorf("compose notice %s: the recovery of incident %s is not proven: prove it first", stage, s.Incident)
		}
		if len(s.Shut) > 0 {
			return event.NoticePublished{}, fmt.Errorf("compose notice %s: %s still shut: reopen first", stage, isAre(s.Shut))
		}
		return s.resolved(), nil
	}
	return event.NoticePublished{}, fmt.Errorf("compose notice: stage %q is none of %s, %s, %s", stage, Investigating, Identified, Resolved)
}

func (s Situation) investigating() event.NoticePublished {
	problems := "We have technical problems with "
	if !s.Since.IsZero() {
		problems = "Since " + stamp(s.Since) + " we have had technical problems with "
	}
	text := paragraph(
		sentence(problems+s.affected()),
		when(s.Contained, "These services have been taken offline while we look into the cause."),
	)
	return event.NoticePublished{
		Stage: Investigating, Title: "Technical problems with some of our services",
		Text: paragraphs(text, s.available(), "We will report here as soon as we know more."),
	}
}

func (s Situation) attack() event.NoticePublished {
	steps := paragraph(
		when(s.Contained, "We shut the affected services down to prevent further damage."),
		when(s.Preserved, "Evidence has been secured."),
		when(s.Planned != "", "The services are being restored from backups held at a second site."),
		when(s.Experts, "International experts are helping us to find the source of the attack and to strengthen our defences."),
	)
	return event.NoticePublished{
		Stage: Identified, Title: "Our services were the target of an attack",
		Text: paragraphs(sentence("the problems with "+s.affected()+" were caused by an attack: malicious actors interfered with our systems"),
			steps, s.available(), "We will bring the services back as soon, and as safely, as possible, and will report here."),
	}
}

func (s Situation) fault() event.NoticePublished {
	return event.NoticePublished{
		Stage: Identified, Title: "The cause of the technical problems was found",
		Text: paragraphs(sentence("the problems with "+s.affected()+" were caused by a technical fault"),
			when(s.Planned != "", "The services are being restored from backups held at a second site."), s.available(),
			"We will report here when the services are back."),
	}
}

func (s Situation) resolved() event.NoticePublished {
	back := sentence(s.affected() + " " + agree(s.Affected, "is", "are") + " available again, and " + agree(s.Affected, "was", "were") + " checked after recovery")
	if s.Longest > 0 {
		back = paragraph(back, "The longest interruption of a service was "+length(s.Longest)+".")
	}
	return event.NoticePublished{
		Stage: Resolved, Title: "Services restored",
		Text: paragraphs(back, s.lost(), "We thank everybody who was affected for their patience."),
	}
}

// lost says what the proof measured.
func (s Situation) lost() string {
	p := s.Proof
	var parts []string
	if p.FilesLost > 0 {
		parts = append(parts, wording.Number(p.FilesLost, "file"))
	}
	if p.RowsLost > 0 {
		parts = append(parts, wording.Number(p.RowsLost, "database entry"))
	}
	switch {
	case len(parts) > 0:
		return "Not everything could be brought back: " + wording.List(parts) + " " + agreeN(p.FilesLost+p.RowsLost, "is", "are") + " missing."
	case p.BytesLost > 0:
		return "Not everything could be brought back."
	case p.FilesCompared+p.RowsCompared > 0:
		return "Our comparison found no data lost."
	}
	return ""
}

func (s Situation) affected() string {
	if len(s.Affected) == 0 {
		return "some of our services"
	}
	return wording.List(s.Affected)
}

func (s Situation) available() string {
	if len(s.Available) == 0 {
		return ""
	}
	return sentence(wording.List(s.Available) + " " + agree(s.Available, "is", "are") + " not affected and " + agree(s.Available, "remains", "remain") + " available")
}

func isAre(names []string) string { return wording.List(names) + " " + agree(names, "is", "are") }

func agree(names []string, one, many string) string { return agreeN(int64(len(names)), one, many) }

func agreeN(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func when(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

func paragraph(sentences ...string) string   { return join(" ", sentences) }
func paragraphs(paragraphs ...string) string { return join("\n\n", paragraphs) }

func join(between string, parts []string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, between)
}
