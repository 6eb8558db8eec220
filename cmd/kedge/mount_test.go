package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMountServesUntilItIsInterrupted(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		if os.Geteuid() == 0 && os.Getenv("CI") == "true" {
			t.Fatal("there is no /dev/fuse: load the kernel module fuse, or give the container the device")
		}
		t.Skip("a mount without further programs needs root and /dev/fuse")
	}
	flags, _, _ := flagsFor(t)
	source := filepath.Join(t.TempDir(), "note.txt")
	if err := os.WriteFile(source, []byte("a note"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := kedgeCommand(t, "backup", "-r", flags.location, source); status != 0 {
		t.Fatal(out)
	}
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	said, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"mount", "-r", flags.location, "--path-template", "by-day/%T", "--time-template", "2006", dir}, out, out)
		out.Close()
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.Contains(line, "end with Ctrl-C") {
		t.Fatalf("it said %q, %v", line, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "by-day/latest", source)); string(got) != "a note" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	interrupt()
	if status := <-done; status != 0 {
		t.Errorf("it ended with status %d, want 0: an interrupt is how it ends", status)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the mount is left behind: %v, %v", left, err)
	}
}
