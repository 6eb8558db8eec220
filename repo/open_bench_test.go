package repo_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/repo"
)

const manyBlobs = 10_000_000

// opened is what a process tells that has opened the repository of BenchmarkOpen10M and looked blobs up.
type opened struct {
	Seconds    float64
	CPU        float64 // seconds of all processors
	Hit, Miss  float64 // nanoseconds
	Peak       uint64  // bytes resident at most, when the repository was open
	Heap, Maps uint64  // bytes resident then: of the process alone, and of the mapped file
	Touched    uint64  // bytes resident at the end, of the mapped file
}

// BenchmarkOpen10M opens a repository of ten million blobs, in a process of its own each time: without a cache, with an
// empty one, and with the one that this made. It takes two minutes and 3 GB below TMPDIR; -short leaves it out.
func BenchmarkOpen10M(b *testing.B) {
	if dir := os.Getenv("KEDGE_BENCH_OPEN"); dir != "" {
		openAndTell(b, dir, os.Getenv("KEDGE_BENCH_CACHE"))
		return
	}
	if testing.Short() {
		b.Skip("-short")
	}
	dir, cache := b.TempDir(), filepath.Join(b.TempDir(), "cache")
	be, err := local.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	r, err := repo.Init(b.Context(), be, password, repo.Options{ScryptN: 1 << 15}) // restic's
	if err != nil {
		b.Fatal(err)
	}
	for first := 0; first < manyBlobs; first += 50_000 {
		name(b, r, first, first+50_000)
	}
	for _, way := range []struct{ name, cache string }{{"uncached", ""}, {"first", cache}, {"cached", cache}} {
		b.Run(way.name, func(b *testing.B) {
			var o opened
			for range b.N {
				o = openElsewhere(b, dir, way.cache)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(o.Seconds, "s")
			b.ReportMetric(o.CPU, "cpu-s")
			b.ReportMetric(float64(o.Peak)/1e6, "MB-peak")
			b.ReportMetric(float64(o.Heap)/1e6, "MB-private")
			b.ReportMetric(float64(o.Maps)/1e6, "MB-mapped")
			b.ReportMetric(float64(o.Touched)/1e6, "MB-mapped-after")
			b.ReportMetric(o.Hit, "ns/hit")
			b.ReportMetric(o.Miss, "ns/miss")
		})
	}
}

func openElsewhere(b *testing.B, dir, cache string) (o opened) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self, "-test.run=^$", "-test.bench=^BenchmarkOpen10M$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "KEDGE_BENCH_OPEN="+dir, "KEDGE_BENCH_CACHE="+cache)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if err := json.Unmarshal([]byte(line), &o); err == nil {
			return o
		}
	}
	b.Fatalf("nothing told: %s", out)
	return o
}

func openAndTell(b *testing.B, dir, cache string) {
	be, err := local.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	before := processorTime(b)
	begin := time.Now()
	r, err := repo.Open(b.Context(), be, password, repo.Options{CacheDir: cache})
	if err != nil || r.CacheError() != nil {
		b.Fatal(err, r.CacheError())
	}
	o := opened{Seconds: time.Since(begin).Seconds(), CPU: (processorTime(b) - before).Seconds(), Peak: resident(b, "VmHWM")}
	debug.FreeOSMemory()
	o.Heap, o.Maps = resident(b, "RssAnon"), resident(b, "RssFile")
	const lookups = 1_000_000
	look := func(first int, want bool) float64 {
		begin := time.Now()
		for i := range lookups {
			if r.Has(nth(first+i*7919%manyBlobs)) != want {
				b.Fatalf("blob %d: known is not %t", first+i*7919%manyBlobs, want)
			}
		}
		return float64(time.Since(begin).Nanoseconds()) / lookups
	}
	o.Hit, o.Miss = look(0, true), look(manyBlobs, false)
	o.Touched = resident(b, "RssFile")
	line, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\n%s\n", line)
}

// resident returns a line of /proc/self/status in bytes.
func resident(b *testing.B, key string) uint64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == key+":" {
			kB, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kB << 10
		}
	}
	b.Fatalf("no %s", key)
	return 0
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
