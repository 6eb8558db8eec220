package report

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// This file holds the controls of incident management and evidence.

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

// overIncidents asks one thing of every incident: ask returns the facts for it, or what is missing.
func (l *ledger) overIncidents(text, remedy string, ask func(in *incident) (facts []Fact, missing string)) Check {
	var facts []Fact
	var missing []string
	for _, in := range l.incidents {
		f, m := ask(in)
		facts = append(facts, f...)
		if m != "" {
			missing = append(missing, fmt.Sprintf("Incident %s: %s.", in.id, m))
		}
	}
	c := check(text, facts, both(missing...), remedy)
	if len(l.incidents) == 0 {
		c.Gap = &Gap{What: "The record holds no incident.", Close: "Run an exercise, so that the procedure is on record before it is needed."}
	}
	return c
}

func (l *ledger) incidentPlanning() Control {
	practised := l.overIncidents("What an incident needed had been practised: the services hit had passed a drill before it.",
		"Drill every service by a timer, so that the next incident finds them practised.",
		func(in *incident) ([]Fact, string) {
			var facts []Fact
			var missing []string
			for _, s := range in.hit {
				found := false
				for _, i := range slices.Backward(l.drills[s]) {
					if i < in.opened && as[event.DrillFinished](l, i).Passed {
						facts = append(facts, l.fact(i, "%s had passed a drill before incident %s.", l.title(s), in.id))
						found = true
						break
					}
				}
				if !found {
					missing = append(missing, l.title(s))
				}
			}
			return facts, sentence(missing, "had not passed a drill before")
		})
	approved := l.overIncidents("Recoveries ran by a plan that a named person approved.",
		"Make the plan with kedge and approve it by name before the first step.",
		func(in *incident) ([]Fact, string) {
			if in.plan < 0 {
				return nil, "no recovery plan is on record"
			}
			p := as[event.RecoveryPlanned](l, in.plan)
			if p.Approver == "" {
				return nil, "the plan names no approver"
			}
			return []Fact{l.fact(in.plan, "%s approved a plan of %s.", p.Approver, wording.Number(int64(len(p.Steps)), "step"))}, ""
		})
	return Control{
		Number2022: "A.5.24", Numbers2013: []string{"A.16.1.1"}, Title: "Preparing for incidents",
		Requirement: "Before anything happens it is settled who does what in an incident and with which means, and it is practised.",
		Checks:      []Check{practised, approved},
		Outside: []Gap{{
			What:  "Roles, contact lists, training, and agreements with outside experts.",
			Close: "Show the incident procedure, who holds each role, and the last training.",
		}},
	}
}

func (l *ledger) incidentAssessment() Control {
	classified := l.overIncidents("Every incident was classified, with the grounds.",
		"Classify the incident and write down the reason.",
		func(in *incident) ([]Fact, string) {
			if in.classified < 0 {
				return nil, "it was never classified"
			}
			c := as[event.IncidentClassified](l, in.classified)
			if c.Class == "" || c.Reason == "" {
				return nil, "the classification gives no class or no reason"
			}
			return []Fact{l.fact(in.classified, "Incident %s is classified as “%s”: %s", in.id, c.Class, c.Reason)}, ""
		})
	return Control{
		Number2022: "A.5.25", Numbers2013: []string{"A.16.1.4"}, Title: "Judging what was noticed",
		Requirement: "What is noticed is judged: whether it is an incident, and of which kind. The decision and its grounds are written down.",
		Checks:      []Check{l.signalsWithFigures(), classified},
		Outside: []Gap{{
			What:  "Signals that people judged harmless and opened no incident for.",
			Close: "Keep the duty log of such decisions beside the record.",
		}},
	}
}

