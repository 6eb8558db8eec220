package snapshot_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/kedge-project/kedge/snapshot"
)

func TestGroupsAreThoseOfRestic(t *testing.T) {
	dir := t.TempDir()
	list := history(t, dir)
	for _, spelled := range []string{"host", "tags", "host,paths", "paths,tags,host"} {
		var theirs []struct {
			Key       snapshot.GroupKey `json:"group_key"`
			Snapshots []named           `json:"snapshots"`
		}
		if err := json.Unmarshal(restic(t, dir, "snapshots", "--no-lock", "--json", "--group-by", spelled), &theirs); err != nil {
			t.Fatal(err)
		}
		by, err := snapshot.ParseGroupBy(spelled)
		if err != nil {
			t.Fatal(err)
		}
		want, got := map[string]int{}, map[string]int{}
		for _, g := range theirs {
			want[fmt.Sprintf("%+v", g.Key)] = len(g.Snapshots)
		}
		for _, g := range by.Groups(list) {
			got[fmt.Sprintf("%+v", g.Key)] = len(g.Snapshots)
		}
		if !reflect.DeepEqual(got, want) || len(got) < 2 {
			t.Errorf("by %s: groups and their sizes %v, want %v", spelled, got, want)
		}
	}
	if all := (snapshot.GroupBy{}).Groups(list); len(all) != 1 || all[0].Key.String() != "" {
		t.Errorf("by nothing: %d groups", len(all))
	}
	if by, err := snapshot.ParseGroupBy("host,colour"); err == nil {
		t.Errorf("by a colour: %+v", by)
	}
}

func TestSelectTakesNamedSnapshotsOnceAndTellsOfUnknownOnes(t *testing.T) {
	r, _ := newRepository(t)
	var list []*snapshot.Snapshot
	for i, host := range []string{"london", "geneva", "london"} {
		sn := &snapshot.Snapshot{Time: historyStart.AddDate(0, 0, i), Tree: newTrees(t).add(), Hostname: host}
		_, err := snapshot.Save(t.Context(), r, sn)
		try(t, err)
		list = append(list, sn)
	}
	london := snapshot.Filter{Hosts: []string{"london"}}
	var ignored []string
	ignore := func(spec string, _ error) { ignored = append(ignored, spec) }
	for _, c := range []struct {
		specs []string
		want  []*snapshot.Snapshot
	}{
		{nil, []*snapshot.Snapshot{list[0], list[2]}},
		{[]string{"latest", list[1].ID.Short(), list[2].ID.String()}, []*snapshot.Snapshot{list[2], list[1]}},
		{[]string{"zz", "", list[1].ID.Short()}, list[1:2]},
	} {
		got, err := snapshot.Select(t.Context(), r, c.specs, london, ignore)
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("select %q: %d snapshots, %v; want %d", c.specs, len(got), err, len(c.want))
		}
		for i := range got {
			if got[i].ID != c.want[i].ID {
				t.Errorf("select %q: snapshot %d is %s, want %s", c.specs, i, got[i].ID.Short(), c.want[i].ID.Short())
			}
		}
	}
	if fmt.Sprintf("%q", ignored) != `["zz" ""]` {
		t.Errorf("ignored %q", ignored)
	}
}
