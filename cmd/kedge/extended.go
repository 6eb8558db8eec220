package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/sftp"
)

// extendedOptions are what -o says of one kind of storage.
type extendedOptions struct {
	connections map[string]int // by the kind of storage: calls at once
	s3          s3.Options
	sftp        sftp.Options
}

// extendedNames are the options that there are. Those of object-lock-mode and retain are kedge's own, the others restic's.
var extendedNames = [...]string{
	"local.connections", "rest.connections", "s3.connections", "sftp.connections",
	"s3.bucket-lookup", "s3.object-lock-mode", "s3.region", "s3.retain", "s3.storage-class",
	"sftp.args", "sftp.command",
}

// parseExtended reads options of the form name=value.
func parseExtended(options []string) (extendedOptions, error) {
	x := extendedOptions{connections: make(map[string]int)}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !slices.Contains(extendedNames[:], name) {
			return x, fmt.Errorf("option -o %.40q is not known; there are %s", name, strings.Join(extendedNames[:], ", "))
		}
		if err := x.set(name, value); err != nil {
			return x, fmt.Errorf("option -o %s: %w", name, err)
		}
	}
	if x.s3.Mode != "" && x.s3.Retention == 0 {
		return x, errors.New("option -o s3.object-lock-mode: give s3.retain too, for how long")
	}
	return x, nil
}

func (x *extendedOptions) set(name, value string) (err error) {
	if scheme, ok := strings.CutSuffix(name, ".connections"); ok {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("%.40q: give a positive number", value)
		}
		x.connections[scheme] = n
		return nil
	}
	switch name {
	case "s3.bucket-lookup":
		x.s3.Lookup = s3.Lookup(value)
	case "s3.object-lock-mode":
		x.s3.Mode = s3.Mode(strings.ToUpper(value))
		if x.s3.Mode != s3.Compliance && x.s3.Mode != s3.Governance {
			return fmt.Errorf("%.40q: choose compliance or governance", value)
		}
	case "s3.region":
		x.s3.Region = value
	case "s3.retain":
		x.s3.Retention, err = parseSpan(value)
	case "s3.storage-class":
		x.s3.StorageClass = value
	case "sftp.args":
		x.sftp.Args, err = splitWords(value)
	case "sftp.command":
		x.sftp.Command, err = splitWords(value)
	}
	return err
}

// parseSpan reads a positive time such as 720h or 30d.
func parseSpan(s string) (time.Duration, error) {
	var span time.Duration
	days, isDays := strings.CutSuffix(s, "d")
	n, err := strconv.ParseUint(days, 10, 16)
	if isDays && err == nil {
		span = time.Duration(n) * 24 * time.Hour
	} else if span, err = time.ParseDuration(s); err != nil {
		span = 0
	}
	if span <= 0 {
		return 0, fmt.Errorf("%.40q: give a time such as 30d or 720h", s)
	}
	return span, nil
}

// splitWords splits a command line as a shell does, but for everything besides words, '…' and "…".
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	var quote rune // 0 outside
	begun := false
	for _, c := range line {
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, begun = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%.40q: a quote is not closed", line)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
