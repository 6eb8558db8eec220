package crypto

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/scrypt"
)

// Bounds of scrypt's parameters in a key file that somebody else may have written. restic writes N up to 2^18 with
// r 8 and p up to about 10; what is allowed takes half a GiB and some 10 seconds at worst.
const (
	maxMemory = 512 << 20 // bytes: 128·N·r
	maxWork   = 1 << 25   // N·r·p
	maxSalt   = 1 << 10
	maxData   = 16 << 10

	// MaxFileSize bounds a key file.
	MaxFileSize = 64 << 10
)

// ErrPassword is returned by OpenFile if the password does not open the file.
var ErrPassword = errors.New("wrong password")

// file is a key file. Source: restic repository format, "Keys, Encryption and MAC".
type file struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`
}

// Cost is what one try of a password takes: scrypt's parameters beside r, which is 8.
type Cost struct {
	N int // a power of two; a try takes N KiB of memory
	P int // how often the work is done
}

// memoryN makes one try take 32 MiB, which a small machine can spare. It is what restic uses.
const memoryN = 1 << 15

// maxP keeps a fast machine from making keys that a slow one opens in minutes.
const maxP = 8

// Calibrate returns the cost that makes one try take about target on this machine, and always at least the time that 32
// MiB take, so that a busy machine does not weaken the key.
func Calibrate(target time.Duration) (Cost, error) {
	const probe = 1 << 13
	begin := time.Now()
	if _, err := scrypt.Key(nil, make([]byte, 64), probe, 8, 1, 64); err != nil {
		return Cost{}, err
	}
	once := time.Since(begin) * memoryN / probe
	return Cost{memoryN, int(min(max(target/once, 1), maxP))}, nil
}

// SealFile returns the key file that opens key with password.
func SealFile(key *Key, password, username, hostname string, cost Cost) ([]byte, error) {
	f := file{Created: time.Now(), Username: username, Hostname: hostname, KDF: "scrypt", N: cost.N, R: 8, P: cost.P, Salt: make([]byte, 64)}
	rand.Read(f.Salt)
	user, err := f.derive(password)
	if err != nil {
		return nil, err
	}
	plain, err := key.Marshal()
	if err != nil {
		return nil, err
	}
	f.Data = user.Seal(nil, plain)
	return json.Marshal(f)
}

// OpenFile returns the key that a key file holds; ErrPassword if the password is not the file's.
func OpenFile(data []byte, password string) (*Key, error) {
	f, err := parseFile(data)
	if err != nil {
		return nil, err
	}
	user, err := f.derive(password)
	if err != nil {
		return nil, err
	}
	plain, err := user.Open(nil, f.Data)
	if err != nil {
		return nil, ErrPassword
	}
	key, err := unmarshalKey(plain)
	if err != nil {
		return nil, fmt.Errorf("parse master key: %w", err)
	}
	return key, nil
}

// Info is what a key file tells without a password.
type Info struct {
	Created            time.Time
	Username, Hostname string
}

// Describe reads what a key file tells without a password.
func Describe(data []byte) (Info, error) {
	f, err := parseFile(data)
	if err != nil {
		return Info{}, err
	}
	return Info{Created: f.Created, Username: f.Username, Hostname: f.Hostname}, nil
}

func parseFile(data []byte) (*file, error) {
	if len(data) > MaxFileSize {
		return nil, fmt.Errorf("parse key file: %d bytes, at most %d are allowed", len(data), MaxFileSize)
	}
	f := new(file)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("parse key file: %w", err)
	}
	switch {
	case f.KDF != "scrypt":
		return nil, fmt.Errorf("parse key file: key derivation %.20q is not known, want scrypt", f.KDF)
	case f.N < 2 || f.N > 1<<24 || f.N&(f.N-1) != 0:
		return nil, fmt.Errorf("parse key file: scrypt N is %d, want a power of two up to 2^24", f.N)
	case f.R < 1 || f.P < 1 || f.R > 1<<10 || f.P > 1<<10 || 128*f.N*f.R > maxMemory || f.N*f.R*f.P > maxWork:
		return nil, fmt.Errorf("parse key file: scrypt parameters N %d, r %d, p %d ask for too much or too little work", f.N, f.R, f.P)
	case len(f.Salt) == 0 || len(f.Salt) > maxSalt:
		return nil, fmt.Errorf("parse key file: salt of %d bytes", len(f.Salt))
	case len(f.Data) <= Overhead || len(f.Data) > maxData:
		return nil, fmt.Errorf("parse key file: data of %d bytes", len(f.Data))
	}
	return f, nil
}

// derive makes the user's key of a password.
func (f *file) derive(password string) (*Key, error) {
	secret, err := scrypt.Key([]byte(password), f.Salt, f.N, f.R, f.P, 64)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	// The memory that scrypt took, 32 MiB or more, is most of what there is yet: given back now, it does not stand beside
	// what a backup or a check needs, nor let the heap grow to twice its size before the next collection. That costs a
	// collection, which keys of a cheap password, as tests have them, are not worth.
	if 128*f.N*f.R >= 1<<20 {
		debug.FreeOSMemory()
	}
	return keyFrom(secret[:32], secret[32:48], secret[48:])
}
