//go:build !long

package main

// interruptedStages are those in which most kinds of processes run.
var interruptedStages = []string{"build", "drill", "recover"}
