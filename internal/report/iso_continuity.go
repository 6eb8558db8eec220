package report

import (
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/timeline"
	"github.com/kedge-project/kedge/internal/wording"
)

// This file holds the controls of backup, redundancy and continuity.

func (l *ledger) backup() Control {
	return Control{
		Number2022: "A.8.13", Numbers2013: []string{"A.12.3.1"}, Title: "Backup",
		Requirement: "Data, and what runs on it, can be brought back: copies are made as agreed, stand apart from the original, and restoring from them is tried out regularly.",
		Checks:      []Check{l.captured(), l.complete(), l.copied(), l.drilled(), l.withinRPO()},
		Outside: []Gap{{
			What:  "Whether the declared assets and objectives are the ones that the organisation agreed on.",
			Close: "Show the backup policy beside the estate file, with the owner's approval.",
		}},
	}
}

func (l *ledger) captured() Check {
	var facts []Fact
	var missing []string
	for _, k := range l.assets() {
		i, ok := l.snapshots[k]
		if !ok {
			missing = append(missing, l.title(k.service)+" ("+k.asset+")")
			continue
		}
		f := as[event.SnapshotTaken](l, i)
		facts = append(facts, l.fact(i, "%s (%s) captured: %s, %s.", l.title(k.service), k.asset, wording.Number(f.Files, "file"), wording.Size(f.Bytes)))
	}
	return check("Every declared asset has been captured.", facts, sentence(missing, "was never captured."),
		"Run the agent's capture for each asset and repeat it by a timer.")
}

func (l *ledger) complete() Check {
	var facts []Fact
	var missing []string
	for _, k := range l.assets() {
		i, ok := l.snapshots[k]
		if !ok {
			continue
		}
		f := as[event.SnapshotTaken](l, i)
		name := l.title(k.service) + " (" + k.asset + ")"
		if f.Unreadable > 0 {
			missing = append(missing, fmt.Sprintf("%s without %s", name, wording.Number(int64(f.Unreadable), "file")))
			continue
		}
		facts = append(facts, l.fact(i, "%s: every file was read.", name))
	}
	return check("The newest capture of each asset is complete.", facts, sentence(missing, "that could not be read."),
		"Give the agent the right to read these files, or exclude them in the estate file with a reason.")
}

func (l *ledger) copied() Check {
	var facts []Fact
	var missing []string
	for _, name := range l.repositories() {
		i, ok := l.copies[name]
		if !ok {
			missing = append(missing, "Repository "+name+" has no verified copy at another site.")
			continue
		}
		f := as[event.CopyVerified](l, i)
		site := l.events[i].Site
		switch {
		case len(f.Damaged) > 0:
			missing = append(missing, fmt.Sprintf("%s of the copy of %s at %s are damaged.", wording.Number(int64(len(f.Damaged)), "file"), name, site))
		case site == "" || site == l.home(name):
			missing = append(missing, fmt.Sprintf("The copy of %s does not stand at another site.", name))
		default:
			facts = append(facts, l.fact(i, "The copy of %s at %s was verified: %s, %s, each with the SHA-256 in its name.", name, site, wording.Number(f.Files, "file"), wording.Size(f.Bytes)))
		}
	}
	return check("A copy at another site has been verified, file by file.", facts, both(missing...),
		"Run the vault at the second site, and replace damaged files from a sound source before anything else.")
}

// drilled asks that the newest drill of every service passed.
func (l *ledger) drilled() Check {
	var facts []Fact
	var never, failing []string
	for _, s := range l.services {
		i, f, ok := l.lastDrill(s)
		switch {
		case !ok:
			never = append(never, l.title(s))
		case !f.Passed:
			failing = append(failing, fmt.Sprintf("The newest drill of %s (entry %d) failed: %s.", l.title(s), i, f.Reason))
		default:
			facts = append(facts, l.fact(i, "%s was restored from %s's copy, started, and gave %s of %s right answers.", l.title(s), f.Copy,
				wording.Count(right(f.Probes)), wording.Count(int64(len(f.Probes)))))
			for _, c := range f.Structure {
				facts = append(facts, l.fact(i, "%s, %s.", l.title(s), timeline.Structure(c)))
			}
		}
	}
	return check("The newest restore test of every service passed.", facts, both(append([]string{sentence(never, "was never drilled.")}, failing...)...),
		"Run the drill of these services, and repair what made it fail.")
}

