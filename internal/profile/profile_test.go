package profile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func gather(values ...string) Column {
	t := Text{Digest: func(v string) uint64 { return uint64(len(v))*1000 + uint64(v[0]) }}
	for _, v := range values {
		t.Add(v)
	}
	return t.Column("c")
}

func TestTextIsToldByItsLengthsCharactersAndFrequentValues(t *testing.T) {
	text := Text{Digest: func(string) uint64 { return 7 }}
	text.Null()
	for range 3 {
		text.Add("ab 12,<é")
	}
	c := text.Column("flag")
	want := Column{
		Name: "flag", Sampled: 4, Nulls: 0.25, Lengths: []int{8, 8, 8, 8, 8, 8, 8},
		Spread: []int64{0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		Share:  Share{Letters: 0.25, Digits: 0.25, Space: 0.125, Punctuation: 0.125, Markup: 0.125, Other: 0.125},
		Common: []Common{{7, 1}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c := gather("a", "bb", "ccc", "dddd"); len(c.Common) != 0 || c.Lengths[0] != 1 || c.Lengths[6] != 4 {
		t.Errorf("values that are all different: %+v", c)
	}
	if empty := new(Text).Column("x"); empty.Sampled != 0 || empty.Nulls != 0 || len(empty.Lengths) != 0 {
		t.Errorf("no value: %+v", empty)
	}
	// Bounds: of what is looked at of a value, and of how many values are listed.
	long := gather(strings.Repeat("x", 3*MaxValue))
	if long.Lengths[0] != MaxValue {
		t.Errorf("%d characters of a long value were looked at", long.Lengths[0])
	}
	many := Text{Digest: func(v string) uint64 { n, _ := json.Number(v).Int64(); return uint64(n) }}
	for i := range 4 * maxDistinct {
		many.Add(fmt.Sprint(i % (2 * maxDistinct)))
	}
	if c := many.Column("x"); len(c.Common) != MaxCommon || len(many.seen) != maxDistinct {
		t.Errorf("%d frequent values, %d were counted", len(c.Common), len(many.seen))
	}
}

func TestWhatABrowserWouldRunIsFoundInText(t *testing.T) {
	for _, text := range []string{
		`<script src=//203.0.113.66/a.js>`, `before <SCRIPT>alert(1)</SCRIPT>`, "<script\n>", `<a href="JavaScript:alert(1)">`, `<img src=x onerror=alert(1)>`,
		`<svg/ onload = "x">`, `<iframe src=x>`,
	} {
		if !Script(text) {
			t.Errorf("%q counts as plain", text)
		}
	}
	for _, text := range []string{
		"", "A description of the play", "3 < 4 and on = off", "<b>bold</b>", "prescription=1", "turned on=late", "<scripture>", "JavaScript is a language", "<p>on time = good</p>",
	} {
		if Script(text) {
			t.Errorf("%q counts as a script", text)
		}
	}
}

func TestAProfileIsReadAsItWasWrittenAndNoNewerOneIs(t *testing.T) {
	p := Profile{
		Time: time.Date(2026, 11, 25, 22, 0, 0, 0, time.UTC), LSN: "0/14EC1F8", XID: 730, Roles: []Role{{Name: "app", Attributes: []string{"login"}}},
		Databases: []Database{{Name: "gisis", OID: 5, Tables: []Table{{Name: "public.ships", File: 101, Rows: 7, Columns: []Column{gather("a", "a")}, Log: &Log{Update: 3}}}}},
	}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil || got.Databases[0].Table("public.ships").Log.Update != 3 || got.Database("none") != nil || got.LSN != p.LSN || !got.Time.Equal(p.Time) {
		t.Errorf("read %+v (%v), want %+v", got, err, p)
	}
	for name, text := range map[string]string{"newer": `{"version":2}`, "none": `{}`, "no JSON": `profile`, "too long": strings.Repeat(" ", MaxSize+1)} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"databases":[{"name":"a","tables":[{"name":"b","columns":[{"name":"c","spread":[1,2]}]}]}]}`))
	f.Add([]byte(`{"version":0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || len(again) == 0 {
			t.Errorf("a profile that was read cannot be written: %v", err)
		}
	})
}
