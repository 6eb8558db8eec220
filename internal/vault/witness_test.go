package vault

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
)

const origin = "kedge.example/record"

// court is a witness, served over HTTP, and the record that it knows.
type court struct {
	witness                *witness
	url                    string
	dir                    string // the witness's memory
	logKey, witnessKey     string
	recordKey, witnessFile string // private key files
}

func newCourt(t *testing.T) *court {
	t.Helper()
	keys := t.TempDir()
	c := &court{dir: t.TempDir(), recordKey: filepath.Join(keys, "record"), witnessFile: filepath.Join(keys, "witness")}
	var err error
	if c.logKey, err = evidence.GenerateKey(c.recordKey, origin); err != nil {
		t.Fatal(err)
	}
	if c.witnessKey, err = evidence.GenerateKey(c.witnessFile, "vault.example/witness"); err != nil {
		t.Fatal(err)
	}
	c.restart(t)
	return c
}

// restart starts the witness from what it kept.
func (c *court) restart(t *testing.T) {
	t.Helper()
	w, err := newWitness(c.dir, c.witnessFile, c.logKey, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c.witness = w
	mux := http.NewServeMux()
	mux.Handle("POST /add-checkpoint", w)
	c.url = serve(t, mux)
}

func (c *court) open(t *testing.T, dir string) *evidence.Log {
	t.Helper()
	l, err := evidence.Open(t.Context(), dir, evidence.Options{
		SignerKey: c.recordKey, Witness: evidence.WitnessOptions{URL: c.url, VerifierKey: c.witnessKey},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func say(t *testing.T, l *evidence.Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		e := event.New(time.Unix(1601460000, 0), event.NoticePublished{Text: text})
		if err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestTheWitnessCosignsARecordThatGrows(t *testing.T) {
	c := newCourt(t)
	dir := filepath.Join(t.TempDir(), "record")
	l := c.open(t, dir)
	for round := range 4 {
		say(t, l, fmt.Sprintf("round %d", round), "and more", "and more")
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if res, err := evidence.Verify(t.Context(), dir, c.logKey, c.witnessKey); err != nil || res.Entries != uint64(3*round+3) {
			t.Fatalf("round %d: verified %d entries, %v", round, res.Entries, err)
		}
	}
	if st := c.witness.report(); st.Size != 12 || st.Origin != origin || st.Refused != 0 {
		t.Errorf("status %+v, want 12 entries of %s and nothing refused", st, origin)
	}
}

func TestARecordThatIsRolledBackIsRefused(t *testing.T) {
	c := newCourt(t)
	dir := filepath.Join(t.TempDir(), "record")
	l := c.open(t, dir)
	say(t, l, "one", "two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	old := copyDir(t, dir)
	l = c.open(t, dir)
	say(t, l, "three", "four")
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}

	rolledBack := c.open(t, old)
	if err := rolledBack.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("checkpoint of a record with its end cut off: %v", err)
	}
	if st := c.witness.report(); st.Size != 4 || st.Refused == 0 {
		t.Errorf("status %+v, want size 4 and the refusal counted", st)
	}
}

func TestARecordThatIsForkedIsRefused(t *testing.T) {
	for name, other := range map[string][]string{
		"with as many entries": {"three, rewritten", "four"},
		"with more entries":    {"three, rewritten", "four", "five"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCourt(t)
			dir := filepath.Join(t.TempDir(), "record")
			l := c.open(t, dir)
			say(t, l, "one", "two")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			fork := copyDir(t, dir)
			l = c.open(t, dir)
			say(t, l, "three", "four")
			if err := l.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The forger holds the record's own key.
			forged := c.open(t, fork)
			say(t, forged, other...)
			if err := forged.Checkpoint(t.Context()); err == nil {
				t.Error("the rewritten record was cosigned")
			}
			if st := c.witness.report(); st.Refused == 0 || st.Size != 4 {
				t.Errorf("status %+v, want the refusal counted and size 4", st)
			}
			say(t, l, "five")
			if err := l.Checkpoint(t.Context()); err != nil {
				t.Errorf("the true record is no longer cosigned: %v", err)
			}
		})
	}
}

func TestTheWitnessRemembersAcrossARestart(t *testing.T) {
	c := newCourt(t)
	dir := filepath.Join(t.TempDir(), "record")
	l := c.open(t, dir)
	say(t, l, "one", "two")
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.restart(t)
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 1, 7)); code != http.StatusConflict || reply != "2\n" {
		t.Errorf("after a restart a shorter record is answered %d %q, want 409 and the size 2", code, reply)
	}
}

func TestAWitnessWhoseMemoryWasTakenAwayDoesNotCosign(t *testing.T) {
	c := newCourt(t)
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 5, 7)); code != http.StatusOK {
		t.Fatalf("first checkpoint: %d %s", code, reply)
	}
	if err := os.Remove(filepath.Join(c.dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 4, 8)); code != http.StatusInternalServerError {
		t.Errorf("another history after the memory was removed: %d %s", code, reply)
	}
}

func TestTwoWitnessesWithOneMemoryAgree(t *testing.T) {
	c := newCourt(t)
	first := c.url
	c.restart(t) // the first still runs
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 5, 7)); code != http.StatusOK {
		t.Fatalf("first checkpoint: %d %s", code, reply)
	}
	c.url = first
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 5, 8)); code != http.StatusConflict || reply != "5\n" {
		t.Errorf("the other witness answers a fork with %d %q, want 409 and the size 5", code, reply)
	}
}

