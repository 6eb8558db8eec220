//go:build !yara

package hunt

import (
	"strings"
	"testing"
)

func TestABuildWithoutYARASaysHowToGetOneThatHasIt(t *testing.T) {
	_, err := New(Query{YARA: []string{"rules.yar"}})
	if err == nil || !strings.Contains(err.Error(), "libyara-dev") || !strings.Contains(err.Error(), "-tags yara") {
		t.Errorf("%v", err)
	}
}
