package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/timeline"
)

func newEvidenceCommand(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Verify and read the record of what happened",
		Long: `The record is an append-only Merkle log (C2SP tlog-tiles) whose checkpoints the second site
cosigns. Verifying needs its files and two public keys, and no network.`,
		Example: `  kedge evidence verify --record /var/lib/kedge/record --keys /etc/kedge/record.pub
  kedge evidence list --record /var/lib/kedge/record
  kedge evidence keygen --name example.org/record /etc/kedge/record.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEvidenceVerifyCommand(term), newEvidenceListCommand(term), newEvidenceKeygenCommand(term))
	return cmd
}

func newEvidenceVerifyCommand(term *terminal) *cobra.Command {
	var dir, keys string
	cmd := &cobra.Command{
		Use:   "verify --record DIRECTORY --keys FILE",
		Short: "Prove a record offline: one changed byte fails",
		Long: `Read every entry again, recompute the Merkle root, and check the log's signature and the
witness's cosignature. FILE holds two lines: the log's public key, then the witness's.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || keys == "" {
				return errors.New("evidence verify needs --record and --keys")
			}
			logKey, witnessKey, err := readPublicKeys(keys)
			if err != nil {
				return err
			}
			result, err := evidence.Verify(cmd.Context(), dir, logKey, witnessKey)
			if err != nil {
				return err
			}
			term.printf("%s: %d entries proven, root %x, cosigned %s", result.Origin, result.Entries, result.Root, result.Time.UTC().Format(time.RFC3339))
			if result.Pending > 0 {
				term.printf("%d entries after the checkpoint are not proven yet", result.Pending)
			}
			return term.object(map[string]any{
				"message_type": "verified", "origin": result.Origin, "entries": result.Entries,
				"root": fmt.Sprintf("%x", result.Root), "time": result.Time.UTC(), "pending": result.Pending,
			})
		},
	}
	cmd.Flags().StringVar(&dir, "record", "", "directory of the record")
	cmd.Flags().StringVar(&keys, "keys", "", "file with the public keys of the log and of the witness")
	return cmd
}

// readPublicKeys reads the log's key from the first line and the witness's from the second.
func readPublicKeys(path string) (logKey, witnessKey string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("read public keys: %w", err)
	}
	lines := strings.Fields(string(data))
	if len(lines) != 2 {
		return "", "", fmt.Errorf("read public keys %s: want two lines, the log's key and the witness's, have %d", path, len(lines))
	}
	return lines[0], lines[1], nil
}

func newEvidenceListCommand(term *terminal) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "list --record DIRECTORY",
		Short: "Print what is on a record, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return errors.New("evidence list needs --record")
			}
			events, err := evidence.Read(cmd.Context(), dir)
			if err != nil {
				return err
			}
			for _, e := range events {
				if err := term.object(e); err != nil {
					return err
				}
			}
			for _, entry := range timeline.Entries(nil, events) {
				term.printf("%s  %-14s %s", entry.Time.UTC().Format(time.RFC3339), entry.Service, entry.What)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "record", "", "directory of the record")
	return cmd
}

func newEvidenceKeygenCommand(term *terminal) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "keygen --name NAME FILE",
		Short: "Make a key for a record or a witness, and print its public half",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if name == "" {
				return errors.New("evidence keygen needs --name, such as example.org/record")
			}
			public, err := evidence.GenerateKey(args[0], name)
			if err != nil {
				return err
			}
			term.printf("%s", public)
			return term.object(map[string]string{"message_type": "generated", "file": args[0], "public_key": public})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name that the key signs with: a URL without its scheme")
	return cmd
}