func (l *ledger) withinRPO() Check {
	var facts []Fact
	var missing []string
	for _, s := range l.services {
		rpo, _ := l.objectives(s)
		i, f, ok := l.lastDrill(s)
		switch {
		case !ok:
			continue // drilled says so
		case rpo <= 0:
			missing = append(missing, l.title(s)+" has no declared recovery point.")
		case !f.Passed || f.RPO > rpo:
			missing = append(missing, fmt.Sprintf("The newest drill of %s did not show data at most %s old.", l.title(s), wording.Span(rpo)))
		default:
			facts = append(facts, l.fact(i, "%s came back with data %s old; %s were allowed.", l.title(s), wording.Span(f.RPO), wording.Span(rpo)))
		}
	}
	return check("Restored data was no older than each service's recovery point objective.", facts, both(missing...),
		"Declare the objective in the estate file, and capture more often where it was missed.")
}

// objectives of a service in seconds; 0 where none is declared.
func (l *ledger) objectives(service string) (rpo, rto float64) {
	if l.e == nil {
		return 0, 0
	}
	s, err := l.e.Service(service)
	if err != nil {
		return 0, 0
	}
	return s.Objectives.RPO.Seconds(), s.Objectives.RTO.Seconds()
}

func (l *ledger) redundancy() Control {
	return Control{
		Number2022: "A.8.14", Numbers2013: []string{"A.17.2.1"}, Title: "Redundancy",
		Requirement: "Enough stands ready in a second place that services stay, or soon become, available when the first one fails.",
		Checks:      []Check{l.copied(), l.startedElsewhere()},
		Outside: []Gap{{
			What:  "Power, network lines and machine capacity at the second site.",
			Close: "Show the site's capacity plan, and a drill that runs there under load.",
		}},
	}
}

// startedElsewhere asks for each service a passed drill from a copy that is not at the repository's own site.
func (l *ledger) startedElsewhere() Check {
	var facts []Fact
	var missing []string
	for _, s := range l.services {
		i, f, ok := l.lastDrill(s)
		if !ok || !f.Passed || f.Copy == "" || slices.Contains(l.homes(s), f.Copy) {
			missing = append(missing, l.title(s))
			continue
		}
		facts = append(facts, l.fact(i, "%s was up from %s's copy alone after %s.", l.title(s), f.Copy, wording.Span(f.RTO)))
	}
	for _, in := range l.incidents {
		if in.plan >= 0 {
			p := as[event.RecoveryPlanned](l, in.plan)
			facts = append(facts, l.fact(in.plan, "In incident %s services were brought back from %s's copy.", in.id, p.Copy))
		}
	}
	return check("Every service has been brought up from the other site's copy alone.", facts,
		sentence(missing, "was not shown to start from the other site's copy."),
		"Drill these services from the vault's copy.")
}

func (l *ledger) homes(service string) []string {
	if l.e == nil {
		return nil
	}
	s, err := l.e.Service(service)
	if err != nil {
		return nil
	}
	return []string{l.home(s.Repository)}
}

func (l *ledger) securityInDisruption() Control {
	return Control{
		Number2022: "A.5.29", Numbers2013: []string{"A.17.1.1", "A.17.1.2", "A.17.1.3"}, Title: "Security during disruption",
		Requirement: "Security does not fall away when operations are disrupted: what will be done is prepared, carried out, and checked at regular intervals.",
		Checks:      []Check{l.drilled(), l.protectedWhileDown(), l.drilledRegularly()},
		Outside: []Gap{{
			What:  "The continuity plan for people, premises and suppliers.",
			Close: "Show the organisation's continuity plan and when it was last reviewed.",
		}},
	}
}

// protectedWhileDown asks that in every incident the services hit were shut, and opened again only after a recovery.
func (l *ledger) protectedWhileDown() Check {
	var facts []Fact
	var missing []string
	for _, in := range l.incidents {
		open := []string{}
		for _, s := range in.hit {
			if _, ok := in.contained[s]; !ok {
				open = append(open, l.title(s))
			}
		}
		if len(open) > 0 {
			missing = append(missing, sentence(open, "stayed open in incident "+in.id+" although hit."))
		}
		for _, s := range sortedKeys(in.contained) {
			i := in.contained[s]
			facts = append(facts, l.fact(i, "%s was shut in %s: %s.", l.title(s), wording.Span(as[event.ServiceContained](l, i).Seconds), as[event.ServiceContained](l, i).Reason))
		}
	}
	return check("When a disruption came, the services hit were shut rather than left open.", facts, both(missing...),
		"Exercise an attack, so that the record shows containment; in a real incident shut what was hit.")
}

