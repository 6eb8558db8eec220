package main

import (
	"strings"
	"unicode/utf8"

	"github.com/kedge-project/kedge/internal/wording"
)

// table is rows for people under headings. A cell may have several lines.
type table struct {
	heads []string
	rows  [][][]string // row, cell, line
}

// add adds a row of one cell for each heading. What a cell holds may come from outside: it is made safe to look at.
func (t *table) add(cells ...[]string) {
	for _, lines := range cells {
		for i, line := range lines {
			lines[i] = wording.Plain(line)
		}
	}
	t.rows = append(t.rows, cells)
}

// cell is a cell of one line.
func cell(line string) []string { return []string{line} }

// print prints the table between rules, and foot below it.
func (t *table) print(term *terminal, foot string) {
	widths := make([]int, len(t.heads))
	for i, head := range t.heads {
		widths[i] = len(head)
		for _, row := range t.rows {
			for _, line := range row[i] {
				widths[i] = max(widths[i], utf8.RuneCountInString(line))
			}
		}
	}
	head := joined(t.heads, widths)
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	rule := strings.Repeat("-", total)
	term.printf("%s", head)
	term.printf("%s", rule)
	for _, row := range t.rows {
		height := 1
		for _, lines := range row {
			height = max(height, len(lines))
		}
		for y := range height {
			line := make([]string, len(row))
			for i, lines := range row {
				if y < len(lines) {
					line[i] = lines[y]
				}
			}
			term.printf("%s", joined(line, widths))
		}
	}
	term.printf("%s", rule)
	if foot != "" {
		term.printf("%s", foot)
	}
}

// joined sets one line of every cell side by side.
func joined(cells []string, widths []int) string {
	var b strings.Builder
	for i, text := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(text)
		b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
	}
	return strings.TrimRight(b.String(), " ")
}
