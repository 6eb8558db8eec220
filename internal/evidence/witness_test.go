package evidence

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// testWitness cosigns as the protocol says, but takes the log's word for consistency: the vault's tests have the
// real one.
type testWitness struct {
	url, vkey string
	signer    note.Signer

	mu     sync.Mutex
	known  uint64
	signed []uint64
	// answer, if set, answers instead.
	answer http.HandlerFunc
}

func newTestWitness(t *testing.T) *testWitness {
	t.Helper()
	path := filepath.Join(t.TempDir(), "witness.key")
	vkey, err := GenerateKey(path, "vault.example/witness")
	if err != nil {
		t.Fatal(err)
	}
	skey, err := ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	w := &testWitness{vkey: vkey, signer: signer}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *testWitness) sizes() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.signed)
}

func (w *testWitness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answer != nil {
		w.answer(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/add-checkpoint" || r.Method != http.MethodPost {
		http.Error(rw, "bad request", http.StatusBadRequest)
		return
	}
	head, signed, _ := bytes.Cut(body, []byte("\n\n"))
	first, err := bufio.NewReader(bytes.NewReader(append(head, '\n'))).ReadString('\n')
	var old uint64
	if _, scanErr := fmt.Sscanf(first, "old %d", &old); err != nil || scanErr != nil {
		http.Error(rw, "bad request", http.StatusBadRequest)
		return
	}
	if old != w.known {
		rw.Header().Set("Content-Type", sizeType)
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", w.known)
		return
	}
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	var cp log.Checkpoint
	if _, err := cp.Unmarshal(append(text, '\n')); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	cosigned, err := note.Sign(&note.Note{Text: string(text) + "\n"}, w.signer)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	w.known = cp.Size
	w.signed = append(w.signed, cp.Size)
	_, signature, _ := bytes.Cut(cosigned, []byte("\n\n"))
	rw.Write(signature)
}

func TestAWitnessThatIsDownStopsNoAppend(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	s.witness.answer = func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "asleep", http.StatusServiceUnavailable) }
	mustAppend(t, l, "one")
	if err := l.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "asleep") {
		t.Fatalf("checkpoint without the witness: %v, want what it answered", err)
	}
	mustAppend(t, l, "two")
	s.witness.mu.Lock()
	s.witness.answer = nil
	s.witness.mu.Unlock()
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := s.verify(t); res.Entries != 2 {
		t.Errorf("verified %d entries, want 2", res.Entries)
	}
}

func TestAWitnessThatKnowsAnotherSizeIsGivenItsProof(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, "one", "two")
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "three")
	s.witness.known = 1 // as after its restoration from an older backup
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.verify(t)
}

func TestARecordThatWasRolledBackIsTold(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, "one")
	s.witness.known = 7
	if err := l.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("checkpoint of 1 entry with a witness that knows 7: %v", err)
	}
}

func TestAFalseCosignatureIsNotStored(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, "one")
	other := newTestWitness(t)
	s.witness.answer = other.ServeHTTP
	if err := l.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "without its valid signature") {
		t.Errorf("checkpoint cosigned by a stranger: %v", err)
	}
	if _, err := Verify(t.Context(), s.dir, s.logKey, s.witness.vkey); err == nil || !strings.Contains(err.Error(), "has not cosigned") {
		t.Errorf("verify without a cosignature: %v", err)
	}
}

func TestWithoutAWitnessThereIsNoCheckpoint(t *testing.T) {
	s := newSite(t)
	s.opt.Witness = WitnessOptions{}
	l := s.open(t)
	mustAppend(t, l, "one")
	if err := l.Checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "no witness") {
		t.Errorf("checkpoint: %v", err)
	}
	wantTexts(t, s.dir, []string{"one"})
}
