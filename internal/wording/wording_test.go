package wording_test

import (
	"testing"

	"github.com/kedge-project/kedge/internal/wording"
)

func TestFiguresReadAsPeopleWriteThem(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{wording.Count(1234567), "1,234,567"},
		{wording.Count(-1000), "−1,000"},
		{wording.Number(1, "entry"), "1 entry"},
		{wording.Number(1200, "entry"), "1,200 entries"},
		{wording.Number(0, "file"), "0 files"},
		{wording.Number(2, "index"), "2 indexes"},
		{wording.Size(1), "1 byte"},
		{wording.Size(999), "999 bytes"},
		{wording.Size(1500), "1.50 kB"},
		{wording.Size(999_600), "1.00 MB"},
		{wording.Size(1 << 40), "1.10 TB"},
		{wording.Span(0), "0 s"},
		{wording.Span(0.25), "0.25 s"},
		{wording.Span(61), "61 s"},
		{wording.Span(180), "3 min"},
		{wording.Span(3725), "1 h 02 min"},
		{wording.Span(86400 * 3), "3.0 days"},
		{wording.List([]string{"mail"}), "mail"},
		{wording.List([]string{"mail", "meetings", "chat"}), "mail, meetings and chat"},
		{wording.Cut("interpretation", 5), "inter…"},
		{wording.Plain("a\u202efdp.exe\x1b[2J"), `a\u202efdp.exe\x1b[2J`},
	} {
		if c.got != c.want {
			t.Errorf("have %q, want %q", c.got, c.want)
		}
	}
}
