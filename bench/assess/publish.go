package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/wording"
)

// publish prints the figures, and writes them and the plot where -write says.
func (b *bench) publish(ctx context.Context) error {
	page := b.page(ctx)
	fmt.Print(page)
	if b.opt.write == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(b.opt.write, "README.md"), []byte(page), 0o644); err != nil {
		return err
	}
	if len(b.kept) == 0 || len(b.change) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(b.opt.write, "plot.svg"), []byte(plot(b.kept, b.change)), 0o644)
}

func version(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "not found"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func (b *bench) page(ctx context.Context) string {
	var p strings.Builder
	s := b.opt.measure
	fmt.Fprintf(&p, `# What an assessment of a history takes

What `+"`go run ./bench/assess`"+` printed last. It makes the histories that it measures: %s snapshots of %s files in %s folders, of %s on average
and of the kinds that an office has (a third are texts, the others documents, PDF and pictures that hardly can be compressed), of which %s a day
change: six of ten are edited, three are new, one goes. On day %d an attack encrypts %s files, half of them to another name, and leaves notes. Files of
an office are several times as large on average; the larger they are, the smaller is the share that is read.

Seconds are those of the clock, and in brackets of the processors, of `+"`kedge assess --json --no-cache`"+` with GOMAXPROCS=2, median of %d, with the
repository in the page cache; memory is the peak. What is read counts packs, and all index files and snapshots.

%s, %s, %d processors (%s), %s, %s.

`, wording.Count(int64(s.Snapshots)), wording.Count(int64(s.Files)), wording.Count(int64(s.Files/perFolder)), wording.Size(int64(s.Average)),
		wording.Count(int64(s.Changed)), s.Attack, wording.Count(int64(s.Hit)), b.opt.rounds,
		time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.Version(), runtime.NumCPU(), measure.Processor(),
		version(ctx, b.opt.kedge, "--version"), version(ctx, b.opt.restic, "version"))
	table(&p, b.rows)
	if len(b.kept)+len(b.change) > 0 {
		fmt.Fprintf(&p, `
## It grows with what changed, not with what is kept

Histories of %d snapshots of files of 1 KiB, without an attack: at %d changes a day, and with %s files kept. What grows with what is kept is
the index, which every command loads.

![seconds and bytes read, against files kept and against files changed](plot.svg)

`, small.Snapshots, small.Changed, wording.Count(int64(small.Files)))
		table(&p, append(append([]row{}, b.kept...), b.change...))
	}
	return p.String()
}

func table(p *strings.Builder, rows []row) {
	if len(rows) == 0 {
		return
	}
	p.WriteString("| history | files | snapshots | changes a day | seconds | memory | repository | read | share | damaged files told |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(p, "| %s | %s | %d | %s | %.2f (%.2f) | %s | %s | %s | %.2f %% | %s |\n", r.what, wording.Count(int64(r.shape.Files)), r.shape.Snapshots,
			wording.Count(int64(r.shape.Changed)), r.used.Wall.Seconds(), r.used.CPU.Seconds(), wording.Size(r.used.Memory), wording.Size(r.repository),
			wording.Size(r.read), 100*float64(r.read)/float64(r.repository), wording.Count(int64(r.damaged)))
	}
}
