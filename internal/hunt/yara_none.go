//go:build !yara

package hunt

import "errors"

// errNoYARA tells that this kedge was built without YARA.
var errNoYARA = errors.New("this kedge is built without YARA; on Debian: apt-get install libyara-dev gcc, then go build -tags yara ./cmd/kedge")

// rules stand for those that this build cannot use.
type rules struct{}

func compileRules([]string) (*rules, error) { return nil, errNoYARA }

func (*rules) names() []ruleName { return nil }

func (*rules) scan([]byte) ([]ruleMatch, error) { return nil, errNoYARA }

func (*rules) close() {}