func (l *ledger) incidentResponse() Control {
	recovered := l.overIncidents("Recovery ran to its end: no step is left failed, and every service shut was reopened and answers.",
		"Finish the recovery, and reopen the services with their probes.", l.recovered)
	proven := l.overIncidents("What was brought back was compared with what should be there.",
		"Run the proof after recovery and before reopening the matter.",
		func(in *incident) ([]Fact, string) {
			if in.proof < 0 {
				return nil, "there is no proof of the recovery"
			}
			p := as[event.ProofFinished](l, in.proof)
			if !p.OK {
				return nil, fmt.Sprintf("the proof (entry %d) failed: %s", in.proof, p.Reason)
			}
			return []Fact{l.fact(in.proof, "%s and %s compared; %s, %s and %s lost.", wording.Number(p.FilesCompared, "file"), wording.Number(p.RowsCompared, "row"),
				wording.Number(p.FilesLost, "file"), wording.Number(p.RowsLost, "row"), wording.Span(p.SecondsLost))}, ""
		})
	told := l.overIncidents("The public was told at the beginning and at the end.",
		"Publish a notice at containment and one after proof.",
		func(in *incident) ([]Fact, string) {
			var facts []Fact
			stages := map[string]bool{}
			for _, i := range in.notices {
				n := as[event.NoticePublished](l, i)
				stages[n.Stage] = true
				facts = append(facts, l.fact(i, "Notice “%s”.", n.Title))
			}
			switch {
			case !stages["investigating"] && !stages["resolved"]:
				return facts, "no notice opened or ended it"
			case !stages["investigating"]:
				return facts, "no first notice is on record"
			case !stages["resolved"]:
				return facts, "no notice says that it is over"
			}
			return facts, ""
		})
	return Control{
		Number2022: "A.5.26", Numbers2013: []string{"A.16.1.5"}, Title: "Responding to incidents",
		Requirement: "Incidents are answered by the procedure laid down: stopped, put right, communicated and closed.",
		Checks:      []Check{l.protectedWhileDown(), recovered, proven, told, l.closed()},
		Outside: []Gap{{
			What:  "Reports that law or contract ask for, to authorities, data subjects or partners.",
			Close: "Keep what was sent, to whom and when, with the incident's papers.",
		}},
	}
}

// recovered asks one incident for its steps and reopenings.
func (l *ledger) recovered(in *incident) ([]Fact, string) {
	last := map[string]int{} // a step that failed may have been repeated
	for _, i := range in.steps {
		last[as[event.RecoveryStepDone](l, i).Step] = i
	}
	var facts []Fact
	var bad []string
	for _, name := range sortedKeys(last) {
		i := last[name]
		step := as[event.RecoveryStepDone](l, i)
		if !step.OK {
			bad = append(bad, fmt.Sprintf("step “%s” failed", step.Step))
			continue
		}
		facts = append(facts, l.fact(i, "Step “%s”: %s and %s rewritten in %s.", step.Step, wording.Number(step.Files, "file"), wording.Size(step.Bytes), wording.Span(step.Seconds)))
	}
	for _, s := range sortedKeys(in.contained) {
		i, ok := in.reopened[s]
		if !ok || i < in.contained[s] {
			bad = append(bad, l.title(s)+" is still shut")
			continue
		}
		r := as[event.ServiceReopened](l, i)
		if right(r.Probes) != int64(len(r.Probes)) {
			bad = append(bad, l.title(s)+" was reopened with failing probes")
			continue
		}
		facts = append(facts, l.fact(i, "%s is open again and answers %s.", l.title(s), wording.Number(int64(len(r.Probes)), "probe")))
	}
	if len(facts) == 0 && len(bad) == 0 {
		return nil, "no recovery is on record"
	}
	return facts, wording.List(bad)
}

func (l *ledger) closed() Check {
	return l.overIncidents("Every incident was closed, with a summary.", "Close the incident and say in a sentence what was done.",
		func(in *incident) ([]Fact, string) {
			if in.closed < 0 {
				return nil, "it is still open"
			}
			c := as[event.IncidentClosed](l, in.closed)
			if c.Summary == "" {
				return nil, "it was closed without a summary"
			}
			return []Fact{l.fact(in.closed, "Incident %s: %s", in.id, c.Summary)}, ""
		})
}

