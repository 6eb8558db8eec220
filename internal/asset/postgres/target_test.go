package postgres

import (
	"strings"
	"testing"
	"time"
)

func TestTargetsAreReadAsPeopleWriteThem(t *testing.T) {
	moment := time.Date(2026, 11, 25, 14, 3, 0, 250_000_000, time.UTC)
	for text, want := range map[string]Target{
		"latest":                         {Latest: true},
		"0/14EC1F8":                      {LSN: "0/14EC1F8"},
		"742":                            {XID: 742},
		"4294968038":                     {XID: 742}, // of epoch 1
		"2026-11-25T14:03:00.25Z":        {Time: moment},
		"2026-11-25T15:03:00.25+01:00":   {Time: moment},
		"2026-11-25 15:03:00.25+01":      {Time: moment},
		"2026-11-25 15:03:00.25+0100":    {Time: moment},
		"2026-11-25 15:03:00.250 +01:00": {Time: moment},
		"2026-11-25 14:03:00.25 UTC":     {Time: moment},
	} {
		got, err := ParseTarget(text, false)
		if err != nil || !got.Time.Equal(want.Time) {
			t.Errorf("%q: %+v, %v", text, got, err)
			continue
		}
		got.Time = want.Time
		if got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
	before, err := ParseTarget("2026-11-25T14:03:00.25Z", true)
	if err != nil || before.Before || moment.Sub(before.Time) != time.Microsecond {
		t.Errorf("just before a time: %+v, %v", before, err)
	}
	if got, err := ParseTarget("742", true); err != nil || got != (Target{XID: 742, Before: true}) {
		t.Errorf("just before a transaction: %+v, %v", got, err)
	}
}

func TestWhatIsNoTargetIsRefusedWithWhatWouldBeOne(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-25 14:03:00":     "2026-11-25T14:03:00Z",
		"2026-11-25":              "does not say in which zone",
		"":                        "want latest",
		"yesterday":               "want latest",
		"0/xyz":                   "two hexadecimal numbers",
		"2":                       "no transaction ID",
		"99999999999999999999":    "no transaction ID",
		"2026-13-25T14:03:00Z":    "want latest",
		"2026-11-25 14:03:00 CET": "want latest",
	} {
		if got, err := ParseTarget(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", text, got, err, want)
		}
	}
	if _, err := ParseTarget("latest", true); err == nil {
		t.Error("just before the latest was taken for a state")
	}
}
