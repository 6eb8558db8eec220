//go:build long

package main

// killedMoments is how often each command is killed: 200 times in all.
const killedMoments = 50

// killedFiles is how many large files there are: with more of them a run takes longer.
const killedFiles = 8
