package document

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSameSeedGivesTheSameBytes(t *testing.T) {
	for _, kind := range Kinds {
		first, err := Generate(kind, "E", 7)
		if err != nil {
			t.Fatalf("generate %s: %v", kind, err)
		}
		second, err := Generate(kind, "E", 7)
		if err != nil {
			t.Fatalf("generate %s again: %v", kind, err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: seed 7 gave two different files", kind)
		}
		other, err := Generate(kind, "E", 8)
		if err != nil {
			t.Fatalf("generate %s: %v", kind, err)
		}
		if bytes.Equal(first, other) {
			t.Errorf("%s: seeds 7 and 8 gave the same file", kind)
		}
	}
}

func TestUnknownKindIsRefused(t *testing.T) {
	if _, err := Generate("exe", "E", 1); err == nil {
		t.Error("an .exe was generated")
	}
}

func TestOfficeDocumentsAreWellFormedContainers(t *testing.T) {
	for _, kind := range []string{"docx", "xlsx", "pptx", "odt", "ods"} {
		for _, language := range Languages {
			data, err := Generate(kind, language, 3)
			if err != nil {
				t.Fatalf("generate %s in %s: %v", kind, language, err)
			}
			zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatalf("%s in %s is no ZIP archive: %v", kind, language, err)
			}
			parts := map[string]bool{}
			for _, f := range zr.File {
				parts["/"+f.Name] = true
				if f.Name != "mimetype" {
					parseXML(t, kind, f)
				}
			}
			if kind == "odt" || kind == "ods" {
				if zr.File[0].Name != "mimetype" || zr.File[0].Method != zip.Store {
					t.Errorf("%s: the first part is %s, not a stored mimetype", kind, zr.File[0].Name)
				}
				continue
			}
			for _, named := range overrides(t, zr) {
				if !parts[named] {
					t.Errorf("%s: [Content_Types].xml names %s, which is not there", kind, named)
				}
			}
		}
	}
}

func parseXML(t *testing.T, kind string, f *zip.File) {
	t.Helper()
	rc, err := f.Open()
	if err != nil {
		t.Fatalf("%s: open %s: %v", kind, f.Name, err)
	}
	defer rc.Close()
	for dec := xml.NewDecoder(rc); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %s is not well-formed: %v", kind, f.Name, err)
		}
	}
}

func overrides(t *testing.T, zr *zip.Reader) []string {
	t.Helper()
	data, err := zr.Open("[Content_Types].xml")
	if err != nil {
		t.Fatalf("open content types: %v", err)
	}
	defer data.Close()
	var types struct {
		Override []struct {
			PartName string `xml:",attr"`
		}
	}
	if err := xml.NewDecoder(data).Decode(&types); err != nil {
		t.Fatalf("decode content types: %v", err)
	}
	var names []string
	for _, o := range types.Override {
		names = append(names, o.PartName)
	}
	if len(names) < 3 {
		t.Fatalf("only %d parts are named: the check would prove nothing", len(names))
	}
	return names
}

func TestEachLanguageIsInItsOwnScript(t *testing.T) {
	for language, letter := range map[string]string{"E": "the", "F": "é", "S": "ó", "R": "ж", "A": "ال", "C": "会"} {
		text := Compose(rand.New(rand.NewPCG(1, 2)), language, 12)
		if all := flatten(text); !strings.Contains(all, letter) {
			t.Errorf("language %s: no %q in %.120q", language, letter, all)
		}
	}
}

func flatten(t Text) string {
	var b strings.Builder
	for _, s := range t.Sections {
		b.WriteString(s.Heading + strings.Join(s.Paragraphs, " "))
	}
	return b.String()
}

func TestFileRecognisesEveryKind(t *testing.T) {
	program, err := exec.LookPath("file")
	if err != nil {
		t.Fatal("file is not installed; run make test: it installs what is missing")
	}
	want := map[string]string{
		"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
		"odt":  "application/vnd.oasis.opendocument.text",
		"ods":  "application/vnd.oasis.opendocument.spreadsheet",
		"pdf":  "application/pdf", "jpg": "image/jpeg", "png": "image/png",
	}
	for kind, mime := range want {
		path := save(t, kind, "E")
		out, err := exec.Command(program, "--brief", "--mime-type", path).Output()
		if err != nil {
			t.Fatalf("file %s: %v", path, err)
		}
		if got := strings.TrimSpace(string(out)); got != mime {
			t.Errorf("file calls a .%s %s, not %s", kind, got, mime)
		}
	}
}

func save(t *testing.T, kind, language string) string {
	t.Helper()
	data, err := Generate(kind, language, 11)
	if err != nil {
		t.Fatalf("generate %s: %v", kind, err)
	}
	path := filepath.Join(t.TempDir(), "document."+kind)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPDFTextIsReadBack(t *testing.T) {
	program, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Fatal("pdftotext is not installed; run make test: it installs what is missing")
	}
	for language, word := range map[string]string{"E": "delegations", "F": "délégations", "S": "delegaciones"} {
		cmd := exec.Command(program, "-enc", "UTF-8", save(t, "pdf", language), "-")
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil || complaint.Len() > 0 {
			t.Fatalf("pdftotext on a PDF in %s: %v: %s", language, err, complaint.String())
		}
		if !strings.Contains(string(out), word) {
			t.Errorf("PDF in %s: %q is not in its text: %.200s", language, word, out)
		}
	}
}

func TestPDFRefusesOtherScripts(t *testing.T) {
	if _, err := Generate("pdf", "R", 1); err == nil {
		t.Error("a PDF in Cyrillic was written with a Latin font")
	}
}

func TestPicturesDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	photo, err := JPEG(r, 200, 100)
	if err != nil {
		t.Fatal(err)
	}
	if img, err := jpeg.Decode(bytes.NewReader(photo)); err != nil || img.Bounds().Dx() != 200 {
		t.Errorf("the JPEG does not decode to 200 pixels: %v", err)
	}
	scan, err := Scan(r, 500_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(scan)); err != nil {
		t.Errorf("the scan does not decode: %v", err)
	}
	if len(scan) < 490_000 || len(scan) > 520_000 {
		t.Errorf("a scan of 500,000 bytes has %d", len(scan))
	}
}
