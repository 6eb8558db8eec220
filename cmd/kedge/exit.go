package main

import (
	"errors"

	"github.com/kedge-project/kedge/repo"
)

// Exit statuses, as restic's.
const (
	exitDone          = 0
	exitFailed        = 1
	exitIncomplete    = 3  // a snapshot was stored, and some source data could not be read
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
)

func exitStatus(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errIncomplete):
		return exitIncomplete
	case errors.Is(err, repo.ErrNoRepository):
		return exitNoRepository
	case errors.Is(err, repo.ErrLocked):
		return exitLocked
	case errors.Is(err, repo.ErrWrongPassword):
		return exitWrongPassword
	}
	return exitFailed
}
