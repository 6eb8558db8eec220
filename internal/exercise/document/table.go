package document

import (
	"math/rand/v2"
	"time"
)

// Table is one sheet. The first row is its head.
type Table struct {
	Name    string
	Created time.Time
	Head    []string
	Rows    [][]Cell // each as long as Head
}

// Cell is a text, or, if Text is empty, a number.
type Cell struct {
	Text   string
	Number float64
}

// Tabulate fills a table of port calls.
func Tabulate(r *rand.Rand, rows int) Table {
	t := Table{
		Name:    "Port calls",
		Created: time.Date(2012+r.IntN(13), time.Month(1+r.IntN(12)), 1+r.IntN(28), 9, r.IntN(60), 0, 0, time.UTC),
		Head:    []string{"Port", "Year", "Calls", "Cargo handled (t)", "Waste received (m3)", "Remark"},
	}
	for range rows {
		t.Rows = append(t.Rows, []Cell{
			{Text: pick(r, ports)}, {Number: float64(2000 + r.IntN(25))}, {Number: float64(r.IntN(9000))},
			{Number: float64(r.IntN(40_000_000))}, {Number: float64(r.IntN(100_000)) / 10}, {Text: pick(r, remarks)},
		})
	}
	return t
}

var ports = []string{
	"Valparaíso", "Mombasa", "Rotterdam", "Singapore", "Piraeus", "Santos", "Durban", "Busan", "Gdańsk", "Halifax",
	"Chittagong", "Alexandria", "Callao", "Felixstowe", "Tema", "Suva",
}

var remarks = []string{"provisional", "confirmed by the authority", "estimate", "no return received", "as reported"}
