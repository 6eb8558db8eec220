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
	l, err := a.list(p, want)
	if err != nil {
		return
	}
	type sub struct {
		place
		want *target
	}
	var subs []sub
	var files, bytes int64
	var st unix.Stat_t
	for _, name := range l.names {
		if ctx.Err() != nil {
			break
		}
		var next *target
		if want != nil {
			next = want.children[name]
		}
		below, taken, _ := a.inspect(p, l, name, next, &st)
		switch {
		case !taken:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			subs = append(subs, sub{below, next})
		case st.Mode&unix.S_IFMT == unix.S_IFREG:
			files++
			bytes += st.Size
		}
	}
	l.close()
	a.mu.Lock()
	a.done.TotalFiles += files
	a.done.TotalBytes += bytes
	a.mu.Unlock()
	for _, s := range subs {
		if ctx.Err() != nil {
			return
		}
		a.scanDir(ctx, s.place, s.want)
	}
}
