package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const killedPassword = "correct horse"

// killedWorld is what the killed commands work on: a source in two states, the second of which stands there, and scenes.
type killedWorld struct {
	dir      string
	source   string
	second   tree
	holds    map[blob.ID]tree     // what stood in source, by the ID of the tree that it is stored as
	finished map[string][]blob.ID // the snapshots of a base's repository, by its path
}

// newKilledWorld makes the scenes. Packs are small, so that there are many moments between them.
func newKilledWorld(t *testing.T) *killedWorld {
	t.Helper()
	t.Setenv("KEDGE_PASSWORD", killedPassword)
	t.Setenv("KEDGE_FROM_PASSWORD", killedPassword)
	t.Setenv("KEDGE_PACK_SIZE", "4")
	t.Setenv("KEDGE_CACHE_DIR", t.TempDir())
	w := &killedWorld{dir: t.TempDir(), holds: make(map[blob.ID]tree), finished: make(map[string][]blob.ID)}
	w.source = filepath.Join(w.dir, "source")
	k := &killing{killedWorld: w, t: t, round: "make the scenes"}

	// A repository of the source's first state, and of a time when it held other files.
	backup := filepath.Join(w.dir, "backup", "repository")
	own := k.initRepository(backup, repo.Options{})
	k.fill(w.source, 0, 50, 2)
	k.backUp(backup)
	k.try(os.RemoveAll(w.source))
	k.fill(w.source, 1, 300, killedFiles)
	k.try(os.Symlink("large0", filepath.Join(w.source, "link")))
	k.try(os.Link(filepath.Join(w.source, "d1", "small1"), filepath.Join(w.source, "other name")))
	k.backUp(backup)
	k.clone(w.source, filepath.Join(w.dir, "restore", "target"), copyFile)

	// The second state: some files have other content, one only in its middle, and some are new.
	for i := 1; i < killedFiles; i += 3 {
		k.try(os.Remove(filepath.Join(w.source, fmt.Sprintf("large%d", i))))
	}
	k.fill(filepath.Join(w.source, "new"), 2, 150, killedFiles)
	k.change(filepath.Join(w.source, "large0"), 3<<20)
	k.change(filepath.Join(w.source, "large2"), 0)
	k.change(filepath.Join(w.source, "d1", "small1"), 0)

	both := filepath.Join(w.dir, "both")
	k.clone(filepath.Dir(backup), both, os.Link)
	w.second = k.backUp(filepath.Join(both, "repository"))
	for _, name := range []string{"prune", "copy", "restore"} {
		k.clone(both, filepath.Join(w.dir, name), os.Link)
	}
	k.kedge("forget", "-r", filepath.Join(w.dir, "prune", "repository"), "--keep-last", "1")
	second := filepath.Join(w.dir, "copy", "second")
	k.initRepository(second, repo.Options{Polynomial: own.Config().Polynomial})
	k.kedge("copy", "-r", second, "--from-repo", backup)

	for _, path := range []string{"backup/repository", "prune/repository", "copy/repository", "copy/second", "restore/repository"} {
		for _, sn := range k.snapshots(filepath.Join(w.dir, path)) {
			w.finished[path] = append(w.finished[path], sn.ID)
		}
	}
	return w
}

// killedBackup backs up the second state.
func killedBackup(k *killing) {
	k.base, k.repos = filepath.Join(k.dir, "backup"), []string{"repository"}
	k.shows = []string{"repository/index", "repository/snapshots"}
	k.args = func(scene string) []string {
		return []string{"backup", "-r", filepath.Join(scene, "repository"), k.source}
	}
	k.state = func(scene string) string { return k.changes(scene, "repository") }
	k.reached = []string{"nothing", "+data"}
	k.done = func(scene string) {
		repository := filepath.Join(scene, "repository")
		list := k.snapshots(repository)
		if stored := k.stored(k.open(repository), list[len(list)-1]); len(list) < 3 || !maps.Equal(k.holds[stored], k.second) {
			k.t.Errorf("%s: the next run did not back up what stands there: %d snapshots", k.round, len(list))
		}
	}
}

