package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
)

// innodbPage is the length of one of InnoDB's pages, in bytes; innodbHead and innodbTail are what stands before and
// after its rows.
const (
	innodbPage = 16 << 10
	innodbHead = 38
	innodbTail = 8
)

// tablespace is a table of MariaDB or MySQL as it stands on disk: a page that describes it, then pages of an index.
func tablespace(l *language, r *rand.Rand, size int) []byte {
	space, pages := r.Uint32N(1000), max(4, size/innodbPage)
	first := make([]byte, innodbPage)
	binary.BigEndian.PutUint32(first[innodbHead:], space)
	binary.BigEndian.PutUint32(first[innodbHead+8:], uint32(pages))
	b := sealPage(first, 0, space, 8, r.Uint64N(1<<40))
	for number := range pages - 1 {
		b = append(b, indexPage(l, r, number+1, space)...)
	}
	return b
}

// indexPage holds rows, in the order of their keys.
func indexPage(l *language, r *rand.Rand, number int, space uint32) []byte {
	page := make([]byte, innodbPage)
	copy(page[innodbHead+56:], "\x01\x00\x02\x00\x1cinfimum\x00\x05\x00\x0b\x00\x00supremum")
	at := 120
	for row := 0; ; row++ {
		record := append([]byte{byte(row), 0, 0, byte(row * 8), 0, byte(90 + r.IntN(60))}, 0x80, 0, byte(number), byte(row))
		record = append(append(record, 0, 0, 0, 0, 7, 1, 0x80, 0), l.prose(r, 30+r.IntN(90))...)
		if at+len(record) > innodbPage-innodbTail-200 {
			break
		}
		at += copy(page[at:], record)
	}
	binary.BigEndian.PutUint16(page[innodbHead+2:], uint16(at))
	return sealPage(page, number, space, 17855, r.Uint64N(1<<40))
}

// sealPage writes what stands before and after the rows: checksum, number, neighbours, log sequence number, type, space.
func sealPage(page []byte, number int, space uint32, kind uint16, lsn uint64) []byte {
	be := binary.BigEndian
	be.PutUint32(page[4:], uint32(number))
	be.PutUint32(page[8:], uint32(number-1))
	be.PutUint32(page[12:], uint32(number+1))
	be.PutUint64(page[16:], lsn)
	be.PutUint16(page[24:], kind)
	be.PutUint32(page[34:], space)
	end := len(page) - innodbTail
	crc := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	sum := crc(page[4:26]) ^ crc(page[innodbHead:end])
	be.PutUint32(page, sum)
	be.PutUint32(page[end:], sum)
	be.PutUint32(page[end+4:], uint32(lsn))
	return page
}

// cluster is the length of one of a virtual disk's, in bytes.
const cluster = 64 << 10

// virtualDisk is a QCOW2 file: header, tables of references, then clusters of a guest's files.
func virtualDisk(l *language, r *rand.Rand, size int) []byte {
	be := binary.BigEndian
	n := max(2, size/cluster-4)
	b := make([]byte, 4*cluster)
	copy(b, "QFI\xfb\x00\x00\x00\x02")
	be.PutUint32(b[20:], 16)                  // a cluster has 2^16 bytes
	be.PutUint64(b[24:], uint64(4*n)*cluster) // what the guest sees
	be.PutUint32(b[36:], 1)
	be.PutUint64(b[40:], 3*cluster) // first table
	be.PutUint64(b[48:], 1*cluster) // references
	be.PutUint32(b[56:], 1)
	be.PutUint64(b[cluster:], 2*cluster)
	be.PutUint64(b[3*cluster:], 4*cluster|1<<63)
	second := make([]byte, cluster)
	for i := range n {
		be.PutUint64(second[8*(4*i+r.IntN(4)):], uint64(5+i)*cluster|1<<63)
	}
	for i := range n + 5 {
		be.PutUint16(b[2*cluster+2*i:], 1)
	}
	b = append(b, second...)
	for range n {
		b = append(b, guestCluster(l, r)...)
	}
	return b
}

// guestCluster is a piece of a guest's disk: small files, a large dense one, or little.
func guestCluster(l *language, r *rand.Rand) []byte {
	data := make([]byte, cluster)
	switch r.IntN(4) {
	case 0:
		copy(data, noise(r, cluster))
	case 1:
		for at := 0; at < cluster; at += 4096 {
			copy(data[at:at+4096-r.IntN(3000)], l.prose(r, 4096))
		}
	case 2:
		for at := 0; at < cluster; at += 4096 {
			copy(data[at:at+4096-r.IntN(3000)], deflated(l.source(r, 12000)))
		}
	default:
		for at := 0; at < cluster; at += 256 { // inodes
			binary.LittleEndian.PutUint16(data[at:], 0x81a4)
			binary.LittleEndian.PutUint32(data[at+4:], r.Uint32N(90000))
			binary.LittleEndian.PutUint32(data[at+8:], 1.7e9+r.Uint32N(1e7))
		}
	}
	return data
}

