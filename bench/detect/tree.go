package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maker makes files of one type, as real programs would write them.
type maker struct {
	name   string
	ext    string
	share  int // of a tree's files, of the sum of all
	median int // bytes; sizes are log-normal
	spread float64
	most   int // bytes
	dirs   []string
	make   func(ctx context.Context, r *rand.Rand, l *language, size int) ([]byte, error)
}

// least is the smallest file, in bytes.
const least = 200

func plain(f func(*language, *rand.Rand, int) []byte) func(context.Context, *rand.Rand, *language, int) ([]byte, error) {
	return func(_ context.Context, r *rand.Rand, l *language, size int) ([]byte, error) {
		return f(l, r, size), nil
	}
}

func dense(f func(*rand.Rand, int) []byte) func(context.Context, *rand.Rand, *language, int) ([]byte, error) {
	return func(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) { return f(r, size), nil }
}

func picture(f func(*rand.Rand, int) ([]byte, error)) func(context.Context, *rand.Rand, *language, int) ([]byte, error) {
	return func(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) { return f(r, size) }
}

func worded(f func(*rand.Rand, *language, int) ([]byte, error)) func(context.Context, *rand.Rand, *language, int) ([]byte, error) {
	return func(_ context.Context, r *rand.Rand, l *language, size int) ([]byte, error) { return f(r, l, size) }
}

// makers returns the types of a tree's files.
func makers() []maker {
	offices := []string{"finance", "legal/cases", "legal/treaties", "hr", "projects/alpha", "projects/beta/drafts", "meetings/2025", "meetings/2026", "shared"}
	pictures := []string{"media/photos/2024", "media/photos/2025", "media/press", "projects/alpha"}
	return []maker{
		{"text", ".txt", 9, 4 << 10, 1.4, 1 << 20, append(offices, "notes"), plain((*language).prose)},
		{"markdown", ".md", 5, 3 << 10, 1.2, 1 << 19, []string{"src/docs", "notes", "projects/beta/drafts"}, plain((*language).markdown)},
		{"csv", ".csv", 6, 12 << 10, 1.5, 2 << 20, []string{"finance", "data/exports", "projects/alpha"}, plain((*language).table)},
		{"source", ".go", 7, 5 << 10, 1, 200 << 10, []string{"src/app", "src/app/internal", "src/tools"}, plain((*language).source)},
		{"html", ".html", 5, 12 << 10, 1, 500 << 10, []string{"www", "www/news", "src/docs"}, plain((*language).page)},
		{"docx", ".docx", 10, 20 << 10, 1.1, 2 << 20, offices, worded(paper)},
		{"xlsx", ".xlsx", 6, 15 << 10, 1.1, 1 << 20, offices, worded(sheet)},
		{"pdf", ".pdf", 9, 40 << 10, 1.2, 4 << 20, append(offices, "www/documents"), worded(portable)},
		{"jpeg", ".jpg", 8, 70 << 10, 0.8, 600 << 10, pictures, picture(photo)},
		{"png", ".png", 4, 25 << 10, 1, 400 << 10, append(pictures, "www/img"), picture(drawing)},
		{"zip", ".zip", 3, 60 << 10, 1.2, 1 << 20, []string{"shared", "data/exports", "archive/2019"}, worded(bundle)},
		{"gzip", ".gz", 3, 15 << 10, 1.2, 1 << 20, []string{"logs/old", "data/exports", "archive/2019"}, worded(func(r *rand.Rand, l *language, size int) ([]byte, error) { return gzipped(l.syslog(r, size*6)) })},
		{"mp4", ".mp4", 2, 400 << 10, 0.8, 3 << 20, []string{"media/video", "meetings/2026"}, dense(film)},
		{"sqlite", ".db", 3, 60 << 10, 1, 2 << 20, []string{"data/app", "data/catalogue"}, databaseBytes},
		{"relation", "", 3, 64 << 10, 1, 2 << 20, []string{"data/cluster/base/16384"}, plain(func(l *language, r *rand.Rand, size int) []byte { return relation(r, l, max(size, 2*8192)) })},
		{"mail", "", 8, 25 << 10, 1.3, 2 << 20, []string{"mail/amina/cur", "mail/board/cur", "mail/board/new"}, worded(message)},
		{"elf", "", 4, 60 << 10, 1, 300 << 10, []string{"tools/bin"}, program},
		{"json", ".json", 4, 8 << 10, 1.4, 1 << 20, []string{"www/api", "data/exports", "src/app/testdata"}, plain((*language).document)},
		{"log", ".log", 4, 30 << 10, 1.2, 2 << 20, []string{"logs", "data/app"}, plain((*language).syslog)},
		{"wav", ".wav", 1, 200 << 10, 0.8, 2 << 20, []string{"meetings/2026"}, dense(sound)},
		{"kdbx", ".kdbx", 1, 4 << 10, 0.7, 100 << 10, []string{"shared", "hr"}, dense(vault)},
		{"array", ".dat", 2, 30 << 10, 1.2, 1 << 20, []string{"data/sensors"}, dense(figures)},
	}
}

