package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/evidence"
)

func addEstateFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "estate", os.Getenv("KEDGE_ESTATE"), "estate file, such as /etc/kedge/kedge.yaml")
}

// withAgent loads an estate, opens its record, and calls fn with an agent that works for it. The record is in the
// estate's state directory; its key is made when it is first needed.
func withAgent(ctx context.Context, estateFile string, fn func(context.Context, *estate.Estate, *agent.Agent) error) (err error) {
	if estateFile == "" {
		return errors.New("no estate named: give --estate, or set KEDGE_ESTATE")
	}
	e, err := estate.Load(estateFile)
	if err != nil {
		return err
	}
	record, err := openRecord(ctx, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	a := agent.Open(e, openBackend, record)
	defer a.Close()
	return fn(ctx, e, a)
}

// openRecord opens the estate's record for appending. Its checkpoints are made where a witness is declared.
func openRecord(ctx context.Context, e *estate.Estate) (*evidence.Log, error) {
	key := filepath.Join(e.State, "record.key")
	if _, err := os.Stat(key); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(e.State, 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
		if _, err := evidence.GenerateKey(key, "kedge/"+e.Name); err != nil {
			return nil, err
		}
	}
	return evidence.Open(ctx, filepath.Join(e.State, "record"), evidence.Options{SignerKey: key})
}
