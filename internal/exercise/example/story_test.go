package example

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kedge-project/kedge/internal/exercise/attack"
	"github.com/kedge-project/kedge/internal/exercise/reference"
)

func TestTheReferenceTellsAllThatTheAdversaryDid(t *testing.T) {
	e := buildSmall(t)
	adversary, err := attack.Open(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer adversary.Close()

	shell := uploadShell(t, e, adversary)
	pages, err := adversary.InjectScript(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	home, err := adversary.Deface(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	altered, err := adversary.AlterRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if altered.Rows < 900 || altered.XID == 0 {
		t.Errorf("of 910 ships or more only %d were altered, in transaction %d", altered.Rows, altered.XID)
	}
	encrypted, err := adversary.Encrypt(t.Context(), attack.Encryption{Seed: 1, Spare: e.Spared})
	if err != nil {
		t.Fatal(err)
	}
	checkEncrypted(t, e, encrypted)
	// People go on working, in files that were spared.
	if _, err := e.Work(t.Context()); err != nil {
		t.Fatal(err)
	}

	result, err := e.Reference.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	damaged := int64(len(encrypted.InPlace) + len(pages) + 1)
	if result.FilesDamaged != damaged || result.FilesLost != int64(len(encrypted.Renamed)) {
		t.Errorf("%d files were damaged and %d renamed, the reference tells %d and %d lost", damaged, len(encrypted.Renamed), result.FilesDamaged, result.FilesLost)
	}
	if result.RowsAltered != int64(altered.Rows) || result.RowsLost != 0 {
		t.Errorf("%d rows were altered, the reference tells %d and %d lost", altered.Rows, result.RowsAltered, result.RowsLost)
	}
	mentions(t, result, shell+" should not be there", home+" is damaged")
}

func mentions(t *testing.T, result reference.Result, want ...string) {
	t.Helper()
	all := strings.Join(result.Unexpected, "\n")
	for _, w := range want {
		if !strings.Contains(all, w) && !strings.Contains(all, " more") {
			t.Errorf("the reference does not tell %q", w)
		}
	}
	if result.Clean() {
		t.Error("the damage compares clean")
	}
}

// uploadShell checks that the shell is served, as text, and that the access log shows who brought it.
func uploadShell(t *testing.T, e *Estate, adversary *attack.Attacker) (path string) {
	t.Helper()
	shell, err := adversary.UploadShell(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(shell.Path); err != nil {
		t.Errorf("the shell is not where it was left: %v", err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shell.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("the shell is served with status %d as %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	service, err := e.Config.Service("publications")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(service.Watch.AccessLogs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{attack.Source + " - - ", `"POST /covers HTTP/1.1" 303`, `"GET /uploads/shell.php?cmd=id HTTP/1.1" 200`} {
		if !bytes.Contains(log, []byte(want)) {
			t.Errorf("the access log does not show %s:\n%s", want, log)
		}
	}
	return shell.Path
}

func checkEncrypted(t *testing.T, e *Estate, done attack.Encrypted) {
	t.Helper()
	if len(done.InPlace) < 60 || len(done.Renamed) < 30 || len(done.Notes) < 5 {
		t.Errorf("too little was done: %d in place, %d renamed, %d notes", len(done.InPlace), len(done.Renamed), len(done.Notes))
	}
	for from, to := range done.Renamed {
		if _, err := os.Stat(from); err == nil {
			t.Errorf("%s is still there after its encryption", from)
		}
		if data, err := os.ReadFile(to); err != nil || utf8.Valid(data) {
			t.Errorf("%s does not look encrypted (%v)", to, err)
		}
	}
	for _, path := range done.InPlace {
		if e.Spared(path) {
			t.Errorf("%s was to be spared", path)
		}
		if rel, err := filepath.Rel(e.Departments(), path); err != nil || !filepath.IsLocal(rel) {
			t.Errorf("%s is outside the file server", path)
		}
	}
}
