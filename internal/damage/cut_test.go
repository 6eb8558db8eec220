package damage

import (
	"fmt"
	"path"
	"slices"
	"testing"
)

func TestFilesThatLostTheSameLengthWereCutUnlessTheyAreTexts(t *testing.T) {
	lost := func(length int64, kinds ...string) (files []Shortened) {
		for i := range 12 {
			was := int64(9000 + 777*i)
			files = append(files, Shortened{fmt.Sprintf("file%d.%s", i, kinds[i%len(kinds)]), was - length, was})
		}
		return files
	}
	for _, c := range []struct {
		why   string
		files []Shortened
		cut   bool
	}{
		{"a KiB of documents, pictures and texts", lost(1024, "pdf", "jpg", "txt"), true},
		{"the same heading of sources", lost(1024, "c", "h", "py"), false},
		{"a tag of one sort of music", lost(128, "mp3"), false},
		{"a byte order mark", lost(3, "pdf", "jpg", "txt"), false},
	} {
		if got := CutAlike(c.files, 10); (len(got) == len(c.files)) != c.cut || !c.cut && len(got) > 0 {
			t.Errorf("%s: cut are %q of %d files, want all: %t", c.why, got, len(c.files), c.cut)
		}
	}
}

func TestFilesWhoseBeginningIsGoneAreWiped(t *testing.T) {
	tr := newTree(t)
	for i := range 6 {
		tr.now[fmt.Sprintf("/srv/dept%d/plan%d.png", i, i)] = append([]byte("\x89PNG\r\n\x1a\n"), noise(40+i, 7000+100*i)...)
	}
	tr.step()
	names := some(4)
	for i := range 4 {
		names = append(names, fmt.Sprintf("/srv/dept%d/plan%d.png", i, i))
	}
	for _, name := range names {
		tr.now[name] = tr.now[name][1024:]
	}
	told := tr.step().Damaged
	for _, name := range names {
		if !slices.ContainsFunc(told, func(f File) bool { return f.Path == name && f.Now == name }) {
			t.Errorf("%s lost its first KiB and is not told", name)
		}
	}
	if len(told) != len(names) {
		t.Errorf("%d files are told, want the %d that were cut", len(told), len(names))
	}
}

func TestAFileUnderANameThatHoldsItsPathIsFoundAgain(t *testing.T) {
	tr := newTree(t)
	names := some(5)
	for _, name := range names { // only a part of each is noise, so that it looks like nothing by itself
		data := slices.Clone(tr.now[name])
		for at := 0; at+512 <= len(data); at += 1024 {
			copy(data[at:], noise(at, 512))
		}
		tr.move(name, "/srv/_data_/srv__"+path.Base(path.Dir(name))+"__"+path.Base(name), data)
	}
	tr.want(tr.step(), renamedBy(names, func(name string) string {
		return "/srv/_data_/srv__" + path.Base(path.Dir(name)) + "__" + path.Base(name)
	})...)
}
