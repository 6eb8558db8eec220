package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-project/kedge/blob"
)

const (
	// maxTree bounds the bytes of an encoded tree: over a million entries in one directory.
	maxTree = 512 << 20
	// minNode is the least length of a node that any program of the format writes: its three times take more.
	// It bounds the memory that the entries of a hostile tree can take to a multiple of its own length.
	minNode = 100
)

// Tree is one directory: its entries, in ascending order of their names, byte by byte.
type Tree struct {
	Nodes []*Node
}

// TreeLoader is where trees come from, for several goroutines at once. repo.Repository is one.
type TreeLoader interface {
	// LoadBlob returns the blob in buf if it is large enough, else in new memory. The bytes are those of the ID.
	LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error)
}

// LoadTree loads and decodes one tree. A tree with a name that is no plain file name, or with names out of order or twice,
// is an error: nothing that walks or restores has to doubt a name.
func LoadTree(ctx context.Context, r TreeLoader, id blob.ID) (*Tree, error) {
	data, err := r.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Tree}, nil)
	if err != nil {
		return nil, err
	}
	t, err := decodeTree(data)
	if err != nil {
		return nil, fmt.Errorf("decode tree %s: %w", id.Short(), err)
	}
	return t, nil
}

func decodeTree(data []byte) (*Tree, error) {
	if len(data) > maxTree {
		return nil, fmt.Errorf("%d bytes, more than the %d that any directory takes", len(data), maxTree)
	}
	nodes, ok := scanNodes(data)
	if !ok {
		var err error
		if nodes, err = unmarshalNodes(data); err != nil {
			return nil, err
		}
	}
	last := ""
	for _, n := range nodes {
		if err := n.unquote(); err != nil {
			return nil, err
		}
		if n.Name <= last {
			return nil, fmt.Errorf("%q stands after %q: names must ascend", n.Name, last)
		}
		last = n.Name
	}
	return &Tree{Nodes: nodes}, nil
}

// unmarshalNodes reads a tree in any spelling.
func unmarshalNodes(data []byte) (nodes []*Node, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := expect(dec, json.Delim('{')); err != nil {
		return nil, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if key != "nodes" {
			var later json.RawMessage // a field of a later version
			if err := dec.Decode(&later); err != nil {
				return nil, err
			}
			continue
		}
		if nodes != nil {
			return nil, errors.New("two lists of nodes")
		}
		if nodes, err = decodeNodes(dec, len(data)/minNode+1); err != nil {
			return nil, err
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the tree")
	}
	if nodes == nil {
		return nil, errors.New("no list of nodes")
	}
	return nodes, nil
}

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("want %v: %w", want, err)
	}
	if token != want {
		return fmt.Errorf("want %v, have %.40q", want, fmt.Sprint(token))
	}
	return nil
}

func decodeNodes(dec *json.Decoder, most int) ([]*Node, error) {
	if err := expect(dec, json.Delim('[')); err != nil {
		return nil, err
	}
	nodes := []*Node{}
	for dec.More() {
		if len(nodes) == most {
			return nil, fmt.Errorf("over %d nodes in so few bytes", most)
		}
		var n boundedNode
		if err := dec.Decode(&n); err != nil {
			return nil, err
		}
		nodes = append(nodes, n.node())
	}
	return nodes, expect(dec, json.Delim(']'))
}

// unquote turns a decoded node into what it stands for and refuses what it must not be.
func (n *Node) unquote() error {
	if !plain(n.Name) {
		name, err := strconv.Unquote(`"` + n.Name + `"`)
		if err != nil {
			return fmt.Errorf("name %.300q: %w", n.Name, err)
		}
		n.Name = name
	}
	if n.LinkTargetRaw != nil {
		n.LinkTarget, n.LinkTargetRaw = string(n.LinkTargetRaw), nil
	}
	return n.validate()
}

func (n *Node) validate() error {
	if n.Name == "" || len(n.Name) > maxName || n.Name == "." || n.Name == ".." || strings.ContainsAny(n.Name, "/\x00") {
		return fmt.Errorf("%.300q, of %d bytes, is no file name", n.Name, len(n.Name))
	}
	if n.Subtree != nil && n.Type != Dir {
		return fmt.Errorf("%.300q: a %.20s with a subtree", n.Name, n.Type)
	}
	if len(n.Content) > 0 && n.Type != File {
		return fmt.Errorf("%.300q: a %.20s with content", n.Name, n.Type)
	}
	return nil
}

// Sort puts the nodes in the order that Encode asks for.
func (t *Tree) Sort() {
	slices.SortFunc(t.Nodes, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
}

// Encode returns the tree's bytes, the very ones that restic writes for these nodes. Names must ascend.
func (t *Tree) Encode() ([]byte, error) {
	const usualNode = 420 // bytes
	data := append(make([]byte, 0, 16+usualNode*len(t.Nodes)), `{"nodes":[`...)
	last := ""
	for i, n := range t.Nodes {
		if err := n.validate(); err != nil {
			return nil, fmt.Errorf("encode tree: %w", err)
		}
		if n.Name <= last {
			return nil, fmt.Errorf("encode tree: %q stands after %q: names must ascend", n.Name, last)
		}
		last = n.Name
		if i > 0 {
			data = append(data, ',')
		}
		var err error
		if data, err = n.appendNode(data); err != nil {
			return nil, fmt.Errorf("encode tree: node %q: %w", n.Name, err)
		}
	}
	return append(data, "]}\n"...), nil
}

// clamp moves a time that JSON cannot hold into the nearest year that it can.
func clamp(t time.Time) time.Time {
	if year := t.Year(); year < 0 {
		return t.AddDate(-year, 0, 0)
	} else if year > 9999 {
		return t.AddDate(9999-year, 0, 0)
	}
	return t
}

// Find returns the node of that name, or nil.
func (t *Tree) Find(name string) *Node {
	i, ok := slices.BinarySearchFunc(t.Nodes, name, func(n *Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return nil
	}
	return t.Nodes[i]
}
