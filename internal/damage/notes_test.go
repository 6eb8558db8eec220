package damage

import (
	"fmt"
	"testing"
	"time"
)

const ransomNote = "All your files have been encrypted. Pay 2 Bitcoin for the decryption key. Contact us by Tor Browser within 72 hours or it will be deleted forever."

// desk keeps Notes of texts in memory, and counts what is read.
type desk struct {
	*Notes[string]
	read int
}

func newDesk() *desk {
	d := &desk{}
	d.Notes = NewNotes(func(_, data string) []byte { d.read++; return []byte(data) })
	return d
}

func TestANoteIsToldInTheThirdDirectoryOrBesideDamageAndOnce(t *testing.T) {
	d := newDesk()
	for i := range 2 {
		d.Add(fmt.Sprintf("/srv/dept%d/READ_ME.txt", i), ransomNote, monday)
	}
	if told := d.Tell(false); len(told) != 0 || d.read != 0 {
		t.Errorf("two directories: told %v, read %d texts", told, d.read)
	}
	d.Add("/srv/dept2/READ_ME.txt", ransomNote, monday)
	if told := d.Tell(false); len(told) != 3 || told[2].Path != "/srv/dept2/READ_ME.txt" {
		t.Errorf("three directories: told %v", told)
	}
	if told := d.Tell(true); len(told) != 0 {
		t.Errorf("told again: %v", told)
	}
	d.Add("/srv/dept3/RESTORE.txt", ransomNote, monday)
	if told := d.Tell(false); len(told) != 0 {
		t.Errorf("one note alone: told %v", told)
	}
	if told := d.Tell(true); len(told) != 1 {
		t.Errorf("one note beside damage: told %v", told)
	}
}

func TestOfTextsThatAreInEveryDirectoryAFewAreRead(t *testing.T) {
	d := newDesk()
	for i := range 1000 {
		d.Add(fmt.Sprintf("/usr/share/doc/package%d/copyright", i), "This program is free software.", monday)
	}
	if told := d.Tell(false); len(told) != 0 || d.read != sampled {
		t.Errorf("told %v, read %d texts, want %d", told, d.read, sampled)
	}
	if d.Tell(false); d.read != sampled {
		t.Errorf("%d texts were read when nothing was new", d.read-sampled)
	}
	for i := range 20 {
		d.Add(fmt.Sprintf("/srv/dept%d/copyright", i), ransomNote, monday.Add(time.Minute))
	}
	if told := d.Tell(true); len(told) != 20 {
		t.Errorf("beside damage %d of 20 notes are told that bear the name of other texts", len(told))
	}
	d.Forget(monday.Add(time.Hour))
	if len(d.texts) != 0 {
		t.Errorf("%d names are not forgotten", len(d.texts))
	}
}
