//go:build long

package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// The stories that depend on what a server sends and what its pg_waldump prints, on every version that is there.
func TestEveryVersionIsCapturedReadAndBroughtBack(t *testing.T) {
	const remedy = "run scripts/postgres-versions DIR, then this test with KEDGE_TEST_POSTGRES=DIR"
	dir := os.Getenv("KEDGE_TEST_POSTGRES")
	if dir == "" {
		t.Fatalf("no PostgreSQL to ask: %s", remedy)
	}
	versions, err := filepath.Glob(filepath.Join(dir, "*", "bin", "postgres"))
	if err != nil || len(versions) < 2 {
		t.Fatalf("%s holds the PostgreSQL versions %q: %s", dir, versions, remedy)
	}
	for _, program := range versions {
		bin := filepath.Dir(program)
		t.Run(filepath.Base(filepath.Dir(bin)), func(t *testing.T) {
			for name, story := range map[string]func(*testing.T, *postgrestest.Cluster){
				"base backup is intact":      baseBackupIsIntact,
				"transactions are counted":   transactionsAreCounted,
				"damaged WAL is noticed":     damagedWALIsNoticed,
				"recovery stops just before": recoveryStopsJustBefore,
				"a new timeline is captured": newTimelineIsCaptured,
				"a dump goes to the newest": func(t *testing.T, c *postgrestest.Cluster) {
					logicalDumpComesBack(t, c, postgrestest.StartVersion(t, filepath.Dir(versions[len(versions)-1])))
				},
				"TLS is spoken":               capturedByTLS,
				"a whole cluster is found so": healthyClusterIsWhole,
				"damage is named":             damageIsNamed,
				"tablespaces come back":       tablespacesComeBack,
				"a later tablespace is safe":  laterTablespaceIsSafe,
			} {
				t.Run(name, func(t *testing.T) { story(t, postgrestest.StartVersion(t, bin)) })
			}
		})
	}
}
