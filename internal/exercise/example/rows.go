package example

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// ShipNumber returns the IMO ship number that begins with the six digits of prefix: the seventh is the last digit
// of the sum of the six, weighted 7 to 2.
func ShipNumber(prefix int) int {
	return withCheck(prefix, [6]int{7, 6, 5, 4, 3, 2}, func(sum int) int { return sum % 10 })
}

// CompanyNumber returns the IMO company number that begins with the six digits of prefix: the weights are 8, 6, 4,
// 2, 9, 7, and the seventh digit is that of 11 minus the sum modulo 11.
func CompanyNumber(prefix int) int {
	return withCheck(prefix, [6]int{8, 6, 4, 2, 9, 7}, func(sum int) int { return (11 - sum%11) % 10 })
}

func withCheck(prefix int, weights [6]int, check func(sum int) int) int {
	sum, rest := 0, prefix
	for i := len(weights) - 1; i >= 0; i-- {
		sum += rest % 10 * weights[i]
		rest /= 10
	}
	return prefix*10 + check(sum)
}

// register is the content of the ship register: each row follows from the seed and its number alone. Rows are in
// PostgreSQL's COPY text form, as the server itself writes them.
type register struct {
	seed                                                  uint64
	companies, ships, facilities, casualties, inspections int
}

// size shares out the rows as they are in a real register.
func (g *register) size(rows int) {
	rows = max(rows, 200)
	g.companies, g.facilities, g.casualties = rows/20, rows*3/100, rows*12/100
	g.inspections = rows * 35 / 100
	g.ships = rows - g.companies - g.facilities - g.casualties - g.inspections
}

// prefixes is how many six-digit prefixes there are for numbers from 6000000 on. Stepping through them by a
// number that shares no factor with it meets each once.
const prefixes, prefixStep = 400_000, 7919

func (g register) shipNumber(n int) int { return ShipNumber(600_000 + n*prefixStep%prefixes) }

func (g register) companyNumber(n int) int { return CompanyNumber(100_000 + n*prefixStep%prefixes) }

func (g register) random(table uint64, n int) *rand.Rand {
	return rand.New(rand.NewPCG(g.seed, table<<40|uint64(n)))
}

func (g register) company(n int) string {
	r := g.random(1, n)
	name := fmt.Sprintf("%s %s %s", pick(r, firstWords), pick(r, companyWords), pick(r, companyForms))
	return row(g.companyNumber(n), name, weighted(r, flags), date(r, 1960, 64))
}

func (g register) ship(n int) string {
	r := g.random(2, n)
	kind := weighted(r, shipTypes)
	tonnage := 500 + int(r.ExpFloat64()*22_000)
	if kind == "Fishing vessel" || kind == "Tug" {
		tonnage = 100 + int(r.ExpFloat64()*400)
	}
	name := fmt.Sprintf("%s %s", strings.ToUpper(pick(r, firstWords)), strings.ToUpper(pick(r, shipWords)))
	if r.IntN(3) == 0 {
		name += " " + strconv.Itoa(1+r.IntN(40))
	}
	return row(g.shipNumber(n), name, weighted(r, flags), kind, min(tonnage, 235_000), 1970+min(r.IntN(55), r.IntN(80)), g.companyNumber(r.IntN(g.companies)))
}

func (g register) facility(n int) string {
	r := g.random(3, n)
	return row(n+1, pick(r, portNames), weighted(r, flags), pick(r, wasteTypes), 10*(1+r.IntN(2000)), date(r, 2005, 20))
}

func (g register) casualty(n int) string {
	r := g.random(4, n)
	lives := 0
	if r.IntN(20) == 0 {
		lives = 1 + r.IntN(6)
	}
	return row(n+1, g.shipNumber(r.IntN(g.ships)), date(r, 1995, 30), pick(r, casualtyKinds), weighted(r, severities), lives, pick(r, summaries))
}

// inspection returns the nth inspection. Every third is not closed yet.
func (g register) inspection(n int, closed any) string {
	r := g.random(5, n)
	deficiencies := int(r.ExpFloat64() * 3)
	fields := []any{n + 1, g.shipNumber(r.IntN(g.ships)), pick(r, portNames), date(r, 2010, 15), deficiencies, deficiencies > 9}
	if closed == nil && !isOpen(n) {
		closed = date(r, 2025, 1)
	}
	return row(append(fields, closed)...)
}

