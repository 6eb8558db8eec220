package mount

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

func at(id byte, hour int, host string, tags ...string) *snapshot.Snapshot {
	zone := time.FixedZone("east", 2*3600)
	return &snapshot.Snapshot{ID: blob.ID{id}, Time: time.Date(2026, 1, 2, hour, 0, 0, 0, zone), Hostname: host, Username: "u", Tags: tags}
}

// paths lists where every snapshot stands, with the latest.
func paths(f *folder, above string) []string {
	var all []string
	for _, name := range f.names() {
		switch {
		case f.folders[name] != nil:
			all = append(all, paths(f.folders[name], above+name+"/")...)
		case f.snapshots[name] != nil:
			all = append(all, above+name)
		default:
			all = append(all, above+name+" -> "+f.latest)
		}
	}
	return all
}

func TestSnapshotsStandWhereResticPutsThem(t *testing.T) {
	list := []*snapshot.Snapshot{at(3, 5, "fs1", "day", "a/b"), at(1, 3, "fs1"), at(2, 3, "fs2")}
	root, err := layout(list, DefaultPaths(), DefaultTime)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"hosts/fs1/2026-01-02T01:00:00Z", "hosts/fs1/2026-01-02T03:00:00Z", "hosts/fs1/latest -> 2026-01-02T03:00:00Z",
		"hosts/fs2/2026-01-02T01:00:00Z", "hosts/fs2/latest -> 2026-01-02T01:00:00Z",
		"ids/01000000", "ids/02000000", "ids/03000000",
		"snapshots/2026-01-02T01:00:00Z", "snapshots/2026-01-02T01:00:00Z-1", "snapshots/2026-01-02T03:00:00Z", "snapshots/latest -> 2026-01-02T03:00:00Z",
		"tags/a/b/2026-01-02T03:00:00Z", "tags/a/b/latest -> 2026-01-02T03:00:00Z",
		"tags/day/2026-01-02T03:00:00Z", "tags/day/latest -> 2026-01-02T03:00:00Z",
	}
	if got := paths(root, ""); !slices.Equal(got, want) {
		t.Errorf("they stand at\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTemplatesMayNestAndAreChecked(t *testing.T) {
	list := []*snapshot.Snapshot{at(1, 3, "fs1")}
	root, err := layout(list, []string{"%u/100%%/%T", "%I"}, "2006/01")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(root, ""), []string{list[0].ID.String(), "u/100%/2026/01", "u/100%/2026/latest -> 01"}; !slices.Equal(got, want) {
		t.Errorf("they stand at %q, want %q", got, want)
	}
	for _, bad := range []string{"%x", "a%", "", "/"} {
		if _, err := layout(list, []string{bad}, DefaultTime); err == nil {
			t.Errorf("template %q was taken", bad)
		}
	}
}

// FuzzNames: whatever a snapshot says of itself, every name can stand in a directory and none leads elsewhere.
func FuzzNames(f *testing.F) {
	f.Add("fs1", "day")
	f.Add("../../etc", "..")
	f.Add("", "latest")
	f.Add(strings.Repeat("x", 300), "a\x00b/./c")
	f.Fuzz(func(t *testing.T, host, tag string) {
		list := []*snapshot.Snapshot{at(1, 3, host, tag), at(2, 3, host, tag)}
		root, err := layout(list, DefaultPaths(), DefaultTime)
		if err != nil {
			t.Fatal(err)
		}
		var check func(f *folder)
		found := 0
		check = func(f *folder) {
			for _, name := range f.names() {
				if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
					t.Fatalf("a directory holds %q", name)
				}
				if f.snapshots[name] != nil {
					found++
				}
				if f.folders[name] != nil {
					check(f.folders[name])
				}
			}
		}
		check(root)
		if found != 8 {
			t.Fatalf("the two snapshots stand at %d places, want 8", found)
		}
	})
}
