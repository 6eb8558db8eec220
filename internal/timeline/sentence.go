package timeline

import (
	"fmt"
	"sort"
	"strings"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// tell writes the sentence of one event. Index, Time and Service are the caller's.
func tell(e *estate.Estate, ev event.Event, title string) Entry {
	about := title
	if about == "" {
		about = "The estate"
	}
	switch f := ev.Fact.(type) {
	case event.SnapshotTaken:
		return snapshotTaken(f, about, ev.Asset)
	case event.WALGap:
		return walGap(f, about, ev.Asset)
	case event.CopyVerified:
		return copyVerified(f, ev.Site)
	case event.DrillFinished:
		return drillFinished(f, about)
	case event.SignalRaised:
		return signalRaised(f, about)
	case event.IncidentOpened:
		return incidentOpened(e, f, ev.Incident)
	case event.IncidentClassified:
		return incidentClassified(f, ev.Incident)
	case event.IncidentClosed:
		return Entry{What: fmt.Sprintf("Incident %s was closed.", ev.Incident), Severity: Good, Detail: f.Summary}
	case event.ServiceContained:
		return Entry{
			What:     fmt.Sprintf("%s was shut to stop the damage, in %s: %s.", about, wording.Span(f.Seconds), f.Reason),
			Severity: Warning,
			Detail:   strings.Join(f.Actions, "; "),
		}
	case event.ProcessFrozen:
		return Entry{
			What:     fmt.Sprintf("A process was frozen: %s, %s.", about, f.Reason),
			Severity: Warning,
			Detail:   fmt.Sprintf("%s of %s (PID %d), %s by %s; kedge watch thaw lets it go on.", f.Executable, f.User, f.PID, wording.Number(int64(f.Processes), "process"), f.Way),
		}
	case event.ProcessThawed:
		return Entry{What: fmt.Sprintf("A frozen process was let go on: %s.", about), Severity: Info, Detail: fmt.Sprintf("%s (PID %d)", f.Executable, f.PID)}
	case event.ServiceReopened:
		return serviceReopened(f, about)
	case event.EvidencePreserved:
		return Entry{
			What:     fmt.Sprintf("Evidence was put aside: %s that the attacker left or that tell of it.", wording.Number(int64(f.Count), "file")),
			Severity: Info,
			Detail:   some(f.Files, 3, f.Count),
		}
	case event.InvestigationFinished:
		return investigationFinished(f)
	case event.RecoveryPlanned:
		return Entry{
			What:     fmt.Sprintf("A recovery of %s from %s's copy was planned and approved by %s.", wording.Number(int64(len(f.Steps)), "step"), f.Copy, f.Approver),
			Severity: Info,
			Detail:   strings.Join(f.Steps, "; "),
		}
	case event.RecoveryStepDone:
		return recoveryStepDone(f)
	case event.ProofFinished:
		return proofFinished(f)
	case event.PagesApproved:
		return Entry{
			What:     fmt.Sprintf("%s of %s were approved by %s as they are.", wording.Number(int64(f.Pages), "page"), about, f.Approver),
			Severity: Info,
			Detail:   "release " + f.Release,
		}
	case event.NoticePublished:
		return Entry{What: fmt.Sprintf("The public was told: “%s”.", f.Title), Severity: Info, Detail: f.Text}
	}
	return Entry{What: fmt.Sprintf("An event of the kind %q was recorded, which this version cannot tell.", ev.Kind), Severity: Info}
}

func snapshotTaken(f event.SnapshotTaken, about, asset string) Entry {
	subject := about
	if asset != "" {
		subject += " (" + asset + ")"
	}
	entry := Entry{
		What:     fmt.Sprintf("%s was captured: %s, %s, in %s.", subject, wording.Number(f.Files, "file"), wording.Size(f.Bytes), wording.Span(f.Seconds)),
		Severity: Info,
		Detail:   fmt.Sprintf("Snapshot %s; repository %s grew by %s.", wording.Short(f.Snapshot), f.Repository, wording.Size(f.Added)),
	}
	if f.Unreadable > 0 {
		entry.Severity = Warning
		entry.What = fmt.Sprintf("%s was captured without %s that could not be read: %s, %s, in %s.",
			subject, wording.Number(int64(f.Unreadable), "file"), wording.Number(f.Files, "file"), wording.Size(f.Bytes), wording.Span(f.Seconds))
	}
	return entry
}

func copyVerified(f event.CopyVerified, site string) Entry {
	detail := fmt.Sprintf("%s (%s) new in this run, which took %s.", wording.Number(f.NewFiles, "file"), wording.Size(f.NewBytes), wording.Span(f.Seconds))
	if n := len(f.Damaged); n > 0 {
		return Entry{
			What:     fmt.Sprintf("%s's copy of %s is damaged: the bytes of %s, of %s, are not those of the name.", site, f.Repository, wording.Number(int64(n), "file"), wording.Count(f.Files)),
			Severity: Critical,
			Detail:   some(f.Damaged, 3, n),
		}
	}
	return Entry{
		What:     fmt.Sprintf("%s's copy of %s was verified: %s, %s, each with the SHA-256 in its name.", site, f.Repository, wording.Number(f.Files, "file"), wording.Size(f.Bytes)),
		Severity: Good,
		Detail:   detail,
	}
}

func drillFinished(f event.DrillFinished, about string) Entry {
	answered := int64(len(f.Probes)) - failed(f.Probes)
	detail := fmt.Sprintf("%s and %s restored; %s of %s answered. %s",
		wording.Number(f.Files, "file"), wording.Size(f.Bytes), wording.Count(answered), wording.Number(int64(len(f.Probes)), "probe"), wrongAnswers(f.Probes))
	for _, check := range f.Structure {
		detail = strings.TrimSpace(detail) + " " + Structure(check) + "."
	}
	if !f.Passed {
		return Entry{What: fmt.Sprintf("The drill of %s from %s's copy failed: %s.", about, f.Copy, f.Reason), Severity: Critical, Detail: strings.TrimSpace(detail)}
	}
	return Entry{
		What: fmt.Sprintf("The drill of %s from %s's copy passed: back in %s, with data %s old.",
			about, f.Copy, wording.Span(f.RTO), wording.Span(f.RPO)),
		Severity: Good,
		Detail:   strings.TrimSpace(detail),
	}
}

// observations says what a technique looks like to people. %s is how much was touched.
var observations = map[string]string{
	"T1189":     "Script that was not approved was found in pages that visitors load (%s)",
	"T1485":     "Data was destroyed (%s)",
	"T1486":     "Files were encrypted (%s)",
	"T1491.001": "An internal page was defaced (%s)",
	"T1491.002": "A public page was replaced (%s)",
	"T1505.003": "A program that can take orders from outside appeared among the served files (%s)",
	"T1565.001": "Stored records were altered in bulk (%s)",
}

func signalRaised(f event.SignalRaised, about string) Entry {
	touched := fmt.Sprintf("%s touched", wording.Count(int64(f.Count)))
	what, known := observations[f.Technique]
	if known {
		what = fmt.Sprintf(what, touched)
	} else {
		what = fmt.Sprintf("Something unusual was seen, %s (%s)", f.Signal.Kind, touched)
	}
	subject := about
	if f.Subject != "" {
		subject += ", " + f.Subject
	}
	return Entry{
		What:     fmt.Sprintf("%s: %s.", what, subject),
		Severity: Critical,
		Detail:   strings.TrimSpace(fmt.Sprintf("%s, ATT&CK %s, strength %.2f. %s", f.Signal.Kind, f.Technique, f.Strength, figures(f.Evidence))),
	}
}

// figures writes the evidence in the order of its names, so that the same signal is always told alike.
func figures(evidence map[string]any) string {
	names := make([]string, 0, len(evidence))
	for name := range evidence {
		names = append(names, name)
	}
	sort.Strings(names)
	parts := make([]string, 0, len(names))
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %.80s", name, fmt.Sprint(evidence[name])))
	}
	return strings.Join(parts, "; ")
}

