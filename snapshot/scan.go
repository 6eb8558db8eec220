package snapshot

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"strconv"
	"time"

	"github.com/kedge-project/kedge/blob"
)

// scanner reads trees in the one spelling that Encode and restic write, many times faster than encoding/json, which
// every walk of a snapshot is made of. Anything else makes it give up, and the tree is read the slow way.
type scanner struct {
	rest []byte
	ok   bool

	idsOnly bool // texts, times and attributes are passed over

	user, group string    // of the node before: mostly the same again
	lastTime    time.Time // what timeText says: of the three in a node mostly two are alike
	timeText    []byte
}

// scanNodes returns the nodes of a tree, unchecked; ok is false if its spelling is another, not that it is wrong.
func scanNodes(data []byte) (nodes []*Node, ok bool) {
	s := &scanner{rest: data, ok: true}
	s.want(`{"nodes":[`)
	nodes = make([]*Node, 0, len(data)/400+1)
	var room []Node // several nodes are made at once
	for first := true; s.ok && !s.take(`]}`); first = false {
		if !first {
			s.want(`,`)
		}
		if len(room) == 0 {
			room = make([]Node, min(64, len(s.rest)/minNode+1))
		}
		n := &room[0]
		room = room[1:]
		if s.node(n); !s.ok {
			return nil, false
		}
		nodes = append(nodes, n)
	}
	s.take("\n")
	return nodes, s.ok && len(s.rest) == 0
}

// node reads one node, whose fields stand in their order.
func (s *scanner) node(n *Node) {
	s.want(`{"name":`)
	n.Name = s.text()
	s.want(`,"type":`)
	n.Type = s.nodeType()
	n.Mode = fs.FileMode(s.number(`,"mode":`, 32))
	n.ModTime = s.time(`,"mtime":"`)
	n.AccessTime = s.time(`,"atime":"`)
	n.ChangeTime = s.time(`,"ctime":"`)
	n.UID = uint32(s.required(`,"uid":`, 32))
	n.GID = uint32(s.required(`,"gid":`, 32))
	n.User = s.again(`,"user":`, &s.user)
	n.Group = s.again(`,"group":`, &s.group)
	n.Inode = s.number(`,"inode":`, 64)
	n.DeviceID = s.number(`,"device_id":`, 64)
	n.Size = s.number(`,"size":`, 64)
	n.Links = s.number(`,"links":`, 64)
	if s.take(`,"linktarget":`) {
		n.LinkTarget = s.text()
	}
	s.attributes(n)
	n.Device = s.number(`,"device":`, 64)
	n.Content = s.content(n.Content)
	if s.take(`,"subtree":"`) {
		id := s.id()
		n.Subtree = &id
	}
	if s.take(`,"error":`) {
		n.Error = s.text()
	}
	s.want(`}`)
}

// scanTree calls subtree and content for the blobs that a tree names, some perhaps more than once: the cheapest way to
// learn what a snapshot refers to. The names of a tree are not looked at.
func scanTree(data []byte, subtree, content func(blob.ID)) error {
	if scanIDs(data, subtree, content) {
		return nil
	}
	nodes, err := unmarshalNodes(data)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		for _, id := range n.Content {
			content(id)
		}
		if n.Subtree != nil {
			subtree(*n.Subtree)
		}
	}
	return nil
}

// scanIDs calls subtree and content for the blobs that a tree names, without keeping anything else of it.
// ok is false if the spelling is another: the tree must then be read the slow way, whatever was called before.
func scanIDs(data []byte, subtree, content func(blob.ID)) (ok bool) {
	s := &scanner{rest: data, ok: true, idsOnly: true}
	s.want(`{"nodes":[`)
	var n Node
	for first := true; s.ok && !s.take(`]}`); first = false {
		if !first {
			s.want(`,`)
		}
		n = Node{Content: n.Content[:0]}
		if s.node(&n); !s.ok {
			return false
		}
		for _, id := range n.Content {
			content(id)
		}
		if n.Subtree != nil {
			subtree(*n.Subtree)
		}
	}
	s.take("\n")
	return s.ok && len(s.rest) == 0
}

func (s *scanner) take(literal string) bool {
	if len(s.rest) < len(literal) || string(s.rest[:len(literal)]) != literal {
		return false
	}
	s.rest = s.rest[len(literal):]
	return true
}

func (s *scanner) want(literal string) { s.ok = s.take(literal) && s.ok }

// word reads a string without anything that JSON or strconv quotes.
func (s *scanner) word() []byte {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		s.ok = false
		return nil
	}
	end := bytes.IndexByte(s.rest[1:], '"')
	if end < 0 || !plain(s.rest[1:1+end]) {
		s.ok = false
		return nil
	}
	word := s.rest[1 : 1+end]
	s.rest = s.rest[end+2:]
	return word
}

