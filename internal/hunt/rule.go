package hunt

// ruleName names a YARA rule.
type ruleName struct{ rule, file string }

// ruleMatch is a rule that some content fulfils.
type ruleMatch struct {
	rule int     // place in names
	at   []int64 // where its strings stand, the first few of each
}
