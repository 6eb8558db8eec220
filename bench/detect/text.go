package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// language makes words as a language of these letters would have them: few of them are most of a text (Zipf's law).
type language struct{ words []string }

var scripts = []struct{ onsets, vowels, codas string }{
	{"b c d f g h l m n p r s t v w st tr pr sh", "a e i o u ea ou", "n r s t l nd ng . . ."},
	{"б в г д ж з к л м н п р с т ст пр", "а е и о у ы я", "н р с т л й . . ."},
	{"م ن ل ب ت س ر ع ق ف ه", "ا و ي", "ن ر ة . . ."},
	{"国 海 安 全 会 船 约 公 员 技 术 报 告 年 法 规", "的 了 在 和 是 不 有 中 大 为", ". . ."},
	{"b c ch d f g j l m n p qu r s t v", "a e é è i o u eau ai ou", "s t r nt l . . ."},
}

// newLanguage draws the words of one of the scripts.
func newLanguage(r *rand.Rand, script int) *language {
	s := scripts[script%len(scripts)]
	onsets, vowels, codas := strings.Fields(s.onsets), strings.Fields(s.vowels), strings.Fields(s.codas)
	l := &language{}
	for range 1500 {
		var word strings.Builder
		for range 1 + r.IntN(3) {
			word.WriteString(one(r, onsets) + one(r, vowels))
			if coda := one(r, codas); coda != "." {
				word.WriteString(coda)
			}
		}
		l.words = append(l.words, word.String())
	}
	return l
}

func (l *language) word(r *rand.Rand) string {
	rank := math.Exp(r.Float64()*math.Log(float64(len(l.words)))) - 1
	return l.words[int(rank)]
}

// prose returns about size bytes of sentences.
func (l *language) prose(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	column := 0
	for b.Len() < size {
		for i := range 5 + r.IntN(15) {
			word := l.word(r)
			if i == 0 {
				word = capital(word)
			}
			if column += len(word) + 1; column > 90 {
				b.WriteByte('\n')
				column = len(word)
			}
			b.WriteString(word)
			b.WriteByte(' ')
		}
		b.WriteString(one(r, []string{". ", ". ", "; ", "? ", fmt.Sprintf(" (%d). ", r.IntN(3000))}))
		if r.IntN(6) == 0 {
			b.WriteString("\n\n")
			column = 0
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func capital(word string) string {
	first, n := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(first)) + word[n:]
}

func (l *language) markdown(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s %s\n\n", l.word(r), l.word(r))
	for b.Len() < size {
		switch r.IntN(5) {
		case 0:
			fmt.Fprintf(&b, "## %s %s\n\n", l.word(r), l.word(r))
		case 1:
			for range 2 + r.IntN(5) {
				fmt.Fprintf(&b, "- [%s](https://example.org/%s/%d): %s", l.word(r), l.word(r), r.IntN(900), l.prose(r, 40))
			}
		case 2:
			fmt.Fprintf(&b, "```\n%s --%s=%d\n```\n\n", l.word(r), l.word(r), r.IntN(99))
		default:
			b.Write(l.prose(r, 300))
		}
	}
	return b.Bytes()
}

// table is a CSV file; some have columns that look like noise: digests, keys.
func (l *language) table(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	digest, token := r.IntN(5) == 0, r.IntN(8) == 0
	b.WriteString("id,date,name,country,amount,rate,remark\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%d,20%02d-%02d-%02d,%s %s,%s,%.2f,%.4f,\"%s\"", 1000+i, r.IntN(26), 1+r.IntN(12), 1+r.IntN(28), l.word(r), l.word(r), l.word(r),
			math.Exp(r.NormFloat64()*2+6), r.Float64(), l.word(r))
		if digest {
			b.WriteString("," + hex.EncodeToString(noise(r, 32)))
		}
		if token {
			b.WriteString("," + base64.StdEncoding.EncodeToString(noise(r, 24)))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func (l *language) source(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	name := func() string { return one(r, latin) + capital(one(r, latin)) }
	fmt.Fprintf(&b, "// Package %s %s\npackage %s\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\n", one(r, latin), l.word(r), one(r, latin))
	for b.Len() < size {
		fmt.Fprintf(&b, "// %s %s", name(), l.prose(r, 50))
		fmt.Fprintf(&b, "func %s(%s int, %s string) (%s error) {\n", name(), one(r, latin), one(r, latin), one(r, latin))
		for range 3 + r.IntN(12) {
			switch r.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "\tif %s := %s(%d); %s != nil {\n\t\treturn fmt.Errorf(\"%s %s: %%w\", err)\n\t}\n", one(r, latin), name(), r.IntN(100), one(r, latin), one(r, latin), one(r, latin))
			case 1:
				fmt.Fprintf(&b, "\tfor i := range %s {\n\t\t%s[i] += %d\n\t}\n", one(r, latin), one(r, latin), r.IntN(256))
			default:
				fmt.Fprintf(&b, "\t%s = append(%s, %s(0x%02x))\n", one(r, latin), one(r, latin), name(), r.IntN(256))
			}
		}
		b.WriteString("\treturn nil\n}\n\n")
	}
	return b.Bytes()
}

var latin = strings.Fields("open close read write index offset buffer value count size key node tree path name error state config client server request reply parse format token line block page cache queue worker session event handler table column row total limit")

func (l *language) page(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s %s</title>\n<link rel=\"stylesheet\" href=\"/css/site.css\"></head>\n<body>\n<h1>%s</h1>\n", l.word(r), l.word(r), l.word(r))
	for b.Len() < size {
		fmt.Fprintf(&b, "<div class=\"%s\"><h2>%s</h2>\n<p>%s</p>\n<a href=\"/%s/%d.html\">%s</a></div>\n", one(r, latin), l.word(r), l.prose(r, 250), one(r, latin), r.IntN(1000), l.word(r))
	}
	b.WriteString("</body></html>\n")
	return b.Bytes()
}

// document is JSON, in a third of the cases with base64 in it.
func (l *language) document(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	embedded := r.IntN(3) == 0
	b.WriteString("{\"items\": [\n")
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  {\"id\": %d, \"name\": %q, \"tags\": [%q, %q], \"score\": %.3f", i, l.word(r), l.word(r), l.word(r), r.Float64())
		if embedded {
			fmt.Fprintf(&b, ", \"thumbnail\": %q", base64.StdEncoding.EncodeToString(noise(r, 100+r.IntN(2000))))
		}
		b.WriteString("}")
	}
	b.WriteString("\n]}\n")
	return b.Bytes()
}

// syslog is what a server writes about itself.
func (l *language) syslog(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	second := r.IntN(86400)
	for b.Len() < size {
		second += r.IntN(40)
		fmt.Fprintf(&b, "Mar %2d %02d:%02d:%02d host%d %s[%d]: %s from 192.0.2.%d port %d\n", 1+second/86400, second/3600%24, second/60%60, second%60,
			r.IntN(4), one(r, latin), r.IntN(30000), one(r, []string{"accepted publickey for deploy", "connection closed", "session opened for user root", "GET /index.html 200 " + l.word(r)}), r.IntN(255), r.IntN(65535))
	}
	return b.Bytes()
}

// noise returns bytes that nothing tells from random ones.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}
