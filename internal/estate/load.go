package estate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxSize bounds an estate file, in bytes.
	MaxSize = 1 << 20
	// maxDepth and maxColumn bound how deep an estate file nests; its own structure is seven levels deep.
	maxDepth  = 16
	maxColumn = 200
	// maxTokens bounds the work that a file of MaxSize can cause.
	maxTokens = 200_000
	// maxErrors is how many mistakes are told at once.
	maxErrors = 20
	// maxMessage bounds one of them, in bytes.
	maxMessage = 400
)

// Load reads and checks an estate file. The error lists what is wrong, each as "path:line:column: what".
func Load(path string) (*Estate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load estate: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("load estate: %w", err)
	}
	return Parse(path, data)
}

// Parse checks the content of an estate file. name stands for its path in errors.
func Parse(name string, data []byte) (e *Estate, err error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: an estate file has at most %d bytes", name, MaxSize)
	}
	root, err := parseTree(name, data)
	if err != nil {
		return nil, err
	}
	e = new(Estate)
	if err := yaml.NodeToValue(root, e, yaml.Strict()); err != nil {
		return nil, located(name, err)
	}
	c := checker{name: name, root: root}
	c.estate(e)
	if err := c.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// Encode returns the estate as the content of a file that Load reads back to the same. An estate that Load
// would refuse is an error.
func (e *Estate) Encode() ([]byte, error) {
	data, err := yaml.MarshalWithOptions(e, yaml.Indent(2), yaml.IndentSequence(true), yaml.CustomMarshaler(encodeDuration))
	if err != nil {
		return nil, fmt.Errorf("encode estate %s: %w", e.Name, err)
	}
	if _, err := Parse("kedge.yaml", data); err != nil {
		return nil, fmt.Errorf("encode estate %s: %w", e.Name, err)
	}
	return data, nil
}

// encodeDuration writes 24h where Duration.String writes 24h0m0s.
func encodeDuration(d time.Duration) ([]byte, error) {
	text := d.String()
	if short, found := strings.CutSuffix(text, "m0s"); found {
		text = short + "m"
	}
	if short, found := strings.CutSuffix(text, "h0m"); found {
		text = short + "h"
	}
	return []byte(text), nil
}

// parseTree reads the one document of a file, after it has made sure that the file is small and flat. Anchors,
// aliases, merge keys and tags are refused: with them, a short file can stand for an endless one.
func parseTree(name string, data []byte) (root ast.Node, err error) {
	tokens := lexer.Tokenize(string(data))
	if len(tokens) > maxTokens {
		return nil, fmt.Errorf("%s: the file has %d parts, at most %d are read", name, len(tokens), maxTokens)
	}
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			return nil, at(name, t, fmt.Sprintf("%q is not understood: write values out, without anchors, aliases or tags", t.Value))
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if t.Position.Column > maxColumn {
				return nil, at(name, t, "the line is indented too far")
			}
		}
		if depth > maxDepth {
			return nil, at(name, t, "brackets are nested too deep")
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, located(name, err)
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) != 1 {
		return nil, fmt.Errorf("%s: the file holds %d documents, not one", name, len(bodies))
	}
	return bodies[0], nil
}

// at is an error at a token. What it quotes of the file is cut to a readable length.
func at(name string, t *token.Token, message string) error {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	if t == nil || t.Position == nil {
		return fmt.Errorf("%s: %s", name, message)
	}
	return fmt.Errorf("%s:%d:%d: %s", name, t.Position.Line, t.Position.Column, message)
}

// located brings an error of the YAML package into our form.
func located(name string, err error) error {
	var mistake yaml.Error
	if !errors.As(err, &mistake) {
		return at(name, nil, err.Error())
	}
	message := mistake.GetMessage()
	var wrong *yaml.TypeError
	if errors.As(err, &wrong) && wrong.DstType == durationType {
		message = "write a duration with its unit, such as 30s, 10m or 24h"
	}
	return at(name, mistake.GetToken(), message)
}

// checker collects what is wrong with an estate and where that stands in its file.
type checker struct {
	name     string
	root     ast.Node
	mistakes []mistake
}

type mistake struct {
	where *token.Token
	what  string
}

// path leads to a value in the file: field names and list indices.
type path []any

func (p path) to(steps ...any) path { return append(slices.Clone(p), steps...) }

func (c *checker) add(p path, format string, args ...any) {
	c.mistakes = append(c.mistakes, mistake{where: find(c.root, p), what: fmt.Sprintf(format, args...)})
}

func (c *checker) err() error {
	slices.SortStableFunc(c.mistakes, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(a.where.Position.Line, b.where.Position.Line), cmp.Compare(a.where.Position.Column, b.where.Position.Column))
	})
	var errs []error
	for i, m := range c.mistakes {
		if i == maxErrors {
			errs = append(errs, fmt.Errorf("%s: and %d more", c.name, len(c.mistakes)-i))
			break
		}
		errs = append(errs, at(c.name, m.where, m.what))
	}
	return errors.Join(errs...)
}

// find returns the token of the value at p, or of the nearest thing above it that is in the file: for a value
// that is missing, that is the place where it is missed.
func find(node ast.Node, p path) *token.Token {
	where := first(node)
	for _, step := range p {
		var next ast.Node
		switch step := step.(type) {
		case string:
			for _, pair := range pairs(node) {
				if bytes.Equal([]byte(pair.Key.GetToken().Value), []byte(step)) {
					next = pair.Value
				}
			}
		case int:
			if list, ok := node.(*ast.SequenceNode); ok && step < len(list.Values) {
				next = list.Values[step]
			}
		}
		if next == nil {
			return where
		}
		node, where = next, first(next)
	}
	return where
}

// first returns the token where a value begins: for a mapping its first key, for a list its first entry.
func first(node ast.Node) *token.Token {
	if all := pairs(node); len(all) > 0 {
		return all[0].Key.GetToken()
	}
	return node.GetToken()
}

func pairs(node ast.Node) []*ast.MappingValueNode {
	switch node := node.(type) {
	case *ast.MappingNode:
		return node.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}
	}
	return nil
}
