package hunt

import (
	"math/bits"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// program is a regular expression as automata are made of: its instructions, and kinds of bytes that it cannot tell apart. It is safe for
// concurrent use.
type program struct {
	insts []syntax.Inst
	entry uint32 // the first instruction

	// class is the kind of each byte, and sample one byte of each kind. They differ where an expression tells runes apart, and where UTF-8 does.
	class  [256]uint8
	sample []byte
	shift  uint // 1<<shift is no less than the number of kinds

	length int // most bytes of a match, or unlimited

	asksText, asksLine, asksWord bool // what assertions ask of the rune before them
}

// newProgram compiles a parsed expression, which it does not change, and of which matches have so many bytes at most.
func newProgram(re *syntax.Regexp, length int) (*program, error) {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, err
	}
	p := &program{insts: prog.Inst, entry: uint32(prog.Start), length: length}
	cuts := p.cuts()
	for b := range 256 {
		if cuts[b] {
			p.sample = append(p.sample, byte(b))
		}
		p.class[b] = uint8(len(p.sample) - 1)
	}
	p.shift = uint(bits.Len(uint(len(p.sample) - 1)))
	return p, nil
}

// cuts tells which bytes begin a kind, of which the bytes follow each other.
func (p *program) cuts() (cuts [256]bool) {
	cuts[0] = true
	// Where UTF-8 allows other bytes next: RFC 3629, section 4.
	for _, b := range []byte{0x80, 0x90, 0xa0, 0xc0, 0xc2, 0xe0, 0xe1, 0xed, 0xee, 0xf0, 0xf1, 0xf4, 0xf5} {
		cuts[b] = true
	}
	// A rune that begins a range has bytes of its own, so that the order of two runes is that of the kinds of their bytes.
	begin := func(r rune) {
		if r > unicode.MaxRune {
			return
		}
		if 0xd800 <= r && r < 0xe000 { // surrogates have no spelling
			r = 0xe000
		}
		for _, b := range utf8.AppendRune(nil, r) {
			cuts[b] = true
			if r >= utf8.RuneSelf && b < 0xff {
				cuts[b+1] = true
			}
		}
	}
	only := func(lo, hi rune) { begin(lo); begin(hi + 1) }
	for i := range p.insts {
		inst := &p.insts[i]
		switch inst.Op {
		case syntax.InstEmptyWidth:
			p.asks(syntax.EmptyOp(inst.Arg))
		case syntax.InstRuneAnyNotNL:
			only('\n', '\n')
		case syntax.InstRune, syntax.InstRune1:
			if len(inst.Rune) == 1 {
				only(inst.Rune[0], inst.Rune[0])
				for f := unicode.SimpleFold(inst.Rune[0]); f != inst.Rune[0]; f = unicode.SimpleFold(f) {
					only(f, f)
				}
			}
			for j := 0; j+1 < len(inst.Rune); j += 2 {
				only(inst.Rune[j], inst.Rune[j+1])
			}
		}
	}
	if p.asksLine {
		only('\n', '\n')
	}
	if p.asksWord {
		only('0', '9')
		only('A', 'Z')
		only('_', '_')
		only('a', 'z')
	}
	return cuts
}

func (p *program) asks(op syntax.EmptyOp) {
	p.asksText = p.asksText || op&(syntax.EmptyBeginText|syntax.EmptyEndText) != 0
	p.asksLine = p.asksLine || op&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0
	p.asksWord = p.asksWord || op&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
}

// nothing stands for the rune before the start of a file, and for that behind its end, as in package syntax.
const nothing rune = -1

// kind returns the least telling rune that assertions cannot tell from r when it stands before them.
func (p *program) kind(r rune) rune {
	switch {
	case r == nothing && (p.asksText || p.asksLine):
		return nothing
	case r == '\n' && p.asksLine:
		return '\n'
	case p.asksWord && syntax.IsWordChar(r):
		return 'a'
	}
	return ' '
}

// reversed returns an expression for the same texts written backward, assertions where they were.
func reversed(re *syntax.Regexp) *syntax.Regexp {
	r := *re
	r.Sub = make([]*syntax.Regexp, len(re.Sub))
	for i, sub := range re.Sub {
		r.Sub[i] = reversed(sub)
	}
	switch r.Op {
	case syntax.OpConcat:
		slices.Reverse(r.Sub)
	case syntax.OpLiteral:
		r.Rune = slices.Clone(re.Rune)
		slices.Reverse(r.Rune)
	}
	return &r
}
