package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type statsFlags struct {
	repositoryFlags
	filterFlags
	mode string
}

func newStatsCommand(term *terminal) *cobra.Command {
	var flags statsFlags
	cmd := &cobra.Command{
		Use:   "stats -r REPOSITORY [flags] [SNAPSHOT...]",
		Short: "Count files and bytes of snapshots",
		Long: `Count what the named snapshots hold, or those that --host, --tag and --path choose, or all:

  restore-size       what restoring each of them would write
  files-by-contents  files of different content
  blobs-per-file     the pieces of files of different content, by path
  raw-data           what they take in the repository, and what compression saves`,
		Example: `  kedge stats -r /srv/repository latest
  kedge stats -r /srv/repository --mode raw-data --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return runStats(ctx, term, r, &flags, args)
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	cmd.Flags().StringVar(&flags.mode, "mode", string(snapshot.RestoreSize), "what to count: restore-size, files-by-contents, blobs-per-file or raw-data")
	return cmd
}

// statsObject is what was counted, as restic prints it.
type statsObject struct {
	TotalSize              int64   `json:"total_size"`
	TotalUncompressedSize  int64   `json:"total_uncompressed_size,omitempty"`
	CompressionRatio       float64 `json:"compression_ratio,omitempty"`
	CompressionProgress    float64 `json:"compression_progress,omitempty"`     // percent
	CompressionSpaceSaving float64 `json:"compression_space_saving,omitempty"` // percent
	TotalFileCount         int     `json:"total_file_count"`
	TotalBlobCount         int     `json:"total_blob_count,omitempty"`
	SnapshotsCount         int     `json:"snapshots_count"`
}

func runStats(ctx context.Context, term *terminal, r *repo.Repository, flags *statsFlags, args []string) error {
	list, err := snapshot.Select(ctx, r, args, flags.filter(), ignore(term))
	if err != nil {
		return err
	}
	counted, err := snapshot.Stats(ctx, r, list, snapshot.StatsMode(flags.mode), func(trees int) { term.progress("%d directories read", trees) })
	if err != nil {
		return err
	}
	o := statsObject{TotalSize: counted.Size, TotalFileCount: counted.Files, TotalBlobCount: counted.Blobs, SnapshotsCount: len(list)}
	if raw := counted.Raw; raw.Plain > 0 {
		o.TotalUncompressedSize = raw.Plain
		o.CompressionProgress = 100 * float64(raw.CompressedPlain) / float64(raw.Plain)
		o.CompressionSpaceSaving = 100 * (1 - float64(raw.Stored)/float64(raw.Plain))
		if raw.CompressedStored > 0 {
			o.CompressionRatio = float64(raw.CompressedPlain) / float64(raw.CompressedStored)
		}
	}
	printStats(term, flags.mode, o)
	return term.object(o)
}

func printStats(term *terminal, mode string, o statsObject) {
	term.printf("Stats in %s mode:", mode)
	term.printf("     Snapshots processed:  %d", o.SnapshotsCount)
	if o.TotalBlobCount > 0 {
		term.printf("        Total Blob Count:  %d", o.TotalBlobCount)
	}
	if o.TotalFileCount > 0 {
		term.printf("        Total File Count:  %d", o.TotalFileCount)
	}
	if o.TotalUncompressedSize > 0 {
		term.printf(" Total Uncompressed Size:  %s", wording.Size(o.TotalUncompressedSize))
	}
	term.printf("              Total Size:  %s", wording.Size(o.TotalSize))
	if o.TotalUncompressedSize > 0 {
		term.printf("    Compression Progress:  %.2f%%", o.CompressionProgress)
		term.printf("       Compression Ratio:  %.2fx", o.CompressionRatio)
		term.printf("Compression Space Saving:  %.2f%%", o.CompressionSpaceSaving)
	}
}
