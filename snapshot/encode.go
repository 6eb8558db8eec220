package snapshot

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/kedge-project/kedge/blob"
)

// appendNode appends the node as JSON, the very bytes that encoding/json writes for what quoted returns, which a fuzz
// test holds it to. A backup encodes every directory, changed or not, and reflection was a third of that time.
func (n *Node) appendNode(dst []byte) ([]byte, error) {
	var err error
	dst = append(dst, `{"name":`...)
	dst = appendName(dst, n.Name)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, string(n.Type))
	dst = appendNumber(dst, `,"mode":`, uint64(n.Mode))
	for _, f := range []struct {
		key string
		at  time.Time
	}{{`,"mtime":"`, n.ModTime}, {`,"atime":"`, n.AccessTime}, {`,"ctime":"`, n.ChangeTime}} {
		dst = append(dst, f.key...)
		if dst, err = clamp(f.at).AppendText(dst); err != nil {
			return nil, err
		}
		dst = append(dst, '"')
	}
	dst = strconv.AppendUint(append(dst, `,"uid":`...), uint64(n.UID), 10)
	dst = strconv.AppendUint(append(dst, `,"gid":`...), uint64(n.GID), 10)
	dst = appendText(dst, `,"user":`, n.User)
	dst = appendText(dst, `,"group":`, n.Group)
	dst = appendNumber(dst, `,"inode":`, n.Inode)
	dst = appendNumber(dst, `,"device_id":`, n.DeviceID)
	dst = appendNumber(dst, `,"size":`, n.Size)
	dst = appendNumber(dst, `,"links":`, n.Links)
	dst = appendText(dst, `,"linktarget":`, n.LinkTarget)
	if !utf8.ValidString(n.LinkTarget) {
		dst = appendBytes(append(dst, `,"linktarget_raw":`...), []byte(n.LinkTarget))
	}
	dst = appendAttributes(dst, n.ExtendedAttributes)
	if len(n.GenericAttributes) > 0 {
		text, err := json.Marshal(n.GenericAttributes)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, `,"generic_attributes":`...), text...)
	}
	dst = appendNumber(dst, `,"device":`, n.Device)
	dst = appendContent(dst, n.Content)
	if n.Subtree != nil {
		dst = append(hex.AppendEncode(append(dst, `,"subtree":"`...), n.Subtree[:]), '"')
	}
	dst = appendText(dst, `,"error":`, n.Error)
	return append(dst, '}'), nil
}

func appendContent(dst []byte, content []blob.ID) []byte {
	dst = append(dst, `,"content":`...)
	if content == nil {
		return append(dst, "null"...)
	}
	dst = slices.Grow(dst, len(content)*(2*len(blob.ID{})+3)+2)
	dst = append(dst, '[')
	for i := range content {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(hex.AppendEncode(append(dst, '"'), content[i][:]), '"')
	}
	return append(dst, ']')
}

func appendAttributes(dst []byte, list []ExtendedAttribute) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, `,"extended_attributes":[`...)
	for i, a := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"name":`...), a.Name)
		dst = append(appendBytes(append(dst, `,"value":`...), a.Value), '}')
	}
	return append(dst, ']')
}

// appendNumber appends key and value, unless the value is zero.
func appendNumber(dst []byte, key string, value uint64) []byte {
	if value == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, key...), value, 10)
}

// appendText appends key and value, unless the value is empty.
func appendText(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, key...), value)
}

func appendBytes(dst, value []byte) []byte {
	if value == nil {
		return append(dst, "null"...)
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), value), '"')
}

// appendName appends a name as the format has it: strconv's quoting without the quotes, as a JSON string.
func appendName(dst []byte, name string) []byte {
	if !plain(name) {
		quoted := strconv.Quote(name)
		return appendString(dst, quoted[1:len(quoted)-1])
	}
	return append(append(append(dst, '"'), name...), '"')
}

func appendString(dst []byte, s string) []byte {
	if !plain(s) {
		text, _ := json.Marshal(s) // a string cannot fail
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), s...), '"')
}

// plain tells whether neither strconv nor encoding/json changes s, going by its bytes alone: printable ASCII without
// what either quotes, and without the letters that are written apart for HTML's sake.
func plain[S string | []byte](s S) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
