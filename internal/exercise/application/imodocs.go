package application

import (
	"net/http"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// meeting is one session of a committee, with how many documents it has.
type meeting struct {
	Committee string `db:"committee"`
	Session   int    `db:"session"`
	Documents int    `db:"documents"`
}

// entry is one document of the catalogue.
type entry struct {
	Symbol   string `db:"symbol"`
	Language string `db:"language"`
	Title    string `db:"title"`
	Path     string `db:"path"`
}

type imodocs struct {
	db                *pgxpool.Pool
	meetings, session view
}

// IMODOCS is the library of meeting documents: meetings, the documents of each, and /files/PATH below root.
func IMODOCS(db *pgxpool.Pool, root *os.Root) http.Handler {
	d := &imodocs{
		db: db,
		meetings: newView(`<table><tr><th>Meeting</th><th>Documents</th></tr>{{range .}}
<tr><td><a href="/meetings/{{.Committee}}/{{.Session}}">{{.Committee}} {{.Session}}</a></td><td>{{.Documents}}</td></tr>{{end}}</table>`),
		session: newView(`<table><tr><th>Symbol</th><th>Language</th><th>Title</th></tr>{{range .}}
<tr><td>{{.Symbol}}</td><td>{{.Language}}</td><td dir="auto"><a href="/files/{{.Path}}">{{.Title}}</a></td></tr>{{end}}</table>`),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health(db))
	mux.HandleFunc("GET /{$}", d.handleMeetings)
	mux.HandleFunc("GET /meetings/{committee}/{session}", d.handleSession)
	mux.Handle("GET /files/", http.StripPrefix("/files", http.FileServerFS(root.FS())))
	return mux
}

func (d *imodocs) handleMeetings(w http.ResponseWriter, r *http.Request) {
	rows, err := d.db.Query(r.Context(), `SELECT committee, session, count(*) AS documents FROM documents GROUP BY 1, 2 ORDER BY 1, 2 DESC`)
	if err != nil {
		fail(w, err)
		return
	}
	meetings, err := pgx.CollectRows(rows, pgx.RowToStructByName[meeting])
	if err != nil {
		fail(w, err)
		return
	}
	d.meetings.show(w, http.StatusOK, "Meeting documents", meetings)
}

func (d *imodocs) handleSession(w http.ResponseWriter, r *http.Request) {
	committee := r.PathValue("committee")
	session, err := strconv.Atoi(r.PathValue("session"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	rows, err := d.db.Query(r.Context(), `SELECT symbol, language, title, path FROM documents
		WHERE committee = $1 AND session = $2 ORDER BY agenda_item, symbol, language, id`, committee, session)
	if err != nil {
		fail(w, err)
		return
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		fail(w, err)
		return
	}
	if len(entries) == 0 {
		http.NotFound(w, r)
		return
	}
	d.session.show(w, http.StatusOK, committee+" "+strconv.Itoa(session), entries)
}
