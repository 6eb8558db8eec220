package main

import (
	"context"
	"slices"
	"time"
)

// workload is ordinary work that may look like an attack. It goes on for some days; people work beside it.
type workload struct {
	name    string
	needs   []string                                               // programs
	prepare func(ctx context.Context, sc *scenario) error          // what is there before; may be nil
	day     func(ctx context.Context, sc *scenario, day int) error // counted from 0
}

// workDays is for how many days a workload goes on.
const workDays = 4

// workloads returns those that the rules of detection may have been written with.
func workloads() []workload {
	return []workload{
		{name: "package upgrade", prepare: installPackage, day: upgradePackage},
		{name: "git: commits, gc, checkout", needs: []string{"git"}, prepare: gitInit, day: gitDay},
		{name: "archives and media are made", day: makeArchives},
		{name: "gpg: single files encrypted, originals deleted", needs: []string{"gpg"}, day: gpgFiles},
		{name: "age: single files encrypted, originals deleted", needs: []string{"age", "age-keygen"}, prepare: ageKey, day: ageFiles},
		{name: "database vacuum", needs: []string{"sqlite3"}, day: vacuum},
		{name: "database files rewritten, truncated and dropped by the server", day: serverRewrites},
		{name: "log rotation and compression", prepare: makeLogs, day: rotateLogs},
		{name: "office autosave", day: autosave},
		{name: "bulk rename", day: bulkRename},
		{name: "bulk extension change", day: extensionChange},
		{name: "photo import", day: photoImport},
		{name: "mail delivery", day: mailDelivery},
		{name: "build", needs: []string{"gcc", "ar"}, prepare: writeProgram, day: buildProgram},
		{name: "restore of old versions", prepare: rememberFiles, day: restoreFiles},
		{name: "rsync", needs: []string{"rsync"}, day: rsyncMirror},
		{name: "key rotation of an encrypted volume file", prepare: makeVolumes, day: rotateVolumes},
		{name: "directories packed to tar.gz, originals deleted", day: packDirectories},
		{name: "files compressed one by one", needs: []string{"gzip", "xz"}, day: compressFiles},
		{name: "photos re-encoded", day: reencodePhotos},
		{name: "conversion to other formats, originals deleted", day: convertFiles},
		{name: "web site deployed: minified and compressed", day: deploySite},
		{name: "password databases rewritten daily", day: rewriteVaults},
		{name: "encrypted nightly backup rotated", prepare: nothingBefore, day: nightlyBackup},
		{name: "backup repository in the tree: filled and pruned", prepare: fillRepository, day: pruneRepository},
		{name: "large cleanup of old files", day: cleanup},
		{name: "ansible-vault and git-crypt files rekeyed", prepare: makeSecrets, day: rekeySecrets},
		{name: "database dump replaced daily", day: dumpDaily},
		{name: "certificates renewed", prepare: renewCertificates, day: func(ctx context.Context, sc *scenario, _ int) error { return renewCertificates(ctx, sc) }},
		{name: "files emptied, caches cleared", prepare: fillCache, day: clearCache},
		{name: "directories moved", day: moveDirectories},
		{name: "downloads into preallocated files, disk images", day: downloads},
		{name: "texts re-encoded and reformatted", day: reformat},
	}
}

func nothingBefore(context.Context, *scenario) error { return nil }

// of returns the files of these kinds.
func (sc *scenario) of(kinds ...string) []string {
	return slices.DeleteFunc(sc.files(), func(name string) bool { return !slices.Contains(kinds, sc.kinds[name]) })
}

// put writes new content of a kind at name; nobody else works with it.
func (sc *scenario) put(ctx context.Context, name, kind string) error {
	data, err := sc.people.content(ctx, kind)
	if err != nil {
		return err
	}
	sc.pass(time.Second)
	return sc.write(name, data)
}

// swap writes data to a temporary name and renames it to name.
func (sc *scenario) swap(name, temporary string, data []byte) error {
	if err := sc.write(temporary, data); err != nil {
		return err
	}
	return sc.rename(temporary, name)
}
