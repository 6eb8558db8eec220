// Package repo keeps blobs and small files in a repository of the restic format: version 2 is written, versions 1
// and 2 are read.
//
// It promises that what it returns is what was stored: every blob is compared with its ID and every file with its
// name. An index file is written only once the packs that it names are durable, so that a repository is sound at
// every moment, whenever the process or the machine stops. Whatever a repository's files hold, they cause an
// error that names the file, never a panic or memory without bound.
//
// Source: the restic repository format ("References" in restic's documentation).
package repo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
)

var (
	// ErrNoRepository is returned by Open if the storage holds no repository.
	ErrNoRepository = errors.New("no repository")
	// ErrWrongPassword is returned by Open if no key of the repository opens with the password.
	ErrWrongPassword = errors.New("wrong password")
	// ErrLocked is returned by WithLock if another process holds a lock that excludes the one asked for.
	ErrLocked = errors.New("repository is locked")
	// ErrNotFound is returned for a blob or file that is not in the repository.
	ErrNotFound = errors.New("not in the repository")
	// ErrAmbiguous is returned by FindID for what several IDs begin with.
	ErrAmbiguous = errors.New("it begins several IDs; give more digits")
)

const (
	// DefaultPackSize is the size at which a pack is closed, in bytes.
	DefaultPackSize = 16 << 20

	// loaders is how many files or packs are read side by side: more than processors, since storage may be far away.
	loaders = 4
)

// Options are what a user may choose. The zero value is right for almost everyone.
type Options struct {
	PackSize    int         // bytes; 0 means DefaultPackSize; 4 to 128 MiB is what restic allows
	Compression Compression // "" means CompressionAuto; format version 1 knows none
	ScryptN     int         // cost of a new key's password, a power of two; 0 means calibrated to this machine. For tests.

	// KeyHint is the ID, or its beginning, of the key that Open tries first: it spares the time that other keys would
	// take, and reaches a key beyond the first 20.
	KeyHint string

	Version    uint        // for Init: of the format, 1 or 2; 0 means 2
	NoPassword bool        // for Init: allows an empty password, which protects nothing
	Polynomial chunker.Pol // for Init: that of the repository that this one shares content with; 0 means a new one

	// CacheDir is a directory where Open keeps what the index files of large repositories say, for the next Open; it is
	// made if it is not there. "" means that everything is read each time. It is no directory for kedge check, and for
	// whatever else must know the state of the index files themselves.
	CacheDir string

	// AllowDamagedIndex lets Open go on without index files that cannot be read, as a repair must; DamagedIndexes tells
	// which. Blobs that they name count as not there.
	AllowDamagedIndex bool

	cacheMin int64 // 0 means the constant. For tests.
}

// Config is the repository's own file of that name.
type Config struct {
	Version    uint        // of the format: 1 or 2
	ID         string      // 64 hexadecimal digits, random
	Polynomial chunker.Pol // cuts files into chunks
}

type configJSON struct {
	Version    uint        `json:"version"`
	ID         string      `json:"id"`
	Polynomial chunker.Pol `json:"chunker_polynomial"`
}

// Repository is an open repository. It is safe for concurrent use.
type Repository struct {
	be       backend.Backend
	key      *crypto.Key
	keyID    blob.ID // of the key file that opened
	scryptN  int     // Options.ScryptN
	cfg      Config
	idx      *index.Index
	files    *indexFiles
	codec    *codec
	buffers  *offheap.Pool // memory that stored blobs are read and opened into
	packSize int
}

