package evidence

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// appendUntilKilled is the body of the process that TestKilled… kills: four goroutines append without end, and
// print each event's text once it was acknowledged.
func appendUntilKilled(dir string) {
	l, err := Open(context.Background(), dir, Options{SignerKey: os.Getenv("EVIDENCE_TEST_KEY")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf("process %d: %d.%d", os.Getpid(), writer, i)
				if err := l.Append(context.Background(), notice(text)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(text)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestWhatAppendAcknowledgedSurvivesKill9(t *testing.T) {
	s := newSite(t)
	seen := map[string]bool{}
	for round := range 3 {
		appender := exec.Command(os.Args[0])
		appender.Env = append(os.Environ(), "EVIDENCE_TEST_APPENDER="+s.dir, "EVIDENCE_TEST_KEY="+s.opt.SignerKey)
		appender.Stderr = os.Stderr
		out, err := appender.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := appender.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 25+round && lines.Scan(); n++ {
			seen[lines.Text()] = true
		}
		if err := appender.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged before the kill, and still in the pipe
			seen[lines.Text()] = true
		}
		_ = appender.Wait() // killed, as it says

		have := map[string]bool{}
		for _, text := range texts(t, s.dir) {
			have[text] = true
		}
		for text := range seen {
			if !have[text] {
				t.Fatalf("round %d: event %s was acknowledged and is gone", round, text)
			}
		}
		l := s.open(t)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if res := s.verify(t); len(res.Ignored) != 0 {
			t.Errorf("round %d: %d files are ignored after recovery: %q", round, len(res.Ignored), res.Ignored)
		}
	}
	if len(seen) < 75 {
		t.Errorf("only %d events were acknowledged", len(seen))
	}
	if _, err := os.Stat(filepath.Join(s.dir, "checkpoint")); err != nil {
		t.Error(err)
	}
}
