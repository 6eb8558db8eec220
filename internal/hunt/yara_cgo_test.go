//go:build yara

package hunt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ruleFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yar")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const twoRules = `
rule Dropper { strings: $a = "EVIL" $b = { 4d 5a ?? 00 } condition: $a and $b }
rule Long { strings: $a = "needs the end" condition: $a and filesize > 300KB }
private rule Hidden { condition: true }
`

func TestYARARulesSeeWholeFiles(t *testing.T) {
	h := newHistory(t)
	h.cut = 64 << 10
	big := planted(1, 400<<10, "MZ\x90\x00", 7)
	copy(big[64<<10-2:], "EVIL") // over a border
	copy(big[390<<10:], "needs the end")
	h.snapshot("fs", "/srv", files{"big": big, "small": []byte("MZ\x01\x00 and EVIL"), "half": []byte("EVIL only")})
	h.snapshot("fs", "/srv", files{"big": big})
	rules := ruleFile(t, twoRules)
	res := h.hunt(Query{Literals: []string{"nothing of this"}, YARA: []string{rules}})
	want := fmt.Sprintf("Dropper fs:/srv/big [7 %d]\nDropper fs:/srv/small [0 9]\nLong fs:/srv/big [%d]", 64<<10-2, 390<<10)
	if res.found() != want {
		t.Errorf("found\n%s\nwant\n%s", res.found(), want)
	}
	if hit := res.Hits[0]; hit.Indicator.File != rules || hit.Snapshots != 2 || h.hunt(Query{YARA: []string{rules}}).Read.Again != 0 {
		t.Errorf("%+v, read %+v", hit, res.Read)
	}
}

func TestAFileThatIsTooLargeForYARAIsSaidToBeCut(t *testing.T) {
	h := newHistory(t)
	h.cut = 128 << 10 // alone is one blob, big several
	h.snapshot("fs", "/srv", files{"big": planted(1, 400<<10, "needs the end", 350<<10), "fits": []byte("needs the end"), "alone": planted(2, 101<<10, "needs the end", 100<<10)})
	rule := ruleFile(t, `rule End { strings: $a = "needs the end" condition: $a }`)
	res, problems := h.huntDamaged(Query{YARA: []string{rule}}, Options{MostScanned: 100 << 10})
	if len(problems) > 0 || res.Cut != 2 || res.found() != "End fs:/srv/fits [0]" {
		t.Errorf("%d were cut, problems %v, found\n%s", res.Cut, problems, res.found())
	}
}

func TestTheFirstOfManyMatchesOfARuleAreTold(t *testing.T) {
	h := newHistory(t)
	h.snapshot("fs", "/srv", files{"f": []byte("seldom" + strings.Repeat("often", 30) + "seldom")})
	rule := ruleFile(t, `rule Both { strings: $a = "often" $b = "seldom" $c = "eldo" condition: all of them }`)
	if got := h.hunt(Query{YARA: []string{rule}}).found(); got != "Both fs:/srv/f [0 1 6 11 16]" {
		t.Errorf("found %s", got)
	}
}

func TestYARARulesWithErrorsAreToldWithTheLine(t *testing.T) {
	for content, want := range map[string]string{
		"rule A {\n strings:\n  $a = \"x\n condition: $a }": "line 4: unterminated string",
		"rule A { condition: nothing }":                     "line 1: undefined identifier",
		"rule A { condition: true }\x00":                    "a zero byte",
		"":                                                  "there are none in it",
	} {
		file := ruleFile(t, content)
		_, err := New(Query{YARA: []string{file}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v, want the file and %q", content, err, want)
		}
	}
	if _, err := New(Query{YARA: []string{"/nowhere/at/all"}}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a file that is not there: %v", err)
	}
}
