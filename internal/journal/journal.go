// Package journal keeps what was begun or done in a file of JSON lines, so that work that was interrupted, by a
// power cut too, can be taken up again.
//
// A record that Append returned for is on the disk. A record that was being written when the machine stopped is
// as if it had never been written. One file has one writer at a time; that is the caller's to see to.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MaxSize bounds a journal, in bytes.
const MaxSize = 16 << 20

// Append writes one record at the end of the journal and waits until the disk has it. A journal that is not
// there is made with mode 0600, and so are directories missing above it, with mode 0700.
func Append(name string, record any) error {
	if err := appendRecord(name, record); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func appendRecord(name string, record any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	whole, err := readWhole(f, name)
	if err != nil {
		return err
	}
	// What follows the last newline was being written when its writer died.
	if err := f.Truncate(int64(len(whole))); err != nil {
		return err
	}
	if _, err := f.WriteAt(append(line, '\n'), int64(len(whole))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// Read returns all records of a journal, the oldest first. One that is not there has none.
func Read[T any](name string) ([]T, error) {
	records, err := read[T](name)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return records, nil
}

func read[T any](name string) ([]T, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	whole, err := readWhole(f, name)
	if err != nil {
		return nil, err
	}
	var records []T
	for number := 1; len(whole) > 0; number++ {
		line, rest, _ := bytes.Cut(whole, []byte("\n"))
		whole = rest
		var record T
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&record); err != nil {
			return nil, fmt.Errorf("%s:%d: %w; it was changed by something else than kedge", name, number, err)
		}
		records = append(records, record)
	}
	return records, nil
}

// readWhole reads a journal up to its last newline.
func readWhole(f *os.File, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, MaxSize)
	}
	return data[:bytes.LastIndexByte(data, '\n')+1], nil
}

// syncDir makes the name of a new file durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
