package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/vault"
)

type vaultFlags struct {
	cfg         vault.Config
	sources     []string
	sourceToken string
	logKeyFile  string
}

func newVaultCommand(term *terminal) *cobra.Command {
	var flags vaultFlags
	cmd := &cobra.Command{
		Use:   "vault --dir DIRECTORY --listen ADDRESS --source NAME=LOCATION",
		Short: "Run the second site's vault: pull, verify, serve read-only, cosign the record",
		Long: `Pull the sources' files, comparing each with the SHA-256 in its name, and serve the copies
read-only. The vault holds no repository password, and nothing that a client sends removes
a file. With a witness key it cosigns the record's checkpoints.`,
		Example: `  kedge vault --dir /var/lib/kedge --listen 10.2.0.1:8000 \
    --source london=rest:http://10.1.0.1:8000/ --source-token-file /etc/kedge/london.token \
    --read-token-file /etc/kedge/read.token --operator-token-file /etc/kedge/operator.token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runVault(cmd, term, &flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.cfg.Dir, "dir", "/var/lib/kedge", "directory of the copies")
	f.StringVar(&flags.cfg.Listen, "listen", "127.0.0.1:8000", "address to serve at")
	f.StringArrayVar(&flags.sources, "source", nil, "repository to pull, as NAME=LOCATION (repeatable)")
	f.StringVar(&flags.sourceToken, "source-token-file", "", "file that holds the token for reading the sources")
	f.DurationVar(&flags.cfg.Interval, "interval", 5*time.Minute, "time between pulls; 0: only when an operator asks")
	f.StringVar(&flags.cfg.ReadTokenFile, "read-token-file", "", "file that holds the token for reading the copies")
	f.StringVar(&flags.cfg.OperatorTokenFile, "operator-token-file", "", "file that holds the token for asking for a pull or a verification")
	f.StringVar(&flags.cfg.WitnessKeyFile, "witness-key-file", "", "key to cosign the record with (kedge evidence keygen)")
	f.StringVar(&flags.logKeyFile, "log-key-file", "", "file that holds the record's public key")
	return cmd
}

func runVault(cmd *cobra.Command, term *terminal, flags *vaultFlags) error {
	for _, s := range flags.sources {
		name, location, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("source %q: want NAME=LOCATION", s)
		}
		flags.cfg.Sources = append(flags.cfg.Sources, vault.Source{Name: name, Location: location, TokenFile: flags.sourceToken})
	}
	if len(flags.cfg.Sources) == 0 && flags.cfg.WitnessKeyFile == "" {
		return errors.New("nothing to do: name a --source, or a --witness-key-file")
	}
	if flags.logKeyFile != "" {
		key, err := readSecret(flags.logKeyFile)
		if err != nil {
			return err
		}
		flags.cfg.LogKey = key
	}
	v, err := vault.New(flags.cfg, vault.OpenSource, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	term.printf("vault at %s, copies in %s", flags.cfg.Listen, flags.cfg.Dir)
	return v.Run(cmd.Context())
}
