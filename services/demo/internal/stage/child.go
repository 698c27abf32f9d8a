package stage

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

// child is a process that runs beside us.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been waited for
}

// start runs cmd, which ends with us (Linux).
func start(cmd *exec.Cmd) (*child, error) {
	attach(cmd)
	c := &child{cmd: cmd, ended: make(chan struct{})}
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

// run runs cmd to its end.
func run(cmd *exec.Cmd) error {
	runtime.LockOSThread() // see start
	defer runtime.UnlockOSThread()
	attach(cmd)
	return cmd.Run()
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// stop ends the child in good order, and by force if that hangs.
func (c *child) stop(ctx context.Context) error {
	if !c.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	if err := c.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
	}
	if err := c.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.ended
	return fmt.Errorf("stop process %d: it had to be killed after %s", c.cmd.Process.Pid, stopHangs)
}

func (c *child) signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && c.running() {
		return fmt.Errorf("signal process %d: %w", c.cmd.Process.Pid, err)
	}
	return nil
}