// killedPrune removes what only the forgotten snapshots need: whole packs, and parts of others.
func killedPrune(k *killing) {
	k.base, k.repos = filepath.Join(k.dir, "prune"), []string{"repository"}
	k.shows = []string{"repository/index"}
	args := []string{"prune", "--max-unused", "0", "--json"}
	k.args = func(scene string) []string { return append(args, "-r", filepath.Join(scene, "repository")) }
	k.state = func(scene string) string { return k.changes(scene, "repository") }
	k.reached = []string{"nothing", "+data", "+data +index"}
	var remaining blobsObject
	k.done = func(scene string) {
		var again pruneObject
		k.try(json.Unmarshal([]byte(k.kedge(append(k.args(scene), "--dry-run")...)), &again))
		if again.Total != (blobsObject{}) {
			k.t.Errorf("%s: after the next run there is more to prune: %+v", k.round, again)
		}
		if remaining == (blobsObject{}) {
			remaining = again.Remaining
		}
		if again.Remaining != remaining {
			k.t.Errorf("%s: after the next run %+v remain, want %+v", k.round, again.Remaining, remaining)
		}
	}
}

// killedCopy copies three snapshots, two of which are there.
func killedCopy(k *killing) {
	k.base, k.repos, k.reads = filepath.Join(k.dir, "copy"), []string{"second", "repository"}, "repository"
	k.shows = []string{"second/index", "second/snapshots"}
	k.args = func(scene string) []string {
		return []string{"copy", "-r", filepath.Join(scene, "second"), "--from-repo", filepath.Join(scene, "repository")}
	}
	k.state = func(scene string) string { return k.changes(scene, "second") }
	k.reached = []string{"nothing", "+data"}
	k.done = func(scene string) {
		from, to := k.snapshots(filepath.Join(scene, "repository")), k.snapshots(filepath.Join(scene, "second"))
		same := func(a, b *snapshot.Snapshot) bool {
			return a.Tree == b.Tree && a.Time.Equal(b.Time) && a.ID == *b.Original
		}
		if !slices.EqualFunc(from, to, same) {
			k.t.Errorf("%s: the next run made %d snapshots of %d, or other ones", k.round, len(to), len(from))
		}
	}
}

// killedRestore brings the second state back where the first stands.
func killedRestore(k *killing) {
	k.base, k.repos, k.reads = filepath.Join(k.dir, "restore"), []string{"repository"}, "repository"
	k.shows = []string{"target/d1"} // one file there is replaced
	k.args = func(scene string) []string {
		return []string{"restore", "-r", filepath.Join(scene, "repository"), "latest:" + k.source, "--target", filepath.Join(scene, "target")}
	}
	former := k.standing(filepath.Join(k.base, "target"))
	k.state = func(scene string) string {
		now := k.standing(filepath.Join(scene, "target"))
		placed, temporary := 0, ""
		for path, e := range now {
			if isTemporary(path) {
				temporary = " and temporary files"
			} else if e != former[path] && e == k.second[path] && e.content != "directory" {
				placed++
			}
		}
		switch all := contains(now, k.second); {
		case placed == 0:
			return "nothing placed" + temporary
		case !all:
			return "some placed" + temporary
		}
		return "all placed" + temporary
	}
	k.reached = []string{"nothing placed", "nothing placed and temporary files"}
	k.left = func(scene string) {
		for path, e := range k.standing(filepath.Join(scene, "target")) {
			if isTemporary(path) {
				continue // what is half-written stands under such a name
			}
			was, there := former[path]
			if e.content != k.second[path].content && !(there && e.content == was.content) {
				k.t.Errorf("%s: %s is neither what it was nor what it is to be", k.round, path)
			}
			if e.content != was.content && e.content != "directory" && e != k.second[path] {
				k.t.Errorf("%s: %s has its new content and not its new metadata: %s, want %s", k.round, path, e.meta, k.second[path].meta)
			}
		}
	}
	k.done = func(scene string) {
		now := k.standing(filepath.Join(scene, "target"))
		for path, e := range now {
			want, ok := k.second[path]
			if !ok {
				want, ok = former[path]
			}
			if !ok || want.content != e.content || want.meta != e.meta && k.second[path] == want {
				k.t.Errorf("%s: after the next run %s is %+v, want %+v", k.round, path, e, want)
			}
		}
		for path := range k.second {
			if _, ok := now[path]; !ok {
				k.t.Errorf("%s: after the next run there is no %s", k.round, path)
			}
		}
	}
}

func isTemporary(path string) bool { return strings.HasPrefix(filepath.Base(path), ".kedge-") }

// contains tells whether all of part is in whole.
func contains(whole, part tree) bool {
	for path, e := range part {
		if whole[path] != e {
			return false
		}
	}
	return true
}

func (k *killing) initRepository(dir string, opt repo.Options) *repo.Repository {
	k.t.Helper()
	be, err := local.Create(dir)
	k.try(err)
	opt.ScryptN = 2
	r, err := repo.Init(k.t.Context(), be, killedPassword, opt)
	k.try(err)
	return r
}

