package database

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
)

// telling are the system tables whose changes are looked at: those of roles and of code, and pg_class, where tables are.
func telling(name string) bool {
	switch name {
	case "pg_authid", "pg_auth_members", "pg_class":
		return true
	}
	return code(name)
}

// code tells whether a system table holds what the server runs.
func code(name string) bool {
	switch name {
	case "pg_proc", "pg_trigger", "pg_event_trigger", "pg_extension", "pg_rewrite", "pg_policy":
		return true
	}
	return false
}

// note remembers a transaction that changed roles or code.
func (j *Judge) note(t Transaction, at uint64) {
	if len(j.structure) == maxStructure {
		return
	}
	for c := range t.Catalogs {
		if telling(c.Name) {
			j.structure = append(j.structure, structural{markOf(t, at), t.Catalogs})
			return
		}
	}
}

// restructured tells whether roles or code changed since the newest profile.
func (j *Judge) restructured() bool {
	return slices.ContainsFunc(j.structure, func(s structural) bool {
		for c := range s.catalogs {
			if c.Name != "pg_class" && telling(c.Name) {
				return true
			}
		}
		return false
	})
}

// firstIn returns the first transaction since the newest profile that put rows into one of a database's system tables, or altered them.
func (j *Judge) firstIn(database string, names ...string) mark {
	var first mark
	for _, s := range j.structure {
		for _, name := range names {
			if c := s.catalogs[Catalog{database, name}]; c.Insert > 0 || c.Update > 0 || c.Delete > 0 {
				first = first.earlier(s.mark)
			}
		}
	}
	return first
}

// countIn returns what was done to a system table since the newest profile.
func (j *Judge) countIn(database, name string) Counts {
	var sum Counts
	for _, s := range j.structure {
		sum = sum.plus(s.catalogs[Catalog{database, name}])
	}
	return sum
}

// strengthOf is how telling a new privilege is.
func strengthOf(privileges []string) float64 {
	strength := 0.6
	for _, p := range privileges {
		switch p {
		case "superuser":
			return 0.85
		case "pg_execute_server_program", "pg_write_server_files":
			strength = 0.75
		}
	}
	return strength
}

// privileges are what a role can do beyond its own tables.
func privileges(r profile.Role) []string {
	var list []string
	for _, a := range r.Attributes {
		if a != "login" && a != "createdb" {
			list = append(list, a)
		}
	}
	return append(list, r.Member...)
}

// maxRoleSignals bounds the signals about roles that one profile raises.
const maxRoleSignals = 20

// roles raises what roles can do that they could not.
func (j *Judge) roles(before, now *profile.Profile) []event.Signal {
	had := map[string][]string{}
	for _, r := range before.Roles {
		had[r.Name] = privileges(r)
	}
	var signals []event.Signal
	m := j.firstIn("", "pg_authid", "pg_auth_members")
	fresh := 0
	for _, r := range now.Roles {
		old, known := had[r.Name]
		if !known {
			fresh++
		}
		gained := slices.DeleteFunc(privileges(r), func(p string) bool { return slices.Contains(old, p) })
		if len(gained) == 0 || len(signals) == maxRoleSignals {
			continue
		}
		technique := "T1098"
		if !known {
			technique = "T1136"
		}
		s := j.signal(kindPrivileged, technique, "role "+r.Name, strengthOf(gained), m)
		s.Evidence["gained"], s.Evidence["new_role"] = gained, !known
		signals = append(signals, s)
	}
	// A role that was made and dropped between two looks is in the log alone.
	if c := j.countIn("", "pg_authid"); c.Delete > 0 && c.Insert > fresh {
		s := j.signal(kindPrivileged, "T1136", "a role that is gone", 0.5, m)
		s.Evidence["made"], s.Evidence["dropped"], s.Evidence["gone"] = c.Insert, c.Delete, true
		signals = append(signals, s)
	}
	return signals
}

// difference is what differs in a database's code.
type difference struct {
	fresh, changed, open []profile.Routine // open: policies that are gone
	extension            bool              // one is new
}

func compareRoutines(before, now []profile.Routine) difference {
	key := func(r profile.Routine) string { return r.Kind + "\x00" + r.Name }
	had, has := map[string]profile.Routine{}, map[string]bool{}
	for _, r := range before {
		had[key(r)] = r
	}
	var d difference
	for _, r := range now {
		has[key(r)] = true
		old, known := had[key(r)]
		switch {
		case !known:
			d.fresh = append(d.fresh, r)
			d.extension = d.extension || r.Kind == "extension"
		case old.Digest != r.Digest:
			d.changed = append(d.changed, r)
		}
	}
	for _, r := range before {
		if r.Kind == "policy" && !has[key(r)] {
			d.open = append(d.open, r)
		}
	}
	return d
}

