package drill

import (
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
)

func TestCommandsAndDatabasesOfAnAssetLeadIntoTheSandbox(t *testing.T) {
	dir := t.TempDir()
	s := estate.Service{
		Name: "register", Probes: []estate.Probe{{Name: "file", Kind: "files", Path: "/srv/app/app.db"}},
		Assets: []estate.Asset{
			{Name: "app", Kind: "sqlite", Path: "/srv/app/app.db"},
			{
				Name: "dump", Kind: "command", Data: "/srv/mysql", Env: []string{"SOCKET=/srv/mysql/socket"},
				Backup: []string{"mariadb-dump"}, Restore: []string{"mariadb", "--port=3306"}, Create: []string{"mariadb-install-db", "--datadir=/srv/mysql"},
			},
		},
		Processes: []estate.Process{
			{Name: "mariadbd", Argv: []string{"mariadbd", "--datadir=/srv/mysql"}, Listen: []string{"127.0.0.1:3306"}, PIDFile: "/run/db.pid", Log: "/var/log/db"},
			{Name: "app", Argv: []string{"app", "--directory", "/srv/app"}, PIDFile: "/run/app.pid", Log: "/var/log/app"},
		},
	}
	pl, err := newPlace(&estate.Estate{Services: []estate.Service{s}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer pl.close()
	there, err := pl.service(&s)
	if err != nil {
		t.Fatal(err)
	}
	db, dump := there.Assets[0], there.Assets[1]
	for got, want := range map[string]string{
		db.Path:                    dir + "/srv/app/app.db",
		dump.Data:                  dir + "/srv/mysql",
		dump.Env[0]:                "SOCKET=" + dir + "/srv/mysql/socket",
		dump.Create[1]:             "--datadir=" + dir + "/srv/mysql",
		dump.Restore[1]:            "--port=" + pl.ports["3306"],
		there.Processes[0].Argv[1]: "--datadir=" + dir + "/srv/mysql",
		strings.Join(there.Processes[1].Argv, " "): "app --directory " + dir + "/srv/app",
		there.Probes[0].Path:                       dir + "/srv/app/app.db",
	} {
		if got != want {
			t.Errorf("it is told %q, want %q", got, want)
		}
	}
	if s.Assets[1].Restore[1] != "--port=3306" || s.Assets[1].Env[0] != "SOCKET=/srv/mysql/socket" {
		t.Errorf("the declared service was changed: %+v", s.Assets[1])
	}

	// The client's default would be the live server.
	s.Assets[1].Env, s.Assets[1].Restore = nil, []string{"mariadb", "ledger"}
	if _, err := pl.service(&s); err == nil || !strings.Contains(err.Error(), "asset dump: restore would work on what is live") {
		t.Errorf("a restore command that names nothing of the sandbox: %v", err)
	}
}
