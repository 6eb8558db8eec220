package assess

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// office is a departmental file tree under real snapshots.
type office struct {
	t     *testing.T
	r     *repo.Repository
	dir   string
	clock time.Time
	ids   []blob.ID
}

func newOffice(t *testing.T) *office {
	t.Helper()
	r, err := repo.Init(context.Background(), memory.New(), "secret", repo.Options{ScryptN: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, r: r, dir: t.TempDir(), clock: time.Date(2020, 9, 28, 8, 0, 0, 0, time.UTC)}
	for i := range 12 {
		dir := fmt.Sprintf("dept%d/", i%4)
		o.write(dir+fmt.Sprintf("minutes%d.txt", i), prose(uint64(i), 400))
		o.write(dir+fmt.Sprintf("paper%d.docx", i), docx(uint64(i)))
		o.write(dir+fmt.Sprintf("src%d.go", i), append([]byte("package main\n"), prose(uint64(i), 60)...))
		o.write(dir+fmt.Sprintf("page%d.html", i), page(fmt.Sprint("Page ", i), i))
	}
	o.write("dept0/big.csv", prose(77, 300000)) // several blobs
	o.write("www/index.html", page("Maritime Office", 99))
	o.snapshot()
	return o
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

func (o *office) write(name string, data []byte) {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Dir(o.path(name)), 0o700); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(o.path(name), data, 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.clock = o.clock.Add(time.Second)
	if err := os.Chtimes(o.path(name), o.clock, o.clock); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) read(name string) []byte {
	o.t.Helper()
	data, err := os.ReadFile(o.path(name))
	if err != nil {
		o.t.Fatal(err)
	}
	return data
}

func (o *office) remove(name string) {
	o.t.Helper()
	if err := os.Remove(o.path(name)); err != nil {
		o.t.Fatal(err)
	}
}

// glob returns the files whose names match, relative to the tree.
func (o *office) glob(pattern string) []string {
	o.t.Helper()
	names, err := fs.Glob(os.DirFS(o.dir), pattern)
	if err != nil || len(names) == 0 {
		o.t.Fatalf("no file matches %s (error %v)", pattern, err)
	}
	return names
}

func (o *office) snapshot() {
	o.t.Helper()
	o.clock = o.clock.Add(time.Hour)
	res, err := archive.Run(context.Background(), o.r, []string{o.dir}, archive.Options{Host: "london", Time: o.clock, Tags: []string{"kedge:asset=fileserver/documents"}})
	if err != nil {
		o.t.Fatal(err)
	}
	o.ids = append(o.ids, res.Snapshot.ID)
}

func (o *office) encrypt(name, suffix string) {
	o.t.Helper()
	data := encrypt(name, o.read(name))
	if suffix != "" {
		o.remove(name)
	}
	o.write(name+suffix, data)
}

func (o *office) assess(hints ...event.Signal) Series {
	o.t.Helper()
	return o.assessWith(Options{Hints: hints})
}

func (o *office) assessWith(opt Options) Series {
	o.t.Helper()
	opt.Filter = snapshot.Filter{Tags: [][]string{{"kedge:asset=fileserver/documents"}}}
	result, err := Run(context.Background(), o.r, opt)
	if err != nil {
		o.t.Fatal(err)
	}
	if len(result.Series) != 1 || len(result.Series[0].Snapshots) != len(o.ids) {
		o.t.Fatalf("assessed %d series, want one with %d snapshots", len(result.Series), len(o.ids))
	}
	if result.Read.Bytes <= 0 || result.Read.Repository <= 0 {
		o.t.Errorf("read %+v: not counted", result.Read)
	}
	return result.Series[0]
}

// verdicts checks the verdict of each snapshot, by first letter.
func (o *office) verdicts(s Series, want string) {
	o.t.Helper()
	got := ""
	for i, sn := range s.Snapshots {
		got += string(sn.Verdict[0])
		if sn.ID != o.ids[i] {
			o.t.Errorf("snapshot %d is %s, want %s", i, sn.ID.Short(), o.ids[i].Short())
		}
	}
	// "c" is clean, "s" suspect; compromised is told apart by what is behind it.
	for i, sn := range s.Snapshots {
		if sn.Verdict == Compromised {
			got = got[:i] + "X" + got[i+1:]
		}
	}
	if got != want {
		o.t.Errorf("verdicts %s, want %s: %+v", got, want, s.Snapshots)
	}
}

// damage lists what is damaged: path, where it stands now, and the index of its last clean snapshot.
func (o *office) damage(s Series) []string {
	var all []string
	rel := func(p string) string { return strings.TrimPrefix(p, o.dir+"/") }
	for _, d := range s.Damaged {
		now, clean := "gone", "never"
		if d.Now != nil {
			now = rel(*d.Now)
		}
		if d.LastClean != nil {
			clean = fmt.Sprint(slices.Index(o.ids, *d.LastClean))
		}
		all = append(all, fmt.Sprintf("%s now %s clean %s: %s", rel(d.Path), now, clean, strings.Join(d.Signals, " ")))
	}
	return all
}

func (o *office) wantDamage(s Series, want ...string) {
	o.t.Helper()
	got := o.damage(s)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		o.t.Errorf("damaged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func prose(seed uint64, words int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	list := strings.Fields("the committee noted that ships of five hundred gross tonnage and above shall carry a certificate issued by the administration")
	var b bytes.Buffer
	for range words {
		b.WriteString(list[rng.IntN(len(list))])
		b.WriteByte(' ')
	}
	return b.Bytes()
}

func docx(seed uint64) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, part := range []string{"[Content_Types].xml", "word/document.xml"} {
		f, err := w.Create(part)
		if err != nil {
			panic(err)
		}
		f.Write(prose(seed, 1500))
	}
	w.Close()
	return b.Bytes()
}

func page(title string, seed int) []byte {
	return fmt.Appendf(nil, "<html><head><title>%s</title><script src=/site.js></script></head><body><h1>%s</h1><p>%s</p></body></html>", title, title, prose(uint64(seed), 120))
}

func encrypt(name string, plain []byte) []byte {
	key := blob.Hash([]byte(name))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(plain))
	cipher.NewCTR(block, key[:aes.BlockSize]).XORKeyStream(out, plain)
	return out
}

const noteText = "All your files have been encrypted. Pay us 3 Bitcoin. Use the Tor Browser. Do not rename files."

// ordinary is a working day; each day differs.
func (o *office) ordinary(day int) {
	for i := range 4 {
		name := fmt.Sprintf("dept%d/minutes%d.txt", i, i)
		o.write(name, append(o.read(name), prose(uint64(1000+day), 20)...))
		o.write(fmt.Sprintf("dept%d/paper%d.docx", i, i), docx(uint64(100*day+i)))
		o.write(fmt.Sprintf("dept%d/new%d.docx", i, day), docx(uint64(7000*day+i)))
		o.write(fmt.Sprintf("dept%d/README.txt", i), fmt.Appendf(nil, "Decrypt the files with your private key. Day %d.", day))
		html := fmt.Sprintf("dept%d/page%d.html", i, i)
		o.write(html, bytes.Replace(o.read(html), []byte("</body>"), fmt.Appendf(nil, "<p>Day %d.</p></body>", day), 1))
	}
	o.write(fmt.Sprintf("dept1/archive%d.zip", day), docx(uint64(900+day)))
	o.write(fmt.Sprintf("dept1/contract%d.pdf.gpg", day), encrypt("owner", prose(uint64(day), 3000)))
	o.write("dept2/service.log", prose(5, 200*day))
	o.write(fmt.Sprintf("dept2/cache%d", day), encrypt("cache", prose(uint64(day), 500)))
	if day == 1 {
		o.write("dept2/article.txt", []byte("An example of a ransom note: "+noteText))
	}
	if day == 2 {
		for _, name := range o.glob("dept3/src*.go") {
			data := o.read(name)
			o.remove(name)
			o.write(strings.Replace(name, "dept3/", "dept3-old/", 1), data)
		}
		o.encrypt("dept0/minutes8.txt", ".gpg") // by its owner
	}
}