// Init makes a new repository in be, with one key that password opens. One that was cut short before is taken up if the
// password is the same.
func Init(ctx context.Context, be backend.Backend, password string, opt Options) (*Repository, error) {
	if _, err := be.Stat(ctx, backend.Handle{Type: backend.Config}); err == nil {
		return nil, errors.New("create repository: there is one already; choose another place")
	} else if !errors.Is(err, backend.ErrNotExist) {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if password == "" && !opt.NoPassword {
		return nil, errors.New("create repository: an empty password protects nothing")
	}
	cfg, err := newConfig(opt)
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	key, keyID, err := leftKey(ctx, be, password, opt.KeyHint)
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	r, err := newRepository(be, key, cfg, opt)
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if r.keyID = keyID; keyID.IsZero() {
		if r.keyID, err = r.saveKey(ctx, password, KeyOptions{}); err != nil {
			return nil, fmt.Errorf("create repository: %w", err)
		}
	}
	plain, err := json.Marshal(configJSON(r.cfg))
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	// The config is never compressed: it is what tells whether anything is.
	err = be.Save(ctx, backend.Handle{Type: backend.Config}, strings.NewReader(string(key.Seal(nil, plain))))
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	return r, nil
}

// leftKey returns the key, and its name, that an Init left which was cut short before the config, else a new key and no
// name. A second key of the same password, to another master key, would make it a matter of chance which one Open finds.
func leftKey(ctx context.Context, be backend.Backend, password, hint string) (*crypto.Key, blob.ID, error) {
	names, err := keyNames(ctx, be)
	if err != nil {
		return nil, blob.ID{}, fmt.Errorf("look for keys: %w", err)
	}
	if len(names) == 0 {
		key, err := crypto.NewKey()
		return key, blob.ID{}, err
	}
	key, id, err := findKey(ctx, be, password, hint)
	if err != nil {
		return nil, blob.ID{}, fmt.Errorf("there are keys and no config: bring the config back from a copy, or, if an init was cut short here, remove the directory keys: %w", err)
	}
	return key, id, nil
}

func newConfig(opt Options) (Config, error) {
	var id blob.ID
	rand.Read(id[:])
	cfg := Config{Version: opt.Version, ID: id.String(), Polynomial: opt.Polynomial}
	if cfg.Version == 0 {
		cfg.Version = 2
	}
	if cfg.Polynomial == 0 {
		var err error
		if cfg.Polynomial, err = chunker.RandomPolynomial(); err != nil {
			return Config{}, err
		}
	}
	return cfg, cfg.check()
}

func newRepository(be backend.Backend, key *crypto.Key, cfg Config, opt Options) (*Repository, error) {
	c, err := newCodec(opt.Compression)
	if err != nil {
		return nil, err
	}
	r := &Repository{be: be, key: key, cfg: cfg, idx: index.New(nil), codec: c, packSize: opt.PackSize, scryptN: opt.ScryptN}
	if r.files, err = newIndexFiles(key, cfg, opt); err != nil {
		return nil, err
	}
	r.buffers = offheap.NewPool(2*coders(), keepBuffer)
	if r.packSize == 0 {
		r.packSize = DefaultPackSize
	}
	if r.packSize < 1<<10 || r.packSize > 512<<20 {
		return nil, fmt.Errorf("pack size of %d bytes; choose 4 to 128 MiB", r.packSize)
	}
	return r, nil
}

// Open opens the repository in be: it tries every key, and loads all index files. One that cannot be read is an error,
// unless opt.AllowDamagedIndex says otherwise.
func Open(ctx context.Context, be backend.Backend, password string, opt Options) (*Repository, error) {
	sealed, err := readFile(ctx, be, backend.Handle{Type: backend.Config}, crypto.MaxFileSize)
	if errors.Is(err, backend.ErrNotExist) {
		return nil, fmt.Errorf("open repository: %w here; create one with kedge init, or check the location", ErrNoRepository)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	key, keyID, err := findKey(ctx, be, password, opt.KeyHint)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	cfg, err := parseConfig(key, sealed)
	if err != nil {
		return nil, fmt.Errorf("open repository: config: %w", err)
	}
	r, err := newRepository(be, key, cfg, opt)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	r.keyID = keyID
	if err := r.reloadIndex(ctx); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return r, nil
}

func parseConfig(key *crypto.Key, sealed []byte) (Config, error) {
	plain, err := key.Open(nil, sealed)
	if err != nil {
		return Config{}, err
	}
	var doc configJSON
	if err := json.Unmarshal(plain, &doc); err != nil {
		return Config{}, err
	}
	cfg := Config(doc)
	return cfg, cfg.check()
}

func (cfg Config) check() error {
	if cfg.Version != 1 && cfg.Version != 2 {
		return fmt.Errorf("format version %d is not known, want 1 or 2", cfg.Version)
	}
	if id, err := hex.DecodeString(cfg.ID); err != nil || len(id) != 32 {
		return fmt.Errorf("invalid repository ID %.80q", cfg.ID)
	}
	return cfg.Polynomial.Validate()
}

// Config returns the repository's config.
func (r *Repository) Config() Config { return r.cfg }

// Backend returns the storage that the repository is in.
func (r *Repository) Backend() backend.Backend { return r.be }

// readFile reads a whole file of at most limit bytes.
func readFile(ctx context.Context, be backend.Backend, h backend.Handle, limit int64) ([]byte, error) {
	rd, err := be.Open(ctx, h, 0, 0)
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	data, err := io.ReadAll(io.LimitReader(rd, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %v: %w", h, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %v: larger than %d bytes", h, limit)
	}
	return data, nil
}
