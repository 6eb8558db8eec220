// Package profile says what a database cluster looks like at one moment: its tables by size and by the character of their text, and the
// roles, functions and triggers by which a cluster is taken over. It holds figures and digests, never a value that is in a table, a
// password or the text of a function.
//
// Profiles are stored with the cluster's backups, so that its history can be judged long after. All types are values.
package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Version is what Encode writes. Decode refuses newer ones.
const Version = 1

// MaxSize bounds an encoded profile, in bytes.
const MaxSize = 16 << 20

// The bounds of a profile. What is beyond them is left out and counted.
const (
	MaxDatabases = 32
	MaxTables    = 2000 // of one database
	MaxColumns   = 64   // text columns of one table
	MaxRoutines  = 5000 // of each kind in one database
	MaxRoles     = 5000
	MaxCommon    = 32 // values of one column
)

// Profile is a cluster at one moment.
type Profile struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"` // UTC, of the machine that read it
	LSN     string    `json:"lsn"`  // all that committed before it is in the profile, as in "0/14EC1F8"
	XID     uint32    `json:"xid"`  // transactions from this one on may be missing in it

	Roles     []Role     `json:"roles"`
	Databases []Database `json:"databases"`
	Shared    []Catalog  `json:"shared"`             // system tables that all databases share
	LeftOut   []LeftOut  `json:"left_out,omitempty"` // what was not looked at, and why

	// How the server writes its log, for who did what.
	LogLinePrefix string `json:"log_line_prefix,omitempty"`
	LogTimezone   string `json:"log_timezone,omitempty"`
}

// LeftOut is something that a profile does not hold.
type LeftOut struct {
	What   string `json:"what"` // such as "database app", "table app.public.ships"
	Reason string `json:"reason"`
}

// Role is a role with what it may do beyond its own tables.
type Role struct {
	Name string `json:"name"`
	// Attributes are those of "superuser", "createrole", "createdb", "bypassrls", "replication" and "login" that it has, sorted.
	Attributes []string `json:"attributes,omitempty"`
	// Member names the predefined roles that it is a member of, directly or through others, sorted.
	Member []string `json:"member,omitempty"`
}

// Database is one database of the cluster.
type Database struct {
	Name     string    `json:"name"`
	OID      uint32    `json:"oid"`
	Tables   []Table   `json:"tables"`
	Catalogs []Catalog `json:"catalogs"` // system tables that matter, such as pg_proc
	Routines []Routine `json:"routines"`
}

// Catalog is a system table, by the name of its file in the WAL.
type Catalog struct {
	Name string `json:"name"`
	File uint32 `json:"file"`
}

// Routine is code that the server runs: a function, a trigger, an event trigger, an extension or a policy.
type Routine struct {
	Kind   string `json:"kind"`   // "function", "trigger", "event trigger", "extension", "policy"
	Name   string `json:"name"`   // "public.f(integer)", "t on public.ships"
	Digest string `json:"digest"` // SHA-256 of its definition, hexadecimal
	// Powerful is set of what can do more than its caller: untrusted languages, and functions that run as a superuser.
	Powerful bool `json:"powerful,omitempty"`
}

// Table is one table.
type Table struct {
	Name  string `json:"name"`            // schema.table
	File  uint32 `json:"file"`            // name of its file in the WAL: another one after each rewrite
	Toast uint32 `json:"toast,omitempty"` // likewise of the file of its long values
	Rows  int64  `json:"rows"`            // live rows, as the server estimates
	Bytes int64  `json:"bytes"`
	// Inserted, Updated and Deleted count rows since the server's statistics were last reset.
	Inserted int64 `json:"inserted"`
	Updated  int64 `json:"updated"`
	Deleted  int64 `json:"deleted"`
	// Partition says that it is a part of another table.
	Partition bool `json:"partition,omitempty"`
	// RowSecurity says that policies restrict who sees which rows.
	RowSecurity bool     `json:"row_security,omitempty"`
	Columns     []Column `json:"columns,omitempty"` // those that hold text
	// Written is what a sample of the rows looks like that were written since the profile before, if there are enough of them.
	Written []Column `json:"written,omitempty"`
	Log     *Log     `json:"log,omitempty"`
}

