package postgrestest

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestServerAnswersItsOwnerAndNobodyWithoutThePassword(t *testing.T) {
	c := Start(t)
	conn, err := c.dial(t.Context(), "kedge", "app")
	if err != nil {
		t.Fatalf("role kedge cannot connect to database app: %v", err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for setting, want := range map[string]string{"wal_level": "replica", "data_checksums": "on", "port": ""} {
		rows, err := conn.Exec(t.Context(), "SHOW "+setting).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(rows[0].Rows[0][0]); want != "" && got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if conn, err := pgconn.Connect(t.Context(), c.Connect); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the server let role kedge in without its password")
	}
	info, err := os.Stat(c.Data)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v; want mode 0700", info, err)
	}
}

func TestStoppedServerComesBackOnItsPort(t *testing.T) {
	c := Start(t)
	port := c.Port
	c.Stop()
	c.Stop()
	if conn, err := c.dial(t.Context(), "kedge", "app"); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a stopped server still answers")
	}
	c.Restart(t)
	if c.Port != port {
		t.Errorf("port changed from %d to %d", port, c.Port)
	}
	c.exec(t, "kedge", "app", "SELECT 1")
}
