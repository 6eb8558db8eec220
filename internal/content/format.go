package content

import (
	"bytes"
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
	// confirm looks further where the magic is so short that one encrypted file in 65,536 begins with it by chance.
	confirm func(head []byte) bool
}

// signatures, in order: the first match counts. Sources: the formats' own specifications; file(1) knows more.
var signatures = []signature{
	{0, "PK\x03\x04", "zip", nil}, {0, "PK\x05\x06", "zip", nil}, {0, "PK\x07\x08", "zip", nil}, {0, "JM\x01\x00PK", "zip", nil},
	{0, "%PDF-", "pdf", nil}, {0, "\xff\xd8\xff", "jpeg", nil}, {0, "\x89PNG\r\n\x1a\n", "png", nil}, {0, "GIF8", "gif", nil},
	{0, "\x1f\x8b\x08", "gzip", nil}, {0, "BZh", "bzip2", nil}, {0, "\xfd7zXZ\x00", "xz", nil}, {0, "\x28\xb5\x2f\xfd", "zstd", nil},
	{0, "7z\xbc\xaf\x27\x1c", "7z", nil}, {0, "Rar!\x1a\x07", "rar", nil}, {0, "\x04\x22\x4d\x18", "lz4", nil},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole", nil}, {0, "SQLite format 3\x00", "sqlite", nil},
	{0, "\x7fELF", "elf", nil}, {0, "MZ", "exe", nearHeader}, {257, "ustar", "tar", nil}, {0, "!<arch>\n", "ar", nil},
	{0, "ID3", "mp3", nil}, {0, "\xff\xfb", "mp3", secondFrame}, {0, "\xff\xf3", "mp3", secondFrame}, {4, "ftyp", "mp4", nil}, {0, "OggS", "ogg", nil},
	{0, "RIFF", "riff", nil}, {0, "fLaC", "flac", nil}, {0, "II*\x00", "tiff", nil}, {0, "MM\x00*", "tiff", nil}, {0, "BM", "bmp", reservedZero},
	{0, "\x00\x00\x01\x00", "ico", nil}, {0, "\x00\x01\x00\x00", "ttf", nil}, {0, "OTTO", "otf", nil}, {0, "ttcf", "ttf", nil},
	{0, "wOFF", "woff", nil}, {0, "wOF2", "woff", nil}, {0, "\x00asm", "wasm", nil}, {0, "\xca\xfe\xba\xbe", "class", nil},
	{0, "PACK", "gitpack", nil}, {0, "\xfftOc", "gitindex", nil}, {0, "DIRC", "gitindex", nil}, {0, "\xed\xab\xee\xdb", "rpm", nil},
	{0, "\xde\x12\x04\x95", "mo", nil}, {0, "\x95\x04\x12\xde", "mo", nil}, {0, "\x1aE\xdf\xa3", "matroska", nil},
	{0, "age-encryption.org/", Encrypted, nil}, {0, "-----BEGIN AGE ENCRYPTED", Encrypted, nil}, {0, "Salted__", Encrypted, nil},
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
	case "ole", "sqlite", "elf", "exe", "tar", "ar", "riff", "bmp", "ico", "ttf", "otf", "wasm", "class", "mo", "gitindex", Text:
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
	"mp4":    "mp4 m4a m4v mov",
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

// encryptedExtensions are those of files that people encrypt on purpose.
const encryptedExtensions = " gpg pgp asc age enc aes kdbx hc luks vault p7m p12 pfx "

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
