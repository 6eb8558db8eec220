package process

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCommandRunsOnceWithTheSurroundingsOfAProcess(t *testing.T) {
	t.Setenv("KEDGE_SECRET", "do not pass on")
	account, want := "", "\n"
	if os.Getuid() == 0 {
		account, want = "nobody", "nobody\n"
	}
	cmd, err := Command(t.Context(), []string{"sh", "-c", "env; pwd; id -un"}, account, []string{"GREETING=good day"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GREETING=good day\n", "LANG=C.UTF-8\n", "PATH=/usr/local/sbin:", "\n/\n", want} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the command did not see %q, but:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "SECRET") {
		t.Errorf("kedge's own environment was passed on:\n%s", out)
	}
}

func TestCommandAndItsChildrenGoWithTheContext(t *testing.T) {
	marker := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cmd, err := Command(ctx, []string{"sh", "-c", "(sleep 3600; : " + marker + ") & echo; wait"}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // now the child is there
		t.Fatal(err)
	}
	cancel()
	began := time.Now()
	if _, err := io.Copy(io.Discard, out); err != nil { // ends with the last who could write to it
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a killed command counts as well done")
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the killed command was waited for %v: a child of it lives", took)
	}
	mustBeGone(t, marker)
}

func TestCommandThatIsNotThereSaysWhatToDo(t *testing.T) {
	if _, err := Command(t.Context(), []string{"no-such-program-here"}, "", nil); err == nil || !strings.Contains(err.Error(), "install it") {
		t.Errorf("error %v, want a remedy", err)
	}
}
