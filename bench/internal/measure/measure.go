// Package measure holds what the benchmarks share: what a piece of work took, and on what machine.
package measure

import (
	"os"
	"slices"
	"strings"
	"time"
)

// Usage is what a piece of work took.
type Usage struct {
	Wall, CPU time.Duration
	Memory    int64 // bytes, at the peak
}

// Median returns the middle of each figure by itself; of memory, which is a peak, the greatest. list is not empty.
func Median(list []Usage) Usage {
	var wall, cpu []time.Duration
	var memory int64
	for _, u := range list {
		wall, cpu, memory = append(wall, u.Wall), append(cpu, u.CPU), max(memory, u.Memory)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return Usage{wall[len(wall)/2], cpu[len(cpu)/2], memory}
}

// Processor returns the kind of processor, as the system tells it.
func Processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
