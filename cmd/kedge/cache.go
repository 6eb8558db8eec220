package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
)

// cacheFlags say where the index of large repositories is kept for the next command. Nothing depends on it: without it
// a command reads the index from the repository.
type cacheFlags struct {
	dir     string
	off     bool
	cleanUp bool
	told    string // what was last said to be wrong with it
}

// cacheAge is for how long a cache stays that no command has used.
const cacheAge = 30 * 24 * time.Hour

func (f *cacheFlags) add(flags *pflag.FlagSet) {
	f.addDir(flags)
	flags.BoolVar(&f.off, "no-cache", false, "keep no cache, and use none")
	flags.BoolVar(&f.cleanUp, "cleanup-cache", false, "remove the caches of repositories that were not used for 30 days")
}

func (f *cacheFlags) addDir(flags *pflag.FlagSet) {
	flags.StringVar(&f.dir, "cache-dir", environment("CACHE_DIR"), "directory of the cache (default: $KEDGE_CACHE_DIR, $RESTIC_CACHE_DIR, $XDG_CACHE_HOME/kedge or ~/.cache/kedge)")
}

// directory returns where the cache is. A daemon may have no HOME in its environment, so that the user's entry in the
// password file is looked up too.
func (f *cacheFlags) directory() (string, error) {
	if f.dir != "" {
		return f.dir, nil
	}
	dir, err := os.UserCacheDir()
	if err == nil {
		return filepath.Join(dir, "kedge"), nil
	}
	if u, lookup := user.Current(); lookup == nil && filepath.IsAbs(u.HomeDir) {
		return filepath.Join(u.HomeDir, ".cache", "kedge"), nil
	}
	return "", fmt.Errorf("find the cache directory: %w; give --cache-dir or --no-cache", err)
}

// prepare returns the directory to open repositories with, "" for none. What is wrong with a cache is told, and keeps
// nobody from the repository.
func (f *cacheFlags) prepare(notices io.Writer) string {
	if f.off {
		return ""
	}
	dir, err := f.directory()
	if err == nil && f.cleanUp {
		_, err = repo.RemoveCaches(dir, time.Now().Add(-cacheAge))
	}
	if err != nil {
		fmt.Fprintf(notices, "%v; going on without\n", err)
	}
	return dir
}

// tell tells that the cache of an open repository is of no use, once for each cause.
func (f *cacheFlags) tell(notices io.Writer, r *repo.Repository) {
	err := r.CacheError()
	if err == nil || err.Error() == f.told {
		return
	}
	f.told = err.Error()
	fmt.Fprintf(notices, "%v; going on without (give --cache-dir for another place, or --no-cache)\n", err)
}

func newCacheCommand(term *terminal) *cobra.Command {
	var flags cacheFlags
	var cleanUp bool
	var maxAge uint
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "List the caches of repositories, or remove old ones",
		Long: `List what this machine keeps of large repositories so that the next command need not read their index
again: the repository's ID, when a command last used it, whether it is old, and its size. A cache can
be removed at any time: the next command makes it anew.`,
		Example: `  kedge cache
  kedge cache --cleanup                  remove what was not used for 30 days
  kedge cache --cleanup --max-age 0      remove all
  kedge cache --cache-dir /var/cache/kedge --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := flags.directory()
			if err != nil {
				return err
			}
			old := time.Now().Add(-time.Duration(maxAge) * 24 * time.Hour)
			if cleanUp {
				return runCacheCleanup(term, dir, old)
			}
			return runCacheList(term, dir, old)
		},
	}
	flags.addDir(cmd.Flags())
	cmd.Flags().BoolVar(&cleanUp, "cleanup", false, "remove the old ones")
	cmd.Flags().UintVar(&maxAge, "max-age", uint(cacheAge/(24*time.Hour)), "days without use after which a cache is old")
	return cmd
}

func runCacheCleanup(term *terminal, dir string, old time.Time) error {
	n, err := repo.RemoveCaches(dir, old)
	if err != nil {
		return err
	}
	term.printf("removed %s from %s", wording.Number(int64(n), "cache"), dir)
	return term.object(map[string]any{"message_type": "removed", "caches": n, "directory": dir})
}

// cacheObject is a cache as it is printed with --json.
type cacheObject struct {
	ID       string    `json:"id"` // of the repository
	LastUsed time.Time `json:"last_used"`
	Old      bool      `json:"old"`
	Size     int64     `json:"size"` // bytes
}

func runCacheList(term *terminal, dir string, old time.Time) error {
	caches, err := repo.Caches(dir)
	if err != nil {
		return err
	}
	objects := make([]cacheObject, 0, len(caches))
	shown := table{heads: []string{"Repo ID", "Last Used", "Old", "Size"}}
	for _, c := range caches {
		isOld := ""
		if c.Used.Before(old) {
			isOld = "yes"
		}
		shown.add(cell(c.ID.String()[:10]), cell(shownTime(c.Used)), cell(isOld), cell(wording.Size(c.Size)))
		objects = append(objects, cacheObject{c.ID.String(), c.Used, isOld != "", c.Size})
	}
	shown.print(term, fmt.Sprintf("%s in %s", wording.Number(int64(len(caches)), "cache"), dir))
	return term.object(objects)
}
