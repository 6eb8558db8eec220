package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/pattern"
)

// excludeFlags say what a backup leaves out.
type excludeFlags struct {
	patterns      patternFlags
	caches        bool
	ifPresent     []string
	largerThan    string
	oneFileSystem bool
}

func (f *excludeFlags) add(cmd *cobra.Command) {
	f.patterns.add(cmd, "exclude", "e", "leave out")
	flags := cmd.Flags()
	flags.BoolVar(&f.caches, "exclude-caches", false, "leave out what directories with a CACHEDIR.TAG hold (https://bford.info/cachedir/)")
	flags.StringArrayVar(&f.ifPresent, "exclude-if-present", nil, "leave out what directories hold that have this `file[:header]`, but for the file itself (repeatable)")
	flags.StringVar(&f.largerThan, "exclude-larger-than", "", "leave out files over this `size` (suffixes k, M, G, T)")
	flags.BoolVarP(&f.oneFileSystem, "one-file-system", "x", false, "do not go into file systems that are mounted below a path")
}

// exclude puts into the options what the flags say.
func (f *excludeFlags) exclude(opt *archive.Options) error {
	choice, err := f.patterns.choice("exclude")
	if err != nil {
		return err
	}
	opt.Excludes = f.patterns.exact // as restic has it: those of files are not told
	if !choice.empty() {
		opt.Exclude = choice.match
	}
	if f.caches {
		opt.ExcludeIfPresent = append(opt.ExcludeIfPresent, archive.CacheMarker())
	}
	for _, text := range f.ifPresent {
		name, header, _ := strings.Cut(text, ":")
		if name == "" || strings.Contains(name, "/") {
			return fmt.Errorf("--exclude-if-present %q: give the name of a file, without a directory", text)
		}
		opt.ExcludeIfPresent = append(opt.ExcludeIfPresent, archive.Marker{Name: name, Header: header})
	}
	opt.OneFileSystem = f.oneFileSystem
	if f.largerThan != "" {
		if opt.ExcludeLargerThan, err = parseSize(f.largerThan); err != nil {
			return fmt.Errorf("--exclude-larger-than %q: %w", f.largerThan, err)
		}
	}
	return nil
}

// readPatterns makes one list of patterns and of those in files.
func readPatterns(flag string, list, files []string, fold bool) (*pattern.List, error) {
	for _, file := range files {
		more, err := pattern.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--%s-file: %w", flag, err)
		}
		list = append(list, more...)
	}
	parsed, err := pattern.Parse(list, fold)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return parsed, nil
}

// parseSize reads a number of bytes, with restic's suffixes: powers of 1024.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "kKmMgGtT")
	shift := 0
	if suffix := text[len(digits):]; len(suffix) == 1 {
		shift = 10 * (1 + strings.Index("kmgt", strings.ToLower(suffix)))
	} else if suffix != "" {
		digits = text // no number
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, errors.New("give a number of bytes, or one with a suffix, such as 20M")
	}
	return n << shift, nil
}
