package content

import (
	"bytes"
	"compress/zlib"
	"io"
	"path"
	"strings"
)

// Format is what the first bytes of a file say it is.
type Format string

// The formats that need a name in the rules; every other known one is told by its own word.
const (
	Unknown   Format = ""
	Text      Format = "text"
	Encrypted Format = "encrypted" // by a tool that says so in its header
)

type signature struct {
	offset int
	magic  string
	format Format
	// confirm looks further where the magic is so short that one encrypted file in 65,536 begins with it by chance; JPEG XL has nothing
	// to confirm it by.
	confirm func(head []byte) bool
}

// signatures, in order: the first match counts. Sources: the formats' own specifications; file(1) knows more.
var signatures = []signature{
	{0, "PK\x03\x04", "zip", nil}, {0, "PK\x05\x06", "zip", nil}, {0, "PK\x07\x08", "zip", nil}, {0, "JM\x01\x00PK", "zip", nil},
	{0, "%PDF-", "pdf", nil}, {0, "\xff\xd8\xff", "jpeg", nil}, {0, "\x89PNG\r\n\x1a\n", "png", nil}, {0, "GIF87a", "gif", nil}, {0, "GIF89a", "gif", nil},
	{0, "\x1f\x8b\x08", "gzip", nil}, {0, "BZh", "bzip2", nil}, {0, "\xfd7zXZ\x00", "xz", nil}, {0, "\x28\xb5\x2f\xfd", "zstd", nil},
	{0, "7z\xbc\xaf\x27\x1c", "7z", nil}, {0, "Rar!\x1a\x07", "rar", nil}, {0, "\x04\x22\x4d\x18", "lz4", nil},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole", nil}, {0, "SQLite format 3\x00", "sqlite", nil},
	{0, "\x7fELF", "elf", nil}, {0, "MZ", "exe", nearHeader}, {257, "ustar", "tar", nil}, {0, "!<arch>\n", "ar", nil},
	{0, "ID3", "mp3", nil}, {0, "\xff\xfb", "mp3", secondFrame}, {0, "\xff\xf3", "mp3", secondFrame}, {4, "ftyp", "mp4", nil}, {0, "OggS", "ogg", nil},
	{0, "RIFF", "riff", nil}, {0, "fLaC", "flac", nil}, {0, "II*\x00", "tiff", nil}, {0, "MM\x00*", "tiff", nil}, {0, "BM", "bmp", reservedZero},
	{0, "\x00\x00\x01\x00", "ico", nil}, {0, "\x00\x01\x00\x00", "ttf", nil}, {0, "OTTO", "otf", nil}, {0, "ttcf", "ttf", nil},
	{0, "wOFF", "woff", nil}, {0, "wOF2", "woff", nil}, {0, "\x00asm", "wasm", nil}, {0, "\xca\xfe\xba\xbe", "class", nil},
	{0, "PACK", "gitpack", nil}, {0, "# v2 git bundle\n", "gitbundle", nil}, {0, "# v3 git bundle\n", "gitbundle", nil}, {0, "\x78", "gitobject", looseObject}, {0, "PGDMP", "pgdump", nil}, {0, "\xfftOc", "gitindex", nil}, {0, "DIRC", "gitindex", nil}, {0, "\xed\xab\xee\xdb", "rpm", nil},
	{0, "\xde\x12\x04\x95", "mo", nil}, {0, "\x95\x04\x12\xde", "mo", nil}, {0, "\x1aE\xdf\xa3", "matroska", nil},
	{0, "PAR1", "parquet", nil}, {0, "\x89HDF\r\n\x1a\n", "hdf", nil}, {0, "\x93NUMPY", "npy", nil}, {0, "ARROW1", "arrow", nil}, {0, "Obj\x01", "avro", nil},
	{0, "QFI\xfb", "disk", nil}, {0, "KDMV", "disk", nil}, {0, "vhdxfile", "disk", nil}, {0, "conectix", "disk", nil}, {64, "\x7f\x10\xda\xbe", "disk", nil}, {60, "BOOKMOBI", "mobi", nil},
	{0, "MSCF", "cab", nil}, {0, "8BPS", "psd", nil}, {0, "hsqs", "squashfs", nil}, {0, "dex\n", "dex", nil}, {0, "bplist00", "plist", nil}, {0, "Cr24", "crx", nil},
	{0, "\x00\x00\x00\x0cjP", "jp2", nil}, {0, "\x00\x00\x00\x0cJXL ", "jxl", nil}, {0, "\xff\x0a", "jxl", nil}, {0, "AT&TFORM", "djvu", nil}, {2, "\r\n", "pyc", compiledPython}, {18, "\x04\x20", "pgpages", postgresHeader},
	{0, "\xd4\xc3\xb2\xa1", "pcap", captureHeader}, {0, "\xa1\xb2\xc3\xd4", "pcap", captureHeader}, {0, "\x4d\x3c\xb2\xa1", "pcap", captureHeader},
	{0, "G", "mpegts", transportHeader}, {128, "DICM", "dicom", nil}, {0, ".snd\x00\x00", "au", nil}, {6, "\x00\x00{", "safetensors", tensorHeader}, {0, "", "dbf", dbaseHeader},
	{18, "\x05\x20", "pgpages", postgresHeader}, {24, "\x00\x08", "innodb", innodbHeader},
	{0, "$ANSIBLE_VAULT;", Encrypted, nil}, {0, "\x00GITCRYPT\x00", Encrypted, nil}, {0, "-----BEGIN PKCS7", Encrypted, nil}, {0, "-----BEGIN CMS", Encrypted, nil},
	{0, "\x30", Encrypted, envelopedData}, {0, "\x30", Encrypted, personalExchange}, {0, "", Encrypted, openPGP},
	{0, "age-encryption.org/", Encrypted, nil}, {0, "-----BEGIN AGE ENCRYPTED", Encrypted, nil}, {0, "Salted__", Encrypted, nil}, {0, "AES\x02\x00", Encrypted, nil},
	{0, "-----BEGIN PGP MESSAGE", Encrypted, nil}, {0, "LUKS\xba\xbe", Encrypted, nil}, {0, "\x03\xd9\xa2\x9a", Encrypted, nil},
}

