//go:build !long

package main

import "time"

// lossTests are one moment of each kind, with a bound that keeps them short.
var lossTests = []lossTest{
	{name: "asynchronous", times: 1, within: 2 * time.Second, moment: 4 * time.Second},
	{name: "synchronous", synchronous: true, times: 1, within: 2 * time.Second, moment: 2 * time.Second},
}
