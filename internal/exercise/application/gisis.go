package application

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxHits bounds how many ships a search shows.
const maxHits = 100

// Ship is one ship of the register, as its page and the JSON interface show it.
type Ship struct {
	IMO          int        `json:"imo" db:"imo"`
	Name         string     `json:"name" db:"name"`
	Flag         string     `json:"flag" db:"flag"`
	Type         string     `json:"type" db:"type"`
	GrossTonnage int        `json:"gross_tonnage" db:"gross_tonnage"`
	Built        int        `json:"built" db:"built"`
	Owner        int        `json:"owner" db:"owner"` // company number
	OwnerName    string     `json:"owner_name" db:"owner_name"`
	Casualties   []Casualty `json:"casualties,omitempty" db:"-"`
}

// Casualty is something that befell a ship.
type Casualty struct {
	Date     string `json:"date" db:"occurred"`
	Kind     string `json:"kind" db:"kind"`
	Severity string `json:"severity" db:"severity"`
	Summary  string `json:"summary" db:"summary"`
}

const shipColumns = `SELECT s.imo, s.name, s.flag, s.type, s.gross_tonnage, s.built, s.owner, c.name AS owner_name
	FROM ships s JOIN companies c ON c.id = s.owner `

type gisis struct {
	db           *pgxpool.Pool
	search, ship view
}

// GISIS is the ship register: search by name, IMO number or flag, a page for each ship, and /api/ships/IMO.
func GISIS(db *pgxpool.Pool) http.Handler {
	g := &gisis{
		db: db,
		search: newView(`<form action="/search"><input name="q" placeholder="Name, IMO number or flag"><button>Search</button></form>
<table><tr><th>IMO</th><th>Name</th><th>Flag</th><th>Type</th><th>GT</th></tr>
{{range .}}<tr><td><a href="/ships/{{.IMO}}">{{.IMO}}</a></td><td>{{.Name}}</td><td>{{.Flag}}</td><td>{{.Type}}</td><td>{{.GrossTonnage}}</td></tr>
{{end}}</table>`),
		ship: newView(`<table><tr><th>IMO number</th><td>{{.IMO}}</td></tr><tr><th>Flag</th><td>{{.Flag}}</td></tr>
<tr><th>Type</th><td>{{.Type}}</td></tr><tr><th>Gross tonnage</th><td>{{.GrossTonnage}}</td></tr><tr><th>Built</th><td>{{.Built}}</td></tr>
<tr><th>Registered owner</th><td>{{.OwnerName}} ({{.Owner}})</td></tr></table>
<h2>Casualties</h2><ul>{{range .Casualties}}<li>{{.Date}}: {{.Kind}} ({{.Severity}}). {{.Summary}}</li>{{end}}</ul>`),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health(db))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { g.search.show(w, http.StatusOK, "Ship register", nil) })
	mux.HandleFunc("GET /search", g.handleSearch)
	mux.HandleFunc("GET /ships/{imo}", g.handleShip)
	mux.HandleFunc("GET /api/ships/{imo}", g.handleAPI)
	return mux
}

// health answers whether the database does.
func health(db *pgxpool.Pool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := db.Ping(r.Context()); err != nil {
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	}
}

func (g *gisis) handleSearch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query().Get("q")
	var rows pgx.Rows
	var err error
	if imo, convErr := strconv.Atoi(q); convErr == nil {
		rows, err = g.db.Query(r.Context(), shipColumns+`WHERE s.imo = $1`, imo)
	} else {
		rows, err = g.db.Query(r.Context(), shipColumns+`WHERE s.name LIKE upper($1) || '%' OR s.flag = $1 ORDER BY s.name, s.imo LIMIT $2`, q, maxHits)
	}
	if err != nil {
		fail(w, err)
		return
	}
	ships, err := pgx.CollectRows(rows, pgx.RowToStructByName[Ship])
	if err != nil {
		fail(w, err)
		return
	}
	g.search.show(w, http.StatusOK, "Ship register", ships)
}

func (g *gisis) handleShip(w http.ResponseWriter, r *http.Request) {
	ship, err := g.load(r)
	if err != nil {
		fail(w, err)
		return
	}
	g.ship.show(w, http.StatusOK, ship.Name, ship)
}

func (g *gisis) handleAPI(w http.ResponseWriter, r *http.Request) {
	ship, err := g.load(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(ship) // fails only if the reader has gone away
}

// load returns the ship that the request names. pgx.ErrNoRows: there is none.
func (g *gisis) load(r *http.Request) (Ship, error) {
	imo, err := strconv.Atoi(r.PathValue("imo"))
	if err != nil {
		return Ship{}, pgx.ErrNoRows
	}
	rows, err := g.db.Query(r.Context(), shipColumns+`WHERE s.imo = $1`, imo)
	if err != nil {
		return Ship{}, err
	}
	ship, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Ship])
	if err != nil {
		return Ship{}, err
	}
	rows, err = g.db.Query(r.Context(), `SELECT occurred::text, kind, severity, summary FROM casualties WHERE imo = $1 ORDER BY occurred, id LIMIT $2`, imo, maxHits)
	if err != nil {
		return Ship{}, err
	}
	ship.Casualties, err = pgx.CollectRows(rows, pgx.RowToStructByName[Casualty])
	return ship, err
}

// fail answers a request that could not be met. What went wrong inside is not for visitors.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, pgx.ErrNoRows) {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	http.Error(w, "the service is not available", http.StatusServiceUnavailable)
}