// records is an Avro container file of deflated blocks.
func records(l *language, r *rand.Rand, size int) []byte { return avro(l, r, size, "deflate") }

// avro is a container file: the schema, the codec, a mark, and blocks with the mark after each.
func avro(l *language, r *rand.Rand, size int, codec string) []byte {
	long := func(b []byte, n int) []byte { return binary.AppendVarint(b, int64(n)) }
	text := func(b []byte, s string) []byte { return append(long(b, len(s)), s...) }
	b := long([]byte("Obj\x01"), 2)
	b = text(text(b, "avro.schema"), `{"type":"record","name":"event","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"},{"name":"value","type":"double"}]}`)
	b = append(text(text(b, "avro.codec"), codec), 0)
	mark := noise(r, 16)
	b = append(b, mark...)
	for len(b) < size {
		var rows []byte
		for i := range 300 {
			rows = text(long(rows, r.IntN(1e6)+i), l.word(r)+" "+l.word(r))
			rows = binary.LittleEndian.AppendUint64(rows, math.Float64bits(math.Round(r.NormFloat64()*1e4)/100))
		}
		if codec == "deflate" {
			packed := deflated(rows)
			rows = packed[2 : len(packed)-4]
		}
		b = append(append(long(long(b, 300), len(rows)), rows...), mark...)
	}
	return b
}

// tensors is a model in the safetensors format: a table in JSON, then weights of 16 bits.
func tensors(r *rand.Rand, size int) []byte {
	table := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	layers := 4
	each := max(size/layers, 64) &^ 1
	for i := range layers {
		table[fmt.Sprintf("model.layers.%d.weight", i)] = map[string]any{"dtype": "BF16", "shape": []int{each / 2}, "data_offsets": []int{i * each, (i + 1) * each}}
	}
	header, err := json.Marshal(table)
	if err != nil {
		panic(err) // the table is made of strings and numbers
	}
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	for range layers * each / 2 {
		b = binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(float32(r.NormFloat64()*0.02))>>16))
	}
	return b
}

// rounds is a Whisper file of Graphite's: archives of times and values that are written in turn.
func rounds(r *rand.Rand, size int) []byte {
	be := binary.BigEndian
	points := max(20, size/24)
	b := be.AppendUint32(nil, 1)
	b = be.AppendUint32(b, uint32(points*3600))
	b = be.AppendUint32(b, math.Float32bits(0.5))
	b = be.AppendUint32(b, 2)
	at := 16 + 24
	for i, step := range []int{60, 3600} {
		for _, v := range []int{at, step, points} {
			b = be.AppendUint32(b, uint32(v))
		}
		at += points * 12 * (i + 1)
	}
	for _, step := range []int{60, 3600} {
		level := 20 + r.Float64()*50
		for i := range points {
			level += r.NormFloat64()
			b = be.AppendUint32(b, uint32(1.7e9)/60*60+uint32(i*step))
			b = be.AppendUint64(b, math.Float64bits(math.Round(level*100)/100))
		}
	}
	return b
}

// cardIndex is a dBase file: fields, then rows of fixed length.
func cardIndex(l *language, r *rand.Rand, size int) []byte {
	const width = 1 + 10 + 40 + 12
	n := max(3, size/width)
	b := append([]byte("\x03\x7d\x03\x0c"), binary.LittleEndian.AppendUint32(nil, uint32(n))...)
	b = binary.LittleEndian.AppendUint16(b, 32+3*32+1)
	b = append(binary.LittleEndian.AppendUint16(b, width), make([]byte, 20)...)
	for _, f := range []struct {
		name string
		kind byte
		size byte
	}{{"NUMBER", 'N', 10}, {"OWNER", 'C', 40}, {"AREA", 'N', 12}} {
		field := make([]byte, 32)
		copy(field, f.name)
		field[11], field[16] = f.kind, f.size
		b = append(b, field...)
	}
	b = append(b, '\r')
	for i := range n {
		owner := append([]byte(l.word(r)+" "+l.word(r)), bytes.Repeat([]byte{' '}, 40)...)
		b = append(b, fmt.Sprintf(" %10d%s%12.3f", 1000+i, owner[:40], r.Float64()*9000)...)
	}
	return append(b, 0x1a)
}

// reads is what a sequencer writes: four lines for each read, with the quality of each letter.
func reads(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "@RUN7:1:FC:%d:%d:%d\n", 1+r.IntN(4), 1000+i, r.IntN(30000))
		for range 100 {
			b.WriteByte("ACGT"[r.IntN(4)])
		}
		b.WriteString("\n+\n")
		for range 100 {
			b.WriteByte(byte(73 - min(40, int(math.Abs(r.NormFloat64()*5)))))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