// program is a copy of one of this system's own.
func program(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) {
	entries, err := os.ReadDir("/usr/bin")
	if err != nil {
		return nil, err
	}
	var best []byte
	for _, e := range pick(r, entries, 40) {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 400<<10 {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/usr/bin", e.Name()))
		if err != nil || !bytes.HasPrefix(data, []byte("\x7fELF")) {
			continue
		}
		if best == nil || distance(len(data), size) < distance(len(best), size) {
			best = data
		}
	}
	if best == nil {
		return nil, fmt.Errorf("find a program in /usr/bin to copy: %w", fs.ErrNotExist)
	}
	return best, nil
}

func distance(a, b int) float64 { return math.Abs(math.Log(float64(a) / float64(b))) }

// people fill a site with files and work with them. It is for one goroutine.
type people struct {
	r         *rand.Rand
	makers    []maker
	languages []*language
	serial    int
}

func newPeople(r *rand.Rand, list []maker) *people {
	p := &people{r: r, makers: list}
	for i := range scripts {
		p.languages = append(p.languages, newLanguage(r, i))
	}
	return p
}

// language returns one of them, mostly the first.
func (p *people) language() *language {
	if p.r.IntN(3) > 0 {
		return p.languages[0]
	}
	return one(p.r, p.languages)
}

func (p *people) maker(kind string) maker {
	return p.makers[slices.IndexFunc(p.makers, func(m maker) bool { return m.name == kind })]
}

// usual returns a type of file, the more often the more of them a tree has.
func (p *people) usual() string {
	total := 0
	for _, m := range p.makers {
		total += m.share
	}
	n := p.r.IntN(total)
	for _, m := range p.makers {
		if n -= m.share; n < 0 {
			return m.name
		}
	}
	return p.makers[0].name
}

// content makes one file of the kind.
func (p *people) content(ctx context.Context, kind string) ([]byte, error) {
	m := p.maker(kind)
	size := int(math.Exp(math.Log(float64(m.median)) + p.r.NormFloat64()*m.spread))
	data, err := m.make(ctx, p.r, p.language(), max(least, min(m.most, size)))
	if err != nil {
		return nil, fmt.Errorf("make a %s file: %w", kind, err)
	}
	if len(data) < least { // a small table with few rows
		return p.content(ctx, kind)
	}
	return data, nil
}

// name returns one for a new file of the kind.
func (p *people) name(s *site, kind string) string {
	m := p.maker(kind)
	p.serial++
	dir := one(p.r, m.dirs)
	switch kind {
	case "mail":
		return fmt.Sprintf("%s/17%08d.M%dP%d.mail:2,S", dir, p.serial*977, p.r.IntN(1e6), p.r.IntN(30000))
	case "relation":
		return s.free(fmt.Sprintf("%s/%d", dir, 16400+p.serial))
	case "elf":
		return s.free(fmt.Sprintf("%s/%s%d", dir, one(p.r, latin), p.serial))
	case "gzip":
		return s.free(fmt.Sprintf("%s/%s.log.%d.gz", dir, one(p.r, latin), p.serial))
	}
	word := strings.ReplaceAll(p.language().word(p.r), "/", "")
	return s.free(fmt.Sprintf("%s/%s %s %d%s", dir, word, one(p.r, latin), p.serial, m.ext))
}

// create adds a new file of the kind.
func (p *people) create(ctx context.Context, s *site, kind string) (string, error) {
	data, err := p.content(ctx, kind)
	if err != nil {
		return "", err
	}
	name := p.name(s, kind)
	return name, s.add(name, kind, data)
}

// fill makes about n files of all kinds, of ages up to three years.
func (p *people) fill(ctx context.Context, s *site, n int) error {
	total := 0
	for _, m := range p.makers {
		total += m.share
	}
	for _, m := range p.makers {
		for range max(1, n*m.share/total) {
			name, err := p.create(ctx, s, m.name)
			if err != nil {
				return err
			}
			age := time.Duration(math.Pow(p.r.Float64(), 2)*1000*24) * time.Hour
			if err := s.touch(name, s.clock.Add(-age)); err != nil {
				return err
			}
		}
	}
	return nil
}

// work is what people do between two snapshots: they edit, save anew, add, copy, rename and remove a few files. Files
// that avoid names are left alone.
func (p *people) work(ctx context.Context, s *site, avoid func(string) bool) error {
	free := slices.DeleteFunc(s.files(), avoid)
	for _, name := range pick(p.r, free, 14) {
		s.pass(time.Duration(p.r.IntN(900)) * time.Second)
		if err := p.edit(ctx, s, name); err != nil {
			return fmt.Errorf("edit %s: %w", name, err)
		}
	}
	for range 8 {
		kind := p.usual()
		s.pass(time.Duration(p.r.IntN(900)) * time.Second)
		if _, err := p.create(ctx, s, kind); err != nil {
			return err
		}
	}
	for i, name := range pick(p.r, slices.DeleteFunc(s.files(), avoid), 5) {
		var err error
		switch i {
		case 0:
			err = s.remove(name)
		case 1, 2:
			ext := path.Ext(name)
			err = s.rename(name, s.free(strings.TrimSuffix(name, ext)+one(p.r, []string{" final", "_v2", " (old)", "-signed"})+ext))
		default:
			var data []byte
			if data, err = s.read(name); err == nil {
				err = s.add(s.free(path.Join(path.Dir(name), "Copy of "+path.Base(name))), s.kinds[name], data)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// edit changes a file as its program would.
func (p *people) edit(ctx context.Context, s *site, name string) error {
	kind := s.kinds[name]
	data, err := s.read(name)
	if err != nil {
		return err
	}
	l := p.language()
	switch kind {
	case "log":
		data = append(data, l.syslog(p.r, 2000)...)
	case "text", "markdown", "source", "html", "csv":
		more := l.prose(p.r, 100+p.r.IntN(900))
		switch kind {
		case "source":
			more = append([]byte("// "), bytes.ReplaceAll(bytes.TrimSpace(more), []byte("\n"), []byte("\n// "))...)
			more = append(more, '\n')
		case "html":
			more = fmt.Appendf(nil, "<p>%s</p>\n", more)
		case "csv":
			_, more, _ = bytes.Cut(l.table(p.r, 500), []byte("\n"))
		}
		at := bytes.LastIndexByte(data[:p.r.IntN(len(data))], '\n') + 1
		data = slices.Concat(data[:at], more, data[at:])
	case "relation":
		at := p.r.IntN(len(data)/8192) * 8192
		data = slices.Concat(data[:at], relation(p.r, l, 8192), data[at+8192:])
	case "innodb":
		number := 1 + p.r.IntN(len(data)/innodbPage-1)
		page := data[number*innodbPage:][:innodbPage]
		copy(page, indexPage(l, p.r, number, binary.BigEndian.Uint32(page[34:])))
	case "qcow2":
		copy(data[(5+p.r.IntN(len(data)/cluster-5))*cluster:], guestCluster(l, p.r))
	case "mbox":
		mail, err := mailbox(p.r, l, 1)
		if err != nil {
			return err
		}
		data = append(data, mail...)
	case "array":
		data = append(data, figures(p.r, 4000)...)
	case "mp3": // another title
		copy(data, broadcast(p.r, tagSize)[:tagSize])
	case "mail", "elf", "gzip", "mp4", "wav", "library", "pcap", "dicom", "mkv", "transport", "au", "xz", "tgz", "fastq":
		return nil // nobody edits these
	default: // the program writes all of it anew
		fresh, err := p.maker(kind).make(ctx, p.r, l, max(least, len(data)))
		if err != nil {
			return err
		}
		if strings.HasPrefix(kind, linesOf) {
			at := bytes.LastIndexByte(data[:p.r.IntN(len(data))], '\n') + 1
			fresh = slices.Concat(data[:at], fresh[:bytes.IndexByte(append(fresh, '\n'), '\n')+1], data[at:])
		}
		data = fresh
	}
	return s.write(name, data)
}
