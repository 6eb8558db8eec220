package ransom

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/snapshot"
)

var _ detect.Detector = (*Watcher)(nil)

func TestEncryptionInPlaceIsNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	if signals := tr.snapshot(); len(signals) != 0 {
		t.Fatalf("the first snapshot raised %s", kinds(signals))
	}
	var hit []string
	for name, data := range maps.Clone(tr.now) {
		if strings.HasPrefix(name, "/srv/files/dept1/") {
			tr.now[name] = encrypt(name, data)
			hit = append(hit, name)
		}
	}
	slices.Sort(hit)
	signals := tr.snapshot()
	if len(signals) != 1 || signals[0].Kind != "file.encrypted" || signals[0].Technique != "T1486" || signals[0].Subject != "/srv/files/dept1" {
		t.Fatalf("raised %s: %+v", kinds(signals), signals)
	}
	s := signals[0]
	if !slices.Equal(s.Touched, hit) || s.Count != len(hit) || s.Strength < 0.8 {
		t.Errorf("touched %v (%d) at strength %.2f, want exactly %v", s.Touched, s.Count, s.Strength, hit)
	}
	if e := s.Evidence["mean_entropy"].(float64); e < 7 || e > 8 {
		t.Errorf("mean entropy %v", e)
	}
	if len(s.Evidence["examples"].([]map[string]any)) != maxExamples {
		t.Errorf("examples %v", s.Evidence["examples"])
	}
	if again := tr.snapshot(); len(again) != 0 {
		t.Errorf("the same files are raised again: %s", kinds(again))
	}
	one := "/srv/files/dept2/paper2.docx"
	tr.now[one] = encrypt(one, tr.now[one])
	if signals := tr.snapshot(); kinds(signals) != "file.encrypted:1" {
		t.Errorf("one more file after the alarm raised %q", kinds(signals))
	}
}

func TestEncryptionWithRenamingAndNotesIsNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	n := 0
	for name, data := range maps.Clone(tr.now) {
		if strings.HasPrefix(name, "/srv/files/dept3/") || strings.HasPrefix(name, "/srv/files/dept4/") {
			delete(tr.now, name)
			tr.now[name+".locked"] = encrypt(name, data)
			n++
		}
	}
	for i := range 4 {
		tr.now[fmt.Sprintf("/srv/files/dept%d/READ_ME.txt", i)] = []byte(noteText)
	}
	signals := tr.snapshot()
	if want := fmt.Sprintf("file.renamed:%d note.dropped:4", n); kinds(signals) != want {
		t.Fatalf("raised %q, want %q", kinds(signals), want)
	}
	if got := fmt.Sprint(signals[0].Evidence["appended"]); got != fmt.Sprintf("map[.locked:%d]", n) {
		t.Errorf("evidence says that %s was appended", got)
	}
}

func TestNotesAloneAreNoticedInThreeDirectoriesAndOneBesideDamage(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 3 {
		tr.now[fmt.Sprintf("/srv/files/dept%d/HOW_TO.txt", i)] = []byte(noteText)
		want := map[int]string{2: "note.dropped:3"}[i]
		if got := kinds(tr.snapshot()); got != want {
			t.Errorf("note %d raised %q, want %q", i+1, got, want)
		}
	}
	tr = newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 3 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		tr.now[name] = encrypt(name, tr.now[name])
	}
	tr.now["/srv/files/HOW_TO.txt"] = []byte(noteText)
	if got := kinds(tr.snapshot()); got != "file.encrypted:3 note.dropped:1" {
		t.Errorf("raised %q", got)
	}
}

func TestASlowEncryptorIsNoticedAtTheThirdFile(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 4 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		tr.now[name] = encrypt(name, tr.now[name])
		want := map[int]string{2: "file.encrypted:3", 3: "file.encrypted:1"}[i]
		if got := kinds(tr.snapshot()); got != want {
			t.Errorf("file %d raised %q, want %q", i+1, got, want)
		}
	}
}

func TestASuccessorThatAppearsASnapshotLaterIsPaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t)
		tr.fill()
		tr.snapshot()
		old := map[string][]byte{}
		for i := range 6 {
			name := fmt.Sprintf("/srv/files/dept%d/data%d", i, i) // the name alone promises nothing
			old[name] = tr.now[name]
			delete(tr.now, name)
		}
		tr.snapshot()
		time.Sleep(time.Minute)
		for name, data := range old {
			tr.now[name+".crypt9"] = encrypt(name, data)
		}
		if got := kinds(tr.snapshot()); got != "file.renamed:6" {
			t.Errorf("raised %q", got)
		}
	})
}

