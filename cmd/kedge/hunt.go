package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/hunt"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type huntFlags struct {
	repositoryFlags
	filterFlags
	query    hunt.Query
	from     huntLists
	yaraSize string
}

// huntLists are files that hold an indicator a line.
type huntLists struct{ sha256, literals, regexes []string }

func newHuntCommand(term *terminal) *cobra.Command {
	var flags huntFlags
	cmd := &cobra.Command{
		Use:   "hunt -r REPOSITORY [flags] [SNAPSHOT...]",
		Short: "Look for hashes, texts, patterns and YARA rules through all of history",
		Long: `Look for indicators in the content of all files of the named snapshots, or of those that --host, --tag
and --path choose, or of all, and tell at which paths each was found, in which snapshot first and in
which last, and where in the file. The repository is only read, every blob once, however many
snapshots hold it. Snapshots of other hosts, or of other paths, say nothing of a file, and do not
count as having lost it.

  --sha256   of a whole file. Files of one blob, which all are under 512 KiB and most under 1 MiB, are
             answered without reading content; larger ones are read, each content once.
  --literal  these bytes, upper and lower case apart.
  --hex      bytes as in YARA's hex strings, without wildcards: "4D 5A 90 00".
  --regex    the syntax of RE2 (go.dev/s/re2syntax), on text in UTF-8; (?i) ignores case, (?m) lets ^
             and $ match at lines, (?s) lets . match newlines. A match that reaches over the border of
             two blobs is found if it takes no more than 4 KiB on either side of it.
  --yara     a file of YARA rules, which are given whole files, or the first --yara-size of them; how
             many were cut is said. Needs a kedge that is built with -tags yara and Debian's
             libyara-dev.

Many indicators are looked for at once; --sha256-from, --literal-from and --regex-from read them from
files, one a line, of a hash the first word, as sha256sum writes. A hundred literals take hardly
longer than one; each regular expression takes time of its own.

--json prints one object:
  {"hits":[{"indicator":{"type":"sha256|literal|hex|regex|yara","value","file"},"host","path","size",
    "offsets":[],"first_seen":{"id","time"},"last_seen":{"id","time"},"in_newest","snapshots",
    "spans":[{"first":{"id","time"},"last":{"id","time"},"snapshots"}]}],
  "truncated","snapshots","read":{"blobs","again","bytes","seconds"},"cut","problems"}
value is as it was given, or a YARA rule's name, of which file is the file; offsets are where the
first five matches begin in the file, as it was when last seen; in_newest tells that the newest
snapshot of the host and these paths holds it; spans are several if snapshots between hold it not;
read tells how many blobs and plain bytes were read, and how many of the blobs a second time or more;
cut counts files that YARA was given in part. file, truncated and cut are left out if they tell
nothing.

Exit status: 0 if all was searched, found or not; 1 if something could not be read, which is said and
counted, or on any other error; 10, 11 and 12 as of every command on a repository.`,
		Example: `  kedge hunt -r /srv/repository --sha256 d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592
  kedge hunt -r /srv/repository --literal gate.evil.example --regex '(?i)eval\s*\(\s*base64_decode' --host web1
  kedge hunt -r /srv/repository --hex "4D 5A 90 00 03" latest
  sha256sum dropper.bin | kedge hunt -r /srv/repository --sha256-from - --literal-from domains.txt
  kedge hunt -r /srv/repository --yara webshells.yar --json | jq '.hits[] | {path, first_seen}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runHunt(cmd.Context(), term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	own := cmd.Flags()
	own.StringArrayVar(&flags.query.SHA256, "sha256", nil, "files with this SHA-256 (repeatable, as all of these)")
	own.StringArrayVar(&flags.query.Literals, "literal", nil, "files that hold this text")
	own.StringArrayVar(&flags.from.sha256, "sha256-from", nil, "the SHA-256 in this `file`, one a line; - is standard input")
	own.StringArrayVar(&flags.from.literals, "literal-from", nil, "the texts in this `file`, one a line")
	own.StringArrayVar(&flags.from.regexes, "regex-from", nil, "the regular expressions in this `file`, one a line")
	own.StringArrayVar(&flags.query.Hex, "hex", nil, "files that hold these bytes, in hexadecimal")
	own.StringArrayVar(&flags.query.Regexes, "regex", nil, "files that this regular expression matches in")
	own.StringArrayVar(&flags.query.YARA, "yara", nil, "files that fulfil a rule of this file of YARA rules")
	own.StringVar(&flags.yaraSize, "yara-size", "64M", "give YARA no more than this `size` of a file, from its start (suffixes k, M, G)")
	return cmd
}

func runHunt(ctx context.Context, term *terminal, flags *huntFlags, args []string) error {
	size, err := parseSize(flags.yaraSize)
	if err != nil || size < 1 || size > 1<<30 {
		return fmt.Errorf("--yara-size %q: want a size from 1 byte to 1G, as 64M", flags.yaraSize)
	}
	query, err := flags.from.add(flags.query)
	if err != nil {
		return err
	}
	h, err := hunt.New(query)
	if err != nil {
		return fmt.Errorf("hunt: %w", err)
	}
	defer h.Close()
	return flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		return runHuntIn(ctx, term, r, h, flags, args, int(size))
	})
}

// add returns the query with what the lists hold.
func (l huntLists) add(q hunt.Query) (hunt.Query, error) {
	for _, list := range []struct {
		flag  string
		files []string
		to    *[]string
	}{{"--sha256-from", l.sha256, &q.SHA256}, {"--literal-from", l.literals, &q.Literals}, {"--regex-from", l.regexes, &q.Regexes}} {
		for _, file := range list.files {
			lines, err := readList(file, false)
			if err != nil {
				return q, fmt.Errorf("%s: %w", list.flag, err)
			}
			for _, line := range lines {
				if list.to == &q.SHA256 {
					if line, _, _ = strings.Cut(strings.TrimSpace(line), " "); line == "" || line[0] == '#' {
						continue
					}
				}
				*list.to = append(*list.to, line)
			}
		}
	}
	return q, nil
}

func runHuntIn(ctx context.Context, term *terminal, r *repo.Repository, h *hunt.Hunt, flags *huntFlags, args []string, size int) error {
	var ignored []error
	list, unreadable := snapshot.Select(ctx, r, args, flags.filter(), func(_ string, err error) { ignored = append(ignored, err) })
	if len(ignored) > 0 {
		return errors.Join(ignored...)
	}
	if len(list) == 0 && unreadable != nil {
		return unreadable
	}
	if unreadable != nil {
		printHuntProblem(term, unreadable)
	}
	result, err := h.Run(ctx, r, list, hunt.Options{
		MostScanned: size,
		Report:      func(err error) { printHuntProblem(term, err) },
		Progress:    func(p hunt.Progress) { printHuntProgress(term, p) },
	})
	if err != nil {
		return err
	}
	if unreadable != nil {
		result.Problems++
	}
	printHunt(term, result)
	if err := term.object(result); err != nil {
		return err
	}
	if result.Problems > 0 {
		return errors.New("hunt: not everything was searched or told, as said above")
	}
	return nil
}

// printHuntProblem tells what could not be searched on standard error, with --json as the other commands do.
func printHuntProblem(term *terminal, err error) {
	if !term.json {
		term.warn("%s", wording.Plain(err.Error()))
		return
	}
	line, _ := json.Marshal(errorObject{"error", err.Error()}) // strings: no error
	term.warn("%s", line)
}

func printHuntProgress(term *terminal, p hunt.Progress) {
	if p.Total > 0 {
		term.progress("%s of %s searched", wording.Size(p.Read), wording.Size(p.Total))
		return
	}
	term.progress("%s looked through", wording.Number(int64(p.Directories), "directory"))
}

func printHunt(term *terminal, result *hunt.Result) {
	var last hunt.Indicator
	for _, hit := range result.Hits {
		if hit.Indicator != last {
			last = hit.Indicator
			from := ""
			if last.File != "" {
				from = " of " + last.File
			}
			term.printf("%s %s%s", last.Type, wording.Plain(last.Value), from)
		}
		printHit(term, hit)
	}
	if result.Cut > 0 {
		term.warn("YARA was given only the start of %s: see --yara-size", wording.Number(int64(result.Cut), "file"))
	}
	again := ""
	if result.Read.Again > 0 {
		again = fmt.Sprintf(" (%s again)", wording.Count(int64(result.Read.Again)))
	}
	term.printf("%s in %s; read %s%s, %s, in %s", wording.Number(int64(len(result.Hits)), "hit"), wording.Number(int64(result.Snapshots), "snapshot"),
		wording.Number(int64(result.Read.Blobs), "blob"), again, wording.Size(result.Read.Bytes), wording.Span(result.Read.Seconds))
}

func printHit(term *terminal, hit hunt.Hit) {
	at := ""
	for i, offset := range hit.Offsets {
		at += map[bool]string{true: ", at ", false: ", "}[i == 0] + fmt.Sprint(offset)
	}
	term.printf("  %s  on %s, %s%s", wording.Plain(hit.Path), wording.Plain(hit.Host), wording.Size(int64(hit.Size)), at)
	var spans []string
	for _, s := range hit.Spans {
		text := inWords(s.First)
		if s.Snapshots > 1 {
			text = fmt.Sprintf("%s to %s", text, inWords(s.Last))
		}
		spans = append(spans, text)
	}
	end := ""
	if !hit.InNewest {
		end = "; not in the next"
	}
	term.printf("    %s: %s%s", wording.Number(int64(hit.Snapshots), "snapshot"), strings.Join(spans, "; not in the next; again "), end)
}

func inWords(m hunt.Moment) string { return m.ID.Short() + " of " + forPeople(m.Time) }