func (l *ledger) drilledRegularly() Check {
	var facts []Fact
	var once, old []string
	for _, s := range l.services {
		all := l.drills[s]
		days := map[string]bool{}
		for _, i := range all {
			days[l.events[i].Time.UTC().Format("2006-01-02")] = true
		}
		switch {
		case len(all) == 0:
			continue // drilled says so
		case len(days) < 2:
			once = append(once, l.title(s))
		case l.end.Sub(l.events[all[len(all)-1]].Time) > drillAge:
			old = append(old, l.title(s))
		default:
			facts = append(facts, l.fact(all[len(all)-1], "%s was drilled %s on %s since %s.", l.title(s), wording.Number(int64(len(all)), "time"),
				wording.Number(int64(len(days)), "day"), l.events[all[0]].Time.UTC().Format("2 January 2006")))
		}
	}
	return check("Restore tests are repeated: each service on at least two days, and within the last month.", facts,
		both(sentence(once, "was drilled on one day only."), sentence(old, "was not drilled in the last month.")),
		"Run the drill by a timer every night.")
}

func (l *ledger) readiness() Control {
	return Control{
		Number2022: "A.5.30", Title: "Technical readiness for continuity",
		Requirement: "The technical means to bring services back within the agreed times are prepared, kept up and tested.",
		Checks:      append([]Check{l.drilledWithinRTO(), l.withinRPO(), l.inOrderOfNeed()}, l.outagesWithinRTO()...),
		Outside: []Gap{{
			What:  "How the objectives follow from what an outage costs the organisation.",
			Close: "Show the business impact analysis that the estate file's objectives come from.",
		}},
	}
}

func (l *ledger) drilledWithinRTO() Check {
	var facts []Fact
	var missing []string
	for _, s := range l.services {
		_, rto := l.objectives(s)
		i, f, ok := l.lastDrill(s)
		switch {
		case rto <= 0:
			missing = append(missing, l.title(s)+" has no declared recovery time.")
		case !ok || !f.Passed || f.RTO > rto:
			missing = append(missing, fmt.Sprintf("No newest drill shows %s back within %s.", l.title(s), wording.Span(rto)))
		default:
			facts = append(facts, l.fact(i, "%s was back after %s in a drill; %s were allowed.", l.title(s), wording.Span(f.RTO), wording.Span(rto)))
		}
	}
	return check("In drills, services came back within their recovery time objectives.", facts, both(missing...),
		"Declare the objective in the estate file, and find in the drill's figures which step takes the time.")
}

// outagesWithinRTO holds what incidents cost against the objectives. Without an outage there is nothing to ask.
func (l *ledger) outagesWithinRTO() []Check {
	var facts []Fact
	var missing []string
	for _, in := range l.incidents {
		for _, s := range sortedKeys(in.reopened) {
			i := in.reopened[s]
			f := as[event.ServiceReopened](l, i)
			_, rto := l.objectives(s)
			if f.Outage > rto {
				missing = append(missing, fmt.Sprintf("%s was shut for %s in incident %s; %s were allowed.", l.title(s), wording.Span(f.Outage), in.id, wording.Span(rto)))
				continue
			}
			facts = append(facts, l.fact(i, "%s was back after %s in incident %s; %s were allowed.", l.title(s), wording.Span(f.Outage), in.id, wording.Span(rto)))
		}
	}
	if len(facts) == 0 && len(missing) == 0 {
		return nil
	}
	return []Check{check("In incidents, services came back within their recovery time objectives.", facts, both(missing...),
		"Find in the incident report which stage took the time, and drill it.")}
}

// inOrderOfNeed asks that what others need was drilled too: a service is ready only with all that it stands on.
func (l *ledger) inOrderOfNeed() Check {
	var facts []Fact
	var missing []string
	for _, s := range l.services {
		i, f, ok := l.lastDrill(s)
		if !ok || !f.Passed {
			continue
		}
		unproven := []string{}
		for _, need := range l.needs(s) {
			if _, d, ok := l.lastDrill(need); !ok || !d.Passed {
				unproven = append(unproven, l.title(need))
			}
		}
		if len(unproven) > 0 {
			missing = append(missing, fmt.Sprintf("%s needs %s, not shown to come back.", l.title(s), wording.List(unproven)))
			continue
		}
		facts = append(facts, l.fact(i, "%s was proven together with everything it needs (%s).", l.title(s), wording.Number(int64(len(l.needs(s))), "service")))
	}
	return check("Services were proven together with what they need.", facts, both(missing...),
		"Drill the needed services in the same run.")
}

func (l *ledger) needs(service string) []string {
	if l.e == nil {
		return nil
	}
	s, err := l.e.Service(service)
	if err != nil {
		return nil
	}
	return s.Needs
}

func right(probes []event.ProbeResult) int64 {
	var n int64
	for _, p := range probes {
		if p.OK {
			n++
		}
	}
	return n
}
