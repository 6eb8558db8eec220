package example

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedge-project/kedge/internal/exercise/document"
)

const (
	editsInRound = 12
	maxEdited    = 64 << 10 // bytes of a file that people edit
)

// Departments is the root of the file server's tree.
func (e *Estate) Departments() string {
	return filepath.Join(e.Dir, "london", "fileserver", "departments")
}

// Spared says whether a file of the file server is one that Work may change. The emulated adversary leaves those
// alone, so that what was legitimately changed after the last snapshot and damaged by nobody can be told from the rest.
func (e *Estate) Spared(path string) bool {
	rel, err := filepath.Rel(e.Departments(), path)
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	// A directory of current work, or one file in four.
	if strings.HasPrefix(rel, currentWork+string(filepath.Separator)) {
		return true
	}
	h := fnv.New32a()
	h.Write([]byte(rel))
	return h.Sum32()%4 == 0
}

const currentWork = "Administration/Current"

// Work does a round of an ordinary day's work on the file server, and tells the reference: text files edited, new
// documents, an archive, a photograph, a file that somebody encrypted for a colleague, and a directory renamed. It
// returns the paths that changed. Not safe for concurrent use.
func (e *Estate) Work(ctx context.Context) ([]string, error) {
	e.rounds++
	w := &worker{estate: e, r: rand.New(rand.NewPCG(e.seed, uint64(e.rounds)<<8|9)), round: e.rounds}
	for _, step := range []func() error{func() error { return w.edit(ctx) }, w.create, w.pack, w.seal, w.rename} {
		if err := ctx.Err(); err != nil {
			return w.changed, err
		}
		if err := step(); err != nil {
			return w.changed, fmt.Errorf("work: %w", err)
		}
	}
	return w.changed, nil
}

type worker struct {
	estate  *Estate
	r       *rand.Rand
	round   int
	edited  []string
	changed []string
}

// put writes a file and keeps it in the reference.
func (w *worker) put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	w.changed = append(w.changed, path)
	return w.estate.Reference.Put(path)
}

// edit adds a paragraph to some text files.
func (w *worker) edit(ctx context.Context) error {
	texts, err := w.texts(ctx)
	if err != nil {
		return err
	}
	w.r.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	for _, path := range texts[:min(editsInRound, len(texts))] {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		note := document.Compose(w.r, "E", 1).Sections[0]
		data = append(data, "\n"+note.Heading+"\n"+strings.Join(note.Paragraphs, "\n")+"\n"...)
		if err := w.put(path, data); err != nil {
			return err
		}
		w.edited = append(w.edited, path)
	}
	return nil
}

// texts lists the small text files that Work may change.
func (w *worker) texts(ctx context.Context) ([]string, error) {
	var texts []string
	err := filepath.WalkDir(w.estate.Departments(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch filepath.Ext(path) {
		case ".txt", ".md", ".go", ".html", ".conf", ".py", ".pl":
		default:
			return nil
		}
		// People edit their own files, not the notes that an adversary left among them.
		if !d.Type().IsRegular() || !w.estate.Spared(path) || !w.estate.Reference.Holds(path) {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Size() <= maxEdited {
			texts = append(texts, path)
		}
		return nil
	})
	return texts, err
}

// place returns a path for a new file, in a department, that the adversary spares.
func (w *worker) place(series, name string) string {
	department := departments[w.r.IntN(len(departments))]
	for n := 1; ; n++ {
		path := filepath.Join(w.estate.Departments(), department, series, fmt.Sprintf("%s-%d-%d%s", strings.TrimSuffix(name, filepath.Ext(name)), w.round, n, filepath.Ext(name)))
		if _, err := os.Lstat(path); err != nil && w.estate.Spared(path) {
			return path
		}
	}
}

// create writes a new document of each kind; the .jpg is a photograph.
func (w *worker) create() error {
	for _, kind := range document.Kinds {
		data, err := document.Generate(kind, "E", w.r.Uint64())
		if err != nil {
			return err
		}
		if err := w.put(w.place("Reports", "new."+kind), data); err != nil {
			return err
		}
	}
	return nil
}

// pack makes an archive of the files that were edited.
func (w *worker) pack() error {
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, path := range w.edited {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		member, err := zw.Create(filepath.Base(path))
		if err != nil {
			return err
		}
		if _, err := member.Write(data); err != nil {
			return err
		}
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return w.put(w.place("Correspondence", "documents.zip"), buf.Bytes())
}

// seal writes what gpg --symmetric would: an OpenPGP session-key packet (RFC 9580, tag 3) and encrypted data (tag 18).
func (w *worker) seal() error {
	message := []byte{0x8c, 13, 4, 9, 3, 8} // version 4, AES-256, iterated salt with SHA-256
	for range 8 {
		message = append(message, byte(w.r.Uint32()))
	}
	message = append(message, 0x60)
	const length = 6000
	message = append(message, 0xd2, 0xc0|byte((length-192)>>8), byte((length-192)&0xff), 1)
	for range length - 1 {
		message = append(message, byte(w.r.Uint32()))
	}
	return w.put(w.place("Correspondence", "personal.docx.gpg"), message)
}

// rename begins a directory of current work, and gives the one of the round before its final name.
func (w *worker) rename() error {
	name := func(round int, state string) string {
		return filepath.Join(w.estate.Departments(), currentWork, fmt.Sprintf("Consultation-%d-%s", round, state))
	}
	for n := range 8 {
		data, err := document.Generate("odt", "F", w.r.Uint64())
		if err != nil {
			return err
		}
		if err := w.put(filepath.Join(name(w.round, "draft"), fmt.Sprintf("annex-%d.odt", n+1)), data); err != nil {
			return err
		}
	}
	if w.round == 1 {
		return nil
	}
	from, to := name(w.round-1, "draft"), name(w.round-1, "final")
	if err := os.Rename(from, to); err != nil {
		return err
	}
	w.changed = append(w.changed, from, to)
	return w.estate.Reference.Rename(from, to)
}
