package snapshot_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

var historyStart = time.Date(2016, 12, 28, 22, 0, 0, 0, time.UTC)

// inDirectory creates a repository that restic opens fast.
func inDirectory(t *testing.T, dir string) *repo.Repository {
	t.Helper()
	be, err := local.Create(dir)
	try(t, err)
	r, err := repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(t, err)
	return r
}

// history stores snapshots of no files at random times of some years: often several an hour, in several zones, of two
// hosts, with tags, and some of the future.
func history(t *testing.T, dir string) []*snapshot.Snapshot {
	t.Helper()
	r := inDirectory(t, dir)
	source := rand.New(rand.NewPCG(11, 12))
	zones := []*time.Location{time.UTC, time.FixedZone("", 2*3600), time.FixedZone("", -9*3600-1800)}
	at := historyStart
	var list []*snapshot.Snapshot
	for i := range 70 {
		at = at.Add([]time.Duration{time.Minute, time.Hour, 7 * time.Hour, 26 * time.Hour, 31 * 24 * time.Hour, 200 * 24 * time.Hour}[source.IntN(6)])
		when := at
		switch { // what chance would hardly bring: one week of two years, the same hour by a clock of twelve, the future
		case i < 6:
			when = time.Date(2012, 12, 31+i, 1, 0, 0, 0, time.UTC)
		case i < 10:
			when = time.Date(2014, 3, 2, 12*(i%2), 0, i, 0, time.UTC)
		case i > 67:
			when = time.Date(2190, 1, i, 1, 0, 0, 0, time.UTC)
		}
		sn := &snapshot.Snapshot{
			Time: when.In(zones[source.IntN(3)]), Tree: blob.Hash(nil), Hostname: []string{"london", "geneva"}[source.IntN(2)],
			Paths: []string{"/srv"}, Tags: [][]string{nil, {"a"}, {"a", "b"}, {"b"}}[source.IntN(4)],
		}
		if i < 10 {
			sn.Time, sn.Hostname = when, "london"
		}
		if _, err := snapshot.Save(t.Context(), r, sn); err != nil {
			t.Fatal(err)
		}
		list = append(list, sn)
	}
	return list
}

// verdict is what a policy does to a group, in the form of restic's JSON.
type verdict struct {
	Host    string     `json:"host"`
	Keep    []named    `json:"keep"`
	Remove  []named    `json:"remove"`
	Reasons []decision `json:"reasons"`
}

type named struct {
	ID string `json:"id"`
}

type decision struct {
	Matches  []string          `json:"matches"`
	Counters snapshot.Counters `json:"counters"`
}

