package content

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Code is a script that stands in a page, or that one loads.
type Code struct {
	// Kind is "inline", "srcdoc" or "importmap"; "handler ELEMENT ATTRIBUTE"; "address" for a javascript: URL; "file"; "style".
	Kind string `json:"kind"`
	Hash string `json:"hash"` // SHA-256 of its text, hex
	// Form is the same for scripts that differ in their data alone: strings, numbers, lists and objects of these, comments and
	// blanks do not count, nor digits in names. It is a hash, hex.
	Form string `json:"form"`
	// Shape is the same for scripts that differ in what their own variables and functions are called besides.
	Shape string `json:"shape,omitempty"`
	// Plain says that it only gives variables data, and calls and changes nothing.
	Plain bool `json:"plain,omitempty"`
	// Does lists what the script can do to a visitor, of the names in deeds, sorted.
	Does []string `json:"does,omitempty"`
	// Reaches lists the origins that stand in it, and the accounts that tag managers load by, sorted; at most 50.
	Reaches []string `json:"reaches,omitempty"`
	Head    string   `json:"head,omitempty"` // its beginning, for people
}

// maxReaches bounds the list in a Code.
const maxReaches = 50

type deed struct {
	name    string
	pattern *regexp.Regexp
}

// deeds are what attackers' scripts do that most others do not, or seldom.
var deeds = []deed{
	{"hides", hides},
	{"loads", regexp.MustCompile(`createElement(NS)?\s*\(\s*['"\x60](script|iframe|object|embed)|document\.write|\bimport\s*\(|importScripts|insertAdjacentHTML|srcdoc`)},
	{"sends", regexp.MustCompile(`\bfetch\s*\(|XMLHttpRequest|sendBeacon|WebSocket|EventSource|RTCPeerConnection|new\s+Image\b|\.ajax\s*\(|\$\.(post|get)\s*\(`)},
	{"listens", regexp.MustCompile(`(?i)onkey(down|up|press)|['"\x60](keydown|keyup|keypress|submit|input|change|paste)['"\x60]|card.?num|cvv|cvc|type=\\?["']?password|\.password\b`)},
	{"works", regexp.MustCompile(`new\s+(Shared)?Worker\b|serviceWorker|WebAssembly|\.wasm\b`)},
	{"moves", regexp.MustCompile(`\blocation\s*(\.href)?\s*=[^=]|\blocation\.(replace|assign)\b|window\.open\s*\(`)},
	{"remembers", regexp.MustCompile(`document\.cookie|localStorage|sessionStorage|indexedDB`)},
	{"writes markup", regexp.MustCompile(`(?i)<\\?/?script|<iframe|<svg[^>]{0,40}\son|<img[^>]{0,200}\son\w+\s*=|javascript:`)},
}

var (
	// accounts are names under which tag managers and counters load what somebody set up there.
	accounts = regexp.MustCompile(`\b(GTM-[A-Z0-9]{4,12}|G-[A-Z0-9]{6,14}|UA-\d{4,12}-\d{1,4}|AW-\d{6,14}|DC-\d{6,12})\b`)
	anywhere = regexp.MustCompile(`(?i)(?:https?|wss?):\\?/\\?/[^\s"'<>\\` + "`" + `)]{1,200}|["'=(` + "`" + `](?:\\?/){2}[a-z0-9.-]+\.[a-z]{2,}[^\s"'<>\\)]{0,200}`)
)

