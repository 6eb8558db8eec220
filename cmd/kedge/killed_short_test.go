//go:build !long

package main

// killedMoments is how often each command is killed.
const killedMoments = 3

// killedFiles is how many large files there are: with more of them a run takes longer.
const killedFiles = 3
