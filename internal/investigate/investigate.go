// Package investigate looks for the way in: which request brought a web shell, and what else its sender did.
//
// It reads access logs as a stream and holds a bounded number of requests. It says what the log shows and how
// sure that makes it; an address is where requests came from, not who sent them.
package investigate

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/accesslog"
	"github.com/kedge-project/kedge/internal/event"
)

// Shell is a file that an attacker put under a document root.
type Shell struct {
	Path    string // of the file
	URLPath string // under which it is served, "/uploads/x.php"; "" if not known: the file's name is looked for
	// After and Born say when it appeared: later than After, and at Born at the latest. A zero After means
	// ten minutes before Born.
	After, Born time.Time
}

// Found is what the logs show.
type Found struct {
	Source     string          // most likely source address; "" if nothing points to one
	Entry      *event.Request  // the request that brought the shell; nil if none was found
	Related    []event.Request // requests from Source in order, Entry among them; at most event.MaxTouched
	RelatedN   int             // how many there were
	Confidence float64         // 0 to 1
	Reasons    []string        // what the confidence comes from, for people
	Skipped    int             // log lines that could not be read
}

// Fill puts what was found into a fact.
func (f Found) Fill(fact *event.InvestigationFinished) {
	fact.Source, fact.Entry, fact.Related = f.Source, f.Entry, f.Related
}

// slack allows for clocks, and for requests that are logged when they end.
const slack = 5 * time.Second

// maxCandidates bounds the requests kept while a log is read.
const maxCandidates = 10000

// candidate is a request that may have brought a shell.
type candidate struct {
	event.Request
	names bool          // its address names the file
	apart time.Duration // from the file's birth
}

// Entry reads the logs, and returns the request that most likely brought one of the shells and the others of the same
// source. A log that cannot be read is an error.
func Entry(ctx context.Context, logs []string, shells []Shell) (Found, error) {
	var found Found
	var uploads []candidate
	visits := map[string]int{}  // requests of a shell, by source
	served := map[string]bool{} // sources to which a shell was served: what they send from then on did not bring it
	first := ""
	var firstAt time.Time
	for _, log := range logs {
		skipped, err := readLog(ctx, log, func(e accesslog.Entry) error {
			if slices.ContainsFunc(shells, func(s Shell) bool { return s.requested(e) }) {
				visits[e.Source]++
				served[e.Source] = served[e.Source] || e.Status < 400
				if first == "" || e.Time.Before(firstAt) {
					first, firstAt = e.Source, e.Time
				}
				return nil
			}
			for _, s := range shells {
				if c, ok := s.upload(e, log); ok && !served[e.Source] && len(uploads) < maxCandidates {
					uploads = append(uploads, c)
				}
			}
			return nil
		})
		if err != nil {
			return Found{}, err
		}
		found.Skipped += skipped
	}
	found.choose(uploads, visits, first)
	if found.Source == "" {
		return found, nil
	}
	return found, found.relate(ctx, logs)
}

// choose weighs the candidates: who asked for the shell later brought it, more than who was near in time.
func (f *Found) choose(uploads []candidate, visits map[string]int, first string) {
	if len(uploads) == 0 {
		if first != "" {
			f.Source, f.Confidence = first, 0.6
			f.Reasons = []string{fmt.Sprintf("%s was the first to request the shell (%d times); no request that brought it is in the logs", first, visits[first])}
		}
		return
	}
	weight := func(c candidate) int {
		w := 0
		if c.names {
			w += 2
		}
		if visits[c.Source] > 0 {
			w += 3
		}
		return w
	}
	// Times in logs are whole seconds: of several requests in the same one, the last before the shell was asked for.
	slices.Reverse(uploads)
	best := slices.MaxFunc(uploads, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(b.apart, a.apart))
	})
	f.Source, f.Entry, f.Confidence = best.Source, &best.Request, 0.3
	f.Reasons = []string{fmt.Sprintf("%s %s by %s was answered %.0f s from the file's birth", best.Method, best.Path, best.Source, best.apart.Seconds())}
	if best.names {
		f.Confidence += 0.3
		f.Reasons = append(f.Reasons, "the request names the file")
	}
	if n := visits[best.Source]; n > 0 {
		f.Confidence += 0.35
		f.Reasons = append(f.Reasons, fmt.Sprintf("the same source requested the shell %d times", n))
	}
	others := map[string]bool{}
	for _, c := range uploads {
		if c.Source != best.Source && weight(c) >= weight(best) {
			others[c.Source] = true
		}
	}
	if len(others) > 0 {
		f.Confidence /= float64(1 + len(others))
		f.Reasons = append(f.Reasons, fmt.Sprintf("%d other sources are as likely", len(others)))
	}
}

// relate collects all requests of the source.
func (f *Found) relate(ctx context.Context, logs []string) error {
	for _, log := range logs {
		if _, err := readLog(ctx, log, func(e accesslog.Entry) error {
			if e.Source == f.Source {
				if f.RelatedN++; len(f.Related) < event.MaxTouched {
					f.Related = append(f.Related, request(e, log))
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(f.Related, func(a, b event.Request) int { return a.Time.Compare(b.Time) })
	return nil
}

// requested tells whether a visitor asked for the shell itself.
func (s Shell) requested(e accesslog.Entry) bool {
	if e.Method == "PUT" || e.Method == "MOVE" {
		return false // that is how WebDAV brings it
	}
	if s.URLPath != "" {
		return strings.HasSuffix(e.Path(), s.URLPath) // it may be served below a prefix
	}
	return strings.HasSuffix(e.Path(), "/"+path.Base(s.Path))
}

// upload tells whether a request may have brought the shell: it sent something while the shell appeared, and was
// not refused.
func (s Shell) upload(e accesslog.Entry, log string) (candidate, bool) {
	if e.Method != "POST" && e.Method != "PUT" && e.Method != "MOVE" && e.Method != "PATCH" || e.Status >= 400 {
		return candidate{}, false
	}
	after := s.After
	if after.IsZero() {
		after = s.Born.Add(-10 * time.Minute)
	}
	if e.Time.Before(after.Add(-slack)) || e.Time.After(s.Born.Add(slack)) {
		return candidate{}, false
	}
	return candidate{
		Request: request(e, log),
		names:   strings.Contains(e.Target, path.Base(s.Path)) || strings.Contains(e.Path(), path.Base(s.Path)),
		apart:   time.Duration(math.Abs(float64(s.Born.Sub(e.Time)))),
	}, true
}

func request(e accesslog.Entry, log string) event.Request {
	return event.Request{
		Time: e.Time, Source: e.Source, Method: clip(e.Method), Path: clip(e.Target), Status: e.Status,
		Log: fmt.Sprintf("%s:%d", log, e.Line),
	}
}

// clip keeps a list of requests well below the bound of an event.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 300)], "\ufffd") }

func readLog(ctx context.Context, name string, fn func(accesslog.Entry) error) (int, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("open access log: %w; name the logs of the service under watch.access_logs", err)
	}
	defer f.Close()
	skipped, err := accesslog.Read(ctx, f, fn)
	if err != nil {
		return skipped, fmt.Errorf("read %s: %w", name, err)
	}
	return skipped, nil
}
