package exercise

import (
	"context"
	"maps"
	"slices"

	"github.com/kedge-project/kedge/internal/exercise/attack"
)

// damage is what the adversary did: known to the stages that compare, and to no other.
type damage struct {
	Damaged []string // files with other bytes, or gone, at the paths where they stood; sorted
	Added   []string // files that the adversary brought; sorted
	Rows    int
	Source  string // address of the requests that left a trace
	Upload  string // path of the request that brought the shell
}

// strike does all parts of the attack, one after the other.
func (r *run) strike(ctx context.Context, attacker *attack.Attacker) (damage, error) {
	d := damage{Source: attack.Source}
	r.progressf("uploading a web shell")
	shell, err := attacker.UploadShell(ctx)
	if err != nil {
		return d, err
	}
	d.Added = append(d.Added, shell.Path)
	d.Upload = shell.Request

	r.progressf("injecting a script")
	injected, err := attacker.InjectScript(ctx)
	if err != nil {
		return d, err
	}
	r.progressf("defacing the home page")
	defaced, err := attacker.Deface(ctx)
	if err != nil {
		return d, err
	}
	d.Damaged = append(append(d.Damaged, injected...), defaced)

	r.progressf("altering rows")
	rows, err := attacker.AlterRows(ctx)
	if err != nil {
		return d, err
	}
	d.Rows = rows.Rows

	r.progressf("encrypting files")
	encrypted, err := attacker.Encrypt(ctx, attack.Encryption{Seed: r.opt.Seed, Spare: r.example.Spared})
	if err != nil {
		return d, err
	}
	d.Damaged = append(append(d.Damaged, encrypted.InPlace...), slices.Collect(maps.Keys(encrypted.Renamed))...)
	d.Added = append(append(d.Added, encrypted.Notes...), slices.Collect(maps.Values(encrypted.Renamed))...)
	for _, list := range []*[]string{&d.Damaged, &d.Added} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return d, nil
}