func TestAWitnessWithDamagedMemoryDoesNotStart(t *testing.T) {
	c := newCourt(t)
	if err := os.WriteFile(filepath.Join(c.dir, stateFile), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newWitness(c.dir, c.witnessFile, c.logKey, quiet()); err == nil {
		t.Error("it started, and would have believed any history")
	}
}

// checkpoint returns one that the record's key signed, with a root of the byte given.
func (c *court) checkpoint(t *testing.T, size uint64, root byte) string {
	t.Helper()
	return signedBy(t, c.recordKey, origin, size, bytes.Repeat([]byte{root}, 32))
}

func signedBy(t *testing.T, keyFile, name string, size uint64, root []byte) string {
	t.Helper()
	skey, err := evidence.ReadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: name, Size: size, Hash: root}.Marshal())}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func (c *court) post(t *testing.T, body string) (code int, kind, reply string) {
	t.Helper()
	res, err := http.Post(c.url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), string(raw)
}

// The protocol's answers, one by one: c2sp.org/tlog-witness, "add-checkpoint".
func TestTheProtocolsAnswers(t *testing.T) {
	c := newCourt(t)
	stranger := filepath.Join(t.TempDir(), "key")
	if _, err := evidence.GenerateKey(stranger, origin); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "key")
	if _, err := evidence.GenerateKey(elsewhere, "kedge.example/other"); err != nil {
		t.Fatal(err)
	}
	root := bytes.Repeat([]byte{7}, 32)
	hash := base64.StdEncoding.EncodeToString(root) + "\n"

	code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 5, 7))
	if code != http.StatusOK {
		t.Fatalf("first checkpoint: %d %s", code, reply)
	}
	verifier, err := fnote.NewVerifierForCosignatureV1(c.witnessKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open([]byte(c.checkpoint(t, 5, 7)+reply), note.VerifierList(verifier)); err != nil {
		t.Errorf("the cosignature does not verify: %v; reply %q", err, reply)
	}

	for _, q := range []struct {
		what, body string
		code       int
		reply      string
	}{
		{"the same again", "old 5\n\n" + c.checkpoint(t, 5, 7), 200, ""},
		{"another root for the same size", "old 5\n\n" + c.checkpoint(t, 5, 8), 409, ""},
		{"a wrong old size", "old 4\n" + hash + "\n" + c.checkpoint(t, 6, 7), 409, "5\n"},
		{"no old size known", "old 0\n\n" + c.checkpoint(t, 6, 7), 409, "5\n"},
		{"an old size above the new", "old 7\n\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"no proof", "old 5\n\n" + c.checkpoint(t, 6, 7), 422, ""},
		{"a false proof", "old 5\n" + hash + hash + hash + "\n" + c.checkpoint(t, 6, 7), 422, ""},
		{"a proof for the same size", "old 5\n" + hash + "\n" + c.checkpoint(t, 5, 7), 422, ""},
		{"an unknown origin", "old 5\n\n" + signedBy(t, elsewhere, "kedge.example/other", 6, root), 404, ""},
		{"a stranger's key", "old 5\n\n" + signedBy(t, stranger, origin, 6, root), 403, ""},
		{"a short root", "old 5\n\n" + signedBy(t, c.recordKey, origin, 6, root[:31]), 400, ""},
		{"a changed signature", "old 5\n\n" + strings.Replace(c.checkpoint(t, 6, 7), "6\n", "9\n", 1), 403, ""},
		{"a leading zero", "old 05\n\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"a negative size", "old -5\n\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"no old line", hash + "\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"too many lines", "old 5\n" + strings.Repeat(hash, 64) + "\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"a line that is no hash", "old 5\nAAAA\n\n" + c.checkpoint(t, 6, 7), 400, ""},
		{"nothing", "", 400, ""},
		{"much too much", "old 5\n\n" + c.checkpoint(t, 6, 7) + strings.Repeat("x", maxRequest), 400, ""},
	} {
		code, kind, reply := c.post(t, q.body)
		if code != q.code {
			t.Errorf("%s: %d %q, want %d", q.what, code, reply, q.code)
		}
		if q.reply != "" && (reply != q.reply || kind != "text/x.tlog.size") {
			t.Errorf("%s: %q as %s, want the size %q", q.what, reply, kind, q.reply)
		}
	}
	if st := c.witness.report(); st.Size != 5 {
		t.Errorf("after all this the witness knows size %d, want 5", st.Size)
	}
}

func TestACheckpointThatCannotBeKeptIsNotCosigned(t *testing.T) {
	c := newCourt(t)
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}
	if code, _, reply := c.post(t, "old 0\n\n"+c.checkpoint(t, 5, 7)); code != http.StatusInternalServerError || strings.Contains(reply, "—") {
		t.Errorf("answered %d %q, want 500 and no signature", code, reply)
	}
	if st := c.witness.report(); st.Size != 0 {
		t.Errorf("the witness believes that it cosigned %d entries", st.Size)
	}
}

func FuzzParseRequest(f *testing.F) {
	hash := strings.Repeat("A", 43) + "="
	f.Add([]byte("old 5\n" + hash + "\n\norigin\n6\n" + hash + "\n\n— origin AAAA\n"))
	f.Add([]byte("old 0\n\n"))
	f.Add([]byte("old 18446744073709551616\n\nx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseRequest(body)
		if err != nil {
			return
		}
		again := fmt.Appendf(nil, "old %d\n", req.old)
		for _, hash := range req.proof {
			again = append(again, base64.StdEncoding.EncodeToString(hash)+"\n"...)
		}
		again = append(append(again, '\n'), req.signed...)
		if !bytes.Equal(again, body) || len(req.proof) > maxProof {
			t.Errorf("%q is read as %q", body, again)
		}
	})
}
