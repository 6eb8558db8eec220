package main

import "encoding/binary"

// appendAESMember appends a member that is encrypted as WinZip's AE-2 to a ZIP file's members and its directory.
// Source: the ZIP file format ("APPNOTE") and WinZip's "AES Encryption Information".
func appendAESMember(local, central []byte, name string, body []byte, plain int) (members, directory []byte) {
	le := binary.LittleEndian
	extra := []byte{0x01, 0x99, 7, 0, 2, 0, 'A', 'E', 3, 8, 0}
	common := []byte{51, 0, 1, 0, 99, 0, 0, 0x60, 0x5c, 0x5c} // version 5.1, encrypted, method 99, a time
	common = le.AppendUint32(common, 0)                       // AE-2 has no checksum
	common = le.AppendUint32(common, uint32(len(body)))
	common = le.AppendUint32(common, uint32(plain))
	common = le.AppendUint16(common, uint16(len(name)))
	common = le.AppendUint16(common, uint16(len(extra)))
	at := len(local)
	local = append(append(append(append(append(local, "PK\x03\x04"...), common...), name...), extra...), body...)
	central = append(append(append(central, "PK\x01\x02"...), 51, 0), common...)
	central = append(central, make([]byte, 10)...)
	central = le.AppendUint32(central, uint32(at))
	return local, append(append(central, name...), extra...)
}

// appendEnd appends the directory and the record of its place.
func appendEnd(local, central []byte, members int) []byte {
	le := binary.LittleEndian
	at := len(local)
	b := append(append(local, central...), "PK\x05\x06\x00\x00\x00\x00"...)
	b = le.AppendUint16(b, uint16(members))
	b = le.AppendUint16(b, uint16(members))
	b = le.AppendUint32(b, uint32(len(central)))
	b = le.AppendUint32(b, uint32(at))
	return append(b, 0, 0)
}
