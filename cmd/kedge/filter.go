package main

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// filterFlags choose among the snapshots of a repository, as restic's flags of these names do.
type filterFlags struct {
	hosts, paths, tags []string
}

func (f *filterFlags) add(cmd *cobra.Command) { f.addShort(cmd, "H") }

// addShort is add with another letter for --host, or none.
func (f *filterFlags) addShort(cmd *cobra.Command, short string) {
	var host []string
	if name := environment("HOST"); name != "" {
		host = []string{name}
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.hosts, "host", short, host, "only snapshots of this host (repeatable; '' for any, where RESTIC_HOST is set)")
	flags.StringArrayVar(&f.tags, "tag", nil, "only snapshots with all tags of this comma-separated list (repeatable: of any of the lists; '' for no tags)")
	flags.StringArrayVar(&f.paths, "path", nil, "only snapshots that hold this path (repeatable: all of them)")
}

// filter returns what the flags say.
func (f *filterFlags) filter() snapshot.Filter {
	var chosen snapshot.Filter
	for _, host := range f.hosts {
		if host != "" {
			chosen.Hosts = append(chosen.Hosts, host)
		}
	}
	for _, p := range f.paths {
		if abs, err := filepath.Abs(p); err == nil { // else there is no working directory, and p is as good as it gets
			p = abs
		}
		chosen.Paths = append(chosen.Paths, p)
	}
	chosen.Tags = tagLists(f.tags)
	return chosen
}

// tagLists reads lists of tags with commas between them.
func tagLists(lists []string) [][]string {
	var all [][]string
	for _, list := range lists {
		tags := []string{}
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
		all = append(all, tags)
	}
	return all
}

// findTree finds what "SNAPSHOT" or "SNAPSHOT:SUBFOLDER" names: the snapshot, the tree of the subfolder, and the subfolder as
// an absolute stored path, "/" where none is named. The filter bears on the snapshot "latest" only.
func findTree(ctx context.Context, r *repo.Repository, spec string, f snapshot.Filter) (*snapshot.Snapshot, blob.ID, string, error) {
	name, below, _ := strings.Cut(spec, ":")
	sn, err := snapshot.Find(ctx, r, name, f)
	if err != nil {
		return nil, blob.ID{}, "", err
	}
	below = path.Clean("/" + below)
	n, err := snapshot.Lookup(ctx, r, sn.Tree, below)
	if err != nil {
		return nil, blob.ID{}, "", fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
	}
	if n.Type != snapshot.Dir || n.Subtree == nil {
		return nil, blob.ID{}, "", fmt.Errorf("snapshot %s: %s is no directory: what follows the colon must be one", sn.ID.Short(), below)
	}
	return sn, *n.Subtree, below, nil
}
