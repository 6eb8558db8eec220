package vault

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/evidence"
)

const (
	maxRequest = 32 << 10 // bytes of an add-checkpoint request
	maxProof   = 63       // its lines, as c2sp.org/tlog-witness says
	stateFile  = "checkpoint"
	lockFile   = ".lock"
)

// witness cosigns the checkpoints of one record: each only if it continues the one before. The last checkpoint,
// with the record's own signature, is kept in dir, durably, before it is cosigned.
type witness struct {
	dir    string
	record note.Verifier
	signer note.Signer
	log    *slog.Logger

	mu     sync.Mutex
	last   log.Checkpoint // as kept; Size 0: none yet
	status WitnessStatus
}

// WitnessStatus tells how the witness stands.
type WitnessStatus struct {
	Origin   string    `json:"origin"`            // the record that it witnesses
	Size     uint64    `json:"size"`              // entries of the last checkpoint that it cosigned
	Cosigned time.Time `json:"cosigned,omitzero"` // when, UTC, in this process
	// Refused counts checkpoints that bore the record's signature and did not continue the last one: a record
	// that was rolled back or rewritten.
	Refused int    `json:"refused"`
	Refusal string `json:"refusal,omitempty"` // the last of these
}

func newWitness(dir, keyFile, logKey string, logger *slog.Logger) (*witness, error) {
	skey, err := evidence.ReadKey(keyFile)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w := &witness{dir: dir, log: logger}
	if w.signer, err = fnote.NewSignerForCosignatureV1(skey); err != nil {
		return nil, fmt.Errorf("witness: key %s: %w", keyFile, err)
	}
	if w.record, err = note.NewVerifier(logKey); err != nil {
		return nil, fmt.Errorf("witness: public key of the record %.100q: %w", logKey, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if w.last, err = w.recall(); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w.status = WitnessStatus{Origin: w.last.Origin, Size: w.last.Size}
	return w, nil
}

// recall reads the checkpoint that was kept last: of no entries, if none was.
func (w *witness) recall() (log.Checkpoint, error) {
	path := filepath.Join(w.dir, stateFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return log.Checkpoint{Origin: w.record.Name(), Hash: rfc6962.DefaultHasher.EmptyRoot()}, nil
	}
	if err != nil {
		return log.Checkpoint{}, err
	}
	cp, _, _, err := log.ParseCheckpoint(raw, w.record.Name(), w.record)
	if err != nil {
		return log.Checkpoint{}, fmt.Errorf("%s is not a checkpoint of %s: %w; put it aside only if you know why: the witness then believes any history", path, w.record.Name(), err)
	}
	return *cp, nil
}

// exclude keeps other processes from cosigning with the same memory until the file is closed.
func (w *witness) exclude() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(w.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (w *witness) report() WitnessStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// refusal is an answer that is no cosignature.
type refusal struct {
	status int
	reason string
	known  *uint64 // told instead of the reason, where the client needs it
	alarm  bool    // the record signed something that it must not
}

func (r *refusal) Error() string { return r.reason }

// ServeHTTP answers add-checkpoint.
func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxRequest))
	if err != nil {
		http.Error(rw, "the request is too long, or was cut short", http.StatusBadRequest)
		return
	}
	signature, err := w.add(body)
	var no *refusal
	switch {
	case errors.As(err, &no) && no.known != nil:
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(no.status)
		fmt.Fprintf(rw, "%d\n", *no.known)
	case errors.As(err, &no):
		http.Error(rw, no.reason, no.status)
	case err != nil:
		w.log.Error("cosign failed", "error", err)
		http.Error(rw, "the witness cannot keep the checkpoint; ask the vault's operator", http.StatusInternalServerError)
	default:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rw.Write(signature) // an error here is the client's leaving
	}
}