func TestDenseFilesWithoutExtensionAreLookedUp(t *testing.T) {
	tr := newTree(t)
	for i := range 5 {
		tr.now[fmt.Sprintf("/srv/files/archive%d", i)] = gzipped(prose(uint64(i), 3000))
	}
	tr.snapshot()
	for name, data := range maps.Clone(tr.now) {
		tr.now[name] = encrypt(name, data)
	}
	if got := kinds(tr.snapshot()); got != "file.encrypted:5" || tr.lookups > 15 {
		t.Errorf("raised %q after %d lookups", got, tr.lookups)
	}
}

func TestOrdinaryWorkRaisesNothing(t *testing.T) {
	for name, work := range map[string]func(*tree){
		"edits": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if strings.HasSuffix(name, ".txt") {
					tr.now[name] = append(slices.Clone(data), prose(99, 30)...)
				}
			}
		},
		"new documents": func(tr *tree) {
			for i := range uint64(20) {
				tr.now[fmt.Sprintf("/srv/files/new/%d.docx", i)] = office(100 + i)
				tr.now[fmt.Sprintf("/srv/files/new/%d.jpg", i)] = photo(100 + i)
				tr.now[fmt.Sprintf("/srv/files/new/%d.zip", i)] = office(200 + i)
			}
		},
		"documents saved again": func(tr *tree) {
			for i := range 30 {
				tr.now[fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i%6, i)] = office(uint64(300 + i))
			}
		},
		"one file encrypted by its owner": func(tr *tree) {
			tr.now["/srv/files/dept1/minutes1.txt.gpg"] = encrypt("k", tr.now["/srv/files/dept1/minutes1.txt"])
			delete(tr.now, "/srv/files/dept1/minutes1.txt")
		},
		"ten files encrypted with age": func(tr *tree) {
			for i := range 10 {
				name := fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i%6, i)
				tr.now[name+".age"] = append([]byte("age-encryption.org/v1\n"), encrypt("k", tr.now[name])...)
				delete(tr.now, name)
			}
		},
		"a directory renamed": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if rest, ok := strings.CutPrefix(name, "/srv/files/dept2/"); ok {
					delete(tr.now, name)
					tr.now["/srv/files/dept2-2020/"+rest] = data
				}
			}
		},
		"files renamed, not encrypted": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				delete(tr.now, name)
				tr.now[name+".bak"] = data
			}
		},
		"files compressed": func(tr *tree) {
			for name, data := range maps.Clone(tr.now) {
				if strings.HasSuffix(name, ".txt") {
					delete(tr.now, name)
					tr.now[name+".gz"] = gzipped(data)
				}
			}
		},
		"logs that grow and rotate": func(tr *tree) {
			for i := range 10 {
				name := fmt.Sprintf("/srv/files/log%d", i)
				tr.now[name+".1"] = prose(7, 5000)
				tr.now[name] = prose(8, 100)
			}
		},
		"encrypted volumes used": func(tr *tree) {
			for i := range 5 {
				name := fmt.Sprintf("/srv/files/volume%d", i)
				tr.now[name] = encrypt(name, prose(1, 3000))
				tr.snapshot()
				tr.now[name] = encrypt(name+"2", prose(1, 3000))
			}
		},
		"objects named by hash": func(tr *tree) {
			for i := range uint64(30) {
				data := encrypt(fmt.Sprint(i), prose(i, 300))
				tr.now["/srv/files/.cache/"+blob.Hash(data).String()] = data
			}
		},
		"everything deleted": func(tr *tree) { clear(tr.now) },
		"texts emptied": func(tr *tree) {
			for name := range maps.Clone(tr.now) {
				if strings.HasSuffix(name, ".txt") {
					tr.now[name] = nil
				}
			}
		},
		"the same README in many places": func(tr *tree) {
			for i := range 6 {
				tr.now[fmt.Sprintf("/srv/files/dept%d/README", i)] = []byte("Files are encrypted with gpg; to decrypt all the files use the private key.")
			}
		},
		"an article about ransom notes": func(tr *tree) { tr.now["/srv/files/dept1/article.txt"] = []byte(noteText) },
		"two files that look bad": func(tr *tree) {
			for _, name := range []string{"/srv/files/dept1/minutes1.txt", "/srv/files/dept2/minutes2.txt"} {
				tr.now[name] = encrypt(name, tr.now[name])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t)
			tr.fill()
			tr.snapshot()
			for range 2 {
				work(tr)
				if signals := tr.snapshot(); len(signals) != 0 {
					t.Fatalf("raised %s: %+v", kinds(signals), signals)
				}
			}
		})
	}
}

func TestManyFilesUnderAnOpenNameAreNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for name, data := range maps.Clone(tr.now) {
		delete(tr.now, name)
		tr.now[name+".gpg"] = encrypt(name, data)
	}
	if got := kinds(tr.snapshot()); got != "file.renamed:150" {
		t.Errorf("raised %q", got)
	}
}

func TestDocumentsEmptiedAreNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 6 {
		tr.now[fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i, i)] = nil
	}
	signals := tr.snapshot()
	if kinds(signals) != "file.wiped:6" || signals[0].Technique != "T1485" {
		t.Errorf("raised %q: %+v", kinds(signals), signals)
	}
}

func TestAFileMadeGoodAgainDoesNotCount(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 5 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		good := tr.now[name]
		tr.now[name] = encrypt(name, good)
		if got := kinds(tr.snapshot()); got != "" {
			t.Fatalf("file %d raised %q", i, got)
		}
		tr.now[name] = good
		tr.snapshot()
	}
}

func TestAFewFilesASnapshotCountTogether(t *testing.T) {
	for what, hit := range map[string]func(tr *tree, i int){
		"emptied": func(tr *tree, i int) {
			tr.now[fmt.Sprintf("/srv/files/dept%d/paper%d.docx", i%6, i)] = nil
		},
		"cut to one length": func(tr *tree, i int) {
			for _, name := range []string{"paper%d.docx", "photo%d.jpg", "minutes%d.txt"} {
				name = fmt.Sprintf("/srv/files/dept%d/"+name, i%6, i)
				tr.now[name] = tr.now[name][:100]
			}
		},
		"packed with a password, then deleted": func(tr *tree, i int) {
			if i == 0 {
				var all []byte
				for name, data := range tr.now {
					if path.Dir(name) == "/srv/files/dept0" {
						all = append(all, data...)
					}
				}
				tr.now["/srv/files/dept0/all.bin"] = encrypt("all", gzipped(all))
			}
			for _, name := range slices.Sorted(maps.Keys(tr.now)) {
				if path.Dir(name) == "/srv/files/dept0" && name != "/srv/files/dept0/all.bin" {
					delete(tr.now, name)
					break
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			tr := newTree(t)
			tr.fill()
			tr.snapshot()
			for i := range 25 {
				hit(tr, i)
				if signals := tr.snapshot(); len(signals) > 0 {
					return
				}
			}
			t.Error("nothing was raised")
		})
	}
}

func TestWhatWasReadIsNotReadAgainBesideWhatComesAfter(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	for i := range 2 {
		name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
		tr.now[name] = encrypt(name, tr.now[name])
	}
	tr.snapshot()
	before := tr.lookups
	tr.snapshot()
	if tr.lookups != before {
		t.Errorf("%d blobs were read for a snapshot in which nothing changed", tr.lookups-before)
	}
	name := "/srv/files/dept2/minutes2.txt"
	tr.now[name] = encrypt(name, tr.now[name])
	if got := kinds(tr.snapshot()); got != "file.encrypted:3" {
		t.Errorf("raised %q", got)
	}
}

func TestANewModeDoesNotMakeAFileGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t)
		tr.fill()
		tr.snapshot()
		for i := range 3 {
			name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", i, i)
			tr.now[name] = encrypt(name, tr.now[name])
			want := map[int]string{2: "file.encrypted:3"}[i]
			if got := kinds(tr.snapshot()); got != want {
				t.Errorf("file %d raised %q, want %q", i+1, got, want)
			}
			time.Sleep(2 * remember)
			now := *tr.last[name]
			now.Mode = 0o400
			tr.w.Changes([]snapshot.Change{{Path: name, Kind: snapshot.Metadata, Old: tr.last[name], New: &now}})
		}
	})
}

