package notice

import (
	"bufio"
	"os"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

const storyIncident = "2026-10-03-1"

func storyEstate() *estate.Estate {
	return &estate.Estate{Name: "International Maritime Example", Services: []estate.Service{
		{Name: "fileserver", Title: "File server"}, {Name: "gisis", Title: "Shipping information system", Key: true},
		{Name: "imodocs", Title: "Meeting documents", Key: true}, {Name: "publications", Title: "Publications", Key: true},
		{Name: "website", Title: "Public web site", Key: true}, {Name: "mail", Title: "Mail"},
	}}
}

// story reads the record that package report keeps on file, with its notices worded by Compose.
func story(t *testing.T) []event.Event {
	t.Helper()
	f, err := os.Open("../report/testdata/story.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []event.Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, event.MaxSize)
	for lines.Scan() {
		ev, err := event.Decode(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := ev.Fact.(event.NoticePublished); ok {
			worded, err := Compose(n.Stage, Read(storyEstate(), events, ev.Incident))
			if err != nil {
				t.Fatal(err)
			}
			ev.Fact = worded
		}
		events = append(events, ev)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// until cuts the record after the notice of a stage, as it stood when that notice was published.
func until(t *testing.T, events []event.Event, stage string) []event.Event {
	t.Helper()
	for i, ev := range events {
		if n, ok := ev.Fact.(event.NoticePublished); ok && n.Stage == stage {
			return events[:i+1]
		}
	}
	t.Fatalf("the story has no notice of stage %s", stage)
	return nil
}
