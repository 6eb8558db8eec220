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
}

// signatures, in order: the first match counts. Sources: the formats' own specifications; file(1) knows more.
var signatures = []signature{
	{0, "PK\x03\x04", "zip"}, {0, "PK\x05\x06", "zip"}, {0, "PK\x07\x08", "zip"},
	{0, "%PDF-", "pdf"}, {0, "\xff\xd8\xff", "jpeg"}, {0, "\x89PNG\r\n\x1a\n", "png"}, {0, "GIF8", "gif"},
	{0, "\x1f\x8b", "gzip"}, {0, "BZh", "bzip2"}, {0, "\xfd7zXZ\x00", "xz"}, {0, "\x28\xb5\x2f\xfd", "zstd"},
	{0, "7z\xbc\xaf\x27\x1c", "7z"}, {0, "Rar!\x1a\x07", "rar"}, {0, "\x04\x22\x4d\x18", "lz4"},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"}, {0, "SQLite format 3\x00", "sqlite"},
	{0, "\x7fELF", "elf"}, {0, "MZ", "exe"}, {257, "ustar", "tar"}, {0, "!<arch>\n", "ar"},
	{0, "ID3", "mp3"}, {0, "\xff\xfb", "mp3"}, {0, "\xff\xf3", "mp3"}, {4, "ftyp", "mp4"}, {0, "OggS", "ogg"},
	{0, "RIFF", "riff"}, {0, "fLaC", "flac"}, {0, "II*\x00", "tiff"}, {0, "MM\x00*", "tiff"}, {0, "BM", "bmp"},
	{0, "\x00\x00\x01\x00", "ico"}, {0, "\x00\x01\x00\x00", "ttf"}, {0, "OTTO", "otf"}, {0, "ttcf", "ttf"},
	{0, "wOFF", "woff"}, {0, "wOF2", "woff"}, {0, "\x00asm", "wasm"}, {0, "\xca\xfe\xba\xbe", "class"},
	{0, "PACK", "gitpack"}, {0, "\xfftOc", "gitindex"}, {0, "DIRC", "gitindex"}, {0, "\xed\xab\xee\xdb", "rpm"},
	{0, "\xde\x12\x04\x95", "mo"}, {0, "\x95\x04\x12\xde", "mo"}, {0, "\x1aE\xdf\xa3", "matroska"},
	{0, "age-encryption.org/", Encrypted}, {0, "-----BEGIN AGE ENCRYPTED", Encrypted}, {0, "Salted__", Encrypted},
	{0, "-----BEGIN PGP MESSAGE", Encrypted}, {0, "LUKS\xba\xbe", Encrypted}, {0, "\x03\xd9\xa2\x9a", Encrypted},
}

// Sniff names the format of a file by its first bytes.
func Sniff(head []byte) Format {
	for _, s := range signatures {
		if len(head) >= s.offset+len(s.magic) && string(head[s.offset:s.offset+len(s.magic)]) == s.magic {
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
