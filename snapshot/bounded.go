package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/kedge-project/kedge/blob"
)

const (
	// minAttribute is the least length of an extended attribute in a tree, with a name of one letter and no value.
	minAttribute = 24
	// maxGeneric bounds the attributes of other systems that a node has: restic knows three.
	maxGeneric = 1024
)

// boundedNode is a Node as encoding/json reads it from a tree in an unusual spelling. Its lists hold no more than their
// length in the tree allows: [null,null,…] would take six times its own length in memory, [{},{},…] thirteen times.
type boundedNode struct {
	Node
	Content            idList        `json:"content"`
	ExtendedAttributes attributeList `json:"extended_attributes"`
	GenericAttributes  genericMap    `json:"generic_attributes"`
}

func (b *boundedNode) node() *Node {
	n := b.Node // a copy, so that the rest of b goes
	n.Content, n.ExtendedAttributes, n.GenericAttributes = b.Content, b.ExtendedAttributes, b.GenericAttributes
	return &n
}

type idList []blob.ID

func (l *idList) UnmarshalJSON(data []byte) error {
	const each = 2*len(blob.ID{}) + 2
	if n := bytes.Count(data, []byte{','}) + 1; n > 1 && n*each > len(data) {
		return fmt.Errorf("%d IDs in %d bytes", n, len(data))
	}
	return json.Unmarshal(data, (*[]blob.ID)(l))
}

type attributeList []ExtendedAttribute

func (l *attributeList) UnmarshalJSON(data []byte) error {
	if *l = nil; string(data) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := expect(dec, json.Delim('[')); err != nil {
		return err
	}
	*l = attributeList{}
	for dec.More() {
		if len(*l) > len(data)/minAttribute {
			return fmt.Errorf("over %d extended attributes in so few bytes", len(*l))
		}
		var a ExtendedAttribute
		if err := dec.Decode(&a); err != nil {
			return err
		}
		*l = append(*l, a)
	}
	return expect(dec, json.Delim(']'))
}

type genericMap map[string]json.RawMessage

func (m *genericMap) UnmarshalJSON(data []byte) error {
	if *m = nil; string(data) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	*m = genericMap{}
	for dec.More() {
		if len(*m) == maxGeneric {
			return fmt.Errorf("over %d generic attributes", maxGeneric)
		}
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		(*m)[fmt.Sprint(key)] = value
	}
	return expect(dec, json.Delim('}'))
}
