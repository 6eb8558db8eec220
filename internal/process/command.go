package process

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
)

// Command prepares a program that runs once and is waited for, with the account, the environment and the search of
// programs that a Spec promises. When ctx ends it is killed, and with it whatever it started that stayed in its
// session; Wait then returns within five seconds.
func Command(ctx context.Context, argv []string, account string, env []string) (*exec.Cmd, error) {
	prepared, err := command(Spec{Argv: argv, User: account, Env: env}, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare command: %w", err)
	}
	cmd := exec.CommandContext(ctx, prepared.Path)
	cmd.Args, cmd.Dir, cmd.Env, cmd.SysProcAttr = prepared.Args, prepared.Dir, prepared.Env, prepared.SysProcAttr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	return cmd, nil
}

// maxComplaint bounds a Complaint, in bytes.
const maxComplaint = 4 << 10

// Complaint is the end of what a program wrote to its error output: the last 4 KiB of what is written to it.
type Complaint []byte

func (c *Complaint) Write(p []byte) (int, error) {
	*c = append(*c, p...)
	if over := len(*c) - maxComplaint; over > 0 {
		*c = append((*c)[:0], (*c)[over:]...)
	}
	return len(p), nil
}
