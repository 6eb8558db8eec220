package content

import (
	"encoding/binary"
)

// checkTIFF looks at the first directory: its entries have known types and come in order, and their values and strips lie in the file (TIFF 6.0).
func checkTIFF(b *budgeted) parse {
	h := b.at(0, 8)
	if h == nil {
		return parse{health: Cut}
	}
	var order binary.ByteOrder = binary.LittleEndian
	if h[0] == 'M' {
		order = binary.BigEndian
	}
	from := int64(order.Uint32(h[4:]))
	count := b.at(from, 2)
	if from < 8 || count == nil {
		return broken("no directory where the header says")
	}
	n := int(order.Uint16(count))
	dir := b.at(from+2, 12*n)
	switch {
	case n == 0:
		return broken("an empty directory")
	case dir == nil && b.spent():
		return parse{health: Framed}
	case dir == nil:
		return broken("no directory where the header says")
	}
	last := uint16(0)
	for ; len(dir) >= 12; dir = dir[12:] {
		tag, kind := order.Uint16(dir), order.Uint16(dir[2:])
		if tag < last || kind == 0 || kind > 18 {
			return broken("the directory is none")
		}
		last = tag
	}
	return parse{health: Framed}
}

// checkDisk looks at the header of a QEMU disk: version, size of clusters, and where the first table stands (docs/interop/qcow2 of QEMU). The
// other disks' headers are not looked at.
func checkDisk(b *budgeted) parse {
	h := b.at(0, 72)
	if h == nil || string(h[:4]) != "QFI\xfb" {
		return parse{}
	}
	be := binary.BigEndian
	version, bits, table := be.Uint32(h[4:]), be.Uint32(h[20:]), be.Uint64(h[40:])
	switch {
	case version == 1:
		return parse{}
	case version > 3, bits < 9 || bits > 21, table&(1<<bits-1) != 0, table > 1<<62:
		return broken("the header is none")
	case int64(table) > b.view.version.Size:
		return parse{health: Cut}
	}
	return parse{health: Framed}
}
