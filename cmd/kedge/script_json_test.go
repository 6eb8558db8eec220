package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdHasJSON compares two files of JSON: every field that the second has, the first must have with the same value, and
// lists must be equally long: hasjson kedge.json restic.json [but FIELD...]
func cmdHasJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: hasjson GOT WANT [but FIELD...]")
	}
	var got, want any
	for i, v := range []*any{&got, &want} {
		if err := json.Unmarshal([]byte(ts.ReadFile(args[i])), v); err != nil {
			ts.Fatalf("%s: %v", args[i], err)
		}
	}
	if missing := lacking(got, want, "", args[2:]); missing != "" {
		ts.Fatalf("%s lacks what %s has: %s", args[0], args[1], missing)
	}
}

// lacking returns the first place at which got has not what want has, and both values there.
func lacking(got, want any, at string, but []string) string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		for _, field := range slices.Sorted(maps.Keys(want)) {
			if ok && slices.Contains(but, field) {
				continue
			}
			if missing := lacking(have[field], want[field], at+"."+field, but); missing != "" {
				return missing
			}
		}
		if ok {
			return ""
		}
	case []any:
		have, ok := got.([]any)
		for i := 0; ok && i < len(want) && len(have) == len(want); i++ {
			if missing := lacking(have[i], want[i], fmt.Sprintf("%s[%d]", at, i), but); missing != "" {
				return missing
			}
		}
		if ok && len(have) == len(want) {
			return ""
		}
	default:
		if reflect.DeepEqual(got, want) {
			return ""
		}
	}
	return fmt.Sprintf("at %s: %v, want %v", at, got, want)
}

// cmdCapture sets a variable to what a group of a regular expression matches in the last standard output:
// capture ID '"id":"([0-9a-f]+)"'
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE REGEXP")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	match := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) < 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], match[1])
}
