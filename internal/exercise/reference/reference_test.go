package reference

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// estate makes a tree of files with a reference of it.
func estate(t *testing.T) (base string, r *Reference) {
	t.Helper()
	base = t.TempDir()
	for n := range 8 {
		write(t, filepath.Join(base, "share", fmt.Sprintf("d%d", n%2), fmt.Sprintf("file%d.txt", n)), strings.Repeat(fmt.Sprint(n), 100))
	}
	write(t, filepath.Join(base, "share", "empty"), "")
	write(t, filepath.Join(base, "share", "log", "today.log"), "one line")
	r, err := Create(filepath.Join(base, "reference"), base)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(t.Context(), Tree{Path: filepath.Join(base, "share"), Exclude: []string{filepath.Join(base, "share", "log")}}); err != nil {
		t.Fatal(err)
	}
	return base, r
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, r *Reference) Result {
	t.Helper()
	result, err := r.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestWhatStandsAsItWasComparesClean(t *testing.T) {
	base, r := estate(t)
	write(t, filepath.Join(base, "share", "log", "today.log"), "two lines, which logs may have")
	result := compare(t, r)
	if !result.Clean() || result.FilesCompared != 9 {
		t.Errorf("want 9 files, all as they were: %+v", result)
	}
}

func TestEachKindOfDamageIsTold(t *testing.T) {
	for what, c := range map[string]struct {
		do            func(share string) error
		damaged, lost int64
		tells         string
	}{
		"one byte changed": {func(s string) error {
			return os.WriteFile(s+"/d0/file0.txt", []byte(strings.Repeat("0", 50)+"1"+strings.Repeat("0", 49)), 0o644)
		}, 1, 0, "file0.txt is damaged"},
		"a byte too many": {func(s string) error { return os.WriteFile(s+"/empty", []byte("x"), 0o644) }, 1, 0, "empty is damaged"},
		"a file cut":      {func(s string) error { return os.Truncate(s+"/d1/file1.txt", 99) }, 1, 0, "file1.txt is damaged"},
		"a file removed":  {func(s string) error { return os.Remove(s + "/d1/file1.txt") }, 0, 1, "file1.txt is missing"},
		"a file renamed":  {func(s string) error { return os.Rename(s+"/d1/file1.txt", s+"/d1/file1.locked") }, 0, 1, "file1.locked should not be there"},
		"a file brought":  {func(s string) error { return os.WriteFile(s+"/d0/shell.php", nil, 0o644) }, 0, 0, "shell.php should not be there"},
		"a mode changed":  {func(s string) error { return os.Chmod(s+"/empty", 0o600) }, 0, 0, "empty has mode"},
		"a link in its stead": {func(s string) error {
			if err := os.Rename(s+"/empty", s+"/log/empty"); err != nil {
				return err
			}
			return os.Symlink(s+"/log/empty", s+"/empty")
		}, 1, 0, "empty is damaged"},
		"a directory removed": {func(s string) error { return os.RemoveAll(s + "/d1") }, 0, 4, "/d1 is missing"},
		"all removed":         {os.RemoveAll, 0, 9, "share is missing"},
	} {
		t.Run(what, func(t *testing.T) {
			base, r := estate(t)
			if err := c.do(filepath.Join(base, "share")); err != nil {
				t.Fatal(err)
			}
			result := compare(t, r)
			if result.FilesDamaged != c.damaged || result.FilesLost != c.lost {
				t.Errorf("want %d damaged and %d lost: %+v", c.damaged, c.lost, result)
			}
			if result.Clean() || !strings.Contains(strings.Join(result.Unexpected, "\n"), c.tells) {
				t.Errorf("%q is not told: %q", c.tells, result.Unexpected)
			}
		})
	}
}

func TestLegitimateChangesArePartOfWhatShouldBe(t *testing.T) {
	base, r := estate(t)
	share := filepath.Join(base, "share")
	edited, created := filepath.Join(share, "d0", "file2.txt"), filepath.Join(share, "new", "deep", "minutes.txt")
	for _, path := range []string{edited, created} {
		write(t, path, "written by "+path)
		if err := r.Put(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(share, "d1"), filepath.Join(share, "d1-final")); err != nil {
		t.Fatal(err)
	}
	if err := r.Rename(filepath.Join(share, "d1"), filepath.Join(share, "d1-final")); err != nil {
		t.Fatal(err)
	}
	// The same holds of a reference that was closed and opened again.
	reopened, err := Open(filepath.Join(base, "reference"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Reference{r, reopened} {
		if result := compare(t, r); !result.Clean() || result.FilesCompared != 10 {
			t.Errorf("want 10 files, all as they should be: %+v", result)
		}
	}
	write(t, edited, strings.Repeat("2", 100))
	if result := compare(t, reopened); result.FilesDamaged != 1 {
		t.Errorf("a legitimate change that was undone is not told: %+v", result)
	}
}

func TestMailMayArriveAndBeReadButNotGo(t *testing.T) {
	base := t.TempDir()
	box := filepath.Join(base, "mail", "registry", "Maildir")
	write(t, filepath.Join(box, "new", "1.M1P1.host"), "first")
	write(t, filepath.Join(box, "cur", "2.M1P1.host:2,"), "second")
	r, err := Create(filepath.Join(base, "reference"), base)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(t.Context(), Tree{Path: filepath.Join(base, "mail"), Mail: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(box, "new", "1.M1P1.host"), filepath.Join(box, "cur", "1.M1P1.host:2,S")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(box, "new", "3.M1P1.host"), "third")
	write(t, filepath.Join(box, "dovecot-uidlist"), "3")
	if result := compare(t, r); !result.Clean() {
		t.Errorf("ordinary mail is told as damage: %+v", result)
	}
	if err := os.Remove(filepath.Join(box, "cur", "2.M1P1.host:2,")); err != nil {
		t.Fatal(err)
	}
	if result := compare(t, r); result.FilesLost != 1 {
		t.Errorf("a message that is gone is not told: %+v", result)
	}
}

func TestAReferenceThatCannotBeReadIsAnError(t *testing.T) {
	base, r := estate(t)
	if err := os.Truncate(filepath.Join(base, "reference", "content"), 10); err != nil {
		t.Fatal(err)
	}
	if result, err := r.Compare(t.Context()); err == nil && result.Clean() {
		t.Error("a reference that lost its bytes compares clean")
	}
	if _, err := Open(filepath.Join(base, "nothing")); err == nil {
		t.Error("a reference that is not there was opened")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Compare(ended); err == nil {
		t.Error("a comparison that was cut off gave a result")
	}
}

// register is a table of five rows, with a journal of transactions on it.
type register struct {
	first  map[string]sum
	there  map[string]sum
	before []*written
	clock  time.Time
}

func newRegister() *register {
	g := &register{first: map[string]sum{}, there: map[string]sum{}, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for n := range 5 {
		k := fmt.Sprint(n)
		g.first[k], g.there[k] = hash([]byte(k+"\tfirst")), hash([]byte(k+"\tfirst"))
	}
	return g
}

// commit has the writer commit a row; a second passes. kept says whether the database still has it.
func (g *register) commit(key string, acknowledged, kept bool) {
	line := key + "\twritten"
	g.clock = g.clock.Add(time.Second)
	g.before = append(g.before, &written{row: Row{"db", "ships", key, line}, acknowledged: acknowledged, time: g.clock})
	if kept {
		g.there[key] = hash([]byte(line))
	}
}

func (g *register) compare(after ...*written) Result {
	c := &comparison{}
	lost := make([]bool, len(g.before))
	c.compareTable(tableName{"db", "ships"}, g.first, g.there, g.before, append(slices.Clone(g.before), after...), lost)
	c.result.SecondsLost = secondsLost(g.before, lost)
	return c.result
}

func TestRowsAcknowledgedAndGoneAreCounted(t *testing.T) {
	g := newRegister()
	g.commit("10", true, true)
	g.commit("1", true, true)
	g.commit("11", true, false) // from here on undone by a recovery
	g.commit("2", true, false)
	g.commit("12", false, false) // never acknowledged
	g.commit("13", true, true)   // after the recovery
	result := g.compare()
	if result.RowsCompared != 5+3 || result.RowsLost != 2 || result.RowsAltered != 0 || result.SecondsLost != 2 || !result.Clean() {
		t.Errorf("want 8 rows, 2 of them lost over 2 s, and nothing altered: %+v", result)
	}
}

func TestRowsOfUnknownFateMayBeThereOrNot(t *testing.T) {
	g := newRegister()
	g.commit("10", false, true)
	g.commit("3", false, true)
	g.commit("11", false, false)
	later := &written{row: Row{"db", "ships", "12", "12\twritten"}}
	g.there["12"] = hash([]byte("12\twritten"))
	if result := g.compare(later); !result.Clean() || result.RowsLost != 0 {
		t.Errorf("transactions whose fate is not known are told as damage: %+v", result)
	}
}

func TestAlteredRowsAreTold(t *testing.T) {
	for what, do := range map[string]func(*register){
		"a first row changed":      func(g *register) { g.there["1"] = hash([]byte("1\tforged")) },
		"a written row changed":    func(g *register) { g.commit("10", true, true); g.there["10"] = hash([]byte("10\tforged")) },
		"an updated row changed":   func(g *register) { g.commit("1", true, true); g.there["1"] = hash([]byte("1\tforged")) },
		"a row that nobody wrote":  func(g *register) { g.there["99"] = hash([]byte("99\tforged")) },
		"an updated row gone":      func(g *register) { g.commit("1", true, true); delete(g.there, "1") },
		"an unacknowledged forged": func(g *register) { g.commit("10", false, false); g.there["10"] = hash([]byte("10\tforged")) },
	} {
		g := newRegister()
		do(g)
		if result := g.compare(); result.RowsAltered != 1 || result.Clean() {
			t.Errorf("%s: not told: %+v", what, result)
		}
	}
	g := newRegister()
	delete(g.there, "4")
	if result := g.compare(); result.RowsLost != 1 || result.Clean() {
		t.Errorf("a first row that is gone is not told: %+v", result)
	}
}

func TestTheJournalIsReadWhileItIsWritten(t *testing.T) {
	_, r := estate(t)
	j, err := r.Journal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	row := Row{"db", "ships", "7", "7\tname"}
	first, err := j.Intend(row)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := j.Acknowledge(first, 12, at); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Intend(row); err != nil {
		t.Fatal(err)
	}
	if _, err := j.f.WriteString(`{"n":3,"row":{"datab`); err != nil {
		t.Fatal(err)
	}
	rows, err := r.readJournal()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || !rows[0].acknowledged || !rows[0].time.Equal(at) || rows[0].row != row || rows[1].acknowledged {
		t.Errorf("the journal reads as %+v", rows)
	}
	if _, err := r.Journal(); err == nil {
		t.Error("a second writer got a journal")
	}
}

func TestAForgedJournalIsAnError(t *testing.T) {
	for _, text := range []string{"{}\n", "no JSON\n", `{"n":2,"row":{}}` + "\n", `{"n":1,"xid":4,"time":"2026-01-01T00:00:00Z"}` + "\n", strings.Repeat("x", maxJournalLine+1) + "\n"} {
		base, r := estate(t)
		write(t, filepath.Join(base, "reference", "journal"), text)
		if _, err := r.readJournal(); err == nil {
			t.Errorf("journal %.40q was read", text)
		}
	}
}
