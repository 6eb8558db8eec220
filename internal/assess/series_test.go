package assess

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// published is the shape that the documentation promises, and nothing more.
type published struct {
	Series []struct {
		Host      string   `json:"host"`
		Paths     []string `json:"paths"`
		Snapshots []struct {
			ID         string  `json:"id"`
			Time       string  `json:"time"`
			Verdict    string  `json:"verdict"`
			Confidence float64 `json:"confidence"`
			Signals    []struct {
				Kind      string         `json:"kind"`
				Technique string         `json:"technique"`
				Strength  float64        `json:"strength"`
				Evidence  map[string]any `json:"evidence"`
			} `json:"signals"`
		} `json:"snapshots"`
		FirstBad  *string `json:"first_bad"`
		LastClean *string `json:"last_clean"`
		Damaged   []struct {
			Path      string   `json:"path"`
			Now       *string  `json:"now"`
			FirstBad  string   `json:"first_bad"`
			LastClean *string  `json:"last_clean"`
			Signals   []string `json:"signals"`
		} `json:"damaged"`
	} `json:"series"`
	Read struct {
		Bytes      int64   `json:"bytes"`
		Repository int64   `json:"repository_bytes"`
		Seconds    float64 `json:"seconds"`
	} `json:"read"`
}

// publish writes a result as JSON and reads it strictly. No list may be null, and no field may be missing.
func publish(t *testing.T, result Result) published {
	t.Helper()
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"series", "paths", "snapshots", "signals", "damaged"} {
		if bytes.Contains(text, []byte(`"`+list+`":null`)) {
			t.Errorf("%s is null: %s", list, text)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var doc published
	if err := dec.Decode(&doc); err != nil {
		t.Fatalf("the result has another shape: %v\n%s", err, text)
	}
	var loose struct {
		Series []map[string]any `json:"series"`
	}
	if err := json.Unmarshal(text, &loose); err != nil {
		t.Fatal(err)
	}
	for _, series := range loose.Series {
		for _, field := range []string{"host", "paths", "snapshots", "first_bad", "last_clean", "damaged"} {
			if _, there := series[field]; !there {
				t.Errorf("a series has no %s", field)
			}
		}
		for _, d := range series["damaged"].([]any) {
			for _, field := range []string{"path", "now", "first_bad", "last_clean", "signals"} {
				if _, there := d.(map[string]any)[field]; !there {
					t.Errorf("a damaged file has no %s", field)
				}
			}
		}
	}
	return doc
}

func TestTheJSONIsThePublishedOne(t *testing.T) {
	o := newOffice(t)
	for _, name := range o.glob("dept1/minutes*.txt") {
		o.encrypt(name, "")
	}
	o.encrypt("dept2/minutes2.txt", ".locked")
	gone := "dept1/minutes1.txt"
	o.write("www/up/view.php", []byte(`<?php system($_GET['c']);`))
	o.snapshot()
	o.remove(gone)
	o.snapshot()
	doc := publish(t, o.history())
	s := doc.Series[0]
	if s.Host != "london" || !slices.Equal(s.Paths, []string{o.dir}) || *s.FirstBad != o.ids[1].String() || *s.LastClean != o.ids[0].String() {
		t.Errorf("the series is %+v", s)
	}
	for i, sn := range s.Snapshots {
		if sn.ID != o.ids[i].String() {
			t.Errorf("snapshot %d is %s, want the full ID %s", i, sn.ID, o.ids[i])
		}
		if _, err := time.Parse(time.RFC3339Nano, sn.Time); err != nil {
			t.Error(err)
		}
		if sn.Confidence <= 0 || sn.Confidence > 1 {
			t.Errorf("confidence %v", sn.Confidence)
		}
	}
	var got []string
	for _, d := range s.Damaged {
		now, clean := "null", "null"
		if d.Now != nil {
			now = strings.TrimPrefix(*d.Now, o.dir)
		}
		if d.LastClean != nil {
			clean = fmt.Sprint(slices.IndexFunc(o.ids, func(id blob.ID) bool { return id.String() == *d.LastClean }))
		}
		got = append(got, fmt.Sprintf("%s now %s clean %s", strings.TrimPrefix(d.Path, o.dir), now, clean))
	}
	want := []string{
		"/dept1/minutes1.txt now null clean 0", "/dept1/minutes5.txt now /dept1/minutes5.txt clean 0", "/dept1/minutes9.txt now /dept1/minutes9.txt clean 0",
		"/dept2/minutes2.txt now /dept2/minutes2.txt.locked clean 0", "/www/up/view.php now /www/up/view.php clean null",
	}
	if !slices.Equal(got, want) {
		t.Errorf("damaged are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestACleanSeriesHasItsNewestSnapshotAsLastClean(t *testing.T) {
	o := newOffice(t)
	for range 2 { // of one snapshot, and of two
		doc := publish(t, o.history())
		if s := doc.Series[0]; s.FirstBad != nil || *s.LastClean != o.ids[len(o.ids)-1].String() || len(s.Damaged) != 0 {
			t.Errorf("the series is %+v", s)
		}
		o.snapshot()
	}
	doc := publish(t, Result{Series: []Series{}})
	if len(doc.Series) != 0 {
		t.Errorf("no snapshot makes %+v", doc.Series)
	}
}

// take stores a snapshot of the office with other words about it.
func (o *office) take(opt archive.Options, paths ...string) *snapshot.Snapshot {
	o.t.Helper()
	res, err := archive.Run(context.Background(), o.r, paths, opt)
	if err != nil {
		o.t.Fatal(err)
	}
	return res.Snapshot
}

func TestSeriesAreOfOneHostAndTheSamePathsInAnyOrder(t *testing.T) {
	o := newOffice(t)
	a, b := o.path("dept0"), o.path("dept1")
	o.take(archive.Options{Host: "london", Time: o.clock.Add(time.Hour)}, a, b)
	o.take(archive.Options{Host: "london", Time: o.clock.Add(2 * time.Hour)}, b, a)
	o.take(archive.Options{Host: "geneva", Time: o.clock.Add(3 * time.Hour), Tags: []string{"night"}}, a, b)
	o.take(archive.Options{Host: "london", Time: o.clock.Add(4 * time.Hour)}, a)
	result, err := History(t.Context(), o.r, snapshot.Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range result.Series {
		got = append(got, fmt.Sprintf("%s %d of %d", s.Host, len(s.Snapshots), len(s.Paths)))
	}
	if want := []string{"london 1 of 1", "london 2 of 2", "geneva 1 of 2", "london 1 of 1"}; !slices.Equal(got, want) {
		t.Errorf("series are %q, want %q", got, want)
	}
	for want, f := range map[int]snapshot.Filter{
		1: {Tags: [][]string{{"night"}}}, 2: {Hosts: []string{"london"}, Paths: []string{a}}, 0: {Hosts: []string{"paris"}},
	} {
		if result, err := History(t.Context(), o.r, f, nil); err != nil || len(result.Series) != want {
			t.Errorf("%+v chooses %d series, want %d; %v", f, len(result.Series), want, err)
		}
	}
}

func TestSnapshotsAreInTheOrderOfTheirTimesWhateverTheirParents(t *testing.T) {
	o := newOffice(t)
	noon := o.clock.Add(48 * time.Hour)
	elsewhere := o.take(archive.Options{Host: "geneva", Time: noon}, o.path("dept0"))
	later := o.take(archive.Options{Host: "paris", Time: noon.Add(2 * time.Hour), Parent: elsewhere}, o.dir)
	same := o.take(archive.Options{Host: "paris", Time: noon.Add(time.Hour), Parent: later}, o.dir)
	o.take(archive.Options{Host: "paris", Time: noon.Add(time.Hour), Tags: []string{"again"}}, o.dir)
	result, err := History(t.Context(), o.r, snapshot.Filter{Hosts: []string{"paris"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := result.Series[0].Snapshots
	if len(all) != 3 || all[2].ID != later.ID || all[0].ID != same.ID && all[1].ID != same.ID {
		t.Errorf("the order is %v", all)
	}
}

func TestAProgressIsToldForEachSnapshot(t *testing.T) {
	o := newOffice(t)
	for day := 1; day <= 3; day++ {
		o.ordinary(day)
		o.snapshot()
	}
	var last Progress
	_, err := Run(t.Context(), o.r, Options{Progress: func(p Progress) {
		if p.Done < last.Done || p.Changes <= last.Changes {
			t.Errorf("after %+v comes %+v", last, p)
		}
		last = p
	}})
	if err != nil || last.Done != 3 || last.Snapshots != 4 || last.Host != "london" {
		t.Errorf("it ends with %+v, %v", last, err)
	}
}

func TestEachTreeIsReadOnceAndOnlyThoseThatChanged(t *testing.T) {
	o := newOffice(t)
	for _, name := range []string{"dept1/minutes1.txt", "dept1/minutes5.txt", "dept1/minutes9.txt"} {
		o.remove(name)
		o.snapshot()
	}
	result := o.history()
	want := map[blob.ID]bool{}
	for i := range o.ids {
		for dir := o.path("dept1"); dir != "/"; dir = filepath.Dir(dir) {
			rel, err := filepath.Rel(o.dir, dir)
			if err != nil {
				t.Fatal(err)
			}
			want[*o.node(i, rel).Subtree] = true
		}
		sn, err := snapshot.Find(t.Context(), o.r, o.ids[i].String(), snapshot.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		want[sn.Tree] = true
	}
	bytes := int64(0)
	for id := range want {
		at, ok := o.r.Locate(blob.Handle{ID: id, Type: blob.Tree})
		if !ok {
			t.Fatalf("tree %s is not stored", id.Short())
		}
		bytes += int64(at.Length)
	}
	for _, kind := range []backend.Type{backend.Index, backend.Snapshot} {
		if err := o.r.List(t.Context(), kind, func(_ blob.ID, size int64) error { bytes += size; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if result.Read.Bytes != bytes {
		t.Errorf("it read %d bytes; the %d trees that changed, index and snapshots have %d", result.Read.Bytes, len(want), bytes)
	}
}

func TestAnAssessmentEndsWithItsContext(t *testing.T) {
	r, err := repo.Init(t.Context(), memory.New(), "secret", repo.Options{ScryptN: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, r, Options{}); err == nil {
		t.Error("it went on")
	}
}
