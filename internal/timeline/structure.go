package timeline

import (
	"fmt"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// Structure says in one clause, without a full stop, what a drill checked of a PostgreSQL cluster, what it found, and what
// it could not check.
func Structure(c event.StructureCheck) string {
	text := fmt.Sprintf("%s: %s in %s and %s of %s checked in %s, %s", c.Asset, wording.Number(c.Rows, "row"), wording.Number(c.Tables, "table"),
		wording.Number(c.Indexes, "index"), wording.Number(c.Databases, "database"), wording.Span(c.Seconds), wording.Size(c.Bytes))
	switch {
	case c.DamagedN > 0:
		text += "; DAMAGED: " + some(c.Damaged, 3, c.DamagedN)
	case c.Checksums:
		text += ", every page with its checksum"
	default:
		text += "; the cluster has no checksums"
	}
	if len(c.Unchecked) > 0 {
		text += "; NOT checked: " + some(c.Unchecked, 3, len(c.Unchecked))
	}
	return wording.Plain(text)
}
