package main

import (
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/internal/wording"
)

// Sizes of the plot, in its units.
const (
	panelWidth  = 360
	panelHeight = 240
	margin      = 70
)

// plot draws seconds of the processors and bytes read in two panels: against files kept and against files changed.
func plot(kept, changed []row) string {
	var b strings.Builder
	width, height := 2*(panelWidth+2*margin), panelHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	most := struct{ seconds, bytes float64 }{}
	for _, r := range append(append([]row{}, kept...), changed...) {
		most.seconds = max(most.seconds, r.used.CPU.Seconds())
		most.bytes = max(most.bytes, float64(r.read))
	}
	panel(&b, margin, kept, "files kept", func(r row) int { return r.shape.Files }, most.seconds, most.bytes)
	panel(&b, panelWidth+3*margin, changed, "files changed a day", func(r row) int { return r.shape.Changed }, most.seconds, most.bytes)
	b.WriteString("</svg>\n")
	return b.String()
}

// panel draws one of the two, with axes from zero that both share.
func panel(b *strings.Builder, left int, rows []row, axis string, along func(row) int, seconds, bytes float64) {
	last := float64(along(rows[len(rows)-1]))
	x := func(r row) float64 { return float64(left) + float64(along(r))/last*panelWidth }
	y := func(part float64) float64 { return margin + panelHeight*(1-part) }
	fmt.Fprintf(b, `<path d="M%d %d V%d H%d V%d" fill="none" stroke="black"/>`+"\n", left, margin, margin+panelHeight, left+panelWidth, margin)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", left+panelWidth/2, margin+panelHeight+40, axis)
	for i := range 5 {
		part := float64(i) / 4
		fmt.Fprintf(b, `<text x="%d" y="%.0f" text-anchor="end" fill="#b00">%.1f s</text>`+"\n", left-6, y(part)+4, part*seconds)
		fmt.Fprintf(b, `<text x="%d" y="%.0f" fill="#00b">%s</text>`+"\n", left+panelWidth+6, y(part)+4, wording.Size(int64(part*bytes)))
	}
	for _, r := range rows {
		fmt.Fprintf(b, `<text x="%.0f" y="%d" text-anchor="middle" font-size="9">%s</text>`+"\n", x(r), margin+panelHeight+16, wording.Count(int64(along(r))))
	}
	line(b, rows, "#b00", x, func(r row) float64 { return y(r.used.CPU.Seconds() / seconds) })
	line(b, rows, "#00b", x, func(r row) float64 { return y(float64(r.read) / bytes) })
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#b00">seconds of processors</text><text x="%d" y="%d" fill="#00b" text-anchor="end">bytes read</text>`+"\n", left, margin-14, left+panelWidth, margin-14)
}

func line(b *strings.Builder, rows []row, colour string, x, y func(row) float64) {
	var points []string
	for _, r := range rows {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(r), y(r)))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(r), y(r), colour)
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(points, " "), colour)
}
