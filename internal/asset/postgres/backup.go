package postgres

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/archive"
)

// minVersion is the first PostgreSQL whose base backups have a manifest.
const minVersion = 13

// relationCut is how many bytes a chunk of a relation's file has: a whole number of pages, so that a page which changed
// costs this much and no more.
const relationCut = 40 << 10

// baseInfo says what a base backup needs to become a consistent cluster.
type baseInfo struct {
	timeline   int32
	start, end pglogrepl.LSN // the WAL from start to end makes it consistent
	label      []byte        // the file backup_label
}

// receiveBase takes a base backup over conn, a replication connection, and gives its files to add, below dir. Tablespaces stand
// in pg_tblspc, in directories where the server has links; the file tablespace_map says where those lead. Every file is compared with
// the server's manifest, which stands in dir as "backup_manifest", so that pg_verifybackup can be asked too.
func receiveBase(ctx context.Context, conn *pgconn.PgConn, dir, name string, add func(archive.Entry) error) (baseInfo, error) {
	version, err := checkVersion(conn.ParameterStatus("server_version"))
	if err != nil {
		return baseInfo{}, err
	}
	begun, err := pglogrepl.StartBaseBackup(ctx, conn, pglogrepl.BaseBackupOptions{
		Label: name, Fast: true, NoWait: true, TablespaceMap: true, Manifest: true, ManifestChecksums: "CRC32C",
	})
	if err != nil {
		return baseInfo{}, fmt.Errorf("begin base backup: %w", err)
	}
	stream := backupStream{ctx: ctx, conn: conn}
	if version < 15 {
		stream.parts = numbered(begun.Tablespaces)
	}
	b := baseBackup{dir: dir, add: add, files: map[string]received{}, stream: &stream}
	if err := b.receive(); err != nil {
		return baseInfo{}, fmt.Errorf("take base backup: %w", err)
	}
	if _, err := pglogrepl.FinishBaseBackup(ctx, conn); err != nil {
		return baseInfo{}, fmt.Errorf("end base backup: %w", err)
	}
	return b.check()
}

// checkVersion returns the major version, and refuses servers that cannot prove a base backup.
func checkVersion(version string) (int, error) {
	major := majorOf(version)
	if major < minVersion {
		return 0, fmt.Errorf("take base backup: the server is PostgreSQL %.40q, kedge needs %d or newer", version, minVersion)
	}
	return major, nil
}

// baseBackup is one on its way from the server.
type baseBackup struct {
	dir    string
	add    func(archive.Entry) error
	stream *backupStream

	files    map[string]received // by their paths in the manifest
	manifest []byte
	label    []byte
}

func (b *baseBackup) receive() error {
	for {
		p, err := b.stream.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = b.take(p)
		}
		if err != nil {
			return err
		}
	}
}

func (b *baseBackup) take(p part) error {
	if !p.manifest {
		return b.unpack(tar.NewReader(b.stream), p.below)
	}
	text, err := io.ReadAll(io.LimitReader(b.stream, maxManifest+1))
	if err == nil && len(text) > maxManifest {
		err = fmt.Errorf("the manifest is longer than %d bytes", maxManifest)
	}
	b.manifest = text
	return err
}

// check proves the received files by the manifest and keeps it beside them.
func (b *baseBackup) check() (baseInfo, error) {
	m, err := parseManifest(b.manifest)
	if err != nil {
		return baseInfo{}, err
	}
	if err := m.verify(b.files); err != nil {
		return baseInfo{}, err
	}
	info := baseInfo{label: b.label}
	if info.timeline, info.start, info.end, err = m.span(); err != nil {
		return baseInfo{}, err
	}
	owner, ok := b.files["backup_label"]
	if !ok {
		return baseInfo{}, errors.New("verify base backup: it has no backup_label: take the base backup again")
	}
	entry := archive.Entry{Path: b.dir, Mode: fs.ModeDir | 0o700, ModTime: owner.modified, UID: owner.uid, GID: owner.gid}
	if err := b.add(entry); err != nil {
		return baseInfo{}, err
	}
	entry.Path, entry.Mode, entry.Content = path.Join(b.dir, "backup_manifest"), 0o600, bytes.NewReader(b.manifest)
	return info, b.add(entry)
}

// unpack reads one archive of the backup, of which all stands below a directory of the data directory.
func (b *baseBackup) unpack(content *tar.Reader, below string) error {
	for first := true; ; {
		header, err := content.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		name := path.Join(below, header.Name)
		if !filepath.IsLocal(path.Clean(header.Name)) {
			return fmt.Errorf("%q leads out of the data directory", header.Name)
		}
		if name == below || name == "." {
			continue
		}
		if first && below != "" {
			if err := b.add(b.directory(below, header)); err != nil {
				return fmt.Errorf("store %q: %w", below, err)
			}
		}
		first = false
		if err := b.unpackOne(content, name, header); err != nil {
			return fmt.Errorf("store %q: %w", name, err)
		}
	}
}

