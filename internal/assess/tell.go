package assess

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/snapshot"
)

// techniques of MITRE ATT&CK v17, by kind of signal.
var techniques = map[string]string{
	damage.Encrypted: "T1486", damage.Renamed: "T1486", damage.Archived: "T1486", damage.Wiped: "T1485", damage.Deleted: "T1485", "note.dropped": "T1486",
	"page.defaced": "T1491.002", "page.injected": "T1189", "shell.uploaded": "T1505.003",
}

// release is how many new scripts at once are an application being installed rather than a shell.
const release = 20

// webDirectories are what web servers, and those who make sites for them, call the directories that are served.
const webDirectories = " www html htdocs public_html public httpdocs wwwroot webroot webapps web site sites docroot uploads upload "

// webUsers are who web servers and the programs behind them work as, on the systems that are known here.
const webUsers = " www-data www apache httpd nginx http wwwrun caddy lighttpd tomcat php-fpm "

// served tells whether a script can be run by a visitor, as far as the history knows: it stands where a web server serves files from, or belongs to
// the user that one works as. Anywhere else a program that runs what it is sent is one of a developer's, or waits to be put there.
func (w *walk) served(c snapshot.Change) bool {
	if strings.Contains(webUsers, " "+c.New.User+" ") || w.documents != "" && estate.Below(c.Path, []string{w.documents}) {
		return true
	}
	for dir := range strings.SplitSeq(path.Dir(c.Path), "/") {
		if dir != "" && strings.Contains(webDirectories, " "+strings.ToLower(dir)+" ") {
			return true
		}
	}
	return false
}

// shell judges a new or changed script.
func (w *walk) shell(ctx context.Context, c snapshot.Change, i, scripts int) (bool, error) {
	if !isScript(c) {
		return false, nil
	}
	text, err := w.text(ctx, c.New)
	if err != nil || content.Shell(c.Path, text) == nil {
		return false, err
	}
	if isFile(c.Old) && w.at[c.Path] == nil {
		before, err := w.src.text(ctx, c.Old)
		if err != nil || content.Shell(c.Path, before) != nil {
			return false, err // it always was like that
		}
	}
	// Scripts that are run by a command line are common in trees of sources; a shell needs a web server.
	run := strings.HasPrefix(path.Ext(c.Path), ".php") || slices.Contains([]string{".phtml", ".phar", ".jsp", ".jspx", ".asp", ".aspx", ".ashx"}, path.Ext(c.Path))
	if !run {
		return false, nil
	}
	w.damage(c, i, "shell.uploaded", scripts > release || !w.served(c))
	return true, nil
}

// pageChange is a page that something may have been done to.
type pageChange struct {
	change snapshot.Change
	content.PageChange
	defaced bool
}

// page compares a changed page with what it was.
func (w *walk) page(ctx context.Context, c snapshot.Change, pages map[string][]pageChange) (bool, error) {
	if !content.PageName(c.Path) || !isFile(c.Old) {
		return false, nil
	}
	before, err := w.parse(ctx, c.Old)
	if err != nil {
		return false, err
	}
	now, err := w.parse(ctx, c.New)
	if err != nil {
		return false, err
	}
	for _, ref := range before.Refs {
		w.origins[ref.Kind+ref.Origin] = true
	}
	p := pageChange{change: c, PageChange: content.ComparePages(before, now, nil)}
	p.defaced = p.Defaced(before)
	switch {
	case p.defaced:
		pages["page.defaced "+c.Path] = []pageChange{p}
	case p.Injected():
		key := "page.injected " + strings.Join(p.Origins(), " ")
		pages[key] = append(pages[key], p)
	default:
		return false, nil
	}
	return true, nil
}

// judgePages weighs what was done to pages in one snapshot. A foreign origin alone may be a release; it counts with an
// address that releases seldom have, or in several pages that are otherwise the same. A page replaced counts if it boasts, or if
// it is the one that visitors see first, then weakly.
func (w *walk) judgePages(pages map[string][]pageChange, i int) {
	for _, key := range slices.Sorted(maps.Keys(pages)) {
		all := pages[key]
		kind, _, _ := strings.Cut(key, " ")
		same := 0
		for _, p := range all {
			if p.TextKept >= 0.98 {
				same++
			}
		}
		for _, p := range all {
			foreign := p.NewHidden > 0 || slices.ContainsFunc(p.NewRefs, func(r content.Ref) bool { return !w.origins[r.Kind+r.Origin] })
			bad := w.injected[key] || foreign && (p.Suspicious() || same >= 3)
			weak := false
			if p.defaced {
				first := strings.HasPrefix(path.Base(p.change.Path), "index.")
				bad, weak = p.Claims || first, !p.Claims
			}
			if !bad {
				w.mend(p.change, i)
				continue
			}
			w.injected[key] = kind == "page.injected"
			w.damage(p.change, i, kind, weak)
		}
	}
}

