package journal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type entry struct {
	Step string `json:"step"`
	OK   bool   `json:"ok"`
}

func mustAppend(t *testing.T, name string, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		if err := Append(name, e); err != nil {
			t.Fatal(err)
		}
	}
}

func mustRead(t *testing.T, name string, want ...entry) {
	t.Helper()
	got, err := Read[entry](name)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the journal holds %v, want %v", got, want)
	}
}

func TestRecordsComeBackInOrder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "incident", "1", "journal")
	mustRead(t, name)
	mustAppend(t, name, entry{"a", true}, entry{"b", false})
	mustRead(t, name, entry{"a", true}, entry{"b", false})
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestRecordCutOffByAPowerCutNeverWas(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	mustAppend(t, name, entry{"a", true}, entry{"b", true})
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	firstLine := strings.IndexByte(string(data), '\n') + 1
	for length := firstLine; length < len(data); length++ {
		if err := os.WriteFile(name, data[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		mustRead(t, name, entry{"a", true})
		mustAppend(t, name, entry{"c", true})
		mustRead(t, name, entry{"a", true}, entry{"c", true})
	}
}

func TestForeignLinesAreRefusedWithTheirNumber(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	for _, line := range []string{"hello\n", `{"step":"a","approved":true}` + "\n", "\n", `{"step":1}` + "\n"} {
		if err := os.WriteFile(name, []byte(`{"step":"a","ok":true}`+"\n"+line), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read[entry](name); err == nil || !strings.Contains(err.Error(), "journal:2:") {
			t.Errorf("line %q: error %v, want one that names line 2", line, err)
		}
	}
	if err := os.Truncate(name, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read[entry](name); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("an endless journal: error %v", err)
	}
	if err := Append(name, entry{}); err == nil {
		t.Error("an endless journal was written to")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"step\":\"a\",\"ok\":true}\n{\"st"))
	f.Add([]byte("\n\n[[[["))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := Read[entry](name)
		if err != nil {
			return
		}
		mustAppend(t, name, entry{"z", true})
		mustRead(t, name, append(before, entry{"z", true})...)
	})
}
