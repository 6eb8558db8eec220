//go:build long

package main

// failingStride says that every call to storage fails in its turn.
const failingStride = 1
