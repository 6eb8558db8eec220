package damage

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// some returns a text, a ledger and a picture from each of the first n numbers.
func some(n int) []string {
	var names []string
	for i := range n {
		for _, pattern := range []string{"minutes%d.txt", "ledger%d.dat", "photo%d.jpg"} {
			names = append(names, fmt.Sprintf("/srv/dept%d/"+pattern, i%6, i))
		}
	}
	return names
}

// wipedAt says of the files that they were overwritten.
func wipedAt(names []string) []string {
	var want []string
	for _, name := range names {
		want = append(want, fmt.Sprintf("file.wiped %s now %s", name, name))
	}
	return want
}

// renamedBy says of the files that they were encrypted under the names that rename gives.
func renamedBy(names []string, rename func(string) string) []string {
	var want []string
	for _, name := range names {
		want = append(want, fmt.Sprintf("file.renamed %s now %s", name, rename(name)))
	}
	return want
}

func TestOnePictureForFilesOfAllSortsIsTold(t *testing.T) {
	tr := newTree(t)
	for _, name := range some(4) {
		tr.now[name] = picture(99, 20000)
	}
	tr.want(tr.step(), wipedAt(some(4))...)
}

func TestOnePictureForManyPicturesIsAPlaceholder(t *testing.T) {
	tr := newTree(t)
	for _, name := range tr.glob("/srv/*/*.jpg") {
		tr.now[name] = picture(99, 20000)
	}
	tr.want(tr.step())
}

func TestExchangedPicturesOfOneDirectoryAreTold(t *testing.T) {
	tr := newTree(t)
	var names []string
	for i, of := range []string{"harbour", "pier", "lake", "bridge", "mill", "tower", "market", "ferry"} {
		names = append(names, fmt.Sprintf("/srv/pictures/%s %d.jpg", of, i))
		tr.now[names[i]] = picture(70+i, 9000+100*i)
	}
	tr.step()
	first := tr.now[names[0]]
	for i, name := range names[:len(names)-1] {
		tr.now[name] = tr.now[names[i+1]]
	}
	tr.now[names[len(names)-1]] = first
	tr.want(tr.step(), wipedAt(names)...)
}

func TestContentsThatWereExchangedAreTold(t *testing.T) {
	tr := newTree(t)
	names := some(4)
	first := tr.now[names[0]]
	for i, name := range names[:len(names)-1] {
		tr.now[name] = tr.now[names[i+1]]
	}
	tr.now[names[len(names)-1]] = first
	tr.want(tr.step(), wipedAt(names)...)
}

func TestRotatedGenerationsAreNotExchanged(t *testing.T) {
	tr := newTree(t)
	for i := range 12 {
		tr.now[fmt.Sprintf("/srv/logs/app%d.log", i)] = text(100+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/app%d.1", i)] = text(200+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/sys%d.log", i)] = text(600+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/sys%d.log.1", i)] = text(700+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/app%d.old", i)] = text(300+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/app%d.bak", i)] = text(500+i, 4000)
	}
	tr.step()
	for i := range 12 {
		tr.now[fmt.Sprintf("/srv/logs/sys%d.log.1", i)] = tr.now[fmt.Sprintf("/srv/logs/sys%d.log", i)]
		tr.now[fmt.Sprintf("/srv/logs/sys%d.log", i)] = text(800+i, 4000)
		tr.now[fmt.Sprintf("/srv/logs/app%d.bak", i)] = tr.now[fmt.Sprintf("/srv/logs/app%d.old", i)]
		tr.now[fmt.Sprintf("/srv/logs/app%d.old", i)] = tr.now[fmt.Sprintf("/srv/logs/app%d.1", i)]
		tr.now[fmt.Sprintf("/srv/logs/app%d.1", i)] = tr.now[fmt.Sprintf("/srv/logs/app%d.log", i)]
		tr.now[fmt.Sprintf("/srv/logs/app%d.log", i)] = text(400+i, 900)
	}
	tr.want(tr.step())
}

const demand = `All your files have been encrypted. To get the decryption key you must pay 2 bitcoin.
Write to restore@example.org with the ID %08d. Do not rename the files. You have 72 hours.
`

func TestNotesInThePlaceOfFilesAreTold(t *testing.T) {
	tr := newTree(t)
	for i, name := range some(5) {
		tr.now[name] = fmt.Appendf(nil, demand, i)
	}
	tr.want(tr.step(), wipedAt(some(5))...)
}

func TestPointersInThePlaceOfFilesAreNot(t *testing.T) {
	tr := newTree(t)
	for i, name := range some(5) {
		tr.now[name] = fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%064x\nsize %d\n", i*77, 10000+i)
	}
	tr.want(tr.step())
}