func incidentOpened(e *estate.Estate, f event.IncidentOpened, id string) Entry {
	titles := make([]string, 0, len(f.Services))
	for _, name := range f.Services {
		titles = append(titles, e.TitleOf(name))
	}
	what := fmt.Sprintf("Incident %s was opened on %s", id, wording.Number(int64(f.Signals), "signal"))
	if len(titles) > 0 {
		what += ": " + wording.List(titles)
	}
	return Entry{What: what + ".", Severity: Critical, Detail: f.Title}
}

func incidentClassified(f event.IncidentClassified, id string) Entry {
	article := "a"
	if f.Class == "attack" {
		article = "an"
	}
	entry := Entry{What: fmt.Sprintf("Incident %s was classified as %s %s.", id, article, f.Class), Severity: Warning, Detail: f.Reason}
	if len(f.Techniques) > 0 {
		entry.Detail = strings.TrimSpace(f.Reason + " ATT&CK " + strings.Join(f.Techniques, ", ") + ".")
	}
	return entry
}

func serviceReopened(f event.ServiceReopened, about string) Entry {
	bad := failed(f.Probes)
	if bad > 0 {
		return Entry{
			What:     fmt.Sprintf("%s was reopened after %s, but %s of %s went unanswered.", about, wording.Span(f.Outage), wording.Count(bad), wording.Number(int64(len(f.Probes)), "probe")),
			Severity: Critical,
			Detail:   wrongAnswers(f.Probes),
		}
	}
	return Entry{
		What:     fmt.Sprintf("%s is open again after %s and answers %s.", about, wording.Span(f.Outage), wording.Number(int64(len(f.Probes)), "probe")),
		Severity: Good,
		Detail:   fmt.Sprintf("Starting and asking took %s.", wording.Span(f.Seconds)),
	}
}