// ReadCode looks at a script's text.
func ReadCode(kind, text string) Code {
	l := lexer{text: text}
	l.run(0)
	c := Code{
		Kind: kind, Hash: hashText(text), Form: hashText(strings.Join(l.tokens, "\n")), Shape: hashText(shape(l.tokens)), Head: headOf(text),
		Plain: kind == "inline" && assigns(l.tokens),
	}
	if kind == "importmap" { // its strings are what counts
		c.Form, c.Shape = c.Hash, c.Hash
	}
	for _, d := range deeds {
		if d.pattern.MatchString(text) {
			c.Does = append(c.Does, d.name)
		}
	}
	slices.Sort(c.Does)
	c.Reaches = append(c.Reaches, accounts.FindAllString(text, maxReaches)...)
	for _, found := range anywhere.FindAllString(text, 4*maxReaches) {
		if o := origin(nil, strings.ReplaceAll(strings.TrimLeft(found, "\"'=(`"), `\`, "")); o != "" {
			c.Reaches = append(c.Reaches, strings.TrimPrefix(o, ":")) // "://host" has its page's scheme
		}
	}
	slices.Sort(c.Reaches)
	c.Reaches = slices.Compact(c.Reaches)
	c.Reaches = c.Reaches[:min(len(c.Reaches), maxReaches)]
	return c
}

func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func headOf(text string) string {
	words := strings.Join(strings.Fields(text[:min(len(text), 1000)]), " ")
	return strings.ToValidUTF8(words[:min(len(words), 120)], "")
}

// datum stands for data in a form.
const datum = "\x00"

// reserved are the words of the language, and what the browser gives scripts that do something: in a shape they stand for themselves.
const reserved = " async await break case catch class const continue default delete do else extends finally for function if import in instanceof " +
	"let new of return static super switch this throw try typeof var void while with yield eval atob Function unescape String document window self " +
	"location navigator fetch XMLHttpRequest WebSocket EventSource Worker SharedWorker Image WebAssembly importScripts setTimeout setInterval localStorage sessionStorage "

// shape returns the tokens of a script, one a line, with its own names masked: those after a point are of something else.
func shape(tokens []string) string {
	masked := slices.Clone(tokens)
	for i, t := range tokens {
		if isName(t[0]) && (i == 0 || tokens[i-1] != ".") && !strings.Contains(reserved, " "+t+" ") {
			masked[i] = "#"
		}
	}
	return strings.Join(masked, "\n")
}

// touchy are names to which nothing is assigned by a script that only holds data: what is shown, and where things are sent or loaded from.
var touchy = regexp.MustCompile(`^(document|location|name|opener|parent|top|frames|innerHTML|outerHTML|textContent|innerText|src|srcdoc|href|action|cookie|value|__proto__|prototype|constructor|on[a-z]+)$`)

// assigns tells whether a script does nothing but give variables data.
func assigns(tokens []string) bool {
	for _, t := range tokens {
		switch {
		case t == datum, t == "=", t == ";", t == ",", t == ".", t == "var", t == "let", t == "const":
		case isName(t[0]) && !strings.Contains(reserved, " "+t+" ") && !touchy.MatchString(t), t == "window", t == "self":
		default:
			return false
		}
	}
	return len(tokens) > 0
}

// lexer splits JavaScript into tokens, and masks its data. What is no JavaScript has tokens too. It follows ECMA-262's lexical grammar as far as data and code must be told apart; where a slash
// begins a regular expression it goes by the token before, as highlighters do.
type lexer struct {
	text   string
	at     int
	tokens []string
	open   []int // indices of the brackets in tokens that are open
}

// maxTemplates bounds how deep templates may stand in one another.
const maxTemplates = 20

// run reads tokens to the end of the text, or, within a template, to the brace that ends the expression.
func (l *lexer) run(templates int) {
	depth := 0
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			l.at++
		case strings.HasPrefix(l.text[l.at:], "//"), strings.HasPrefix(l.text[l.at:], "<!--"):
			l.skip("\n")
		case strings.HasPrefix(l.text[l.at:], "/*"):
			l.skip("*/")
		case c == '"' || c == '\'':
			l.quoted(c)
			l.data()
		case c == '`':
			l.template(templates)
		case c >= '0' && c <= '9', c == '.' && l.at+1 < len(l.text) && isDigit(l.text[l.at+1]):
			l.number()
			l.data()
		case isName(c):
			l.name()
		case c == '/' && l.regexpMayBegin():
			l.regexp()
		case c == '}' && templates > 0 && depth == 0:
			l.at++
			return
		default:
			if c == '{' {
				depth++
			} else if c == '}' {
				depth--
			}
			l.at++
			l.punctuation(string(c))
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isName(c byte) bool {
	return c == '_' || c == '$' || c == '#' || c == '@' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c >= utf8.RuneSelf
}

func (l *lexer) skip(end string) {
	n := strings.Index(l.text[l.at:], end)
	if n < 0 {
		l.at = len(l.text)
		return
	}
	l.at += n + len(end)
}

func (l *lexer) quoted(quote byte) {
	for l.at++; l.at < len(l.text); l.at++ {
		switch l.text[l.at] {
		case '\\':
			l.at++
		case quote, '\n':
			l.at++
			return
		}
	}
	l.at = min(l.at, len(l.text))
}

// template reads a template: its text is data, its expressions are code.
func (l *lexer) template(templates int) {
	for l.at++; l.at < len(l.text); l.at++ {
		switch {
		case l.text[l.at] == '\\':
			l.at++
		case l.text[l.at] == '`':
			l.at++
			l.data()
			return
		case strings.HasPrefix(l.text[l.at:], "${") && templates < maxTemplates:
			l.data()
			l.at += 2
			l.tokens = append(l.tokens, "${")
			l.run(templates + 1)
			l.tokens = append(l.tokens, "}$")
			l.at--
		}
	}
	l.at = min(l.at, len(l.text))
	l.data()
}

func (l *lexer) number() {
	for l.at < len(l.text) {
		c := l.text[l.at]
		exponent := (c == '+' || c == '-') && (l.text[l.at-1] == 'e' || l.text[l.at-1] == 'E')
		if !isName(c) && c != '.' && !exponent {
			return
		}
		l.at++
	}
}

func (l *lexer) name() {
	begin := l.at
	for l.at < len(l.text) && isName(l.text[l.at]) {
		l.at++
	}
	switch name := l.text[begin:l.at]; name {
	case "true", "false", "null", "undefined":
		l.data()
	default:
		if len(name) >= 5 && madeUp.MatchString(name) {
			name = "#"
		}
		l.tokens = append(l.tokens, name)
	}
}

// maskDigits makes paths alike that are made up for each answer: runs of three and more digits do not count.
func maskDigits(name string) string { return digits.ReplaceAllString(name, "#") }

var (
	digits = regexp.MustCompile(`[0-9]{3,}`)
	// madeUp are names of letters and digits mixed, as random ones are.
	madeUp = regexp.MustCompile(`^[A-Za-z_$]*[0-9][A-Za-z_$]*[0-9][0-9A-Za-z_$]*$`)
)

// regexpMayBegin tells whether a slash begins a regular expression rather than divides.
func (l *lexer) regexpMayBegin() bool {
	if len(l.tokens) == 0 {
		return true
	}
	switch before := l.tokens[len(l.tokens)-1]; before {
	case datum, ")", "]", "}", "}$":
		return false
	case "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "instanceof", "new", "yield", "await":
		return true
	default:
		return !isName(before[0])
	}
}

func (l *lexer) regexp() {
	begin, class := l.at, false
	for l.at++; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == '\\':
			l.at++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class || c == '\n':
			l.at++
			l.tokens = append(l.tokens, strings.ReplaceAll(l.text[begin:l.at], "\n", ""))
			return
		}
	}
	l.at = min(l.at, len(l.text))
	l.tokens = append(l.tokens, "/")
}

// data adds data. After data and a comma, or a sign or a negation, it is more of the same.
func (l *lexer) data() {
	n := len(l.tokens)
	switch {
	case n >= 2 && l.tokens[n-1] == "," && l.tokens[n-2] == datum:
		l.tokens = l.tokens[:n-1]
	case n >= 2 && (l.tokens[n-1] == "-" || l.tokens[n-1] == "!") && !isName(l.tokens[n-2][0]) && strings.Contains("([{,=:;", l.tokens[n-2]):
		l.tokens = l.tokens[:n-1]
		l.data()
	default:
		l.tokens = append(l.tokens, datum)
	}
}

// punctuation adds a sign. A bracket that closes over nothing but data makes data of it.
func (l *lexer) punctuation(sign string) {
	switch sign {
	case "[", "{", "(":
		l.open = append(l.open, len(l.tokens))
	case "]", "}", ")":
		if len(l.open) > 0 {
			begin := l.open[len(l.open)-1]
			l.open = l.open[:len(l.open)-1]
			if sign != ")" && begin < len(l.tokens) && plain(l.tokens[begin+1:]) {
				l.tokens = l.tokens[:begin]
				l.data()
				return
			}
		}
	}
	l.tokens = append(l.tokens, sign)
}

// plain tells whether tokens are data and the names of data.
func plain(tokens []string) bool {
	for i, t := range tokens {
		named := i+1 < len(tokens) && tokens[i+1] == ":" && isName(t[0])
		if t != datum && t != "," && t != ":" && !named {
			return false
		}
	}
	return true
}
