package server

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// poll is the pace at which the state of another process is looked at where
// the system offers no way to be told.
const poll = 5 * time.Millisecond

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the child has been waited for
}

// start runs cmd, which dies by signal if we do (Linux).
func start(cmd *exec.Cmd, onOurDeath syscall.Signal) (*process, error) {
	attach(cmd, onOurDeath)
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	// The goroutine ends with the child. It keeps its thread as long, because
	// Linux sends the parent death signal when the thread that forked ends.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit status of a server that we end says nothing
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run runs a tool to its end. Its output is part of the error.
func run(cmd *exec.Cmd) error {
	runtime.LockOSThread() // see start
	defer runtime.UnlockOSThread()
	attach(cmd, syscall.SIGKILL)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(out))
	}
	return nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if err != nil && !p.running() {
		return nil
	}
	return err
}

// wait returns when the child has ended.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killTree ends the child and its direct children, which is all that a
// Postgres has, with SIGKILL, and returns when none of them exists.
func (p *process) killTree(ctx context.Context) error {
	pid := p.cmd.Process.Pid
	// A stopped process starts no more children while they are listed.
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pids, err := children(pid)
	if err != nil {
		pids = nil // the parent must not stay stopped
	}
	err = errors.Join(err, p.signal(syscall.SIGKILL))
	for _, child := range pids {
		if e := syscall.Kill(child, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		for _, child := range pids {
			if Alive(child) {
				return false, nil
			}
		}
		return true, nil
	})
}

// until returns when done says so, or with ctx.
func until(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tail returns the end of a log, for an error that a person reads.
func tail(log []byte) string {
	const most = 1500
	if len(log) > most {
		log = log[len(log)-most:]
	}
	return string(log)
}
