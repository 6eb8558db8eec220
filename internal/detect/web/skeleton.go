package web

import (
	"strings"

	"golang.org/x/net/idna"
)

// confusable are letters that look like Latin ones, with those: the most used part of the Unicode Consortium's confusables
// (Unicode Technical Standard 39).
var confusable = strings.NewReplacer(
	"а", "a", "ɑ", "a", "α", "a", "в", "b", "Ь", "b", "с", "c", "ϲ", "c", "ԁ", "d", "е", "e", "ҽ", "e", "є", "e", "ɡ", "g", "һ", "h", "н", "h",
	"і", "i", "ı", "i", "ι", "i", "ј", "j", "к", "k", "κ", "k", "ӏ", "l", "ⅼ", "l", "м", "m", "ո", "n", "η", "n", "о", "o", "ο", "o", "օ", "o", "σ", "o",
	"р", "p", "ρ", "p", "ԛ", "q", "г", "r", "ѕ", "s", "т", "t", "τ", "t", "υ", "u", "ս", "u", "ν", "v", "ѵ", "v", "ԝ", "w", "ѡ", "w", "х", "x", "χ", "x",
	"у", "y", "γ", "y", "ᴢ", "z", "ｅ", "e",
)

var lookalike = strings.NewReplacer("0", "o", "1", "l", "i", "l", "5", "s", "rn", "m", "vv", "w", "-", "")

// skeleton returns what a host name looks like: two names with the same are mistaken for each other.
func skeleton(host string) string {
	if readable, err := idna.ToUnicode(host); err == nil {
		host = readable
	}
	return lookalike.Replace(confusable.Replace(strings.ToLower(host)))
}
