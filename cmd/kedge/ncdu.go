package main

import (
	"bufio"
	"encoding/json"
	"strings"
	"time"

	"github.com/kedge-project/kedge/snapshot"
)

// ncduWriter writes a tree as "ncdu -f" reads it: a directory is an array that begins with its own entry.
// Source: "Ncdu JSON Export File Format", version 1.2 (https://dev.yorhel.nl/ncdu/jsonfmt).
type ncduWriter struct {
	out  *bufio.Writer
	open []string // paths of the directories that are open, each with a "/" at its end
}

type ncduEntry struct {
	Name         string `json:"name"`
	ApparentSize uint64 `json:"asize,omitempty"`
	DiskSize     uint64 `json:"dsize,omitempty"`
	Device       uint64 `json:"dev"`
	Inode        uint64 `json:"ino,omitempty"`
	Links        uint64 `json:"nlink,omitempty"`
	HardLink     bool   `json:"hlnkc,omitempty"`
	NotRegular   bool   `json:"notreg,omitempty"`
	ReadError    bool   `json:"read_error,omitempty"`
	UID          uint32 `json:"uid"`
	GID          uint32 `json:"gid"`
	Mode         uint32 `json:"mode"`
	ModTime      int64  `json:"mtime"`
}

// ncduBlock is what sizes on a disk are rounded up to, in bytes.
const ncduBlock = 512

func (w *ncduWriter) begin(sn *snapshot.Snapshot, _ []string) error {
	about, err := json.Marshal(map[string]any{
		"progname": "kedge", "progver": version, "timestamp": time.Now().Unix(),
		"snapshot": snapshotObject{sn, sn.ID.String(), sn.ID.Short()},
	})
	if err != nil {
		return err
	}
	w.out.WriteString("[1, 2, ")
	w.out.Write(about)
	_, err = w.out.WriteString(",\n[{\"name\":\"/\"}")
	w.open = []string{"/"}
	return err
}

func (w *ncduWriter) node(e entry) error {
	for !strings.HasPrefix(e.path, w.open[len(w.open)-1]) {
		w.out.WriteByte(']')
		w.open = w.open[:len(w.open)-1]
	}
	n := e.node
	line := ncduEntry{
		Name: n.Name, Device: n.DeviceID, Inode: n.Inode, Links: n.Links,
		UID: n.UID, GID: n.GID, Mode: n.UnixMode(), ModTime: n.ModTime.Unix(), ReadError: n.Error != "",
		NotRegular: n.Type != snapshot.File && n.Type != snapshot.Dir,
	}
	if n.Type == snapshot.File {
		line.ApparentSize, line.DiskSize = n.Size, (n.Size+ncduBlock-1)/ncduBlock*ncduBlock
		line.HardLink = n.Links > 1
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	w.out.WriteString(",\n")
	if n.Type == snapshot.Dir {
		w.out.WriteByte('[')
		w.open = append(w.open, e.path+"/")
	}
	_, err = w.out.Write(text)
	return err
}

func (w *ncduWriter) end() error {
	_, err := w.out.WriteString(strings.Repeat("]", len(w.open)) + "]\n")
	return err
}
