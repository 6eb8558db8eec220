package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packsOf backs dir up to a new repository, lets restic read it all, and returns the sizes of its packs.
func packsOf(t *testing.T, dir string, args ...string) (sizes []int64, total int64) {
	t.Helper()
	repository := filepath.Join(t.TempDir(), "repository")
	for _, command := range [][]string{{"init", "-r", repository}, append([]string{"backup", "-r", repository, dir}, args...)} {
		if status, out := kedge(t, command...); status != exitDone {
			t.Fatalf("kedge %v ended with status %d:\n%s", command, status, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "restic", "-r", repository, "--no-cache", "check", "--read-data").CombinedOutput(); err != nil {
		t.Errorf("after backup %v: restic check: %v\n%s", args, err, out)
	}
	err := filepath.WalkDir(filepath.Join(repository, "data"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes = append(sizes, info.Size())
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes, total
}

func TestCompressionIsAsHardAsAskedFor(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("RESTIC_PASSWORD", "correct horse")
	var text strings.Builder
	random := rand.New(rand.NewPCG(1, 2))
	for line := range 12_000 {
		fmt.Fprintf(&text, "ship %d entered the harbour of %s\n", line, []string{"Geneva", "London", "Valletta", "Busan"}[random.IntN(4)])
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "log"), []byte(text.String()))

	_, off := packsOf(t, dir, "--compression", "off")
	_, auto := packsOf(t, dir)
	_, hardest := packsOf(t, dir, "--compression", "max")
	if off < int64(text.Len()) || auto > off/2 || hardest >= auto {
		t.Errorf("%d bytes of text took %d with off, %d with auto and %d with max", text.Len(), off, auto, hardest)
	}
	t.Setenv("RESTIC_COMPRESSION", "off")
	if _, got := packsOf(t, dir); got < int64(text.Len()) {
		t.Errorf("RESTIC_COMPRESSION=off is not heard: %d bytes", got)
	}
	if status, out := kedge(t, "snapshots", "-r", dir, "--compression", "strong"); status != exitFailed || !strings.Contains(out, "choose auto") {
		t.Errorf("--compression strong: status %d\n%s", status, out)
	}
}

func TestPacksAreAsLargeAsAskedFor(t *testing.T) {
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("RESTIC_PASSWORD", "correct horse")
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{7})
	for i := range 36 { // of one chunk each
		data := make([]byte, 500<<10)
		random.Read(data)
		write(t, filepath.Join(dir, fmt.Sprint(i)), data)
	}
	largest := func(sizes []int64) (most int64) {
		for _, size := range sizes {
			most = max(most, size)
		}
		return most
	}
	if sizes, _ := packsOf(t, dir); largest(sizes) < 5<<20 {
		t.Errorf("packs of %d bytes; the default is 16 MiB", sizes)
	}
	if sizes, _ := packsOf(t, dir, "--pack-size", "4"); largest(sizes) > 4<<20 || len(sizes) < 5 {
		t.Errorf("packs of %d bytes with --pack-size 4", sizes)
	}
	t.Setenv("RESTIC_PACK_SIZE", "4")
	if sizes, _ := packsOf(t, dir); largest(sizes) > 4<<20 {
		t.Errorf("packs of %d bytes with RESTIC_PACK_SIZE=4", sizes)
	}
	for _, size := range []string{"3", "129", "many"} {
		if status, out := kedge(t, "snapshots", "-r", dir, "--pack-size", size); status != exitFailed || !strings.Contains(out, "give 4 to 128") {
			t.Errorf("--pack-size %s: status %d\n%s", size, status, out)
		}
	}
}
