package archive

import (
	"context"

	"golang.org/x/sys/unix"
)

// scan counts what there is to read. What it cannot see it leaves to the walk to tell of.
func (a *archiver) scan(ctx context.Context, top *target) {
	a.scanDir(ctx, top.place(), top)
	if ctx.Err() == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.done.Scanned = true
		a.tell()
	}
}

func (a *archiver) scanDir(ctx context.Context, p place, want *target) {
	if want != nil && want.children == nil {
		want = nil
	}
	names, err := a.list(p, want)
	if err != nil {
		return
	}
	var files, bytes int64
	var st unix.Stat_t
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		var next *target
		if want != nil {
			next = want.children[name]
		}
		below, taken, _ := a.inspect(p, name, next, &st)
		switch {
		case !taken:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			a.scanDir(ctx, below, next)
		case st.Mode&unix.S_IFMT == unix.S_IFREG:
			files++
			bytes += st.Size
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done.TotalFiles += files
	a.done.TotalBytes += bytes
}
