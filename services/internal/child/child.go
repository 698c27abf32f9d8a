package child

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Child is a process that runs beside us.
type Child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been waited for
}

// Start runs cmd, which ends with us (Linux).
func Start(cmd *exec.Cmd) (*Child, error) {
	attach(cmd)
	c := &Child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	// The goroutine ends with the child. It keeps its thread as long, because
	// Linux sends the parent death signal when the thread that forked ends.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(c.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// Run runs cmd to its end.
func Run(cmd *exec.Cmd) error {
	runtime.LockOSThread() // see Start
	defer runtime.UnlockOSThread()
	attach(cmd)
	return cmd.Run()
}

// Ended is closed when the process has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Running reports whether it has not; a nil Child never ran.
func (c *Child) Running() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// Pid is the process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// ExitCode is that of a child that has ended; -1 where a signal ended it.
func (c *Child) ExitCode() int {
	<-c.ended
	return c.cmd.ProcessState.ExitCode()
}

// EndedBy reports whether the signal ended a child, which has ended.
func (c *Child) EndedBy(sig syscall.Signal) bool {
	<-c.ended
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}

// Stop ends the child in good order, and by force where that takes longer than
// within.
func (c *Child) Stop(ctx context.Context, within time.Duration) error {
	if !c.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
	}
	if err := c.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("stop process %d: it had to be killed after %s", c.Pid(), within)
}

// Kill ends the child as a power cut would.
func (c *Child) Kill() error {
	if !c.Running() {
		return nil
	}
	if err := c.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.ended
	return nil
}

// Signal sends a signal; to one that has ended, nothing.
func (c *Child) Signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && c.Running() {
		return fmt.Errorf("signal process %d: %w", c.Pid(), err)
	}
	return nil
}