// Log is what the WAL says of one table's rows. Largest and Busiest leave out what was raised as a signal.
type Log struct {
	Seconds      float64 `json:"seconds"` // how long the WAL was followed, since the profile before
	Transactions int64   `json:"transactions"`
	Insert       int64   `json:"insert"`
	Update       int64   `json:"update"`
	Delete       int64   `json:"delete"`
	Largest      int64   `json:"largest"` // rows that one transaction updated or deleted, at most
	Busiest      int64   `json:"busiest"` // rows that were updated or deleted in one minute, at most
}

// Column is what a sample of a column's values looks like.
type Column struct {
	Name    string  `json:"name"`
	Sampled int64   `json:"sampled"`          // values, NULLs included
	Nulls   float64 `json:"nulls"`            // share of NULLs
	Lengths []int   `json:"lengths"`          // characters: least, 10%, 25%, 50%, 75%, 90%, most; of at most MaxValue bytes
	Spread  []int64 `json:"spread,omitempty"` // values by length, in the classes of LengthClass
	Share   Share   `json:"share"`            // of characters
	// Distinct is the number of different values, as the server estimates it: negative, as a share of the rows. 0: not known.
	Distinct float64 `json:"distinct,omitempty"`
	// Common are the values that are seen again and again, the most frequent first.
	Common []Common `json:"common,omitempty"`
	// Scripts counts values with what a browser would run: in all rows if Whole, else in the sample.
	Scripts int64 `json:"scripts"`
	Whole   bool  `json:"whole,omitempty"`
	// ScriptXID is the transaction that wrote the oldest of them, as the row tells it, if Whole; a row that was written again tells the later one.
	ScriptXID uint32 `json:"script_xid,omitempty"`
}

// Common is a frequent value, by a keyed digest that does not tell it.
type Common struct {
	Digest uint64  `json:"digest"`
	Share  float64 `json:"share"` // of the values that are not NULL
}

// Share is what characters are, as parts of one.
type Share struct {
	Letters     float64 `json:"letters"`
	Digits      float64 `json:"digits"`
	Space       float64 `json:"space"`
	Punctuation float64 `json:"punctuation"`
	Markup      float64 `json:"markup"` // < > & ; = and quotes
	Other       float64 `json:"other"`  // beyond ASCII
}

// Encode returns the profile as JSON.
func (p Profile) Encode() ([]byte, error) {
	p.Version = Version
	data, err := json.Marshal(p)
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%d bytes, at most %d fit", len(data), MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("encode profile: %w", err)
	}
	return data, nil
}

// Decode reads what Encode wrote.
func Decode(data []byte) (Profile, error) {
	if len(data) > MaxSize {
		return Profile{}, fmt.Errorf("decode profile: %d bytes, at most %d are read", len(data), MaxSize)
	}
	var p Profile
	if err := json.Unmarshal(data, &p); err != nil {
		return Profile{}, fmt.Errorf("decode profile: %w", err)
	}
	if p.Version < 1 {
		return Profile{}, errors.New("decode profile: it names no version")
	}
	if p.Version > Version {
		return Profile{}, fmt.Errorf("decode profile: version %d, this kedge reads up to %d: use a newer kedge", p.Version, Version)
	}
	return p, nil
}

// Database returns the named database, nil if it is not in the profile.
func (p *Profile) Database(name string) *Database {
	for i := range p.Databases {
		if p.Databases[i].Name == name {
			return &p.Databases[i]
		}
	}
	return nil
}

// Table returns the named table, nil if it is not in the profile.
func (d *Database) Table(name string) *Table {
	for i := range d.Tables {
		if d.Tables[i].Name == name {
			return &d.Tables[i]
		}
	}
	return nil
}

// ColumnNamed returns the named one of columns, nil if it is not among them.
func ColumnNamed(columns []Column, name string) *Column {
	for i := range columns {
		if columns[i].Name == name {
			return &columns[i]
		}
	}
	return nil
}