// add returns the cosignature line, once the checkpoint is kept.
func (w *witness) add(body []byte) ([]byte, error) {
	req, err := parseRequest(body)
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	if origin, _, _ := bytes.Cut(req.signed, []byte("\n")); string(origin) != w.record.Name() {
		return nil, &refusal{status: http.StatusNotFound, reason: "this witness does not know that origin"}
	}
	cp, _, n, err := log.ParseCheckpoint(req.signed, w.record.Name(), w.record)
	if err != nil {
		return nil, &refusal{status: http.StatusForbidden, reason: "the checkpoint does not bear a valid signature of its record"}
	}
	// Only this signature is kept: who else signed is not the witness's concern.
	kept := n.Text + "\n— " + n.Sigs[0].Name + " " + n.Sigs[0].Base64 + "\n"

	w.mu.Lock()
	defer w.mu.Unlock()
	lock, err := w.exclude()
	if err != nil {
		return nil, fmt.Errorf("keep other witnesses out: %w", err)
	}
	defer lock.Close()
	known, err := w.recall()
	if err != nil {
		return nil, fmt.Errorf("recall the last checkpoint: %w", err)
	}
	if known.Size < w.last.Size {
		return nil, fmt.Errorf("recall the last checkpoint: %s has %d entries, but %d were cosigned: put back the newer one", stateFile, known.Size, w.last.Size)
	}
	w.last = known
	if err := w.continues(req, cp); err != nil {
		var no *refusal
		if errors.As(err, &no) && no.alarm {
			w.status.Refused++
			w.status.Refusal = fmt.Sprintf("%s: %s", time.Now().UTC().Format(time.RFC3339), no.reason)
			w.log.Error("checkpoint refused: the record may have been rewritten", "reason", no.reason,
				"known_size", w.last.Size, "size", cp.Size, "root", fmt.Sprintf("%x", cp.Hash))
		}
		return nil, err
	}
	if err := keep(w.dir, stateFile, []byte(kept)); err != nil {
		return nil, fmt.Errorf("keep checkpoint: %w", err)
	}
	w.last = *cp
	cosigned, err := note.Sign(&note.Note{Text: n.Text}, w.signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	w.status.Size, w.status.Cosigned = cp.Size, time.Now().UTC()
	return cosigned[len(n.Text)+1:], nil
}

// continues tells whether cp, which its record signed, is a continuation of what the witness knows.
func (w *witness) continues(req request, cp *log.Checkpoint) error {
	if len(cp.Hash) != rfc6962.DefaultHasher.Size() {
		return &refusal{status: http.StatusBadRequest, reason: "the root is not a SHA-256 hash"}
	}
	if req.old > cp.Size {
		return &refusal{status: http.StatusBadRequest, reason: "the old size is larger than the checkpoint's"}
	}
	if req.old != w.last.Size {
		return &refusal{
			status: http.StatusConflict, known: &w.last.Size, alarm: cp.Size < w.last.Size,
			reason: fmt.Sprintf("rolled back: a checkpoint of %d entries, when %d were cosigned", cp.Size, w.last.Size),
		}
	}
	if cp.Size == w.last.Size && !bytes.Equal(cp.Hash, w.last.Hash) {
		return &refusal{
			status: http.StatusConflict, alarm: true,
			reason: fmt.Sprintf("forked: another root for the same %d entries", cp.Size),
		}
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, req.old, cp.Size, req.proof, w.last.Hash, cp.Hash); err != nil {
		return &refusal{
			status: http.StatusUnprocessableEntity, alarm: true,
			reason: fmt.Sprintf("not proven: %d entries are not shown to continue the %d that were cosigned", cp.Size, req.old),
		}
	}
	return nil
}

// request is the body of add-checkpoint.
type request struct {
	old    uint64
	proof  [][]byte
	signed []byte // the checkpoint, a signed note
}

func parseRequest(body []byte) (request, error) {
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return request{}, errors.New("want a line with the old size, the proof's lines, an empty line and a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	digits, ok := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || strconv.FormatUint(old, 10) != digits {
		return request{}, errors.New(`the first line is not "old " and a size`)
	}
	if len(lines)-1 > maxProof {
		return request{}, fmt.Errorf("a proof of %d lines, at most %d are read", len(lines)-1, maxProof)
	}
	req := request{old: old, signed: signed}
	for i, line := range lines[1:] {
		hash, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(hash) != rfc6962.DefaultHasher.Size() {
			return request{}, fmt.Errorf("line %d of the proof is not a hash", i+1)
		}
		req.proof = append(req.proof, hash)
	}
	return req, nil
}

// keep replaces a file in dir whole: after a power cut it is the old one or the new one.
func keep(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