func isOpen(n int) bool { return n%3 == 0 }

// row writes fields as COPY does. Text must hold no tab, newline or backslash.
func row(fields ...any) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		switch f := f.(type) {
		case nil:
			parts[i] = `\N`
		case bool:
			parts[i] = "f"
			if f {
				parts[i] = "t"
			}
		default:
			parts[i] = fmt.Sprint(f)
		}
	}
	return strings.Join(parts, "\t")
}

// write writes all rows of a table.
func (g register) write(w io.Writer, table string) error {
	count, nth := 0, func(int) string { return "" }
	switch table {
	case "companies":
		count, nth = g.companies, g.company
	case "ships":
		count, nth = g.ships, g.ship
	case "port_reception_facilities":
		count, nth = g.facilities, g.facility
	case "casualties":
		count, nth = g.casualties, g.casualty
	case "inspections":
		count, nth = g.inspections, func(n int) string { return g.inspection(n, nil) }
	}
	for n := range count {
		if _, err := io.WriteString(w, nth(n)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// weighted picks earlier values more often, as the large registries have most ships.
func weighted(r *rand.Rand, from []string) string {
	return from[min(int(r.ExpFloat64()*float64(len(from))/4), len(from)-1)]
}

func date(r *rand.Rand, year, years int) string {
	return time.Date(year+r.IntN(years), time.Month(1+r.IntN(12)), 1+r.IntN(28), 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}

var (
	flags = []string{
		"Panama", "Liberia", "Marshall Islands", "Hong Kong (China)", "Singapore", "Malta", "Bahamas", "China", "Greece", "Japan",
		"Cyprus", "Norway", "Indonesia", "United Kingdom", "Denmark", "Portugal", "Republic of Korea", "Italy", "Türkiye", "Brazil",
		"Côte d'Ivoire", "Chile", "Kenya", "Fiji",
	}
	shipTypes = []string{
		"Bulk carrier", "General cargo ship", "Oil tanker", "Container ship", "Chemical tanker", "Fishing vessel", "Tug",
		"Passenger ship", "Ro-ro cargo ship", "LNG carrier", "Research vessel", "Livestock carrier",
	}
	firstWords = []string{
		"Northern", "Southern", "Atlantic", "Pacific", "Golden", "Silver", "Ocean", "Coral", "Amber", "Royal", "Star", "Polar",
		"Baltic", "Ionian", "Maple", "Crystal", "Eastern", "Western", "Blue", "Grand", "Stella", "Nova", "Terra", "Alta",
	}
	shipWords = []string{
		"Pioneer", "Voyager", "Horizon", "Spirit", "Breeze", "Trader", "Progress", "Harmony", "Venture", "Fortune", "Wave", "Dawn",
		"Courage", "Explorer", "Glory", "Wind", "Pearl", "Bridge", "Sea", "Hope", "Leader", "Carrier", "Crest", "Bay",
	}
	companyWords  = []string{"Shipping", "Maritime", "Navigation", "Tankers", "Bulk", "Lines", "Marine Services", "Ship Management"}
	companyForms  = []string{"Ltd", "SA", "Inc", "GmbH", "AS", "Pte Ltd", "Corp", "SpA"}
	portNames     = []string{"Valparaíso", "Mombasa", "Rotterdam", "Singapore", "Piraeus", "Santos", "Durban", "Busan", "Gdańsk", "Halifax", "Callao", "Suva"}
	wasteTypes    = []string{"Oily residues", "Sewage", "Garbage", "Noxious liquids", "Ozone-depleting substances", "Exhaust gas residues"}
	casualtyKinds = []string{"Grounding", "Collision", "Fire", "Machinery damage", "Flooding", "Capsizing", "Contact", "Occupational accident"}
	severities    = []string{"Less serious", "Serious", "Very serious"}
	summaries     = []string{
		"The vessel touched bottom while approaching the berth and was refloated at high water.",
		"Smoke was found in the engine room; the crew put the fire out with fixed means.",
		"The main engine stopped in the traffic lane and the vessel was taken in tow.",
		"A crew member was hurt during mooring and was taken ashore for treatment.",
		"The vessel and a fishing boat met in fog; both had slight damage above the waterline.",
		"Water came into the forepeak after heavy weather and was pumped out.",
	}
)
