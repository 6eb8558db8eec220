package evidence

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

const (
	witnessTimeout = 15 * time.Second
	maxReply       = 16 << 10 // bytes of a witness's answer
	sizeType       = "text/x.tlog.size"
)

// WitnessOptions name the witness: the vault at the second site, or any C2SP tlog-witness.
type WitnessOptions struct {
	URL         string // its submission prefix; "add-checkpoint" is appended
	VerifierKey string // its public key, as GenerateKey returned it
	Token       string // sent as bearer token if not empty; the protocol itself asks for none
}

// witness is a client of c2sp.org/tlog-witness.
type witness struct {
	url      string
	token    string
	verifier note.Verifier
	client   *http.Client
}

func newWitness(opt WitnessOptions) (*witness, error) {
	u, err := url.Parse(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("witness address: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("witness address %q: want http://host:port or https://host", u.Redacted())
	}
	verifier, err := fnote.NewVerifierForCosignatureV1(opt.VerifierKey)
	if err != nil {
		return nil, fmt.Errorf("witness key %q: %w", opt.VerifierKey, err)
	}
	return &witness{
		url:      u.JoinPath("add-checkpoint").String(),
		token:    opt.Token,
		verifier: verifier,
		client: &http.Client{
			Timeout: witnessTimeout,
			// A redirect could carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// cosign returns the signed checkpoint with the witness's signature below the log's. last is what the log
// believes the witness to know; the witness says if that is wrong. prove gives consistency proofs to size.
func (w *witness) cosign(ctx context.Context, signed []byte, last published, size uint64, prove func(old uint64) ([][]byte, error)) ([]byte, error) {
	old := uint64(0)
	if last.cosigned {
		old = last.size
	}
	for range 3 { // once more for a witness that knows another size, and once for another client's race with us
		proof, err := prove(old)
		if err != nil {
			return nil, fmt.Errorf("prove that %d entries continue %d: %w", size, old, err)
		}
		status, kind, reply, err := w.post(ctx, old, proof, signed)
		if err != nil {
			return nil, fmt.Errorf("ask witness %s: %w", w.verifier.Name(), err)
		}
		if status == http.StatusOK {
			return w.merge(signed, reply)
		}
		if status != http.StatusConflict || kind != sizeType {
			return nil, fmt.Errorf("witness %s refused to cosign %d entries (it was told %d): %d %.200s",
				w.verifier.Name(), size, old, status, bytes.TrimSpace(reply))
		}
		known, err := strconv.ParseUint(string(bytes.TrimSpace(reply)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("witness %s: read the size that it knows: %w", w.verifier.Name(), err)
		}
		if known > size {
			return nil, fmt.Errorf("witness %s has cosigned %d entries of this record, which now has %d: the record was rolled back; restore it from a copy that is complete", w.verifier.Name(), known, size)
		}
		old = known
	}
	return nil, fmt.Errorf("witness %s names another size at every attempt; is another process using this record's key?", w.verifier.Name())
}

// post sends one add-checkpoint request and returns status, media type and body of the answer.
func (w *witness) post(ctx context.Context, old uint64, proof [][]byte, signed []byte) (int, string, []byte, error) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, hash := range proof {
		body.WriteString(base64.StdEncoding.EncodeToString(hash) + "\n")
	}
	body.WriteString("\n")
	body.Write(signed)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, &body)
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return 0, "", nil, err
	}
	return res.StatusCode, res.Header.Get("Content-Type"), reply, nil
}

// merge checks the witness's signature lines and writes the one that counts below the log's.
func (w *witness) merge(signed, reply []byte) ([]byte, error) {
	n, err := note.Open(append(bytes.Clone(signed), reply...), note.VerifierList(w.verifier))
	if err != nil {
		return nil, fmt.Errorf("witness %s answered without its valid signature: %w", w.verifier.Name(), err)
	}
	return append(bytes.Clone(signed), signatureLine(n.Sigs[0])...), nil
}

// signatureLine writes a signature in the one form that Verify accepts.
func signatureLine(s note.Signature) string {
	return "— " + s.Name + " " + s.Base64 + "\n"
}

// canonical tells whether a signature's base64 is the only one for its bytes: the decoder of notes ignores spare
// bits, and with them a changed byte.
func canonical(s note.Signature) error {
	if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
		return fmt.Errorf("signature of %s: %w", s.Name, err)
	}
	return nil
}
