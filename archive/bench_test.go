package archive_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
)

// benchTree is 96 MB: 2,000 text-like files of 16 KiB and one file of 64 MiB that cannot be compressed.
func benchTree(b *testing.B) (dir string, bytes int64) {
	b.Helper()
	dir = b.TempDir()
	noise := rand.NewChaCha8([32]byte{7})
	words := []byte("the committee considered the document and noted that the provisions of the convention apply ")
	for n := range 2000 {
		text := fmt.Appendf(nil, "file %d ", n)
		for len(text) < 16<<10 {
			at := noise.Uint64() % uint64(len(words)/2)
			text = append(text, words[at:]...)
		}
		path := filepath.Join(dir, fmt.Sprint(n%50), fmt.Sprint(n))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			b.Fatal(err)
		}
		bytes += int64(len(text))
	}
	large := make([]byte, 64<<20)
	noise.Read(large)
	if err := os.WriteFile(filepath.Join(dir, "large"), large, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir, bytes + int64(len(large))
}

func benchRepository(b *testing.B) *repo.Repository {
	b.Helper()
	be, err := local.Create(filepath.Join(b.TempDir(), "repository"))
	if err != nil {
		b.Fatal(err)
	}
	r, err := repo.Init(b.Context(), be, "benchmark", repo.Options{ScryptN: 2})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func BenchmarkFirstBackup(b *testing.B) {
	dir, bytes := benchTree(b)
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := benchRepository(b)
		b.StartTimer()
		if _, err := archive.Run(b.Context(), r, []string{dir}, archive.Options{Host: "bench"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnchangedBackup(b *testing.B) {
	dir, bytes := benchTree(b)
	r := benchRepository(b)
	if _, err := archive.Run(b.Context(), r, []string{dir}, archive.Options{Host: "bench"}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := archive.Run(b.Context(), r, []string{dir}, archive.Options{Host: "bench"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestore stands here because it needs a backup first.
func BenchmarkRestore(b *testing.B) {
	dir, bytes := benchTree(b)
	r := benchRepository(b)
	result, err := archive.Run(b.Context(), r, []string{dir}, archive.Options{Host: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		done, err := restore.Run(b.Context(), r, result.Snapshot.Tree, restore.Options{Target: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if done.BytesWritten != bytes {
			b.Fatalf("%d of %d bytes restored", done.BytesWritten, bytes)
		}
	}
}
