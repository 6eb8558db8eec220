package snapshot

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"slices"
	"time"

	"github.com/kedge-project/kedge/blob"
)

// NodeType tells what a node is.
type NodeType string

// The types of the format.
const (
	File      NodeType = "file"
	Dir       NodeType = "dir"
	Symlink   NodeType = "symlink"
	Device    NodeType = "dev" // a block device
	CharDev   NodeType = "chardev"
	FIFO      NodeType = "fifo"
	Socket    NodeType = "socket"
	Irregular NodeType = "irregular"
)

// Node is one entry of a directory. The fields stand in the order of the format; the tags leave out what it leaves out.
type Node struct {
	Name string      `json:"name"` // as the file system has it; a tree's encoding quotes it
	Type NodeType    `json:"type"`
	Mode fs.FileMode `json:"mode,omitempty"` // permissions, type, setuid, setgid and sticky bits

	ModTime    time.Time `json:"mtime"`
	AccessTime time.Time `json:"atime"`
	ChangeTime time.Time `json:"ctime"`

	UID      uint32 `json:"uid"`
	GID      uint32 `json:"gid"`
	User     string `json:"user,omitempty"`
	Group    string `json:"group,omitempty"`
	Inode    uint64 `json:"inode,omitempty"`
	DeviceID uint64 `json:"device_id,omitempty"` // the file system's; together with Inode it tells hard links
	Size     uint64 `json:"size,omitempty"`      // bytes, files only
	Links    uint64 `json:"links,omitempty"`

	LinkTarget string `json:"linktarget,omitempty"`
	// LinkTargetRaw is set only within a tree's encoding: a loaded node has the target's very bytes in LinkTarget.
	LinkTargetRaw []byte `json:"linktarget_raw,omitempty"`

	ExtendedAttributes []ExtendedAttribute        `json:"extended_attributes,omitempty"`
	GenericAttributes  map[string]json.RawMessage `json:"generic_attributes,omitempty"` // of other systems, passed on
	Device             uint64                     `json:"device,omitempty"`             // which device a Device or CharDev is

	Content []blob.ID `json:"content"`           // the blobs of a File in order, not nil; nil for all others
	Subtree *blob.ID  `json:"subtree,omitempty"` // the tree of a Dir

	Error string `json:"error,omitempty"` // what could not be read of it
}

// ExtendedAttribute is one extended attribute of a file.
type ExtendedAttribute struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// SameContent tells whether two nodes of one type hold the same: bytes, target of a link, or device.
// The content of a directory is not compared.
func (n *Node) SameContent(other *Node) bool {
	return n.Size == other.Size && n.LinkTarget == other.LinkTarget && n.Device == other.Device &&
		slices.Equal(n.Content, other.Content)
}

// SameMetadata tells whether a restore would give both nodes the same mode, owner, modification time and
// extended attributes.
func (n *Node) SameMetadata(other *Node) bool {
	return n.Mode == other.Mode && n.UID == other.UID && n.GID == other.GID && n.ModTime.Equal(other.ModTime) &&
		slices.EqualFunc(n.ExtendedAttributes, other.ExtendedAttributes, func(a, b ExtendedAttribute) bool {
			return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
		})
}
