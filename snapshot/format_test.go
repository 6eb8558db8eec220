package snapshot

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
)

// TestEveryFieldStandsInTheFormatsOrder holds a node and a snapshot that have all fields to texts written by hand from the
// format: Debian's restic does not write the newer fields, so it is no judge of them.
func TestEveryFieldStandsInTheFormatsOrder(t *testing.T) {
	id := blob.Hash([]byte("x"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	node := &Node{Name: "a\xff", Type: File, Mode: fs.ModeSetuid | 0o640, ModTime: at, AccessTime: at, ChangeTime: at, UID: 1, GID: 2, User: "u", Group: "g",
		Inode: 3, DeviceID: 4, Size: 5, Links: 2, ExtendedAttributes: []ExtendedAttribute{{"user.a", []byte("v")}},
		GenericAttributes: map[string]json.RawMessage{"windows.creation_time": json.RawMessage(`"x"`)}, Content: []blob.ID{id}, Error: "e"}
	link := &Node{Name: "b", Type: Symlink, Mode: fs.ModeSymlink | 0o777, ModTime: at, AccessTime: at, ChangeTime: at, LinkTarget: "to \xfe"}
	device := &Node{Name: "c", Type: CharDev, Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, ModTime: at, AccessTime: at, ChangeTime: at, Links: 1, Device: 259}
	dir := &Node{Name: "d", Type: Dir, Mode: fs.ModeDir | 0o755, ModTime: at, AccessTime: at, ChangeTime: at, Subtree: &id}
	got, err := (&Tree{Nodes: []*Node{node, link, device, dir}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	times := strings.ReplaceAll(`"mtime":T,"atime":T,"ctime":T,`, "T", `"2026-01-02T03:04:05.000000006+01:00"`)
	want := `{"nodes":[` + // modes are Go's numbers: setuid is 1<<23
		`{"name":"a\\xff","type":"file","mode":8389024,` + times + `"uid":1,"gid":2,"user":"u","group":"g","inode":3,"device_id":4,"size":5,"links":2,` +
		`"extended_attributes":[{"name":"user.a","value":"dg=="}],"generic_attributes":{"windows.creation_time":"x"},"content":["` + id.String() + `"],"error":"e"},` +
		`{"name":"b","type":"symlink","mode":134218239,` + times + `"uid":0,"gid":0,"linktarget":"to \ufffd","linktarget_raw":"dG8g/g==","content":null},` +
		`{"name":"c","type":"chardev","mode":69206400,` + times + `"uid":0,"gid":0,"links":1,"device":259,"content":null},` +
		`{"name":"d","type":"dir","mode":2147484141,` + times + `"uid":0,"gid":0,"content":null,"subtree":"` + id.String() + `"}]}` + "\n"
	if string(got) != want {
		t.Errorf("a tree is written as\n%swant\n%s", got, want)
	}

	sn := &Snapshot{Time: at, Parent: &id, Tree: id, Paths: []string{"/srv"}, Hostname: "h", Username: "u", UID: 1, GID: 2, Excludes: []string{"*.tmp"}, Tags: []string{"t"},
		Original: &id, ProgramVersion: "kedge 1", Summary: &Summary{BackupStart: at, BackupEnd: at, FilesNew: 1, FilesChanged: 2, FilesUnmodified: 3, DirsNew: 4,
			DirsChanged: 5, DirsUnmodified: 6, DataBlobs: 7, TreeBlobs: 8, DataAdded: 9, DataAddedPacked: 10, TotalFilesProcessed: 11, TotalBytesProcessed: 12}}
	got, err = json.Marshal(sn)
	if err != nil {
		t.Fatal(err)
	}
	want = `{"time":T,"parent":I,"tree":I,"paths":["/srv"],"hostname":"h","username":"u","uid":1,"gid":2,"excludes":["*.tmp"],"tags":["t"],"original":I,` +
		`"program_version":"kedge 1","summary":{"backup_start":T,"backup_end":T,"files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":4,` +
		`"dirs_changed":5,"dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"data_added_packed":10,"total_files_processed":11,"total_bytes_processed":12}}`
	want = strings.NewReplacer(":T", `:"2026-01-02T03:04:05.000000006+01:00"`, ":I", `:"`+id.String()+`"`).Replace(want)
	if string(got) != want {
		t.Errorf("a snapshot is written as\n%s\nwant\n%s", got, want)
	}
	if got, err := json.Marshal(&Snapshot{Time: at, Tree: id, Paths: []string{"/"}}); err != nil || bytes.Contains(got, []byte("summary")) || bytes.Contains(got, []byte("null")) {
		t.Errorf("a snapshot of little is written as %s, %v", got, err)
	}
}
