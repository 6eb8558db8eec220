package vault

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/internal/event"
)

const (
	minToken = 16 // bytes; shorter ones can be guessed
	maxToken = 4096
)

// token is the SHA-256 of a shared secret: enough to recognise it, and nothing that a log could give away.
type token [sha256.Size]byte

func loadToken(path string) (token, error) {
	secret, err := readToken(path)
	if err != nil {
		return token{}, err
	}
	return sha256.Sum256([]byte(secret)), nil
}

// readToken returns the first line of a file.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	line = strings.TrimSpace(line)
	if len(line) < minToken {
		return "", fmt.Errorf("read token %s: %d characters; make it at least %d, such as by: openssl rand -hex 32", path, len(line), minToken)
	}
	return line, nil
}

// allows tells whether the request carries one of the tokens: as bearer token, or as password, which is how
// restic itself sends one. It takes the same time whatever was sent.
func allows(r *http.Request, tokens ...token) bool {
	sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, sent, ok = r.BasicAuth()
	}
	have := sha256.Sum256([]byte(sent))
	match := 0
	for _, want := range tokens {
		match |= subtle.ConstantTimeCompare(have[:], want[:])
	}
	return ok && match == 1
}

// guard lets only requests with one of the tokens through.
func guard(next http.Handler, tokens ...token) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allows(r, tokens...) {
			w.Header().Add("WWW-Authenticate", "Bearer")
			w.Header().Add("WWW-Authenticate", `Basic realm="kedge"`)
			http.Error(w, "a token is needed, and this one does not open this", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Handler answers
//
//	GET, HEAD /repository/NAME/...  the copy, by restic's REST protocol      read or operator token
//	GET       /status               Status                                   read or operator token
//	POST      /pull/NAME            pulls now and answers event.CopyVerified  operator token
//	POST      /verify/NAME          reads all of the copy again, likewise     operator token
//	POST      /add-checkpoint       c2sp.org/tlog-witness                     none: the record's signature counts
//
// A pull or verification that fails is answered with status 502 and a Failure.
func (v *Vault) Handler() http.Handler {
	mux := http.NewServeMux()
	for name, h := range v.copies {
		prefix := "/repository/" + name
		serve := http.StripPrefix(prefix, rest.Handler(h.be, rest.ReadOnly))
		mux.Handle("GET "+prefix+"/", guard(serve, v.readToken, v.operatorToken)) // HEAD too
	}
	mux.Handle("GET /status", guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, v.Status())
	}), v.readToken, v.operatorToken))
	mux.Handle("POST /pull/{name}", guard(v.answer(v.Pull), v.operatorToken))
	mux.Handle("POST /verify/{name}", guard(v.answer(v.Verify), v.operatorToken))
	if v.witness != nil {
		mux.Handle("POST /add-checkpoint", v.witness)
	}
	return mux
}

// Failure is the answer to a pull or verification that failed.
type Failure struct {
	Error string             `json:"error"`
	Copy  event.CopyVerified `json:"copy"` // what was done before, and the damaged files
}

func (v *Vault) answer(do operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Hashing a large repository takes longer than an answer may otherwise.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			http.Error(w, "no time to answer", http.StatusInternalServerError)
			return
		}
		fact, err := do(r.Context(), r.PathValue("name"))
		switch {
		case errors.Is(err, errUnknown):
			writeJSON(w, http.StatusNotFound, Failure{Error: err.Error()})
		case err != nil:
			v.log.Error("operator's request failed", "request", r.URL.Path, "error", err)
			writeJSON(w, http.StatusBadGateway, Failure{Error: err.Error(), Copy: fact})
		default:
			writeJSON(w, http.StatusOK, fact)
		}
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here is the client's leaving: nobody is left to be told.
	_, _ = w.Write(append(body, '\n'))
}

// ServeRepository serves the repository in dir read-only at the handler's root to whoever has the token in
// tokenFile: what headquarters offers a vault to pull.
func ServeRepository(dir, tokenFile string) (http.Handler, error) {
	t, err := loadToken(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("serve repository: %w", err)
	}
	be, err := local.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("serve repository: %w", err)
	}
	serve := rest.Handler(be, rest.ReadOnly)
	return guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this repository is served read-only", http.StatusMethodNotAllowed)
			return
		}
		serve.ServeHTTP(w, r)
	}), t), nil
}
