package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

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
	record, witnessed, err := openRecord(ctx, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	a := agent.Open(e, openBackend, record)
	defer a.Close()
	if err := fn(ctx, e, a); err != nil {
		return err
	}
	if !witnessed {
		return nil
	}
	if err := record.Checkpoint(ctx); err != nil {
		return fmt.Errorf("have the record cosigned: %w (nothing is lost: the next command that succeeds makes up for it)", err)
	}
	return nil
}

// openRecord opens the estate's record for appending, with the first vault that is a witness.
func openRecord(ctx context.Context, e *estate.Estate) (record *evidence.Log, witnessed bool, err error) {
	opt := evidence.Options{SignerKey: filepath.Join(e.State, "record.key")}
	if _, err := os.Stat(opt.SignerKey); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(e.State, 0o700); err != nil {
			return nil, false, fmt.Errorf("make state directory: %w", err)
		}
		if _, err := evidence.GenerateKey(opt.SignerKey, "kedge/"+e.Name); err != nil {
			return nil, false, err
		}
	}
	for _, site := range e.Sites {
		if site.WitnessKey != "" && !witnessed {
			opt.Witness = evidence.WitnessOptions{URL: site.Vault, VerifierKey: site.WitnessKey}
			witnessed = true
		}
	}
	// An agent holds the record for a moment at a time.
	for until := time.Now().Add(recordPatience); ; {
		record, err = evidence.Open(ctx, filepath.Join(e.State, "record"), opt)
		if !errors.Is(err, evidence.ErrLocked) || time.Now().After(until) {
			return record, witnessed, err
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(recordPatience / 100):
		}
	}
}

// recordPatience is how long a command waits for another that appends to the record.
const recordPatience = 10 * time.Second