// directory is an entry of what header tells of. The server's modification time keeps the snapshot's metadata, and so its trees, the same
// for what did not change.
func (b *baseBackup) directory(name string, header *tar.Header) archive.Entry {
	return archive.Entry{
		Path: path.Join(b.dir, name), Mode: fs.ModeDir | 0o700,
		ModTime: header.ModTime, UID: uint32(header.Uid), GID: uint32(header.Gid),
	}
}

func (b *baseBackup) unpackOne(content io.Reader, name string, header *tar.Header) error {
	entry := b.directory(name, header)
	switch header.Typeflag {
	case tar.TypeDir:
		return b.add(entry)
	case tar.TypeReg:
	default:
		return fmt.Errorf("it is neither a file nor a directory (type %q)", header.Typeflag)
	}
	if _, twice := b.files[name]; twice {
		return errors.New("it came twice")
	}
	sum := summer{rd: content}
	if name == "backup_label" {
		sum.keep = &bytes.Buffer{}
	}
	entry.Mode, entry.Content = 0o600, &sum
	if isRelation(name) {
		entry.Cut = relationCut
	}
	if err := b.add(entry); err != nil {
		return err
	}
	if sum.keep != nil {
		b.label = sum.keep.Bytes()
	}
	b.files[name] = received{size: sum.size, sum: sum.crc, modified: header.ModTime, uid: entry.UID, gid: entry.GID}
	return nil
}

// isRelation tells whether a file holds pages, by its path in the data directory: a table or an index, in its default place or in
// a tablespace.
//
// Source: PostgreSQL documentation, "Database File Layout".
func isRelation(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	first := path.Base(name)[0]
	return (top == "base" || top == "global" || top == "pg_tblspc") && first >= '1' && first <= '9'
}

// maxLabel bounds the file backup_label, in bytes: it has some 200.
const maxLabel = 8 << 10

// summer reads a file and sums it up as the manifest does.
type summer struct {
	rd   io.Reader
	size int64
	crc  uint32
	keep *bytes.Buffer // the content, at most maxLabel bytes of it; nil: nobody wants it
}

func (s *summer) Read(p []byte) (int, error) {
	n, err := s.rd.Read(p)
	s.size += int64(n)
	s.crc = crc32.Update(s.crc, crc32.MakeTable(crc32.Castagnoli), p[:n])
	if s.keep != nil {
		s.keep.Write(p[:min(n, maxLabel-s.keep.Len())])
	}
	return n, err
}

// readLabel returns where the newest base backup begins, by its backup_label in the spool; the zero baseInfo if there was none
// yet. It leaves out where the backup ends.
func readLabel(spool string) (baseInfo, error) {
	text, err := os.ReadFile(filepath.Join(spool, labelName))
	if errors.Is(err, fs.ErrNotExist) {
		return baseInfo{}, nil
	}
	if err != nil {
		return baseInfo{}, fmt.Errorf("read the label of the newest base backup: %w", err)
	}
	info, err := parseLabel(text)
	if err != nil {
		return baseInfo{}, fmt.Errorf("read %s: %w", filepath.Join(spool, labelName), err)
	}
	return info, nil
}

// parseLabel reads a backup_label.
func parseLabel(text []byte) (info baseInfo, err error) {
	info.label = text
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "START WAL LOCATION: "); ok {
			position, _, _ := strings.Cut(rest, " ")
			if info.start, err = parseLSN(position); err != nil {
				return baseInfo{}, err
			}
		}
		if rest, ok := strings.CutPrefix(line, "START TIMELINE: "); ok {
			timeline, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 32)
			if err != nil {
				return baseInfo{}, err
			}
			info.timeline = int32(timeline)
		}
	}
	if info.start == 0 || info.timeline < 1 {
		return baseInfo{}, errors.New("the label does not say where the base backup begins")
	}
	return info, nil
}

// labelName is the file in the spool that holds the newest base backup's label.
const labelName = "backup_label"

// writeLabel keeps the label of a base backup that is stored.
func writeLabel(spool string, label []byte) error {
	name := filepath.Join(spool, labelName)
	err := os.WriteFile(name+".partial", label, 0o600)
	if err == nil {
		err = os.Rename(name+".partial", name)
	}
	if err != nil {
		return fmt.Errorf("keep the label of the base backup: %w", err)
	}
	return nil
}