func TestAPolicyKeepsWhatResticKeeps(t *testing.T) {
	dir := t.TempDir()
	list := history(t, dir)
	duration := func(s string) snapshot.Duration {
		d, err := snapshot.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for flags, p := range map[string]snapshot.Policy{
		"--keep-last 3":                                 {Last: 3},
		"--keep-hourly 90":                              {Hourly: 90},
		"--keep-daily 9":                                {Daily: 9},
		"--keep-weekly 80 --keep-daily 10":              {Weekly: 80, Daily: 10},
		"--keep-monthly 7 --keep-yearly 3":              {Monthly: 7, Yearly: 3},
		"--keep-yearly 30 --keep-weekly 40":             {Yearly: 30, Weekly: 40},
		"--keep-within 2y5m7d2h":                        {Within: duration("2y5m7d2h")},
		"--keep-within-hourly 1y --keep-within 3m":      {WithinHourly: duration("1y"), Within: duration("3m")},
		"--keep-within-daily 900d --keep-tag a,b":       {WithinDaily: duration("900d"), Tags: [][]string{{"a", "b"}}},
		"--keep-within-weekly 5y --keep-last 1":         {WithinWeekly: duration("5y"), Last: 1},
		"--keep-within-monthly 3y2m --keep-hourly 2":    {WithinMonthly: duration("3y2m"), Hourly: 2},
		"--keep-within-yearly 100y --keep-tag=":         {WithinYearly: duration("100y"), Tags: [][]string{{}}},
		"--keep-tag a --keep-tag b --keep-within 9000h": {Tags: [][]string{{"a"}, {"b"}}, Within: duration("9000h")},
	} {
		args := append([]string{"forget", "--no-lock", "--dry-run", "--json", "--group-by", "host"}, strings.Fields(flags)...)
		var theirs []verdict
		if err := json.Unmarshal(restic(t, dir, args...), &theirs); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(theirs, func(a, b verdict) int { return strings.Compare(a.Host, b.Host) })
		var ours []verdict
		for _, g := range (snapshot.GroupBy{Host: true}).Groups(list) {
			ours = append(ours, judge(g, p))
		}
		if !reflect.DeepEqual(ours, theirs) {
			t.Errorf("forget %s:\n  kedge  %+v\n  restic %+v", flags, ours, theirs)
		}
	}
}

// judge applies the policy as Debian's restic does, which does not yet keep the oldest snapshot for a rule that is not
// exhausted: what is kept for that alone counts as removed, and no counter went down for it.
func judge(g snapshot.Group, p snapshot.Policy) verdict {
	v := verdict{Host: g.Key.Hostname}
	keep, remove := p.Apply(g.Snapshots, time.Now())
	var last []named
	for _, k := range keep {
		d := decision{Counters: k.Counters}
		for _, match := range k.Matches {
			word, isOldest := strings.CutPrefix(match, "oldest ")
			if !isOldest {
				d.Matches = append(d.Matches, match)
				continue
			}
			if word, counts := strings.CutSuffix(word, " snapshot"); counts {
				n := reflect.ValueOf(&d.Counters).Elem().FieldByName(strings.ToUpper(word[:1]) + word[1:])
				n.SetInt(n.Int() + 1)
			}
		}
		if len(d.Matches) == 0 {
			last = []named{{k.Snapshot.ID.String()}}
			continue
		}
		v.Keep, v.Reasons = append(v.Keep, named{k.Snapshot.ID.String()}), append(v.Reasons, d)
	}
	for _, sn := range remove {
		v.Remove = append(v.Remove, named{sn.ID.String()})
	}
	v.Remove = append(v.Remove, last...)
	return v
}

func TestARuleThatIsNotExhaustedKeepsTheOldest(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 0, 0, 0, time.UTC)
	var list []*snapshot.Snapshot
	for i := range 4 { // 07:00, 10:00, 13:00, 16:00 of one day
		list = append(list, &snapshot.Snapshot{Time: at.Add(time.Duration(3*i) * time.Hour)})
	}
	for _, c := range []struct {
		p    snapshot.Policy
		want string
	}{
		{snapshot.Policy{Daily: 2}, "16 [daily snapshot] 7 [oldest daily snapshot] "},
		{snapshot.Policy{Daily: 1}, "16 [daily snapshot] "},
		{snapshot.Policy{Yearly: snapshot.Unlimited}, "16 [yearly snapshot] 7 [oldest yearly snapshot] "},
		{snapshot.Policy{WithinDaily: snapshot.Duration{Days: 1}}, "16 [daily within 1d] 7 [oldest daily within 1d] "},
		{snapshot.Policy{WithinDaily: snapshot.Duration{Hours: 9}}, "16 [daily within 9h] "},
		{snapshot.Policy{Hourly: snapshot.Unlimited}, "16 [hourly snapshot] 13 [hourly snapshot] 10 [hourly snapshot] 7 [hourly snapshot] "},
		{snapshot.Policy{Last: 9}, "16 [last snapshot] 13 [last snapshot] 10 [last snapshot] 7 [last snapshot] "},
	} {
		keep, remove := c.p.Apply(list, at.AddDate(1, 0, 0))
		got := ""
		for _, k := range keep {
			got += fmt.Sprint(k.Snapshot.Time.Hour(), " ", k.Matches, " ")
		}
		if got != c.want || len(keep)+len(remove) != len(list) {
			t.Errorf("%v: kept %s, removed %d; want %s", c.p, got, len(remove), c.want)
		}
	}
}

func TestAPolicyTellsItselfInWords(t *testing.T) {
	p := snapshot.Policy{
		Last: 2, Daily: snapshot.Unlimited, WithinMonthly: snapshot.Duration{Years: 1, Hours: 2},
		Within: snapshot.Duration{Days: 3}, Tags: [][]string{{"a", "b"}},
	}
	const want = "keep 2 latest, all daily snapshots, monthly snapshots within 1y2h, all snapshots within 3d of the newest and all snapshots with tags [a, b]"
	if got := p.String(); got != want || p.Empty() || !(snapshot.Policy{}).Empty() {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDurations(t *testing.T) {
	for spelled, want := range map[string]string{
		"1y5m7d2h": "1y5m7d2h", "3d2y": "2y3d", "": "", "0d": "", "48h": "48h",
		"1w": "!", "3": "!", "y": "!", "-3d": "!", "1 d": "!", "99999999999999999999y": "!", "9999999h": "!",
	} {
		d, err := snapshot.ParseDuration(spelled)
		if got := d.String(); err == nil && got != want || err != nil && want != "!" {
			t.Errorf("parse %q: %q, %v; want %q", spelled, got, err, want)
		}
	}
}
