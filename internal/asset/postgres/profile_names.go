package postgres

import "github.com/kedge-project/kedge/internal/profile"

// firstUser is the first number that PostgreSQL gives to what users make: files of lower numbers are system tables'.
const firstUser = 16384

// TableName is what a file in the WAL stands for.
type TableName struct {
	Database string // empty for system tables that all databases share
	Name     string // "schema.table", or the name of a system table; empty for system tables and long values that do not matter
	System   bool
}

// Names translates the names that the WAL has for tables.
type Names map[Relation]TableName

// Add takes in the tables of a profile. A profile that was added later has its way.
func (n Names) Add(p profile.Profile) {
	for _, c := range p.Shared {
		n[Relation{0, c.File}] = TableName{Name: c.Name, System: true}
	}
	for _, d := range p.Databases {
		for _, c := range d.Catalogs {
			n[Relation{d.OID, c.File}] = TableName{Database: d.Name, Name: c.Name, System: true}
		}
		for _, t := range d.Tables {
			n[Relation{d.OID, t.File}] = TableName{Database: d.Name, Name: t.Name}
			if t.Toast != 0 {
				n[Relation{d.OID, t.Toast}] = TableName{Database: d.Name, System: true}
			}
		}
	}
}

// Look returns the name of a table; false, if it is not known.
func (n Names) Look(r Relation) (TableName, bool) {
	if name, known := n[r]; known {
		return name, true
	}
	return TableName{System: true}, r.RelFile < firstUser
}