// Sniff names the format of a file by its first bytes.
func Sniff(head []byte) Format {
	for _, s := range signatures {
		if len(head) >= s.offset+len(s.magic) && string(head[s.offset:s.offset+len(s.magic)]) == s.magic &&
			(s.confirm == nil || s.confirm(head)) {
			return s.format
		}
	}
	// PDF allows a kilobyte of anything before its mark.
	if i := bytes.Index(head[:min(len(head), 1024)], []byte("%PDF-")); i >= 0 {
		return "pdf"
	}
	if isText(head[:min(len(head), WindowSize)]) {
		return Text
	}
	return Unknown
}

// nearHeader: the new header of an executable stands within its first 64 KiB.
func nearHeader(head []byte) bool { return len(head) >= 64 && head[62] == 0 && head[63] == 0 }

// reservedZero: four bytes of a bitmap's header are always zero.
func reservedZero(head []byte) bool {
	return len(head) >= 10 && string(head[6:10]) == "\x00\x00\x00\x00"
}

// compiledPython: the flags after the magic are few.
func compiledPython(head []byte) bool {
	return len(head) >= 16 && head[4] <= 3 && string(head[5:8]) == "\x00\x00\x00"
}

// envelopedData: CMS names what it holds in its first bytes, OID 1.2.840.113549.1.7.3 (RFC 5652).
func envelopedData(head []byte) bool {
	return bytes.Contains(head[:min(len(head), 24)], []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"))
}

// personalExchange: PKCS #12 begins with its version, 3, and names the safe that it keeps, OID 1.2.840.113549.1.7.1 or .2 (RFC 7292, section 4).
func personalExchange(head []byte) bool {
	head = head[:min(len(head), 32)]
	version := bytes.Index(head, []byte("\x02\x01\x03\x30"))
	return version >= 2 && version <= 6 && bytes.Contains(head, []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"))
}

// looseObject: what git stores is compressed by zlib, and begins with its type and its length (gitformat-loose).
func looseObject(head []byte) bool {
	if len(head) < 8 || (int(head[0])<<8|int(head[1]))%31 != 0 {
		return false
	}
	r, err := zlib.NewReader(bytes.NewReader(head))
	if err != nil {
		return false
	}
	var begin [32]byte
	n, _ := io.ReadFull(r, begin[:]) // of a head the end is missing
	kind, rest, _ := bytes.Cut(begin[:n], []byte(" "))
	length, _, ended := bytes.Cut(rest, []byte{0})
	switch string(kind) {
	case "blob", "tree", "commit", "tag":
		return ended && len(length) > 0 && len(bytes.Trim(length, "0123456789")) == 0
	}
	return false
}

// openPGP: a message begins with packets of session keys, and goes on with one of encrypted data (RFC 9580).
func openPGP(head []byte) bool {
	for n := range 8 {
		tag, length, rest := packet(head)
		switch {
		case n > 0 && (tag == 18 || tag == 20 || tag == 9):
			return true
		case tag == 1 && length >= 12 && length <= 2048 && len(rest) > 0 && (rest[0] == 3 || rest[0] == 6):
		case tag == 3 && length >= 4 && length <= 256 && len(rest) > 0 && rest[0] >= 4 && rest[0] <= 6:
		default:
			return false
		}
		head = rest[min(length, len(rest)):]
	}
	return false
}

// packet reads an OpenPGP packet's header; tag is 0 if there is none.
func packet(b []byte) (tag, length int, rest []byte) {
	if len(b) < 6 || b[0]&0x80 == 0 {
		return 0, 0, nil
	}
	if b[0]&0x40 != 0 {
		tag = int(b[0] & 0x3f)
		switch {
		case b[1] < 192:
			return tag, int(b[1]), b[2:]
		case b[1] < 224:
			return tag, (int(b[1])-192)<<8 + int(b[2]) + 192, b[3:]
		}
		return tag, 1 << 30, b[2:]
	}
	tag = int(b[0] >> 2 & 0xf)
	switch b[0] & 3 {
	case 0:
		return tag, int(b[1]), b[2:]
	case 1:
		return tag, int(b[1])<<8 | int(b[2]), b[3:]
	}
	return tag, 1 << 30, b[min(5, len(b)):]
}

// Bit rates in kbit/s and sample rates in Hz of layer III, by the index in the frame's header (ISO/IEC 11172-3, 13818-3).
var (
	mp3Rates  = [2][15]int{{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}, {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}}
	mp3Sample = [2][3]int{{44100, 48000, 32000}, {22050, 24000, 16000}}
)

// secondFrame: a frame of MPEG audio is followed by another.
func secondFrame(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	version, scale := 0, 144
	if head[1]&0x08 == 0 {
		version, scale = 1, 72
	}
	rate, sample := int(head[2]>>4), int(head[2]>>2&3)
	if rate == 0 || rate == 15 || sample == 3 {
		return false
	}
	length := scale*1000*mp3Rates[version][rate]/mp3Sample[version][sample] + int(head[2]>>1&1)
	return len(head) >= length+2 && head[length] == 0xff && head[length+1] == head[1]
}

// packed formats are close to noise inside by nature.
func (f Format) packed() bool {
	switch f {
	case "pgpages", "innodb", "npy", "hdf", "disk", "plist", "pyc", "dex", "psd", "parquet", "arrow", "avro", "ole", "sqlite", "elf", "exe", "tar", "ar", "riff", "bmp", "ico", "ttf", "otf", "wasm", "class", "mo", "gitindex", "pcap", "dicom", "au", "safetensors", "dbf", "mpegts", Text:
		return false
	}
	return true
}

// extensions lists what a name's last part promises about the first bytes.
var extensions = byExtension(map[Format]string{
	Text: "txt text md rst adoc go c h cc cpp cxx hpp s py js mjs ts tsx jsx css scss html htm xhtml xml xsl dtd json jsonl yaml yml toml ini cfg " +
		"conf csv tsv log sh bash pl pm rb php java kt rs swift scala sql svg po pot tex bib rtf eml vcf ics diff patch mk cmake properties " +
		"tmpl lua el m4 am ac in awk sed srt sum mod proto pem crt",
	"zip":    "zip docx xlsx pptx docm xlsm pptm odt ods odp odg jar war epub apk whl",
	"pdf":    "pdf",
	"jpeg":   "jpg jpeg jpe",
	"png":    "png",
	"gif":    "gif",
	"jxl":    "jxl",
	"gzip":   "gz tgz",
	"bzip2":  "bz2 tbz2",
	"xz":     "xz txz",
	"zstd":   "zst",
	"7z":     "7z",
	"rar":    "rar",
	"ole":    "doc xls ppt msg msi",
	"sqlite": "sqlite sqlite3",
	"tar":    "tar",
	"ar":     "deb",
	"mp4":    "mp4 m4a m4v mov 3gp heic heif avif",
	"ogg":    "ogg oga ogv opus",
	"riff":   "wav avi webp",
	"flac":   "flac",
	"tiff":   "tif tiff",
	"bmp":    "bmp",
	"woff":   "woff woff2",
	"wasm":   "wasm",
	"mo":     "mo",
})

func byExtension(table map[Format]string) map[string]Format {
	m := map[string]Format{}
	for format, names := range table {
		for name := range strings.SplitSeq(names, " ") {
			m[name] = format
		}
	}
	return m
}

// Expected returns the format that a file's name promises, Unknown if none.
func Expected(name string) Format { return extensions[ext(name)] }

// packedExtensions are those of compressed files that no first bytes tell from noise.
const packedExtensions = " br lzma lz lzo zz sz snappy "

// NamedPacked tells whether a name says that the file is compressed in a format that has no first bytes to know it by.
func NamedPacked(name string) bool {
	e := ext(name)
	return e != "" && strings.Contains(packedExtensions, " "+e+" ")
}

// encryptedExtensions are those of files that people encrypt on purpose.
const encryptedExtensions = " gpg pgp asc age kdbx hc luks vault p7m p12 pfx "

// NamedEncrypted tells whether a name says openly that the file is encrypted, as gpg and age name theirs.
func NamedEncrypted(name string) bool {
	e := ext(name)
	return e != "" && strings.Contains(encryptedExtensions, " "+e+" ")
}

// Successor tells whether name is former with something appended, as "a.doc.locked" is of "a.doc", and returns
// the former name. A number is not meant: rotated logs and pieces of archives have one.
func Successor(name string) (former string, ok bool) {
	e := path.Ext(name)
	if len(e) < 2 || len(e) > 24 || strings.HasSuffix(name, "/"+e) || strings.Trim(e, ".z0123456789") == "" {
		return "", false
	}
	return strings.TrimSuffix(name, e), true
}

func ext(name string) string {
	base := path.Base(name)
	e := path.Ext(base)
	if e == "" || e == base {
		return ""
	}
	return strings.ToLower(e[1:])
}
