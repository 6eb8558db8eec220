package asset

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// minVersion is the first PostgreSQL whose base backup comes as one stream with its manifest.
const minVersion = 15

// baseInfo says what a base backup needs to become a consistent cluster.
type baseInfo struct {
	timeline   int32
	start, end pglogrepl.LSN // the WAL from start to end makes it consistent
}

// receiveBase takes a base backup over conn, a replication connection, into dir, which is emptied first. Every file is
// compared with the manifest, which stands in dir as "backup_manifest", so that pg_verifybackup can be asked too.
func receiveBase(ctx context.Context, conn *pgconn.PgConn, dir, label string) (baseInfo, error) {
	if err := checkVersion(conn.ParameterStatus("server_version")); err != nil {
		return baseInfo{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return baseInfo{}, fmt.Errorf("empty the spool for the base backup: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return baseInfo{}, fmt.Errorf("make the spool for the base backup: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return baseInfo{}, fmt.Errorf("open the spool for the base backup: %w", err)
	}
	defer root.Close()

	begun, err := pglogrepl.StartBaseBackup(ctx, conn, pglogrepl.BaseBackupOptions{
		Label: label, Fast: true, NoWait: true, Manifest: true, ManifestChecksums: "SHA256",
	})
	if err != nil {
		return baseInfo{}, fmt.Errorf("begin base backup: %w", err)
	}
	if len(begun.Tablespaces) > 0 {
		return baseInfo{}, fmt.Errorf("take base backup: the cluster has tablespaces (%s): not yet supported; move their tables to pg_default",
			begun.Tablespaces[0].Location)
	}
	stream := &backupStream{ctx: ctx, conn: conn}
	text, files, err := stream.receive(root)
	if err != nil {
		return baseInfo{}, fmt.Errorf("take base backup: %w", err)
	}
	if _, err := pglogrepl.FinishBaseBackup(ctx, conn); err != nil {
		return baseInfo{}, fmt.Errorf("end base backup: %w", err)
	}
	return checkBase(root, text, files)
}

// checkBase proves the received files by the manifest's text and keeps it beside them.
func checkBase(root *os.Root, text []byte, files map[string]received) (baseInfo, error) {
	m, err := parseManifest(text)
	if err != nil {
		return baseInfo{}, err
	}
	if err := m.verify(files); err != nil {
		return baseInfo{}, err
	}
	var info baseInfo
	info.timeline, info.start, info.end, err = m.span()
	if err != nil {
		return baseInfo{}, err
	}
	if err := root.WriteFile("backup_manifest", text, 0o600); err != nil {
		return baseInfo{}, fmt.Errorf("write base backup manifest: %w", err)
	}
	return info, nil
}

// checkVersion refuses servers that send base backups in an older form.
func checkVersion(version string) error {
	digits := version
	if end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = version[:end]
	}
	major, err := strconv.Atoi(digits)
	if err != nil || major < minVersion {
		return fmt.Errorf("take base backup: the server is PostgreSQL %.40q, kedge needs %d or newer", version, minVersion)
	}
	return nil
}

// backupStream reads the messages of a base backup: 'n' begins an archive, 'm' the manifest, 'd' holds the bytes of what began
// last and 'p' tells progress.
//
// Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP.
type backupStream struct {
	ctx  context.Context
	conn *pgconn.PgConn

	data  []byte // what is left of the current 'd' message
	ended bool   // the current content is all read
	next  byte   // the kind of message that ended it, 0 at the stream's end
}

func (s *backupStream) receive(root *os.Root) (manifest []byte, files map[string]received, err error) {
	files = make(map[string]received)
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	for s.next != 0 {
		s.ended = false
		switch s.next {
		case 'n':
			err = unpack(tar.NewReader(s), root, files)
			if err == nil { // what follows the archive's end mark
				_, err = io.Copy(io.Discard, s)
			}
		case 'm':
			manifest, err = io.ReadAll(io.LimitReader(s, maxManifest+1))
			if err == nil && len(manifest) > maxManifest {
				err = fmt.Errorf("the manifest is longer than %d bytes", maxManifest)
			}
		default:
			err = fmt.Errorf("message %q is not of the protocol", s.next)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return manifest, files, nil
}

// begin reads up to the first content.
func (s *backupStream) begin() error {
	if err := pglogrepl.NextTableSpace(s.ctx, s.conn); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, s)
	if err == nil && n > 0 {
		err = errors.New("the server sent bytes of no archive")
	}
	return err
}

// Read returns the bytes of the current content, and io.EOF where the next one begins.
func (s *backupStream) Read(p []byte) (int, error) {
	for len(s.data) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if err := s.message(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *backupStream) message() error {
	message, err := s.conn.ReceiveMessage(s.ctx)
	if err != nil {
		return err
	}
	switch message := message.(type) {
	case *pgproto3.CopyData:
		if len(message.Data) == 0 {
			return errors.New("the server sent an empty message")
		}
		switch kind := message.Data[0]; kind {
		case 'd':
			s.data = message.Data[1:]
		case 'p':
		default:
			s.next, s.ended = kind, true
		}
	case *pgproto3.CopyDone:
		s.next, s.ended = 0, true
	case *pgproto3.ErrorResponse:
		return pgconn.ErrorResponseToPgError(message)
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
	default:
		return fmt.Errorf("unexpected answer %T", message)
	}
	return nil
}

// unpack writes an archive below root and adds what it held to files. Owners are kept where the process may give files away,
// so that a restored cluster belongs to the user its server runs as.
func unpack(archive *tar.Reader, root *os.Root, files map[string]received) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		name := path.Clean(header.Name)
		if name == "." {
			continue
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(filepath.FromSlash(name), 0o700); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
			if err := own(root, name, header); err != nil {
				return err
			}
		case tar.TypeReg:
			got, err := unpackFile(archive, root, name, header)
			if err != nil {
				return fmt.Errorf("write %q: %w", name, err)
			}
			if _, twice := files[name]; twice {
				return fmt.Errorf("file %q came twice", name)
			}
			files[name] = got
		default:
			return fmt.Errorf("%q is neither a file nor a directory (type %q)", name, header.Typeflag)
		}
	}
}

func unpackFile(content io.Reader, root *os.Root, name string, header *tar.Header) (received, error) {
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o700); err != nil {
		return received{}, err
	}
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return received{}, err
	}
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, hash), content)
	if err = errors.Join(err, f.Close()); err != nil {
		return received{}, err
	}
	got := received{size: size}
	hash.Sum(got.sum[:0])
	if err := own(root, name, header); err != nil {
		return received{}, err
	}
	// The server's modification time keeps the snapshot's metadata, and so its trees, the same for files that did not change.
	return got, root.Chtimes(filepath.FromSlash(name), time.Time{}, header.ModTime)
}