func TestATreeOfWhichMostIsDeletedIsNoticedIfItsSizeIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t)
		tr.fill()
		tr.snapshot()
		tr.w.Holds(len(tr.now))
		time.Sleep(2 * remember)
		for name := range maps.Clone(tr.now) {
			if !strings.HasPrefix(name, "/srv/files/dept5/") {
				delete(tr.now, name)
			}
		}
		signals := tr.snapshot()
		if kinds(signals) != "file.deleted:125" || signals[0].Technique != "T1485" {
			t.Errorf("raised %q: %+v", kinds(signals), signals)
		}
	})
}

func TestFilesEncryptedOpenlyInDirectoryAfterDirectoryAreNoticed(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	n := 0
	for dept := range 2 {
		for _, name := range tr.below(fmt.Sprintf("/srv/files/dept%d/", dept)) {
			tr.now[name+".age"] = append([]byte("age-encryption.org/v1\n"), encrypt("k", tr.now[name])...)
			delete(tr.now, name)
			n++
			if got := kinds(tr.snapshot()); got != "" {
				if dept == 0 || !strings.HasPrefix(got, "file.renamed:") {
					t.Errorf("file %d of department %d raised %q", n, dept, got)
				}
				return
			}
		}
	}
	t.Errorf("%d files raised nothing", n)
}

func TestFilesThatCameMinutesAgoMayGoAgain(t *testing.T) {
	tr := newTree(t)
	tr.fill()
	tr.snapshot()
	tr.w.Holds(len(tr.now))
	clear(tr.now)
	if got := kinds(tr.snapshot()); got != "" {
		t.Errorf("raised %q", got)
	}
}

func zlibbed(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestWorkThatGoesOnForManySnapshotsRaisesNothing(t *testing.T) {
	for what, work := range map[string]func(tr *tree, i int){
		"files renamed again and again": func(tr *tree, i int) {
			for name, data := range maps.Clone(tr.now) {
				if stem, _, _ := strings.Cut(path.Base(name), "."); strings.HasPrefix(stem, "minutes") || strings.HasPrefix(stem, "photo") {
					delete(tr.now, name)
					tr.now[fmt.Sprintf("%s/%s.%d%s", path.Dir(name), stem, i, path.Ext(name))] = data
				}
			}
		},
		"files encrypted by their owners, one by one": func(tr *tree, i int) {
			for k := range 6 {
				name := fmt.Sprintf("/srv/files/dept%d/minutes%d.txt", (6*i+k)%6, 6*i+k)
				tr.now[name+".gpg"] = encrypt(name, tr.now[name])
				delete(tr.now, name)
			}
		},
		"directories cleared away one after the other": func(tr *tree, i int) {
			for name := range maps.Clone(tr.now) {
				if strings.HasPrefix(name, fmt.Sprintf("/srv/files/dept%d/", i)) {
					delete(tr.now, name)
				}
			}
		},
		"objects named by hash are kept, and packed at last": func(tr *tree, i int) {
			for k := range 20 {
				data := zlibbed(prose(uint64(20*i+k), 150))
				name := blob.Hash(data).String()
				tr.now["/srv/files/.git/objects/"+name[:2]+"/"+name[2:40]] = data
			}
			for name := range maps.Clone(tr.now) {
				if strings.HasPrefix(name, "/srv/files/.git/objects/") && (i == 4 || name < "/srv/files/.git/objects/30") {
					delete(tr.now, name)
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			tr := newTree(t)
			tr.fill()
			tr.snapshot()
			for i := range 5 {
				tr.w.Holds(len(tr.now))
				work(tr, i)
				if signals := tr.snapshot(); len(signals) != 0 {
					t.Fatalf("snapshot %d raised %s: %v", i, kinds(signals), signals[0].Touched[:min(3, signals[0].Count)])
				}
			}
		})
	}
}

func TestCopiesAreDeletedWhileTheirOriginalsStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t)
		tr.fill()
		for _, name := range tr.below("/srv/files/") {
			tr.now["/srv/copies"+path.Dir(name)[len("/srv/files"):]+"/"+path.Base(name)] = tr.now[name]
		}
		tr.snapshot()
		tr.w.Holds(len(tr.now))
		time.Sleep(2 * remember)
		for _, name := range tr.below("/srv/copies/") {
			delete(tr.now, name)
		}
		tr.w.Stands(tr.root())
		if got := kinds(tr.snapshot()); got != "" {
			t.Errorf("raised %q", got)
		}
	})
}
