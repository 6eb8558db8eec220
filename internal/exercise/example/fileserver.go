package example

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/document"
)

const (
	maxCopied   = 16 << 20  // bytes of a file that is copied
	largeFile   = 256 << 10 // files from this size on are taken last, to reach the number of bytes
	scanSize    = 2 << 20
	writers     = 4
	officeShare = 12 // of so many files one is a generated office document
	minOffice   = 64
)

var departments = []string{"Administration", "Conference", "Legal-Affairs", "Maritime-Safety", "Technical-Cooperation"}

// source is a file of this machine that the file server gets a copy of.
type source struct {
	path string
	size int64
	time time.Time
}

// fileserver builds a departmental file tree: copies of what this machine holds, and generated office documents.
func (b *builder) fileserver(ctx context.Context) (estate.Service, error) {
	const name = "fileserver"
	root := b.home(name, "departments")
	if err := directories(root, b.home(name, "conf")); err != nil {
		return estate.Service{}, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	group.Go(func() error {
		return os.WriteFile(filepath.Join(root, "README.txt"), []byte(readme), 0o644)
	})
	offices := max(minOffice, (b.opt.Files+officeShare-1)/officeShare)
	if err := b.addFiles(groupCtx, group, root, offices); err != nil {
		return estate.Service{}, err
	}
	if err := group.Wait(); err != nil {
		return estate.Service{}, err
	}

	_, address, err := b.ports.take()
	if err != nil {
		return estate.Service{}, err
	}
	config := b.home(name, "conf", "application.json")
	if err := configure(config, map[string]string{"listen": address, "documents": root}); err != nil {
		return estate.Service{}, err
	}
	s := b.service(name, "Departmental file server")
	p := b.process(name, "browser", []string{b.opt.Kedge, "application", name, config}, []string{address})
	p.Relocate = []string{config}
	s.Processes = []estate.Process{p}
	s.Probes = []estate.Probe{
		{Name: "readme", Kind: "files", Path: filepath.Join(root, "README.txt"), Expect: "Departmental files"},
		{Name: "departments", Kind: "command", Argv: []string{"/bin/ls", root}, Expect: "Legal-Affairs"},
		{Name: "browse", Kind: "http", URL: "http://" + address + "/README.txt", Expect: "Departmental files"},
	}
	return s, nil
}

const readme = `Departmental files

Each department keeps its own directory. Drafts stay in Drafts until they are cleared.
Do not keep personal data here. The help desk restores files on request.
`

// addFiles plans and writes the tree: first copies, then office documents, and more of these where the machine
// holds too little.
func (b *builder) addFiles(ctx context.Context, group *errgroup.Group, root string, offices int) error {
	files, bytes := offices+1, int64(0)
	var chosen []source
	for _, s := range b.shuffled(ctx) {
		if files < b.opt.Files || bytes < b.opt.Bytes && s.size >= largeFile {
			chosen = append(chosen, s)
			files++
			bytes += s.size
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.progressf("file server: %d files of this machine, %d MB, and %d office documents", len(chosen), bytes>>20, offices)
	made := map[string]bool{}
	for _, s := range chosen {
		to := filepath.Join(root, departmentOf(s.path), "Archive", strings.TrimPrefix(s.path, "/usr"))
		if dir := filepath.Dir(to); !made[dir] {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made[dir] = true
		}
		group.Go(func() error { return copySource(ctx, s, to) })
	}
	offices += max(0, b.opt.Files-files) // a bare machine
	for n := range offices {
		group.Go(func() error { return b.writeOffice(ctx, root, n) })
	}
	for n := 0; bytes < b.opt.Bytes; n++ {
		bytes += scanSize
		group.Go(func() error { return b.writeScan(ctx, root, n) })
	}
	return nil
}

// shuffled lists the files to choose from, in an order that follows from the seed; large ones come last.
func (b *builder) shuffled(ctx context.Context) []source {
	roots := []string{"/usr/share", "/usr/local/go", "/usr/lib"}
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, "go", "pkg", "mod"))
	}
	var all []source
	for _, root := range roots {
		// What cannot be read is left out.
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return fs.SkipAll
			}
			if err != nil {
				if d != nil && d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if err != nil || info.Size() == 0 || info.Size() > maxCopied || info.Mode().Perm()&0o004 == 0 {
				return nil
			}
			all = append(all, source{path, info.Size(), info.ModTime()})
			return nil
		})
	}
	r := rand.New(rand.NewPCG(b.opt.Seed, 1))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	sort.SliceStable(all, func(i, j int) bool { return all[i].size < largeFile && all[j].size >= largeFile })
	return all
}

// departmentOf keeps what stands together on the machine in one department.
func departmentOf(path string) string {
	parts := strings.SplitN(path, "/", 6)
	h := fnv.New32a()
	h.Write([]byte(strings.Join(parts[:min(5, len(parts))], "/")))
	return departments[h.Sum32()%uint32(len(departments))]
}

func copySource(ctx context.Context, s source, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Chtimes(to, s.time, s.time)
}

var officeSeries = []string{"Reports", "Correspondence", "Budget", "Drafts", "Missions"}

// writeOffice writes the nth office document.
func (b *builder) writeOffice(ctx context.Context, root string, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(b.opt.Seed, uint64(n)<<8|2))
	kind := document.Kinds[n%len(document.Kinds)]
	language := document.Languages[r.IntN(len(document.Languages))]
	if kind == "pdf" {
		language = "E"
	}
	data, err := document.Generate(kind, language, r.Uint64())
	if err != nil {
		return err
	}
	series, year := officeSeries[r.IntN(len(officeSeries))], 2014+r.IntN(11)
	dir := filepath.Join(root, departments[r.IntN(len(departments))], series, fmt.Sprint(year))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%d-%05d.%s", strings.TrimSuffix(series, "s"), year, n, kind))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	when := time.Date(year, time.Month(1+r.IntN(12)), 1+r.IntN(28), 8+r.IntN(10), r.IntN(60), r.IntN(60), 0, time.UTC)
	return os.Chtimes(path, when, when)
}

// writeScan writes the nth scanned page, for a machine that holds too few bytes.
func (b *builder) writeScan(ctx context.Context, root string, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(b.opt.Seed, uint64(n)<<8|3))
	data, err := document.Scan(r, scanSize)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, departments[n%len(departments)], "Scans")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("scan-%05d.png", n)), data, 0o644)
}
