package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheReadmesEstateFileIsOne(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) == 0 {
		t.Fatal("the README shows no estate file")
	}
	for _, block := range blocks {
		if _, err := estate.Parse("README.md", []byte(block[1])); err != nil {
			t.Error(err)
		}
	}
}

func TestTheReadmesCommandsAndFlagsExist(t *testing.T) {
	commands := regexp.MustCompile("(?m)^    kedge (.*)$").FindAllStringSubmatch(readme(t), -1)
	if len(commands) == 0 {
		t.Fatal("the README shows no command")
	}
	for _, c := range commands {
		line, _, _ := strings.Cut(c[1], "#")
		args := strings.Fields(line)
		root := newRootCommand(&terminal{})
		found, rest, err := root.Find(args)
		if err != nil || found == root {
			t.Errorf("kedge %s: there is no such command: %v", line, err)
			continue
		}
		if err := found.ParseFlags(rest); err != nil {
			t.Errorf("kedge %s: %v", line, err)
		}
	}
}
