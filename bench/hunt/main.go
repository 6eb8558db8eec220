// Command hunt measures kedge hunt against kedge check --read-data, which reads the same bytes: on real files, for the rate, and
// on a file of many small blobs, for the memory. README.md holds what it printed last:
//
//	make build && go run ./bench/hunt -write bench/hunt/README.md
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/wording"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/hunt:", err)
		os.Exit(1)
	}
}

type options struct {
	kedge  string
	rounds int
	blobs  int
	write  string
	source []string
}

func run(ctx context.Context) error {
	var opt options
	flag.StringVar(&opt.kedge, "kedge", "bin/kedge", "the `program`")
	flag.IntVar(&opt.rounds, "rounds", 3, "how often each work is done; the median counts")
	flag.IntVar(&opt.blobs, "blobs", 200_000, "blobs of the file of many; 0 leaves it out")
	flag.StringVar(&opt.write, "write", "", "`file` for the result, besides standard output")
	flag.Parse()
	if opt.source = flag.Args(); len(opt.source) == 0 {
		opt.source = []string{"/usr/share", "/usr/bin"}
	}
	dir, err := os.MkdirTemp("", "kedge-bench-hunt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{ctx: ctx, options: opt, dir: dir}
	if b.kedge, err = filepath.Abs(opt.kedge); err != nil {
		return err
	}
	if err := b.all(); err != nil {
		return err
	}
	fmt.Print(b.report.String())
	if opt.write == "" {
		return nil
	}
	return os.WriteFile(opt.write, []byte(b.report.String()), 0o644)
}

type bench struct {
	ctx context.Context
	options
	dir    string
	report strings.Builder
}

// work is one command on a repository.
type work struct {
	name string
	args []string
	used []measure.Usage
	out  huntResult
}

// huntResult is what kedge hunt --json prints, as far as it matters here.
type huntResult struct {
	Hits []struct{} `json:"hits"`
	Read struct {
		Blobs int   `json:"blobs"`
		Again int   `json:"again"`
		Bytes int64 `json:"bytes"`
	} `json:"read"`
}

func (b *bench) all() error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Fprintf(&b.report, `# kedge hunt: rate and memory

What `+"`make build && go run ./bench/hunt -write bench/hunt/README.md`"+` printed last. `+"`kedge check --read-data`"+` reads, decrypts,
decompresses and verifies the same blobs, and looks for nothing; the target is half of its rate. Rates are of plain bytes, by the
clock and by seconds of processor, which others on the machine disturb less. All works take turns; figures are medians of %d rounds,
memory is the greatest.

%s, %s/%s, %d processors (%s), built with %s. Load average at the start: %.4s.

`, b.rounds, time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), measure.Processor(), runtime.Version(), load)
	if err := b.rates(); err != nil {
		return err
	}
	if b.blobs == 0 {
		return nil
	}
	return b.memory()
}