// untrusted are extensions that let SQL reach out of the database.
func untrusted(extension string) bool {
	switch extension {
	case "plpython3u", "plperlu", "pltclu", "plpythonu", "dblink", "file_fdw", "adminpack", "postgres_fdw":
		return true
	}
	return false
}

// strengthOfCode is how telling new or changed code is. A deployment brings plain functions; an event trigger, what runs as a superuser, or
// another function under a system function's name is seldom part of one.
func strengthOfCode(list []profile.Routine, withExtension bool) float64 {
	strength := 0.3
	for _, r := range list {
		switch {
		case r.Kind == "system functions":
			return 0.7
		case r.Kind == "event trigger", r.Kind == "extension" && untrusted(r.Name), r.Powerful && !withExtension:
			strength = max(strength, 0.6)
		case r.Kind == "trigger", r.Kind == "rule":
			strength = max(strength, 0.4)
		}
	}
	return strength
}

// routines raises code that is new, changed, or was there for a moment.
func (j *Judge) routines(before, now *profile.Database) []event.Signal {
	d := compareRoutines(before.Routines, now.Routines)
	tables := []string{"pg_proc", "pg_trigger", "pg_event_trigger", "pg_extension", "pg_rewrite", "pg_policy"}
	var signals []event.Signal
	raise := func(kind, technique string, list []profile.Routine, strength float64) {
		if len(list) == 0 {
			return
		}
		s := j.signal(kind, technique, now.Name+": "+list[0].Name, strength, j.firstIn(now.Name, tables...))
		s.Touched, s.Count = nil, len(list)
		kinds := map[string]int{}
		for _, r := range list {
			kinds[r.Kind]++
			if len(s.Touched) < event.MaxTouched {
				s.Touched = append(s.Touched, now.Name+": "+r.Kind+" "+r.Name)
			}
		}
		s.Evidence["kinds"] = kinds
		signals = append(signals, s)
	}
	raise(kindNew, "T1505.001", d.fresh, strengthOfCode(d.fresh, d.extension))
	raise(kindChanged, "T1505.001", d.changed, max(0.4, strengthOfCode(d.changed, d.extension)))
	raise(kindPolicy, "T1562.001", d.open, 0.5)
	functions := 0
	for _, r := range d.fresh {
		if r.Kind == "function" {
			functions++
		}
	}
	if c := j.countIn(now.Name, "pg_proc"); c.Delete > 0 && c.Insert > functions && functions == 0 {
		s := j.signal(kindNew, "T1505.001", now.Name+": a function that is gone", 0.4, j.firstIn(now.Name, tables...))
		s.Evidence["made"], s.Evidence["dropped"], s.Evidence["gone"] = c.Insert, c.Delete, true
		signals = append(signals, s)
	}
	return signals
}

// lost raises tables that were emptied or dropped at a stroke, which changes no row.
func (j *Judge) lost(before, now *profile.Database) []event.Signal {
	var all int64
	for _, t := range before.Tables {
		all += t.Rows
	}
	var names []string
	var rows int64
	opened := []string{}
	for _, old := range before.Tables {
		t := now.Table(old.Name)
		switch {
		case old.Rows >= minRows && (t == nil || t.File != old.File && t.Rows < old.Rows/2 && t.Bytes < old.Bytes/2):
			name := now.Name + "." + old.Name
			h := j.history(name)
			if h.emptied {
				continue // as staging tables are
			}
			h.emptied = true
			names = append(names, name)
			if !old.Partition { // old ones are dropped as new ones come
				rows += old.Rows
			}
		case t != nil && old.RowSecurity && !t.RowSecurity:
			opened = append(opened, now.Name+"."+old.Name)
		}
	}
	var signals []event.Signal
	m := j.firstIn(now.Name, "pg_class")
	if len(names) > 0 {
		strength := 0.4
		if rows >= covertRows && float64(rows) >= 0.05*float64(all) {
			strength = 0.6
		}
		s := j.signal(kindAltered, "T1485", names[0], strength, m)
		s.Evidence["rows"], s.Evidence["gone"] = rows, true
		s.Touched, s.Count = names[:min(len(names), event.MaxTouched)], len(names)
		signals = append(signals, s)
	}
	if len(opened) > 0 {
		s := j.signal(kindPolicy, "T1562.001", opened[0], 0.5, m)
		s.Evidence["tables"] = strings.Join(opened[:min(len(opened), 10)], ", ")
		s.Touched, s.Count = opened[:min(len(opened), event.MaxTouched)], len(opened)
		signals = append(signals, s)
	}
	return signals
}

// about names a table of a database.
func about(d *profile.Database, t *profile.Table) string { return fmt.Sprintf("%s.%s", d.Name, t.Name) }