func TestWhatANewFileHoldsIsNotLost(t *testing.T) {
	for _, stored := range []bool{true, false} {
		tr := newTree(t)
		var want []string
		for i, name := range some(8) {
			if stored {
				tr.now[fmt.Sprintf("/srv/.store/%02d", i)] = tr.now[name]
			} else {
				want = append(want, fmt.Sprintf("file.encrypted %s now %s", name, name))
			}
			tr.now[name] = noise(i, len(tr.now[name]))
		}
		tr.want(tr.step(), want...)
	}
}

func TestFilesOfWhichTheSamePartIsLeftAreTold(t *testing.T) {
	tr := newTree(t)
	for _, name := range some(5) {
		tr.now[name] = tr.now[name][:len(tr.now[name])*3/4]
	}
	tr.want(tr.step(), wipedAt(some(5))...)
}

func TestFilesThatWereShortenedByWritingThemAnewAreNot(t *testing.T) {
	tr := newTree(t)
	for i, name := range some(5) {
		n := len(tr.now[name]) * 3 / 4
		switch path.Ext(name) {
		case ".txt":
			tr.now[name] = text(700+i, n)
		case ".dat":
			tr.now[name] = bytes.Repeat([]byte{0, 0, 2, byte(i), 9, 9, 0}, n)[:n]
		default:
			tr.now[name] = picture(700+i, n-40)
		}
	}
	tr.want(tr.step())
}

func TestFilesInTheGuiseOfOneFormatAreTold(t *testing.T) {
	tr := newTree(t)
	guise := func(name string) string { return strings.TrimSuffix(name, path.Ext(name)) + ".wav" }
	for _, name := range some(4) {
		tr.move(name, guise(name), append([]byte("RIFF\x24\x71\x02\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data"), cipher(name, tr.now[name])...))
	}
	tr.want(tr.step(), renamedBy(some(4), guise)...)
}

func TestFilesThatWereConvertedAreNot(t *testing.T) {
	tr := newTree(t)
	for i, name := range some(4) {
		size := 2000 + 7919*i*i%30000
		tr.move(name, strings.TrimSuffix(name, path.Ext(name))+".jpg2", picture(500+i, size))
	}
	tr.want(tr.step())
}

func TestPartsOfNoiseInAFilesPlaceAreToldAndPartsOfItselfAreNot(t *testing.T) {
	tr := newTree(t)
	big := []string{"/srv/dept0/photo0.jpg", "/srv/dept1/photo1.jpg", "/srv/dept2/volume", "/srv/dept3/image"}
	tr.now[big[2]] = noise(1, 12000)
	tr.now[big[3]] = append(text(1, 4000), make([]byte, 8000)...)
	tr.step()
	split := func(name string, data []byte) {
		delete(tr.now, name)
		number := 0
		for part := range slices.Chunk(data, 4000) {
			number++
			tr.now[fmt.Sprintf("%s.%03d", name, number)] = part
			if name == big[3] {
				tr.move(fmt.Sprintf("%s.%03d", name, number), fmt.Sprintf("%s.a%c", name, 'a'+number-1), part)
			}
		}
	}
	split(big[0], cipher(big[0], tr.now[big[0]]))
	for _, name := range big[1:] {
		split(name, tr.now[name])
	}
	tr.want(tr.step(), "file.renamed "+big[0]+" now "+big[0]+".001")
}

// database is a page of SQLite, and others.
func database(seed int) []byte {
	page := append([]byte("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20"), make([]byte, 76)...)
	page = append(page, 13, 0, 0, 0, 20, 3, 232, 0)
	return append(page, text(seed, 8192-len(page))...)
}

func TestOneApplicationsDatabasesMayBeEncryptedByIt(t *testing.T) {
	tr := newTree(t)
	for i := range 3 {
		tr.now[fmt.Sprintf("/srv/app/store%d.sqlite", i)] = database(i)
	}
	tr.step()
	for _, name := range tr.glob("/srv/app/*") {
		tr.now[name] = cipher(name, tr.now[name])
	}
	j := tr.step()
	tr.want(j)
	if len(j.Doubts) != 3 {
		t.Errorf("%d databases are in doubt, want 3", len(j.Doubts))
	}
}

func TestOneApplicationsDatabasesAreDamagedWhereOtherFilesAre(t *testing.T) {
	tr := newTree(t)
	tr.now["/srv/app/store0.sqlite"] = database(0)
	tr.step()
	var want []string
	for _, name := range []string{"/srv/app/store0.sqlite", "/srv/dept1/minutes1.txt"} {
		tr.now[name] = cipher(name, tr.now[name])
		want = append(want, "file.encrypted "+name+" now "+name)
	}
	tr.want(tr.step(), want...)
}

func TestFilesThatMoveIntoASafeAreNoDamage(t *testing.T) {
	tr := newTree(t)
	for i, name := range tr.glob("/srv/dept2/*") {
		tr.move(name, fmt.Sprintf("/srv/safe/d/%02d/%s.c9r", i, strings.Repeat(string(rune('a'+i)), 20)), noise(900+i, len(tr.now[name])+96))
	}
	tr.want(tr.step())
}

