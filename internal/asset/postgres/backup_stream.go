package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// backupStream reads a base backup's parts, one after another: archives, and at last the manifest. From PostgreSQL 15 on they come
// as one stream of messages, of which 'n' begins an archive, 'm' the manifest, 'd' holds the bytes of what began last and 'p' tells
// progress. Before that each part is a stream of its own.
//
// Source: PostgreSQL documentation, "Streaming Replication Protocol", BASE_BACKUP.
type backupStream struct {
	ctx   context.Context
	conn  *pgconn.PgConn
	parts []part // still to come, where they come as streams of their own; nil where one stream holds them all

	begun  bool
	data   []byte // what is left of the current message's bytes
	ended  bool   // the current part is all read
	coming *part  // what ended it, if messages tell
}

// part is one archive or the manifest.
type part struct {
	manifest bool
	below    string // directory in the data directory where the archive's files stand; "" for the data directory itself
}

// numbered lists the parts of servers before PostgreSQL 15: tablespaces, the data directory, the manifest.
func numbered(tablespaces []pglogrepl.BaseBackupTablespace) []part {
	var parts []part
	for _, t := range tablespaces {
		parts = append(parts, part{below: tablespaceDir(strconv.FormatUint(uint64(uint32(t.OID)), 10))})
	}
	return append(parts, part{}, part{manifest: true})
}

func tablespaceDir(oid string) string { return "pg_tblspc/" + oid }

// next begins the next part, and skips what was not read of the one before. It returns io.EOF after the last.
func (s *backupStream) next() (part, error) {
	if s.parts != nil {
		return s.nextStream()
	}
	first := !s.begun
	if first {
		if err := pglogrepl.NextTableSpace(s.ctx, s.conn); err != nil {
			return part{}, err
		}
		s.begun = true
	}
	skipped, err := io.Copy(io.Discard, s)
	if err == nil && first && skipped > 0 {
		err = errors.New("the server sent bytes of no archive")
	}
	if err != nil {
		return part{}, err
	}
	if s.coming == nil {
		return part{}, io.EOF
	}
	p := *s.coming
	s.coming, s.ended = nil, false
	return p, nil
}

// nextStream is next where each part is a stream of its own.
func (s *backupStream) nextStream() (part, error) {
	if s.begun {
		if _, err := io.Copy(io.Discard, s); err != nil {
			return part{}, err
		}
	}
	if len(s.parts) == 0 {
		return part{}, io.EOF
	}
	if err := pglogrepl.NextTableSpace(s.ctx, s.conn); err != nil {
		return part{}, err
	}
	p := s.parts[0]
	s.parts, s.begun, s.ended = s.parts[1:], true, false
	return p, nil
}

// Read returns the bytes of the current part, and io.EOF where the next one begins.
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
		if s.parts != nil {
			s.data = message.Data
			return nil
		}
		return s.framed(message.Data)
	case *pgproto3.CopyDone:
		s.ended = true
	case *pgproto3.ErrorResponse:
		return pgconn.ErrorResponseToPgError(message)
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
	default:
		return fmt.Errorf("unexpected answer %T", message)
	}
	return nil
}

// framed takes a message that says what it is.
func (s *backupStream) framed(data []byte) error {
	if len(data) == 0 {
		return errors.New("the server sent an empty message")
	}
	switch kind := data[0]; kind {
	case 'd':
		s.data = data[1:]
	case 'p':
	case 'm':
		s.coming, s.ended = &part{manifest: true}, true
	case 'n':
		below, err := archivePlace(data[1:])
		if err != nil {
			return err
		}
		s.coming, s.ended = &part{below: below}, true
	default:
		return fmt.Errorf("message %q is not of the protocol", kind)
	}
	return nil
}

// archivePlace returns where an archive's files stand in the data directory, by its name: "base.tar", or a tablespace's OID and
// ".tar".
func archivePlace(message []byte) (string, error) {
	name, _, _ := bytes.Cut(message, []byte{0})
	if string(name) == "base.tar" {
		return "", nil
	}
	oid, ok := strings.CutSuffix(string(name), ".tar")
	if _, err := parseOID(oid); !ok || err != nil {
		return "", fmt.Errorf("the server sent an archive of the name %.80q, which is none", name)
	}
	return tablespaceDir(oid), nil
}