func own(root *os.Root, name string, header *tar.Header) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := root.Lchown(filepath.FromSlash(name), header.Uid, header.Gid); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	return nil
}

// readLabel returns where the base backup in dir begins; the zero baseInfo if there is no base backup in it. It leaves
// out where the backup ends.
func readLabel(dir string) (baseInfo, error) {
	text, err := os.ReadFile(filepath.Join(dir, "backup_label"))
	if errors.Is(err, fs.ErrNotExist) {
		return baseInfo{}, nil
	}
	if err != nil {
		return baseInfo{}, fmt.Errorf("read the spooled base backup: %w", err)
	}
	var info baseInfo
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "START WAL LOCATION: "); ok {
			position, _, _ := strings.Cut(rest, " ")
			if info.start, err = parseLSN(position); err != nil {
				return baseInfo{}, fmt.Errorf("read the spooled base backup: %w", err)
			}
		}
		if rest, ok := strings.CutPrefix(line, "START TIMELINE: "); ok {
			timeline, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 32)
			if err != nil {
				return baseInfo{}, fmt.Errorf("read the spooled base backup: %w", err)
			}
			info.timeline = int32(timeline)
		}
	}
	if info.start == 0 || info.timeline < 1 {
		return baseInfo{}, errors.New("read the spooled base backup: its label does not say where it begins")
	}
	return info, nil
}
