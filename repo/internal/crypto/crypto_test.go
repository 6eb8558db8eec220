package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func testKey(t testing.TB) *Key {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAuthenticatorIsThatOfThePaper uses the first example of "The Poly1305-AES message-authentication code", appendix B.
func TestAuthenticatorIsThatOfThePaper(t *testing.T) {
	bytesOf := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, err := keyFrom(bytes.Repeat([]byte{1}, 32), bytesOf("ec074c835580741701425b623235add6"), bytesOf("851fc40c3467ac0be05cc20404f3f700"))
	if err != nil {
		t.Fatal(err)
	}
	sum := key.authenticate(bytesOf("fb447350c4e868c52ac3275cf9d4327e"), bytesOf("f3f6"))
	if got, want := hex.EncodeToString(sum[:]), "f4c633c3044fc145f84f335cb81953de"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhatIsSealedOpens(t *testing.T) {
	key := testKey(t)
	for _, n := range []int{0, 1, 15, 16, 17, 1000, 1 << 20} {
		plain := bytes.Repeat([]byte{7}, n)
		sealed := key.Seal([]byte("before"), plain)
		if len(sealed) != len("before")+n+Overhead || !bytes.HasPrefix(sealed, []byte("before")) {
			t.Fatalf("%d bytes are sealed as %d", n, len(sealed))
		}
		got, err := key.Open(nil, sealed[len("before"):])
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: opened %d, %v", n, len(got), err)
		}
		if got, err = key.OpenInPlace(sealed[len("before"):]); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes in place: opened %d, %v", n, len(got), err)
		}
	}
}

func TestNothingIsSealedTheSameTwice(t *testing.T) {
	key := testKey(t)
	if bytes.Equal(key.Seal(nil, []byte("plain")), key.Seal(nil, []byte("plain"))) {
		t.Error("the nonce was used twice")
	}
}

func TestAnyChangedBitIsForged(t *testing.T) {
	key := testKey(t)
	sealed := key.Seal(nil, []byte("bring it back clean"))
	for i := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[i/8] ^= 1 << (i % 8)
		if plain, err := key.Open(nil, changed); !errors.Is(err, ErrForged) || plain != nil {
			t.Fatalf("bit %d changed: %q, %v", i, plain, err)
		}
	}
	for n := range sealed {
		if _, err := key.Open(nil, sealed[:n]); !errors.Is(err, ErrForged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := testKey(t).Open(nil, sealed); !errors.Is(err, ErrForged) {
		t.Errorf("another key: %v", err)
	}
}

func TestAZeroKeyIsRefused(t *testing.T) {
	one := bytes.Repeat([]byte{1}, 32)
	for i, parts := range [][3][]byte{{make([]byte, 32), one[:16], one[:16]}, {one, make([]byte, 16), one[:16]}, {one, one[:16], make([]byte, 16)}, {one[:31], one[:16], one[:16]}} {
		if _, err := keyFrom(parts[0], parts[1], parts[2]); err == nil {
			t.Errorf("key %d was accepted", i)
		}
	}
}

func TestAKeyFileOpensWithItsPasswordOnly(t *testing.T) {
	key := testKey(t)
	data, err := SealFile(key, "password", "user", "host", Cost{2, 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenFile(data, "password")
	if err != nil || got.encrypt != key.encrypt || got.macK != key.macK || got.macR != key.macR {
		t.Errorf("the key did not come back: %v", err)
	}
	if _, err := OpenFile(data, "Password"); !errors.Is(err, ErrPassword) {
		t.Errorf("wrong password: %v", err)
	}
}

func TestCalibratedCostHasAFloorAndACeilingAndTakesNoMoreMemoryThanAskedOfASmallMachine(t *testing.T) {
	for target, want := range map[time.Duration]Cost{0: {1 << 15, 1}, time.Hour: {1 << 15, 8}} {
		if cost, err := Calibrate(target); err != nil || cost != want {
			t.Errorf("for %v: %+v, %v; want %+v", target, cost, err, want)
		}
	}
}

func TestAKeyFileThatAsksForTooMuchIsRefusedBeforeTheWork(t *testing.T) {
	good := map[string]any{"kdf": "scrypt", "N": 2, "r": 1, "p": 1, "salt": "c2FsdA==", "data": base64.StdEncoding.EncodeToString(make([]byte, 100))}
	for name, change := range map[string]map[string]any{
		"memory": {"N": 1 << 24, "r": 8}, "time": {"N": 1 << 18, "r": 8, "p": 1000}, "no power of two": {"N": 3},
		"negative": {"r": -1}, "overflow": {"N": 1 << 24, "r": 1 << 62}, "no work": {"N": 1}, "other function": {"kdf": "none"},
		"no salt": {"salt": ""}, "no data": {"data": ""}, "huge": {"username": strings.Repeat("x", MaxFileSize)},
	} {
		doc := make(map[string]any)
		for k, v := range good {
			doc[k] = v
		}
		for k, v := range change {
			doc[k] = v
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(data, "x"); err == nil || errors.Is(err, ErrPassword) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	data, err := SealFile(testKey(f), "password", "user", "host", Cost{2, 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"kdf":"scrypt","N":4611686018427387904,"r":1,"p":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseFile(data)
		if err == nil && (128*got.N*got.R > maxMemory || got.N*got.R*got.P > maxWork || got.N < 2 || len(got.Data) > maxData) {
			t.Errorf("accepted %+v", got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	key := testKey(b)
	plain, dst := make([]byte, 1<<20), make([]byte, 0, 2<<20)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		key.Seal(dst, plain)
	}
}

func TestADerivedKeyIsOfItsKeyAndPurpose(t *testing.T) {
	derive := func(k *Key, purpose string) string {
		t.Helper()
		key, err := k.Derive(purpose)
		if err != nil || len(key) != 32 {
			t.Fatalf("%x, %v; want 32 bytes", key, err)
		}
		return string(key)
	}
	var keys [2]*Key
	for i := range keys {
		var err error
		if keys[i], err = NewKey(); err != nil {
			t.Fatal(err)
		}
	}
	one := derive(keys[0], "one")
	if derive(keys[0], "one") != one {
		t.Error("it differs from call to call")
	}
	if derive(keys[0], "two") == one || derive(keys[1], "one") == one {
		t.Error("another purpose, or another key, derives the same")
	}
}

func FuzzMasterKey(f *testing.F) {
	good, err := testKey(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"mac":{"k":"","r":""},"encrypt":""}`))
	f.Add(bytes.Replace(good, []byte(`"r":"`), []byte(`"r":null,"x":"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := unmarshalKey(data)
		if err != nil {
			return
		}
		if key.encrypt == [32]byte{} || key.macK == [16]byte{} || key.macR == [16]byte{} {
			t.Errorf("%q is read as a key that is zero", data)
		}
		if plain, err := key.Open(nil, key.Seal(nil, []byte("plain"))); err != nil || string(plain) != "plain" {
			t.Errorf("%q is a key that does not open what it sealed: %v", data, err)
		}
	})
}
