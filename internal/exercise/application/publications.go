package application

import (
	"bufio"
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxUpload   = 8 << 20 // bytes of a request
	maxChapter  = 4 << 20
	maxSessions = 10_000
	sessionLife = 8 * time.Hour
	// maxRounds bounds the work that a line of the users file can ask for.
	maxRounds = 1_000_000
)

// user is one line of the users file: name:rounds:salt:hash, PBKDF2 with SHA-256, salt and hash in hexadecimal.
type user struct {
	rounds     int
	salt, hash []byte
}

type publications struct {
	users         map[string]user
	books, covers *os.Root
	signIn, shelf view
	chapter       view

	mu       sync.Mutex
	sessions map[string]time.Time // cookie value to its end
}

func openPublications(c Config) (http.Handler, func(), error) {
	users, err := loadUsers(c.Users)
	if err != nil {
		return nil, nil, err
	}
	books, err := os.OpenRoot(c.Documents)
	if err != nil {
		return nil, nil, fmt.Errorf("open books: %w", err)
	}
	covers, err := os.OpenRoot(c.Uploads)
	if err != nil {
		books.Close()
		return nil, nil, fmt.Errorf("open cover images: %w", err)
	}
	return newPublications(users, books, covers), func() { books.Close(); covers.Close() }, nil
}

func newPublications(users map[string]user, books, covers *os.Root) http.Handler {
	p := &publications{
		users: users, books: books, covers: covers, sessions: map[string]time.Time{},
		signIn: newView(`{{if .}}<p>{{.}}</p>{{end}}<form method="post" action="/sign-in"><label>Name <input name="user"></label>
<label>Password <input name="password" type="password"></label><button>Sign in</button></form>`),
		shelf: newView(`<ul>{{range .}}<li><a href="/read/{{.}}">{{.}}</a></li>{{end}}</ul>
<form method="post" action="/covers" enctype="multipart/form-data"><label>Cover image <input type="file" name="cover"></label><button>Upload</button></form>`),
		chapter: newView(`<article>{{.}}</article>`),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /sign-in", func(w http.ResponseWriter, _ *http.Request) { p.signIn.show(w, http.StatusOK, "Sign in", "") })
	mux.HandleFunc("POST /sign-in", p.handleSignIn)
	mux.HandleFunc("GET /{$}", p.signedIn(p.handleShelf))
	mux.HandleFunc("GET /read/{book}/{chapter}", p.signedIn(p.handleChapter))
	mux.HandleFunc("POST /covers", p.signedIn(p.handleCover))
	return mux
}

func (p *publications) handleSignIn(w http.ResponseWriter, r *http.Request) {
	if !p.known(r.PostFormValue("user"), r.PostFormValue("password")) {
		p.signIn.show(w, http.StatusForbidden, "Sign in", "The name or the password is wrong.")
		return
	}
	session := rand.Text()
	now := time.Now()
	p.mu.Lock()
	for s, end := range p.sessions {
		if now.After(end) || len(p.sessions) >= maxSessions {
			delete(p.sessions, s)
		}
	}
	p.sessions[session] = now.Add(sessionLife)
	p.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// known says whether the password is the user's. It takes as long for an unknown name.
func (p *publications) known(name, password string) bool {
	u, found := p.users[name]
	if !found {
		u = user{rounds: 1000, salt: make([]byte, 16), hash: make([]byte, sha256.Size)}
	}
	hash, err := pbkdf2.Key(sha256.New, password, u.salt, u.rounds, len(u.hash))
	return err == nil && found && subtle.ConstantTimeCompare(hash, u.hash) == 1
}

func (p *publications) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		if err == nil {
			p.mu.Lock()
			end, open := p.sessions[cookie.Value]
			p.mu.Unlock()
			if open && time.Now().Before(end) {
				next(w, r)
				return
			}
		}
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	}
}

func (p *publications) handleShelf(w http.ResponseWriter, _ *http.Request) {
	chapters, err := fs.Glob(p.books.FS(), "*/*.html")
	if err != nil {
		fail(w, err)
		return
	}
	for i, c := range chapters {
		chapters[i] = strings.TrimSuffix(c, ".html")
	}
	p.shelf.show(w, http.StatusOK, "Publications", chapters)
}

func (p *publications) handleChapter(w http.ResponseWriter, r *http.Request) {
	name := path.Join(r.PathValue("book"), r.PathValue("chapter")+".html")
	f, err := p.books.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxChapter))
	if err != nil {
		fail(w, err)
		return
	}
	// Chapters are the publisher's own HTML.
	p.chapter.show(w, http.StatusOK, r.PathValue("book"), template.HTML(text))
}

// handleCover stores a cover image where the web server serves it from. It does not look at what the file is:
// this is the fault of the application by which the attacker of the exercise comes in.
func (p *publications) handleCover(w http.ResponseWriter, r *http.Request) {
	upload, header, err := r.FormFile("cover")
	if err != nil {
		http.Error(w, "choose a file", http.StatusBadRequest)
		return
	}
	defer upload.Close()
	name := path.Base(header.Filename)
	if err := p.store(name, upload); err != nil {
		http.Error(w, "the cover image could not be stored", http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/uploads/"+name, http.StatusSeeOther)
}

func (p *publications) store(name string, upload io.Reader) error {
	f, err := p.covers.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, upload)
	return errors.Join(err, f.Close())
}

func loadUsers(file string) (map[string]user, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	users := map[string]user{}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; scanner.Scan(); n++ {
		name, u, err := parseUser(scanner.Text())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		users[name] = u
	}
	return users, scanner.Err()
}

func parseUser(line string) (name string, u user, err error) {
	fields := strings.Split(line, ":")
	if len(fields) != 4 || fields[0] == "" {
		return "", user{}, errors.New("a user is name:rounds:salt:hash")
	}
	if u.rounds, err = strconv.Atoi(fields[1]); err != nil || u.rounds < 1 || u.rounds > maxRounds {
		return "", user{}, fmt.Errorf("rounds must be between 1 and %d", maxRounds)
	}
	if u.salt, err = hex.DecodeString(fields[2]); err != nil {
		return "", user{}, fmt.Errorf("read salt: %w", err)
	}
	if u.hash, err = hex.DecodeString(fields[3]); err != nil || len(u.hash) != sha256.Size {
		return "", user{}, fmt.Errorf("the hash must be %d bytes in hexadecimal", sha256.Size)
	}
	return fields[0], u, nil
}
