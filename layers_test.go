package kedge_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kedge-project/kedge"

// layers is the table of ARCHITECTURE.md: every package stands in one layer and imports only lower ones.
// Within a layer nothing imports a sibling, unless siblings names it.
var layers = [][]string{
	0: {"blob", "internal/offheap", "internal/lanehash", "internal/estate", "internal/event", "internal/wording", "internal/restictest"},
	1: {
		"backend", "backend/backendtest", "backend/local", "backend/memory", "backend/rest", "backend/s3", "backend/s3/s3test",
		"backend/fault", "backend/limit", "backend/retry", "backend/sftp",
		"chunker", "repo", "repo/internal/crypto", "repo/internal/pack", "repo/internal/index", "repo/internal/zstdframe",
		"snapshot", "internal/pattern", "internal/process", "internal/browser", "internal/content", "internal/accesslog", "internal/serverlog", "internal/profile", "internal/journal", "internal/fileevent",
	},
	2: {"archive", "restore", "mirror", "internal/dump", "internal/mount", "internal/damage"},
	3: {
		"internal/asset", "internal/asset/postgres", "internal/asset/postgrestest", "internal/probe", "internal/drill",
		"internal/detect", "internal/detect/live", "internal/detect/canary", "internal/detect/ransom", "internal/detect/web", "internal/detect/database",
		"internal/assess", "internal/hunt", "internal/contain", "internal/recovery", "internal/evidence",
		"internal/investigate", "internal/notice",
	},
	4: {"internal/timeline", "internal/report"},
	5: {
		"internal/agent", "internal/vault", "internal/exercise", "internal/exercise/example",
		"internal/exercise/document", "internal/exercise/application", "internal/exercise/attack",
		"internal/exercise/reference", "bench/internal/measure",
	},
	6: {"cmd/kedge", "bench", "bench/assess", "bench/postgres", "bench/detect", "bench/hunt"},
}

// siblings are the imports within a layer that are meant: an interface's implementations know the interface, and
// the repository is made of its parts. A sub-package may be imported by its parent.
var siblings = map[string][]string{
	"backend/backendtest": {"backend"},
	"backend/local":       {"backend"},
	"backend/memory":      {"backend"},
	"backend/rest":        {"backend"},
	"backend/fault":       {"backend"},
	"backend/limit":       {"backend"},
	"backend/retry":       {"backend"},
	"backend/s3":          {"backend"},
	"backend/sftp":        {"backend"},
	"repo": {
		"backend", "chunker", "repo/internal/crypto", "repo/internal/pack", "repo/internal/index", "repo/internal/zstdframe",
	},
	"repo/internal/pack":      {"repo/internal/crypto"},
	"repo/internal/index":     {"repo/internal/pack"},
	"snapshot":                {"backend", "repo"},
	"internal/browser":        {"internal/process"},
	"internal/asset/postgres": {"internal/asset"},
	"internal/report":         {"internal/timeline"},
	"internal/exercise": {
		"internal/agent", "internal/vault", "internal/exercise/example", "internal/exercise/attack",
		"internal/exercise/reference",
	},
	"internal/exercise/example": {"internal/exercise/document", "internal/exercise/reference"},
	"internal/exercise/attack":  {"internal/exercise/document"},
}

// forbidden are imports that no layer allows: a role that holds no key has no code that could use one.
var forbidden = map[string][]string{
	"internal/vault": {"repo", "snapshot", "archive", "restore", "internal/asset"},
	"mirror":         {"repo", "snapshot"},
}

func TestImportsPointDownOnly(t *testing.T) {
	layerOf := map[string]int{}
	for n, packages := range layers {
		for _, p := range packages {
			layerOf[p] = n
		}
	}

	listed := listPackages(t)
	for _, p := range listed {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		layer, known := layerOf[name]
		if !known {
			t.Errorf("%s is in no layer: give it a place in layers_test.go and ARCHITECTURE.md", name)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			if err := allowed(name, layer, imported, layerOf); err != nil {
				t.Error(err)
			}
		}
	}

	present := map[string]bool{}
	for _, p := range listed {
		present[strings.TrimPrefix(p.ImportPath, module+"/")] = true
	}
	for name := range layerOf {
		if !present[name] {
			t.Errorf("%s stands in the table and not in the module", name)
		}
	}
}

func TestKeylessRolesReachNoKeyCode(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, banned := range forbidden[name] {
			if slices.Contains(p.Deps, module+"/"+banned) {
				t.Errorf("%s depends on %s, directly or not: it must hold no code that uses a repository key", name, banned)
			}
		}
	}
}

func allowed(name string, layer int, imported string, layerOf map[string]int) error {
	if slices.Contains(siblings[name], imported) {
		return nil
	}
	switch below := layerOf[imported]; {
	case below > layer:
		return fmt.Errorf("%s (layer %d) imports %s (layer %d): imports point down only", name, layer, imported, below)
	case below == layer:
		return fmt.Errorf("%s imports its sibling %s: declare an interface and let the layer above wire it", name, imported)
	}
	return nil
}

type listedPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listedPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		if p.ImportPath != module {
			packages = append(packages, p)
		}
	}
	if len(packages) == 0 {
		t.Fatal("go list named no package: the test would prove nothing")
	}
	return packages
}
