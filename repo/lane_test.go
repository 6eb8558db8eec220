package repo

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
)

// What is sealed with the repository's key is still compared with its ID: a program that stored a blob under another's
// must be noticed. Blobs are hashed two at a time, whatever their lengths, or many of one length, and each is judged by its own hash.
func TestABlobUnderAWrongIDIsNoticedAndNoOther(t *testing.T) {
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var blobs [][]byte
	lengths := []int{1, 700, 1 << 20, 3000, 600_000, 64, 1023, 1024, 2_000_000, 1089, 5, 300_000, 300_000, 1 << 20}
	lengths = append(lengths, slices.Repeat([]int{4096}, 20)...)
	for i, n := range append(lengths, 77) {
		plain := noise[i*1000:][:n]
		if i%3 == 0 {
			plain = append(bytes.Repeat([]byte("twelve fathoms at low water. "), n/29), plain[:n%29]...)
		}
		blobs = append(blobs, plain)
	}
	for wrong := range blobs {
		r, err := Init(t.Context(), memory.New(), "secret", Options{ScryptN: 2})
		if err != nil {
			t.Fatal(err)
		}
		var handles []blob.Handle
		err = r.Upload(t.Context(), func(ctx context.Context, up *Uploader) error {
			for i, plain := range blobs {
				h := blob.Handle{ID: blob.Hash(plain), Type: blob.Data}
				if i == wrong {
					h.ID[0] ^= 1
				}
				handles = append(handles, h)
				if _, err := up.store(ctx, h, plain); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		got := make(map[blob.Handle]error)
		err = r.LoadBlobs(t.Context(), handles, func(h blob.Handle, data []byte, err error) error {
			mu.Lock()
			defer mu.Unlock()
			if err == nil && blob.Hash(data) != h.ID {
				t.Errorf("%v is given with other bytes", h)
			}
			got[h] = err
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		result, err := r.Check(t.Context(), CheckOptions{ReadData: true}, func(p Problem) { named = append(named, p.Err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range handles {
			err, given := got[h]
			if !given || errors.Is(err, errDamaged) != (i == wrong) {
				t.Errorf("blob %d is wrong, and loading blob %d, of %d bytes, says: %v", wrong, i, len(blobs[i]), err)
			}
		}
		if len(named) != 1 || !strings.Contains(named[0], handles[wrong].String()) || len(result.BrokenPacks) != 1 {
			t.Errorf("blob %d, %v, is wrong, and check says: %q, %v", wrong, handles[wrong], named, result.BrokenPacks)
		}
	}
}