func (l *ledger) incidentLearning() Control {
	cause := l.overIncidents("The way in, or its source, was found.",
		"Investigate the logs of the services hit; keep logs longer if they do not reach back.",
		func(in *incident) ([]Fact, string) {
			if in.found < 0 {
				return nil, "it was not investigated"
			}
			f := as[event.InvestigationFinished](l, in.found)
			switch {
			case f.Entry != nil:
				return []Fact{l.fact(in.found, "The way in was %s %s from %s.", f.Entry.Method, f.Entry.Path, f.Entry.Source)}, ""
			case f.Source != "":
				return []Fact{l.fact(in.found, "The likely source is %s.", f.Source)}, ""
			}
			return nil, "the investigation found neither the way in nor its source"
		})
	again := l.overIncidents("After the incident, the services hit were tested again and passed.",
		"Drill these services again now that the incident is closed.",
		func(in *incident) ([]Fact, string) {
			if in.closed < 0 {
				return nil, "it is still open"
			}
			var facts []Fact
			var missing []string
			for _, s := range in.hit {
				if i, f, ok := l.lastDrill(s); ok && f.Passed && i > in.closed {
					facts = append(facts, l.fact(i, "%s passed a drill after incident %s.", l.title(s), in.id))
				} else {
					missing = append(missing, l.title(s))
				}
			}
			return facts, sentence(missing, "has not passed a drill since")
		})
	return Control{
		Number2022: "A.5.27", Numbers2013: []string{"A.16.1.6"}, Title: "Learning from incidents",
		Requirement: "What an incident taught is used to make the next one less likely or less harmful.",
		Checks:      []Check{cause, l.closed(), again},
		Outside: []Gap{{
			What:  "The review after the incident, and the hardening that was decided there.",
			Close: "Show the review's minutes, and for each action who did it and when.",
		}},
	}
}

// digest finds a SHA-256 in a line of preserved evidence.
var digest = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

func (l *ledger) evidence() Control {
	beforeRecovery := l.overIncidents("Evidence was put aside before recovery changed anything.",
		"Let the recovery plan begin with preserving what the attacker left and the logs.",
		func(in *incident) ([]Fact, string) {
			if len(in.preserved) == 0 {
				return nil, "no evidence was put aside"
			}
			first := in.preserved[0]
			if len(in.steps) > 0 && in.steps[0] < first {
				return nil, fmt.Sprintf("recovery began (entry %d) before evidence was put aside (entry %d)", in.steps[0], first)
			}
			f := as[event.EvidencePreserved](l, first)
			return []Fact{l.fact(first, "%s put aside for incident %s.", wording.Number(int64(f.Count), "file"), in.id)}, ""
		})
	hashed := l.overIncidents("Each piece of evidence is named with its SHA-256.",
		"Preserve evidence with kedge, which writes the SHA-256 of each file to the record.",
		func(in *incident) ([]Fact, string) {
			var facts []Fact
			named, all := 0, 0
			for _, i := range in.preserved {
				f := as[event.EvidencePreserved](l, i)
				n := 0
				for _, line := range f.Files {
					if digest.MatchString(line) {
						n++
					}
				}
				named, all = named+n, all+f.Count
				facts = append(facts, l.fact(i, "%s of %s with SHA-256 on record.", wording.Count(int64(n)), wording.Number(int64(f.Count), "file")))
			}
			switch {
			case all == 0:
				return nil, "no evidence is on record"
			case named < all:
				return facts, fmt.Sprintf("%s of %s have no SHA-256 on the record", wording.Count(int64(all-named)), wording.Number(int64(all), "file"))
			}
			return facts, ""
		})
	return Control{
		Number2022: "A.5.28", Numbers2013: []string{"A.16.1.7"}, Title: "Collecting evidence",
		Requirement: "Traces that may serve as proof are found, gathered and kept so that their integrity can be shown later.",
		Checks:      []Check{beforeRecovery, hashed, l.witnessed()},
		Outside: []Gap{{
			What:  "Who held the evidence and passed it on after it was put aside.",
			Close: "Keep a chain-of-custody sheet for each hand-over.",
		}},
	}
}

func (l *ledger) reporting() Control {
	onward := l.overIncidents("What was noticed became an incident, in a measured time.",
		"Open an incident on the signals, or let the rule open it.",
		func(in *incident) ([]Fact, string) {
			for _, i := range in.signals {
				if i < in.opened {
					delay := l.events[in.opened].Time.Sub(l.events[i].Time).Seconds()
					return []Fact{l.fact(in.opened, "Incident %s was opened %s after the first signal (entry %d).", in.id, wording.Span(delay), i)}, ""
				}
			}
			return nil, "no signal on record led to it"
		})
	return Control{
		Number2022: "A.6.8", Numbers2013: []string{"A.16.1.2", "A.16.1.3"}, Title: "Reporting events and weaknesses",
		Requirement: "What looks wrong, and weaknesses, reach those who must act, quickly and by a known way.",
		Checks:      []Check{l.signalsWithFigures(), onward},
		Outside: []Gap{{
			What:  "Reports by staff and visitors: the record holds what detectors noticed.",
			Close: "Show the address for reports, how it is made known, and its log.",
		}},
	}
}
