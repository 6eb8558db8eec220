package main

import (
	"encoding/json"

	"github.com/kedge-project/kedge/internal/wording"
)

// problem tells that one file could not be dealt with, on standard error: to people, that the verb could not be done to the
// path, or as restic's line of JSON, which says during what, and the message.
func (t *terminal) problem(during, verb, path string, cause error, message string) {
	if !t.json {
		t.warn("could not %s %s: %v", verb, wording.Plain(path), cause)
		return
	}
	type text struct {
		Message string `json:"message"`
	}
	line, err := json.Marshal(struct {
		MessageType string `json:"message_type"`
		Error       text   `json:"error"`
		During      string `json:"during"`
		Item        string `json:"item"`
	}{"error", text{message}, during, path})
	if err != nil {
		return // strings can be encoded
	}
	t.warn("%s", line)
}