// text reads a string, with escapes or not.
func (s *scanner) text() string {
	if !s.ok || len(s.rest) == 0 || s.rest[0] != '"' {
		s.ok = false
		return ""
	}
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted := s.rest[:i+1]
			s.rest = s.rest[i+1:]
			return s.unquote(quoted)
		case c < ' ':
			s.ok = false
			return ""
		}
	}
	s.ok = false
	return ""
}

func (s *scanner) unquote(quoted []byte) string {
	if s.idsOnly {
		return ""
	}
	if inner := quoted[1 : len(quoted)-1]; plain(inner) {
		return string(inner)
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		s.ok = false
	}
	return text
}

// again reads a string that is mostly the one that last holds.
func (s *scanner) again(key string, last *string) string {
	if !s.take(key) {
		return ""
	}
	if literal := *last; len(s.rest) > len(literal)+2 && s.rest[0] == '"' && s.rest[len(literal)+1] == '"' && string(s.rest[1:len(literal)+1]) == literal {
		s.rest = s.rest[len(literal)+2:]
		return literal
	}
	text := s.text()
	if plain(text) {
		*last = text
	}
	return text
}

func (s *scanner) nodeType() NodeType {
	word := s.word()
	for _, t := range [...]NodeType{File, Dir, Symlink, Device, CharDev, FIFO, Socket, Irregular} {
		if string(word) == string(t) {
			return t
		}
	}
	s.ok = false
	return ""
}

func (s *scanner) id() (id blob.ID) {
	const digits = 2 * len(id)
	if len(s.rest) <= digits || s.rest[digits] != '"' {
		s.ok = false
		return id
	}
	if _, err := hex.Decode(id[:], s.rest[:digits]); err != nil {
		s.ok = false
	}
	s.rest = s.rest[digits+1:]
	return id
}

// number reads a field that is left out when zero.
func (s *scanner) number(key string, bits int) uint64 {
	if !s.take(key) {
		return 0
	}
	return s.digits(bits)
}

func (s *scanner) required(key string, bits int) uint64 {
	s.want(key)
	return s.digits(bits)
}

// digits reads a decimal number as JSON has it.
func (s *scanner) digits(bits int) uint64 {
	n := 0
	for n < len(s.rest) && n <= 20 && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	value, err := strconv.ParseUint(string(s.rest[:n]), 10, bits)
	if err != nil || n > 1 && s.rest[0] == '0' {
		s.ok = false
	}
	s.rest = s.rest[n:]
	return value
}

func (s *scanner) time(key string) time.Time {
	s.want(key)
	end := bytes.IndexByte(s.rest, '"')
	if !s.ok || end < 0 {
		s.ok = false
		return time.Time{}
	}
	text := s.rest[:end]
	s.rest = s.rest[end+1:]
	if s.idsOnly || s.timeText != nil && bytes.Equal(text, s.timeText) {
		return s.lastTime
	}
	// UnmarshalJSON is stricter than Parse, and UnmarshalText is the same.
	if err := s.lastTime.UnmarshalText(text); err != nil {
		s.ok = false
	}
	s.timeText = text
	return s.lastTime
}

func (s *scanner) attributes(n *Node) {
	if !s.take(`,"extended_attributes":[`) {
		return
	}
	n.ExtendedAttributes = []ExtendedAttribute{}
	for first := true; s.ok && !s.take(`]`); first = false {
		if !first {
			s.want(`,`)
		}
		var a ExtendedAttribute
		s.want(`{"name":`)
		a.Name = s.text()
		s.want(`,"value":`)
		if !s.take(`null`) {
			a.Value = s.base64()
		}
		s.want(`}`)
		n.ExtendedAttributes = append(n.ExtendedAttributes, a)
	}
}

func (s *scanner) base64() []byte {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		s.ok = false
		return nil
	}
	end := bytes.IndexByte(s.rest[1:], '"')
	if end < 0 {
		s.ok = false
		return nil
	}
	text := s.rest[1 : 1+end]
	s.rest = s.rest[end+2:]
	if s.idsOnly {
		return nil
	}
	value := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	k, err := base64.StdEncoding.Decode(value, text)
	if err != nil || bytes.ContainsAny(text, "\\\n\r") {
		s.ok = false
	}
	return value[:k]
}

// content reads the list of a file's blobs into ids, or new memory.
func (s *scanner) content(ids []blob.ID) []blob.ID {
	s.want(`,"content":`)
	if s.take(`null`) {
		return nil
	}
	s.want(`[`)
	if s.take(`]`) {
		return []blob.ID{}
	}
	if cap(ids) == 0 {
		const each = 2*len(blob.ID{}) + 3
		end := max(0, bytes.IndexByte(s.rest, ']'))
		ids = make([]blob.ID, 0, end/each+1)
	}
	for s.want(`"`); s.ok; s.want(`,"`) {
		ids = append(ids, s.id())
		if s.take(`]`) {
			return ids
		}
	}
	return nil
}
