package offheap_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/offheap"
)

// resident returns how many pages of mem take memory.
func resident(t *testing.T, mem []byte) int {
	t.Helper()
	const page = 4096
	pages := make([]byte, (len(mem)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}

func TestABufferTakesWhatIsUsedAndKeepsNoMoreThanAsked(t *testing.T) {
	const mebibyte = 1 << 20
	b := offheap.NewBuffer(mebibyte)
	room := b.Room(8 * mebibyte)
	if n := resident(t, room); n != 0 {
		t.Errorf("before anything is written %d pages take memory", n)
	}
	for i := range room[:3*mebibyte] {
		room[i] = byte(i)
	}
	b.Trim(mebibyte)
	if n := resident(t, room); n < 3*mebibyte/4096 {
		t.Errorf("after a use within what is kept %d pages are left of %d", n, 3*mebibyte/4096)
	}
	b.Room(2 * mebibyte)
	b.Room(3 * mebibyte)
	b.Trim(offheap.All)
	if n := resident(t, room); n != mebibyte/4096 {
		t.Errorf("after a use of 3 MiB %d pages take memory, want those of 1 MiB", n)
	}
	if again := b.Room(mebibyte); &again[0] != &room[0] || again[77] != 77 {
		t.Error("what is kept was mapped anew")
	}
}

func TestRoomForMoreThanAChunkIsNotKept(t *testing.T) {
	b := offheap.NewBuffer(1 << 20)
	small := b.Room(10)
	small[9] = 1
	large := b.Room(40 << 20)
	if len(large) != 40<<20 {
		t.Fatalf("room of %d bytes, want 40 MiB", len(large))
	}
	large[len(large)-1] = 1
	b.Trim(len(large))
	if room := b.Room(10 << 20); room[0] != 0 {
		t.Error("the large mapping was kept")
	}
}

func TestAPoolKeepsAFewBuffers(t *testing.T) {
	p := offheap.NewPool(1, 1<<20)
	one, two := p.Get(), p.Get()
	if one == two {
		t.Fatal("the same buffer for two")
	}
	one.Room(1)
	two.Room(1)
	p.Put(one)
	p.Put(two)
	if p.Get() != one {
		t.Error("the idle buffer was not used again")
	}
	if p.Get() == two {
		t.Error("more buffers were kept than asked")
	}
}
