package accesslog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCombinedLinesAreRead(t *testing.T) {
	at := time.Date(2020, 9, 30, 22, 15, 4, 0, time.UTC)
	for _, c := range []struct {
		name, line string
		want       Entry
		path       string
	}{
		{"a plain request", `203.0.113.9 - - [30/Sep/2020:23:15:04 +0100] "GET /a%20b?x=1 HTTP/1.1" 200 512 "-" "curl/7.88"`,
			Entry{Source: "203.0.113.9", Time: at, Method: "GET", Target: "/a%20b?x=1", Status: 200, Bytes: 512, Agent: "curl/7.88"}, "/a b"},
		{"a user with a space, from IPv6", `2001:db8::1 - Ann Lee [30/Sep/2020:22:15:04 +0000] "POST /upload HTTP/2.0" 303 - "https://pub.example/" "-"`,
			Entry{Source: "2001:db8::1", User: "Ann Lee", Time: at, Method: "POST", Target: "/upload", Status: 303, Referrer: "https://pub.example/"}, "/upload"},
		{"a quote escaped by nginx", `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "GET /?q=\x22 HTTP/1.1" 404 0 "-" "a \x22b\x22"`,
			Entry{Source: "192.0.2.1", Time: at, Method: "GET", Target: `/?q="`, Status: 404, Agent: `a "b"`}, "/"},
		{"a quote escaped by Apache", `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "GET /\"x HTTP/1.1" 404 0 "-" "-"`,
			Entry{Source: "192.0.2.1", Time: at, Method: "GET", Target: `/"x`, Status: 404}, `/"x`},
		{"TLS sent to a plain port", `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "\x16\x03\x01" 400 157 "-" "-"`,
			Entry{Source: "192.0.2.1", Time: at, Method: "\x16\x03\x01", Status: 400, Bytes: 157}, ""},
		{"the common format", `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "HEAD / HTTP/1.0" 200 0`,
			Entry{Source: "192.0.2.1", Time: at, Method: "HEAD", Target: "/", Status: 200}, "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.line)
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got != c.want {
				t.Errorf("read as\n%+v, want\n%+v", got, c.want)
			}
			if got.Path() != c.path {
				t.Errorf("path %q, want %q", got.Path(), c.path)
			}
		})
	}
}

func TestOtherLinesAreSkippedAndCounted(t *testing.T) {
	good := `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "GET /%d HTTP/1.1" 200 1 "-" "-"`
	log := strings.Join([]string{
		good, "", "binary \x00\xff\xfe", `host - - [30/Sep/2020:22:15:04 +0000] "GET / HTTP/1.1" 200 1`,
		strings.Replace(good, "GET", strings.Repeat("A", 3*MaxLine), 1), good + "\r",
		`192.0.2.1 - - [99/Sep/2020:22:15:04 +0000] "GET / HTTP/1.1" 200 1`, good,
	}, "\n")
	var lines []int
	skipped, err := Read(context.Background(), strings.NewReader(log), func(e Entry) error {
		lines = append(lines, e.Line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 3 || lines[0] != 1 || lines[1] != 6 || lines[2] != 8 || skipped != 5 {
		t.Errorf("read lines %v and skipped %d, want lines 1, 6 and 8 and 5 skipped", lines, skipped)
	}
}

func TestReadingStopsWhenAsked(t *testing.T) {
	enough := errors.New("enough")
	line := `192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "GET / HTTP/1.1" 200 1` + "\n"
	calls := 0
	_, err := Read(context.Background(), strings.NewReader(strings.Repeat(line, 10)), func(Entry) error {
		calls++
		return enough
	})
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%d calls and error %v, want one call and its error", calls, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Read(ctx, strings.NewReader(strings.Repeat(line, 5000)), func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled read ended with %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`192.0.2.1 - - [30/Sep/2020:22:15:04 +0000] "GET / HTTP/1.1" 200 1 "-" "x"`)
	f.Add(`192.0.2.1 - [ [30/Sep/2020:22:15:04 +0000] "\` + `" "" 1 1 "\`)
	f.Add(`unix: - - [] "`)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		e.Path()
		if e.Time.IsZero() && e.Time.Year() > 1 || e.Status < 0 || e.Status > 999 || e.Source == "" {
			t.Errorf("accepted %q as %+v", line, e)
		}
	})
}