// maxVariants is how many different texts under one name are read.
const maxVariants = 8

// judgeNotes reads texts that appeared under one name in several directories, or beside damaged files.
func (w *walk) judgeNotes(ctx context.Context) error {
	damaged, began := map[string]bool{}, len(w.snapshots)
	for _, e := range w.entries {
		damaged[path.Dir(e.path)] = true
		began = min(began, e.first)
	}
	for _, name := range slices.Sorted(maps.Keys(w.notes)) {
		all := w.notes[name]
		dirs := map[string]bool{}
		beside := false
		for _, n := range all {
			dir := path.Dir(n.change.Path)
			dirs[dir] = true
			beside = beside || damaged[dir] && n.first >= began
		}
		if len(dirs) < 3 && !beside {
			continue
		}
		verdicts := map[blob.ID]bool{}
		for _, n := range all {
			id := n.change.New.Content[0]
			if _, read := verdicts[id]; !read && len(verdicts) < maxVariants {
				text, err := w.src.data(ctx, id)
				if err != nil {
					if err := w.skip(ctx, n.change.Path, n.first, err); err != nil {
						return err
					}
				}
				verdicts[id] = content.Note(text) != nil
			}
			if !verdicts[id] {
				continue
			}
			w.entries = append(w.entries, &entry{path: n.change.Path, now: n.change.Path, first: n.first, until: n.until, good: none, kinds: []string{"note.dropped"}})
		}
	}
	return nil
}

// series puts together what was found.
func (w *walk) series() Series {
	newest := w.snapshots[len(w.snapshots)-1]
	s := Series{Host: newest.Hostname, Paths: newest.Paths, Damaged: []Damaged{}}
	for i, sn := range w.snapshots {
		v := w.verdict(i)
		v.ID, v.Time = sn.ID, sn.Time
		s.Snapshots = append(s.Snapshots, v)
		switch {
		case v.Verdict == Clean:
			s.LastClean = &sn.ID
		case s.FirstBad == nil:
			s.FirstBad = &sn.ID
		}
	}
	for _, e := range w.entries {
		if e.until != open || e.weak {
			continue
		}
		d := Damaged{Path: e.path, FirstBad: w.snapshots[e.first].ID, Signals: e.kinds}
		if e.now != "" {
			d.Now = &e.now
		}
		if e.good != none {
			d.LastClean = &w.snapshots[e.good].ID
		}
		s.Damaged = append(s.Damaged, d)
	}
	slices.SortFunc(s.Damaged, func(a, b Damaged) int { return strings.Compare(a.Path, b.Path) })
	return s
}

// verdict judges one snapshot by the damage that it holds.
func (w *walk) verdict(i int) Snapshot {
	type tally struct {
		held, fresh, weak int
		entropy, chi2     float64
		examples          []string
	}
	kinds := map[string]*tally{}
	files, certain := 0, false
	for _, e := range w.entries {
		if i < e.first || i >= e.until {
			continue
		}
		for _, kind := range e.kinds {
			t := kinds[kind]
			if t == nil {
				t = &tally{}
				kinds[kind] = t
			}
			t.held++
			t.entropy += e.found.Entropy
			t.chi2 += e.found.Chi2
			if e.weak {
				t.weak++
			}
			if i == e.first {
				t.fresh++
			}
			if len(t.examples) < 5 {
				t.examples = append(t.examples, e.path)
			}
			switch {
			case e.weak:
			case strings.HasPrefix(kind, "file."):
				files++
			default:
				certain = true
			}
		}
	}
	v := Snapshot{Verdict: Clean, Confidence: 0.9, Signals: []Signal{}}
	switch {
	case files >= 3 || certain:
		v.Verdict, v.Confidence = Compromised, min(0.99, 0.85+0.02*math.Log2(float64(files+1)))
	case len(kinds) > 0:
		v.Verdict, v.Confidence = Suspect, 0.5
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t := kinds[kind]
		evidence := map[string]any{"files": t.held, "new": t.fresh, "examples": t.examples}
		if strings.HasPrefix(kind, "file.") {
			evidence["mean_entropy"] = fmt.Sprintf("%.2f", t.entropy/float64(t.held))
			evidence["mean_chi_square"] = fmt.Sprintf("%.0f", t.chi2/float64(t.held))
		}
		strength := 0.9
		if t.weak == t.held || v.Verdict == Suspect {
			strength = 0.5
		}
		v.Signals = append(v.Signals, Signal{Kind: kind, Technique: techniques[kind], Strength: strength, Evidence: evidence})
	}
	return v
}
