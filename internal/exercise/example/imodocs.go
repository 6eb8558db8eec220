package example

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/document"
)

// committees that meet, with the session that the newest documents are of.
var committees = []struct {
	name    string
	session int
}{{"MSC", 107}, {"MEPC", 80}, {"LEG", 110}, {"FAL", 47}, {"TC", 73}, {"A", 33}, {"C", 129}}

// paper is one meeting document in one language.
type paper struct {
	id, session, item                                   int
	committee, symbol, language, title, path, published string
	kind                                                string
	seed                                                uint64
}

// library is the plan of all meeting documents: their files and the catalogue follow from it.
type library struct{ papers []paper }

// planLibrary plans two sessions of each committee, each document in all six languages.
func planLibrary(opt Options) library {
	var l library
	each := min(max(opt.Files/2000, 1), 12)
	for _, c := range committees {
		for session := c.session - 1; session <= c.session; session++ {
			for n := range each {
				seed := rand.New(rand.NewPCG(opt.Seed, uint64(len(l.papers))<<8|4))
				item := 2 + seed.IntN(18)
				published := date(seed, 2023, 2)
				for i, language := range document.Languages {
					p := paper{
						id: len(l.papers) + 1, committee: c.name, session: session, item: item, language: language, published: published,
						symbol: fmt.Sprintf("%s %d/%d/%d", c.name, session, item, n+1), seed: seed.Uint64(), kind: "docx",
					}
					latin := language == "E" || language == "F" || language == "S"
					switch {
					case latin && (n+i)%3 == 0:
						p.kind = "pdf"
					case (n+i)%3 == 1:
						p.kind = "odt"
					}
					// The first words that the document's own text is made of are its title.
					p.title = document.Compose(rand.New(rand.NewPCG(p.seed, 0)), language, 1).Title
					p.path = fmt.Sprintf("%s/%d/%s/%s-%d-%d-%d.%s", c.name, session, language, c.name, session, item, n+1, p.kind)
					l.papers = append(l.papers, p)
				}
			}
		}
	}
	return l
}

// write writes the catalogue's rows.
func (l library) write(w io.Writer, _ string) error {
	for _, p := range l.papers {
		line := row(p.id, p.committee, p.session, p.symbol, p.item, p.language, p.title, p.path, p.published)
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// imodocs writes the meeting documents and declares the library; its catalogue is in gisis' cluster.
func (b *builder) imodocs(ctx context.Context, lib library, c *cluster) (estate.Service, error) {
	const name = "imodocs"
	s := b.service(name, "Meeting documents")
	s.Key = true
	s.Needs = []string{"gisis"}
	root, conf := b.home(name, "documents"), b.home(name, "conf")
	if err := directories(root, conf); err != nil {
		return s, err
	}
	b.progressf("meeting documents: %d in six languages", len(lib.papers))
	for _, p := range lib.papers {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		data, err := document.Generate(p.kind, p.language, p.seed)
		if err != nil {
			return s, err
		}
		file := filepath.Join(root, p.path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return s, err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return s, err
		}
	}
	password := filepath.Join(conf, "database.password")
	if err := os.WriteFile(password, []byte(c.roles["imodocs"]+"\n"), 0o600); err != nil {
		return s, err
	}
	_, address, err := b.ports.take()
	if err != nil {
		return s, err
	}
	config := filepath.Join(conf, "application.json")
	if err := configure(config, map[string]string{
		"listen": address, "connect": c.connect("imodocs", "imodocs"), "password_file": password, "documents": root,
	}); err != nil {
		return s, err
	}
	p := b.process(name, "application", []string{b.opt.Kedge, "application", name, config}, []string{address})
	p.Relocate = []string{config}
	s.Processes = []estate.Process{p}
	first := lib.papers[0]
	s.Probes = []estate.Probe{
		{Name: "meetings", Kind: "http", URL: "http://" + address + "/", Expect: "MEPC 80"},
		{Name: "session", Kind: "http", URL: fmt.Sprintf("http://%s/meetings/%s/%d", address, first.committee, first.session), Expect: first.symbol},
		{Name: "document", Kind: "http", URL: "http://" + address + "/files/" + first.path, Expect: magic(first.kind)},
	}
	return s, nil
}

// magic is how files of a kind begin.
func magic(kind string) string {
	if kind == "pdf" {
		return "%PDF-1.4"
	}
	return "PK\x03\x04"
}