func TestFilesOfSeveralPlacesThatBecomeNoiseInAnotherAreDamaged(t *testing.T) {
	tr := newTree(t)
	var want []string
	for i, name := range append(tr.glob("/srv/dept2/*"), tr.glob("/srv/dept3/*")...) {
		size := len(tr.now[name]) + 96
		now := fmt.Sprintf("/srv/%06d.lot", i)
		tr.move(name, now, noise(900+i, size))
		want = append(want, name)
	}
	j := tr.step()
	if len(j.Damaged) != len(want) {
		t.Errorf("%d files are damaged, want all %d", len(j.Damaged), len(want))
	}
}

func TestAFolderWhoseEncryptedFilesAreListedInItIsInDoubt(t *testing.T) {
	tr := newTree(t)
	list := ""
	for i, name := range tr.glob("/srv/dept2/*") {
		id := fmt.Sprintf("%x", noise(700+i, 16))
		list += fmt.Sprintf("%q:{},", id)
		tr.move(name, "/srv/dept2/"+id, noise(900+i, len(tr.now[name])+16))
	}
	tr.now["/srv/dept2/.metadata"] = []byte("{" + list + "}")
	other := "/srv/dept1/minutes1.txt"
	tr.now[other] = cipher(other, tr.now[other])
	j := tr.step()
	tr.want(j, "file.encrypted "+other+" now "+other)
	if len(j.Doubts) == 0 {
		t.Error("none of the files is in doubt")
	}
}

func TestWhatIsEncryptedOpenlyIsSweptInSeveralDirectoriesOnly(t *testing.T) {
	named := func(dirs ...string) (all []Successor) {
		for i, dir := range dirs {
			for _, name := range []string{"scan.pdf", "photo.jpg", "report.docx", "list.txt"} {
				former := fmt.Sprintf("%s/%d-%s", dir, i, name)
				all = append(all, Successor{Former: former, Now: former + ".gpg"})
			}
		}
		return all
	}
	for what, c := range map[string]struct {
		files []Successor
		stand int
		want  bool
	}{
		"two whole directories":                 {named("/srv/press", "/srv/home/ines"), 4, true},
		"a few of each directory":               {named("/srv/press", "/srv/home/ines"), 40, false},
		"nothing is known of what stands there": {named("/srv/press", "/srv/home/ines"), 0, false},
		"one directory":                         {named("/srv/press", "/srv/press", "/srv/press"), 12, false},
		"one directory, and what is below it":   {named("/srv/press", "/srv/press/2019", "/srv/press/2020"), 4, false},
		"four files":                            {named("/srv/press"), 4, false},
	} {
		if got := Swept(c.files, func(string) int { return c.stand }); got != c.want {
			t.Errorf("%s: swept %v, want %v", what, got, c.want)
		}
	}
}

func TestFilesOfOneSortForAllAreToldIfTheyGrewAlike(t *testing.T) {
	gone, came := map[string]int64{}, map[string]int64{}
	for i := range 9 {
		stem := fmt.Sprintf("/srv/dept%d/file%d", i%3, i)
		gone[stem+[]string{".docx", ".csv", ".jpg"}[i%3]] = int64(1000 * (i + 1))
		came[stem+".png"] = int64(1000*(i+1) + 70)
	}
	if got := Disguised(gone, came); len(got) != 9 {
		t.Errorf("%d files are told, want 9", len(got))
	}
	for i := range 9 { // as a converter leaves them
		came[fmt.Sprintf("/srv/dept%d/file%d.png", i%3, i)] = int64(1000*(i+1)) * int64(1+i*i%5) / 3
	}
	if got := Disguised(gone, came); len(got) != 0 {
		t.Errorf("what was converted is told: %v", got)
	}
}

func TestMostOfWhatComesToAPlaceTellsWhereItWasMovedFrom(t *testing.T) {
	moved := func(others int) (all []Successor) {
		for i := range 20 {
			former := fmt.Sprintf("/srv/home/ines/%d.txt", i)
			if i < others {
				former = fmt.Sprintf("/srv/lab/%d.txt", i)
			}
			all = append(all, Successor{Former: former, Now: fmt.Sprintf("/srv/safe/%d/x.c9r", i)})
		}
		return all
	}
	if out := MovedOut(moved(1)); len(out) != 20 {
		t.Errorf("%d of 20 files moved out, where one may be by chance, want all", len(out))
	}
	gathered := moved(8)
	for i := range gathered {
		gathered[i].Now = fmt.Sprintf("/srv/%d.lot", i)
	}
	if out := MovedOut(gathered); len(out) != 0 {
		t.Errorf("%d files of two places moved out to what is above both, want none", len(out))
	}
}