// rates measures on real files.
func (b *bench) rates() error {
	at := filepath.Join(b.dir, "files")
	if _, _, err := b.run(at, "init"); err != nil {
		return err
	}
	// What cannot be read, as others' files, is left out: exit status 3.
	if _, _, err := b.run(at, append([]string{"backup", "--quiet"}, b.source...)...); err != nil && exitStatus(err) != 3 {
		return err
	}
	works := []*work{
		{name: "literal, `gate.evil.example`", args: []string{"--literal", "gate.evil.example"}},
		{name: "one letter that stands everywhere, `e`", args: []string{"--literal", "e"}},
		{name: "100 literals", args: manyLiterals(100)},
		{name: "regex `https?://evil[0-9]+\\.example/[a-z]+`", args: []string{"--regex", `https?://evil[0-9]+\.example/[a-z]+`}},
		{name: "regex `(?i)eval\\s*\\(\\s*base64_decode`", args: []string{"--regex", `(?i)eval\s*\(\s*base64_decode`}},
		{name: "regex `(?i)password\\s*=\\s*\"[^\"]{8,}\"`", args: []string{"--regex", `(?i)password\s*=\s*"[^"]{8,}"`}},
		{name: "regex `[a-z]+@[a-z]+\\.ru`", args: []string{"--regex", `[a-z]+@[a-z]+\.ru`}},
		{name: "no literal: regex `\\b[0-9a-f]{64}\\b`", args: []string{"--regex", `\b[0-9a-f]{64}\b`}},
		{name: "no literal: regex `\\b(?:[0-9]{1,3}\\.){3}[0-9]{1,3}\\b`", args: []string{"--regex", `\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`}},
		{name: "a literal in every text: regex `(?i)[a-z]+ing [a-z]+ed`", args: []string{"--regex", `(?i)[a-z]+ing [a-z]+ed`}},
		{name: "nothing to go by: regex `[a-z]+[0-9]+[a-z]+`", args: []string{"--regex", `[a-z]+[0-9]+[a-z]+`}},
		{name: "lines that hold a word: regex `(?m)^.*error.*$`", args: []string{"--regex", `(?m)^.*error.*$`}},
		{name: "from a frequent word to the last of another: regex `(?s)one.*two`", args: []string{"--regex", `(?s)one.*two`}},
		{name: "10 of these regexes at once", args: []string{"--regex", `https?://evil[0-9]+\.example/[a-z]+`, "--regex", `(?i)eval\s*\(\s*base64_decode`, "--regex", `(?i)password\s*=\s*"[^"]{8,}"`,
			"--regex", `[a-z]+@[a-z]+\.ru`, "--regex", `\b[0-9a-f]{64}\b`, "--regex", `\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`, "--regex", `(?i)[a-z]+ing [a-z]+ed`, "--regex", `[a-z]+[0-9]+[a-z]+`,
			"--regex", `(?m)^.*error.*$`, "--regex", `(?s)one.*two`}},
		{name: "SHA-256 of a file of many blobs", args: []string{"--sha256", strings.Repeat("ab", 32)}},
	}
	check, err := b.measure(at, works)
	if err != nil {
		return err
	}
	read := works[0].out.Read
	fmt.Fprintf(&b.report, "## Rate: %s in %s from %s\n\n", wording.Size(read.Bytes), wording.Number(int64(read.Blobs), "blob"), strings.Join(b.source, " and "))
	fmt.Fprintln(&b.report, "| work | seconds | rate | of check's | processor | rate a processor second | of check's | memory | hits |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	check.out.Read = read
	for _, w := range append([]*work{check}, works...) {
		used, base := measure.Median(w.used), measure.Median(check.used)
		rate := func(d time.Duration) float64 { return float64(w.out.Read.Bytes) / d.Seconds() }
		fmt.Fprintf(&b.report, "| %s | %.2f | %s/s | %.2f | %.2f | %s | %.2f | %s | %s |\n", w.name, used.Wall.Seconds(), wording.Size(int64(rate(used.Wall))),
			rate(used.Wall)/(float64(read.Bytes)/base.Wall.Seconds()), used.CPU.Seconds(), wording.Size(int64(rate(used.CPU))),
			rate(used.CPU)/(float64(read.Bytes)/base.CPU.Seconds()), wording.Size(used.Memory), wording.Count(int64(len(w.out.Hits))))
	}
	fmt.Fprint(&b.report, "\nOf several expressions each walks through the content, so that ten at once take what each takes, added up. What takes longest walks from a\n",
		"match's start to its end and back through much of each blob, as `(?s)one.*two` does, since both words are frequent.\n\n")
	return nil
}

// memory measures on files of many blobs.
func (b *bench) memory() error {
	fmt.Fprint(&b.report, "## Memory: a file of blobs of 4 KiB, in two versions that differ in every tenth blob\n\n",
		"| blobs | work | seconds | memory | a blob more | read again |\n| --- | --- | --- | --- | --- | --- |\n")
	last := make(map[string]int64)
	lastBlobs := 0
	for _, blobs := range []int{b.blobs / 10, b.blobs} {
		at := filepath.Join(b.dir, fmt.Sprint("blobs", blobs))
		if _, _, err := b.run(at, "init"); err != nil {
			return err
		}
		if err := fill(b.ctx, at, blobs); err != nil {
			return err
		}
		works := []*work{
			{name: "literal of 20 bytes", args: []string{"--literal", "there is none of this"}},
			{name: "regex of 21 bytes", args: []string{"--regex", "there is none of this[0-9]"}},
			{name: "regex that reaches 4 KiB over a border", args: []string{"--regex", "there is none of this[0-9]+"}},
			{name: "SHA-256", args: []string{"--sha256", strings.Repeat("ab", 32)}},
		}
		check, err := b.measure(at, works)
		if err != nil {
			return err
		}
		for _, w := range append([]*work{check}, works...) {
			used := measure.Median(w.used)
			more := "–"
			if lastBlobs > 0 {
				more = wording.Size((used.Memory - last[w.name]) / int64(blobs-lastBlobs))
			}
			last[w.name] = used.Memory
			fmt.Fprintf(&b.report, "| %s | %s | %.2f | %s | %s | %s |\n", wording.Count(int64(blobs)), w.name, used.Wall.Seconds(), wording.Size(used.Memory), more,
				wording.Count(int64(w.out.Read.Again)))
		}
		lastBlobs = blobs
	}
	return nil
}

// measure does all works in turns, and the check.
func (b *bench) measure(at string, works []*work) (check *work, err error) {
	check = &work{name: "kedge check --read-data"}
	for range b.rounds {
		used, _, err := b.run(at, "check", "--read-data")
		if err != nil {
			return nil, err
		}
		check.used = append(check.used, used)
		for _, w := range works {
			used, out, err := b.run(at, append([]string{"hunt", "--json"}, w.args...)...)
			if err != nil {
				return nil, err
			}
			w.used = append(w.used, used)
			if err := json.Unmarshal(out, &w.out); err != nil {
				return nil, fmt.Errorf("read what kedge hunt printed: %w", err)
			}
		}
	}
	return check, nil
}

func manyLiterals(n int) (args []string) {
	for i := range n {
		args = append(args, "--literal", fmt.Sprintf("%x.c2-%d.example", i*7919+1234567, i))
	}
	return args
}

const password = "correct horse"

// run runs kedge on a repository.
func (b *bench) run(at string, args ...string) (measure.Usage, []byte, error) {
	cmd := exec.CommandContext(b.ctx, b.kedge, args...)
	cmd.Env = append(os.Environ(), "RESTIC_REPOSITORY="+at, "RESTIC_PASSWORD="+password, "RESTIC_CACHE_DIR="+filepath.Join(b.dir, "cache"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	used := measure.Usage{Wall: time.Since(start)}
	if err != nil {
		return used, nil, fmt.Errorf("kedge %s: %w: %.500s", args[0], err, errs.String())
	}
	used.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		used.Memory = usage.Maxrss << 10
	}
	return used, out.Bytes(), nil
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
