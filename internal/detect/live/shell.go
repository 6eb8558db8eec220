package live

import (
	"context"
	"errors"
	"io"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

// webShell is the technique of what lookForShell finds.
const webShell = "T1505.003"

// maxShell is how much of a script is looked at, in bytes.
const maxShell = 64 << 10

// lookForShell looks at a file that the web server's own user wrote where it serves files from: a program that runs what a visitor sends,
// and did not before, has no business there. Programs that somebody else brought are judged when they are in a snapshot, beside the
// approved release and the access log.
func (d *detector) lookForShell(ctx context.Context, f *file, name string, old *snapshot.Node, by doing) error {
	if d.tree.Documents == "" || !estate.Below(name, []string{d.tree.Documents}) || !d.shelled[name].IsZero() || !d.tree.Servers[d.actors.user(by.pid)] {
		return nil
	}
	head := make([]byte, maxShell)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	rules := content.Shell(name, head[:n])
	if rules == nil {
		return nil
	}
	if v := d.tree.Former.version(ctx, name, old); v != nil && v.Data != nil {
		if n, err = v.Data.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if content.Shell(name, head[:n]) != nil {
			return nil
		}
	}
	d.shelled[name], d.news = by.at, true
	evidence := map[string]any{"rules": rules, "written_by_server": true, "document_root": d.tree.Documents}
	d.shells = append(d.shells, Alarm{Who: attribute(d.actors, evidence, map[int]int{by.pid: 1}), Signal: event.Signal{
		Kind: "shell.uploaded", Technique: webShell, Time: by.at.UTC(), Service: d.tree.Service, Asset: d.tree.Asset, Subject: name,
		Strength: min(0.99, 0.85+0.05*float64(len(rules))), Evidence: evidence, Touched: []string{name}, Count: 1,
	}})
	return nil
}
