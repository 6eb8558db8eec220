package profile

import "regexp"

// ScriptPattern finds what a browser would run, in the syntax that Go's and PostgreSQL's regular expressions share; without regard
// to case. An event handler counts only inside a tag.
const ScriptPattern = `<script[\s/>]|<iframe[\s/>]|javascript:|<[a-z][^<>]*\son[a-z]{3,20}\s*=`

var scriptPattern = regexp.MustCompile(`(?i)` + ScriptPattern)

// Script tells whether a value has what a browser would run.
func Script(value string) bool { return scriptPattern.MatchString(value) }
