package main

import (
	"encoding/json"
	"errors"

	"github.com/kedge-project/kedge/repo"
)

// Exit statuses, as restic's.
const (
	exitDone          = 0
	exitFailed        = 1
	exitIncomplete    = 3  // some source data could not be read, and the rest was stored; or some snapshots were not removed
	exitNotCompared   = 2  // kedge web diff: not all could be compared, as of diff(1)
	exitNoRepository  = 10 // there is none at the location
	exitLocked        = 11
	exitWrongPassword = 12
	exitCancelled     = 130
)

var (
	// errReported ends a command whose failure is already on the screen, as a result.
	errReported = errors.New("failed, as reported")
	// errIncomplete ends a backup that left something out.
	errIncomplete = errors.New("some source data could not be read; the snapshot holds the rest")
	// errSnapshotsLeft ends a forget that left something.
	errSnapshotsLeft = errors.New("some snapshots could not be removed")
)

func exitStatus(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errIncomplete), errors.Is(err, errSnapshotsLeft):
		return exitIncomplete
	case errors.Is(err, errNotCompared):
		return exitNotCompared
	case errors.Is(err, repo.ErrNoRepository):
		return exitNoRepository
	case errors.Is(err, repo.ErrLocked):
		return exitLocked
	case errors.Is(err, repo.ErrWrongPassword):
		return exitWrongPassword
	}
	return exitFailed
}

// exit tells the error that ends the command: with --json as restic does, as the last line of standard error.
func (t *terminal) exit(err error, status int) {
	switch {
	case err == nil || errors.Is(err, errReported):
	case t.json:
		line, _ := json.Marshal(exitObject{"exit_error", status, err.Error()}) // strings and numbers: no error
		t.warn("%s", line)
	default:
		t.warn("kedge: %v", err)
	}
}

type exitObject struct {
	MessageType string `json:"message_type"`
	Code        int    `json:"code"`
	Message     string `json:"message"`
}
