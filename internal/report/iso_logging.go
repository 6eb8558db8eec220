package report

import (
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// This file holds the controls of logging and monitoring.

func (l *ledger) logging() Control {
	return Control{
		Number2022: "A.8.15", Numbers2013: []string{"A.12.4.1", "A.12.4.2", "A.12.4.3"}, Title: "Logging",
		Requirement: "What happens is written to logs, what administrators do among it; logs are kept, guarded against change, and looked at.",
		Checks:      []Check{l.inOrder(), l.witnessed(), l.operators(), l.logsServed()},
		Outside: []Gap{{
			What:  "How long the services' own logs are kept, and who may read them.",
			Close: "Show the retention and access settings of each service's logs.",
		}},
	}
}

// inOrder asks for entries with times, none of which runs back further than writers side by side explain.
func (l *ledger) inOrder() Check {
	var facts []Fact
	var missing string
	back, undated := 0, 0
	for i, ev := range l.events {
		if ev.Time.IsZero() {
			undated++
		}
		if i > 0 && l.events[i-1].Time.Sub(ev.Time) > clockSlack {
			back++
		}
	}
	if n := len(l.events); n > 0 {
		facts = append(facts, l.fact(0, "The first of %s.", wording.Number(int64(n), "entry")), l.fact(n-1, "The last of %s.", wording.Number(int64(n), "entry")))
	}
	if undated > 0 {
		missing = wording.Number(int64(undated), "entry") + " without a time."
	}
	if back > 0 {
		missing = both(missing, fmt.Sprintf("At %s the time runs back by more than %s.", wording.Number(int64(back), "entry"), wording.Span(clockSlack.Seconds())))
	}
	return check("Entries carry their time in UTC and follow one another.", facts, missing, "Set all hosts' clocks by one source of time.")
}

// witnessed asks for a checkpoint over the whole record that the other site cosigned.
func (l *ledger) witnessed() Check {
	const text, remedy = "The record is guarded against change: its checkpoint covers every entry and is cosigned by a witness.",
		"Let the vault's witness cosign a checkpoint after the last entry."
	n := len(l.events)
	if l.checkpoint.covers(n) {
		c := l.checkpoint
		return check(text, []Fact{l.fact(n-1, "The checkpoint of %s covers %s; its root %s… is cosigned by %s.",
			c.Origin, wording.Number(int64(c.Size), "entry"), wording.Short(c.Root), c.Cosigner)}, "", remedy)
	}
	missing := "The record has no checkpoint."
	switch c := l.checkpoint; {
	case n == 0:
		missing = "The record is empty."
	case c != nil && c.Cosigner == "":
		missing = "The checkpoint is signed by its own writer alone."
	case c != nil && c.Size < uint64(n):
		missing = fmt.Sprintf("The checkpoint covers %s of %s.", wording.Number(int64(c.Size), "entry"), wording.Count(int64(n)))
	case c != nil:
		missing = "The checkpoint has no root hash."
	}
	return check(text, nil, missing, remedy)
}

// operators asks that what people did with power is on the record by name.
func (l *ledger) operators() Check {
	var facts []Fact
	var missing []string
	for _, in := range l.incidents {
		if in.plan >= 0 {
			p := as[event.RecoveryPlanned](l, in.plan)
			if p.Approver == "" {
				missing = append(missing, fmt.Sprintf("The plan at entry %d names no approver.", in.plan))
			} else {
				facts = append(facts, l.fact(in.plan, "%s approved the recovery of incident %s.", p.Approver, in.id))
			}
		}
		for _, s := range sortedKeys(in.contained) {
			i := in.contained[s]
			if n := len(as[event.ServiceContained](l, i).Actions); n > 0 {
				facts = append(facts, l.fact(i, "%s on %s, each with its reverse.", wording.Number(int64(n), "action"), l.title(s)))
			} else {
				missing = append(missing, fmt.Sprintf("The containment at entry %d lists no action.", i))
			}
		}
	}
	return check("Actions with power over services are recorded, with who approved them.", facts, both(missing...),
		"Approve by name, and act through kedge rather than beside it.")
}

func (l *ledger) logsServed() Check {
	return l.overIncidents("The services' own logs were kept well enough to answer questions.",
		"Name each service's access logs in the estate file, and keep them longer than an intruder waits.",
		func(in *incident) ([]Fact, string) {
			if in.found < 0 {
				return nil, "no log was read for it"
			}
			f := as[event.InvestigationFinished](l, in.found)
			if f.Entry == nil || f.Entry.Log == "" {
				return nil, "the logs did not hold the request that began it"
			}
			return []Fact{l.fact(in.found, "Line %s holds the request that began incident %s.", f.Entry.Log, in.id)}, ""
		})
}

// signalsWithFigures asks that what detectors reported can be checked by someone else.
func (l *ledger) signalsWithFigures() Check {
	var facts []Fact
	bare := 0
	for _, i := range l.signals {
		s := as[event.SignalRaised](l, i)
		if len(s.Evidence) == 0 || s.Technique == "" {
			bare++
			continue
		}
		facts = append(facts, l.fact(i, "%s (ATT&CK %s) on %s, strength %.2f, %s touched.", s.Signal.Kind, s.Technique, l.title(l.events[i].Subject()), s.Strength, wording.Count(int64(s.Count))))
	}
	missing := ""
	if bare > 0 {
		missing = wording.Number(int64(bare), "signal") + " without a technique or without figures."
	}
	return check("Signals were raised, each with its technique and the figures that led to it.", facts, missing,
		"Exercise an attack, so that the record shows that detectors work; have each detector give its figures.")
}

func (l *ledger) monitoring() Control {
	followed := l.overIncidents("What was seen was acted upon: services were shut after the signals.",
		"Contain what the signals name, or close the incident as harmless with the reason.",
		func(in *incident) ([]Fact, string) {
			first := -1
			for _, i := range in.contained {
				if first < 0 || i < first {
					first = i
				}
			}
			if first < 0 {
				return nil, "nothing was shut and no reason is given"
			}
			delay := l.events[first].Time.Sub(l.events[in.opened].Time).Seconds()
			return []Fact{l.fact(first, "The first service was shut %s after incident %s was opened.", wording.Span(delay), in.id)}, ""
		})
	return Control{
		Number2022: "A.8.16", Title: "Monitoring",
		Requirement: "Networks, systems and applications are watched for unusual behaviour, and what is found is followed up.",
		Checks:      []Check{l.signalsWithFigures(), l.allHitSeen(), followed},
		Outside: []Gap{{
			What:  "That detectors were running while they saw nothing: silence leaves no entry.",
			Close: "Watch the detectors themselves by the monitoring of hosts; network traffic needs a tool of its own.",
		}},
	}
}

// allHitSeen asks that for every service that an incident names a detector had spoken.
func (l *ledger) allHitSeen() Check {
	return l.overIncidents("Every service that an incident names was noticed by a detector.",
		"Declare in the estate file what to watch of these services.",
		func(in *incident) ([]Fact, string) {
			var facts []Fact
			var missing []string
			for _, s := range in.hit {
				at := slices.IndexFunc(in.signals, func(i int) bool { return l.events[i].Subject() == s })
				if at < 0 {
					missing = append(missing, l.title(s))
					continue
				}
				facts = append(facts, l.fact(in.signals[at], "%s: %s.", l.title(s), as[event.SignalRaised](l, in.signals[at]).Signal.Kind))
			}
			return facts, sentence(missing, "was named without any signal")
		})
}
