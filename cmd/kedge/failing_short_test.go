//go:build !long

package main

// failingStride says that every fourth call to storage fails in its turn.
const failingStride = 4
