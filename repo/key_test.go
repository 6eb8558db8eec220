package repo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// tryOpen opens the repository with another password.
func tryOpen(t *testing.T, be backend.Backend, word, hint string) (*repo.Repository, error) {
	t.Helper()
	opt := cheap
	opt.KeyHint = hint
	return repo.Open(t.Context(), be, word, opt)
}

func TestSeveralPasswordsOpenARepositoryUntilTheyAreRemoved(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	id, err := r.AddKey(t.Context(), "second", repo.KeyOptions{Username: "helen", Hostname: "geneva"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := tryOpen(t, be, "second", names(t, be, backend.Key)[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := second.Keys(t.Context())
	if err != nil || len(keys) != 2 || keys[0].Current || !keys[1].Current {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	if k := keys[1]; k.ID != id || k.Username != "helen" || k.Hostname != "geneva" || time.Since(k.Created) > time.Hour {
		t.Errorf("the second key is %+v", k)
	}
	if err := second.RemoveKey(t.Context(), id); !errors.Is(err, repo.ErrKeyInUse) {
		t.Errorf("remove the key in use: %v", err)
	}
	if err := r.RemoveKey(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := r.RemoveKey(t.Context(), id); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("remove a key twice: %v", err)
	}
	if _, err := tryOpen(t, be, "second", ""); !errors.Is(err, repo.ErrWrongPassword) {
		t.Errorf("open with a removed password: %v", err)
	}
	open(t, be)
	if _, err := tryOpen(t, be, password, "0000"); err != nil {
		t.Errorf("a hint at a key that is not there: %v", err)
	}
}

func TestChangingThePasswordEndsTheOldOne(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	old := names(t, be, backend.Key)[0]
	id, err := r.ChangePassword(t.Context(), "new", repo.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if left := names(t, be, backend.Key); len(left) != 1 || left[0].Name != id.String() || left[0] == old {
		t.Errorf("keys left: %v", left)
	}
	if _, err := tryOpen(t, be, password, ""); !errors.Is(err, repo.ErrWrongPassword) {
		t.Errorf("open with the old password: %v", err)
	}
	if _, err := tryOpen(t, be, "new", ""); err != nil {
		t.Error(err)
	}
	if _, err := r.ChangePassword(t.Context(), "third", repo.KeyOptions{}); err != nil {
		t.Errorf("change it again: %v", err)
	}
}

func TestAnEmptyPasswordMustBeMeant(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	if _, err := r.AddKey(t.Context(), "", repo.KeyOptions{}); err == nil || !strings.Contains(err.Error(), "protects nothing") {
		t.Errorf("add: %v", err)
	}
	if _, err := r.AddKey(t.Context(), "", repo.KeyOptions{NoPassword: true}); err != nil {
		t.Error(err)
	}
	if _, err := tryOpen(t, be, "", ""); err != nil {
		t.Error(err)
	}
}

func TestAHintReachesAKeyBeyondTheFirstTwenty(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	words := make(map[string]string)
	for i := range 25 {
		word := fmt.Sprint("password ", i)
		id, err := r.AddKey(t.Context(), word, repo.KeyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		words[id.String()] = word
	}
	all := names(t, be, backend.Key)
	slices.SortFunc(all, func(a, b backend.Handle) int { return strings.Compare(a.Name, b.Name) })
	last := all[len(all)-1].Name
	if words[last] == "" {
		last = all[len(all)-2].Name
	}
	_, err := tryOpen(t, be, words[last], "")
	if !errors.Is(err, repo.ErrWrongPassword) || !strings.Contains(err.Error(), "--key-hint") {
		t.Errorf("without a hint: %v", err)
	}
	for _, hint := range []string{last, last[:8]} {
		if _, err := tryOpen(t, be, words[last], hint); err != nil {
			t.Errorf("with hint %s: %v", hint, err)
		}
	}
}

func TestADamagedKeyIsNamedAndTheOthersListed(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	id, err := r.AddKey(t.Context(), "second", repo.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	damage(t, be, backend.Handle{Type: backend.Key, Name: id.String()}, func(data []byte) []byte { data[9] ^= 1; return data })
	keys, err := r.Keys(t.Context())
	if len(keys) != 1 || err == nil || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("keys %+v, %v", keys, err)
	}
}

func TestResticUsesKeysOfOursAndWeThose(t *testing.T) {
	dir := t.TempDir()
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	opt := repo.Options{ScryptN: 1 << 10, Version: 1, Polynomial: 0x3DA3358B4DC173}
	r, err := repo.Init(t.Context(), be, "first", opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddKey(t.Context(), password, repo.KeyOptions{Hostname: "geneva"}); err != nil {
		t.Fatal(err)
	}
	var theirs []struct {
		Current  bool
		ID       string
		HostName string
	}
	if err := json.Unmarshal([]byte(restic(t, dir, "key", "list", "--json")), &theirs); err != nil {
		t.Fatal(err)
	}
	keys, err := openDir(t, dir).Keys(t.Context())
	if err != nil || len(theirs) != 2 || len(keys) != 2 {
		t.Fatalf("restic lists %+v, kedge %+v, %v", theirs, keys, err)
	}
	for _, k := range theirs {
		// How much of an ID restic shows differs between its releases.
		i := slices.IndexFunc(keys, func(o repo.KeyInfo) bool { return k.ID != "" && strings.HasPrefix(o.ID.String(), k.ID) })
		if i < 0 {
			t.Fatalf("restic lists the key %q, which kedge does not: %+v", k.ID, keys)
		}
		ours := keys[i]
		if ours.Current != k.Current || ours.Hostname != k.HostName {
			t.Errorf("restic lists %+v, kedge %+v", k, ours)
		}
	}
	var config struct {
		Version    uint
		Polynomial string `json:"chunker_polynomial"`
	}
	if err := json.Unmarshal([]byte(restic(t, dir, "cat", "config")), &config); err != nil {
		t.Fatal(err)
	}
	if config.Version != 1 || config.Polynomial != "3da3358b4dc173" {
		t.Errorf("restic reads the config as %+v", config)
	}
	master, err := r.MasterKey()
	if err != nil {
		t.Fatal(err)
	}
	var ours, other map[string]any
	if json.Unmarshal(master, &ours) != nil || json.Unmarshal([]byte(restic(t, dir, "cat", "masterkey")), &other) != nil || fmt.Sprint(ours) != fmt.Sprint(other) {
		t.Error("the master key is not written as restic writes it")
	}
}

func TestAnUnknownVersionIsNotCreated(t *testing.T) {
	for _, opt := range []repo.Options{{Version: 3, ScryptN: 2}, {Polynomial: 4, ScryptN: 2}} {
		be := memory.New()
		if _, err := repo.Init(t.Context(), be, password, opt); err == nil {
			t.Errorf("created with %+v", opt)
		}
		if left := append(names(t, be, backend.Key), names(t, be, backend.Config)...); len(left) > 0 {
			t.Errorf("left behind %v", left)
		}
	}
}

func TestUnlockRemovesDeadLocksAndAllOfThemIfAsked(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	lock := func(age time.Duration, pid int) blob.ID {
		doc := fmt.Sprintf(`{"time":%q,"exclusive":false,"hostname":"geneva","username":"helen","pid":%d}`, time.Now().Add(-age).Format(time.RFC3339Nano), pid)
		id, err := r.SaveUnpacked(t.Context(), backend.Lock, []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	lock(time.Hour, 7)
	live := lock(time.Minute, 8)
	junk := backend.Handle{Type: backend.Lock, Name: blob.Hash([]byte("junk")).String()}
	if err := be.Save(t.Context(), junk, strings.NewReader("junk")); err != nil {
		t.Fatal(err)
	}
	list, err := r.Locks(t.Context())
	if err == nil || !strings.Contains(err.Error(), junk.Name) || len(list) != 2 {
		t.Errorf("locks %+v, %v; want two and an error that names %s", list, err, junk)
	}
	if !list[0].Stale || list[1].Stale || list[1].ID != live || list[1].PID != 8 || list[1].Username != "helen" {
		t.Errorf("locks %+v", list)
	}
	if n, err := r.Unlock(t.Context(), false); n != 1 || err == nil || !strings.Contains(err.Error(), "--remove-all") {
		t.Errorf("unlock removed %d, %v; want the stale one, and an error about the unreadable one", n, err)
	}
	if n, err := r.Unlock(t.Context(), true); n != 2 || err != nil || len(names(t, be, backend.Lock)) > 0 {
		t.Errorf("unlock all removed %d, %v; left %v", n, err, names(t, be, backend.Lock))
	}
}
