// Package document writes office documents, PDF files and pictures for the example estate. Each opens in the
// programs that people use, and the same seed gives the same bytes on every machine.
//
// The formats are those of ECMA-376 (OOXML), OASIS OpenDocument 1.2 and ISO 32000 (PDF), each in the smallest
// form that holds real text, tables and pictures. All functions are pure and safe for concurrent use.
package document

import (
	"fmt"
	"math/rand/v2"
)

// Kinds are the file name extensions that Generate knows, without the dot.
var Kinds = []string{"docx", "xlsx", "pptx", "odt", "ods", "pdf", "jpg", "png"}

// Generate returns a document of the kind: its text, tables or picture follow from seed. The language is one of
// Languages; kinds without running text ignore it. PDF files hold Latin script alone.
func Generate(kind, language string, seed uint64) ([]byte, error) {
	r := rand.New(rand.NewPCG(seed, 0x6b65646765)) // any constant: it sets these streams apart from the callers'
	switch kind {
	case "docx":
		return Word(Compose(r, language, 3+r.IntN(14)))
	case "odt":
		return OpenText(Compose(r, language, 3+r.IntN(14)))
	case "pdf":
		return PDF(Compose(r, language, 3+r.IntN(14)))
	case "pptx":
		return Slides(Compose(r, language, 4+r.IntN(8)))
	case "xlsx":
		return Sheet(Tabulate(r, 30+r.IntN(300)))
	case "ods":
		return OpenSheet(Tabulate(r, 30+r.IntN(300)))
	case "jpg":
		return JPEG(r, 160+r.IntN(240), 120+r.IntN(160))
	case "png":
		return PNG(r, 120+r.IntN(160), 90+r.IntN(120))
	}
	return nil, fmt.Errorf("generate document: kind %q is not one of %v", kind, Kinds)
}
