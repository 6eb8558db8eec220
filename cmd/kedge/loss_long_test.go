//go:build long

package main

import "time"

// lossTests are several moments, with the bound that holds unless another is asked for.
var lossTests = []lossTest{
	{name: "asynchronous", times: 6, within: 10 * time.Second, moment: 25 * time.Second},
	{name: "synchronous", synchronous: true, times: 6, within: 10 * time.Second, moment: 10 * time.Second},
}