func (k *killing) open(repository string) *repo.Repository {
	k.t.Helper()
	be, err := local.Open(repository)
	k.try(err)
	r, err := repo.Open(k.t.Context(), be, killedPassword, repo.Options{})
	k.try(err)
	return r
}

// snapshots returns those of a repository, the oldest first.
func (k *killing) snapshots(repository string) []*snapshot.Snapshot {
	k.t.Helper()
	list, err := snapshot.List(k.t.Context(), k.open(repository))
	k.try(err)
	return list
}

// backUp stores the source as it is, and notes what the snapshot must hold from now on.
func (k *killing) backUp(repository string) tree {
	k.t.Helper()
	k.kedge("backup", "-r", repository, k.source)
	list := k.snapshots(repository)
	now := k.standing(k.source)
	k.holds[k.stored(k.open(repository), list[len(list)-1])] = now
	return now
}

// stored returns the tree of source in a snapshot.
func (k *killing) stored(r *repo.Repository, sn *snapshot.Snapshot) blob.ID {
	k.t.Helper()
	node, err := snapshot.Lookup(k.t.Context(), r, sn.Tree, k.source)
	k.try(err)
	return *node.Subtree
}

// there fails the test unless the snapshots that were finished are there, and each that is there is of one of the states of
// source. kedge check tells whether what they need is there too.
func (k *killing) there(scene, name string) (r *repo.Repository, list []*snapshot.Snapshot) {
	k.t.Helper()
	r = k.open(filepath.Join(scene, name))
	list, err := snapshot.List(k.t.Context(), r)
	k.try(err)
	for _, id := range k.finished[filepath.Base(k.base)+"/"+name] {
		if !slices.ContainsFunc(list, func(sn *snapshot.Snapshot) bool { return sn.ID == id }) {
			k.t.Errorf("%s: the finished snapshot %s is gone from %s", k.round, id.Short(), name)
		}
	}
	for _, sn := range list {
		if k.holds[k.stored(r, sn)] == nil {
			k.t.Errorf("%s: snapshot %s in %s is of nothing that was backed up", k.round, sn.ID.Short(), name)
		}
	}
	return r, list
}

// whole reads all that the snapshots hold, and fails the test unless it is what was backed up.
func (k *killing) whole(scene, name string) {
	k.t.Helper()
	r, list := k.there(scene, name)
	read := make(map[string]string)
	for _, sn := range list {
		if !maps.Equal(k.held(r, sn, read), k.holds[k.stored(r, sn)]) {
			k.t.Errorf("%s: snapshot %s in %s does not hold what was backed up", k.round, sn.ID.Short(), name)
		}
	}
}

// held reads what a snapshot holds below source. read has the hashes of contents that were read, by their blobs.
func (k *killing) held(r *repo.Repository, sn *snapshot.Snapshot, read map[string]string) tree {
	k.t.Helper()
	all := make(tree)
	k.try(snapshot.Walk(k.t.Context(), r, k.stored(r, sn), func(path string, n *snapshot.Node) error {
		e := item{"directory", fmt.Sprint(n.Mode, n.ModTime.UnixNano())}
		switch n.Type {
		case snapshot.Symlink:
			e = item{n.LinkTarget, ""}
		case snapshot.File:
			blobs := fmt.Sprint(n.Content)
			if read[blobs] == "" {
				sum := sha256.New()
				for _, id := range n.Content {
					data, err := r.LoadBlob(k.t.Context(), blob.Handle{ID: id, Type: blob.Data}, nil)
					if err != nil {
						return err
					}
					sum.Write(data)
				}
				read[blobs] = fmt.Sprintf("%x", sum.Sum(nil))
			}
			e.content = read[blobs]
		}
		all[path[1:]] = e
		return nil
	}))
	return all
}

// restored fails the test unless every snapshot of a repository restores as it was backed up.
func (k *killing) restored(repository string) {
	k.t.Helper()
	r := k.open(repository)
	for _, sn := range k.snapshots(repository) {
		target := k.t.TempDir()
		k.kedge("restore", "-r", repository, sn.ID.String()+":"+k.source, "--target", target)
		if !maps.Equal(k.standing(target), k.holds[k.stored(r, sn)]) {
			k.t.Errorf("%s: snapshot %s does not restore as it was backed up", k.round, sn.ID.Short())
		}
		k.remove(target)
	}
}