func investigationFinished(f event.InvestigationFinished) Entry {
	way := "the way in is not known"
	switch {
	case f.Entry != nil:
		way = fmt.Sprintf("the way in was %s %s from %s at %s", f.Entry.Method, f.Entry.Path, f.Entry.Source, f.Entry.Time.UTC().Format("15:04:05 UTC"))
	case f.Source != "":
		way = "the likely source is " + f.Source + ", the way in is not known"
	}
	return Entry{
		What: fmt.Sprintf("The investigation found %s damaged and %s added; %s.",
			wording.Number(int64(f.DamagedN), "file"), wording.Number(int64(f.AddedN), "file"), way),
		Severity: Info,
		Detail:   fmt.Sprintf("%s; %s from the same source.", wording.Number(int64(len(f.CleanPoints)), "clean point"), wording.Number(int64(len(f.Related)), "other request")),
	}
}

func recoveryStepDone(f event.RecoveryStepDone) Entry {
	if !f.OK {
		return Entry{What: fmt.Sprintf("Recovery step “%s” failed after %s.", f.Step, wording.Span(f.Seconds)), Severity: Critical, Detail: f.Error}
	}
	what := fmt.Sprintf("Recovery step “%s” was done in %s", f.Step, wording.Span(f.Seconds))
	if f.Files > 0 || f.Bytes > 0 {
		what += fmt.Sprintf(": %s and %s rewritten", wording.Number(f.Files, "file"), wording.Size(f.Bytes))
	}
	entry := Entry{What: what + ".", Severity: Info}
	if f.Quarantined > 0 {
		entry.Detail = wording.Number(f.Quarantined, "file") + " put in quarantine."
	}
	return entry
}

func proofFinished(f event.ProofFinished) Entry {
	compared := fmt.Sprintf("%s and %s compared", wording.Number(f.FilesCompared, "file"), wording.Number(f.RowsCompared, "row"))
	lost := fmt.Sprintf("%s, %s, %s and %s lost", wording.Number(f.FilesLost, "file"), wording.Size(f.BytesLost), wording.Number(f.RowsLost, "row"), wording.Span(f.SecondsLost))
	entry := Entry{
		What:     fmt.Sprintf("The recovery was proven: %s; %s.", compared, lost),
		Severity: Good,
		Detail: fmt.Sprintf("%s damaged by the attack; %s rewritten; %s failed.",
			wording.Number(f.FilesDamaged, "file"), wording.Size(f.BytesRewritten), wording.Number(f.FailedProbes, "probe")),
	}
	if !f.OK {
		entry.Severity = Critical
		entry.What = fmt.Sprintf("The recovery was not proven: %s. %s; %s.", strings.TrimSuffix(f.Reason, "."), compared, lost)
	}
	return entry
}

func failed(probes []event.ProbeResult) int64 {
	var n int64
	for _, p := range probes {
		if !p.OK {
			n++
		}
	}
	return n
}

func wrongAnswers(probes []event.ProbeResult) string {
	var wrong []string
	for _, p := range probes {
		if !p.OK {
			wrong = append(wrong, p.Probe+": "+p.Detail)
		}
	}
	return strings.Join(wrong, "; ")
}

// some joins at most n names and says how many more there are.
func some(names []string, n, total int) string {
	names = names[:min(n, len(names))]
	text := strings.Join(names, ", ")
	if more := total - len(names); more > 0 && len(names) > 0 {
		text += fmt.Sprintf(" and %s more", wording.Count(int64(more)))
	}
	return text
}
