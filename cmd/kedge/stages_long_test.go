//go:build long

package main

import "github.com/kedge-project/kedge/internal/exercise"

// interruptedStages are all.
var interruptedStages = exercise.StageNames()
