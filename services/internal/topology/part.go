package topology

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// Part is one process, or one server with its processes.
type Part interface {
	Name() string
	// Start starts it again with the data that it had.
	Start(ctx context.Context) error
	// Stop ends it in good order, Kill as a power cut would. One that does not
	// run is stopped already.
	Stop(ctx context.Context) error
	Kill(ctx context.Context) error
	Running() bool
	// Pid is its process; 0 where it does not run.
	Pid() int
	// LogTail is the end of what it wrote, for an error that a person reads.
	LogTail() string
	// Close ends it and gives back what it had.
	Close(ctx context.Context) error
}

// stopWithin bounds an orderly stop.
const stopWithin = 45 * time.Second

// Program is a program of ours.
type Program struct {
	name    string
	path    string
	args    []string
	environ []string
	dir     string
	log     string // file
	probe   string // URL that answers 200 where it can work; empty: none

	child *child.Child
}

// Name implements [Part].
func (p *Program) Name() string { return p.name }

// Running implements [Part].
func (p *Program) Running() bool { return p.child.Running() }

// Pid implements [Part].
func (p *Program) Pid() int {
	if !p.Running() {
		return 0
	}
	return p.child.Pid()
}

// Log is the file that it writes to, across starts.
func (p *Program) Log() string { return p.log }

// Start implements [Part]. It does not wait until the program is ready.
func (p *Program) Start(context.Context) error {
	if p.Running() {
		return fmt.Errorf("start %s: it is running", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	cmd := exec.Command(p.path, p.args...) //nolint:gosec,noctx // the programs are ours, and end in good order: Stop
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.environ, p.dir, log, log
	p.child, err = child.Start(cmd)
	if err = errors.Join(err, log.Close()); err != nil { // the child has its own
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

// Stop implements [Part].
func (p *Program) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	err := p.child.Stop(ctx, stopWithin)
	// A process that has only just begun does not listen for the signal yet.
	if code := p.ExitCode(); err == nil && code != 0 && !p.child.EndedBy(syscall.SIGTERM) {
		err = fmt.Errorf("it ended with code %d", code)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w; its log ends:\n%s", p.name, err, p.LogTail())
	}
	return nil
}

// ExitCode is that of the last run, which has ended.
func (p *Program) ExitCode() int { return p.child.ExitCode() }

// Kill implements [Part].
func (p *Program) Kill(context.Context) error {
	if !p.Running() {
		return nil
	}
	return p.child.Kill()
}

// Close implements [Part].
func (p *Program) Close(ctx context.Context) error { return p.Kill(ctx) }

// LogTail implements [Part].
func (p *Program) LogTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

func lastLines(text string) string {
	const most = 15
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// await returns when the program says that it can work.
func (p *Program) await(ctx context.Context, c clock.Clock) error {
	for {
		why := p.ready(ctx)
		if why == nil {
			return nil
		}
		tick, stop := c.Timer(poll)
		select {
		case <-tick:
		case <-p.child.Ended():
			stop()
			return errors.New("it ended by itself")
		case <-ctx.Done():
			stop()
			return errors.Join(ctx.Err(), why)
		}
	}
}

func (p *Program) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.probe, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy of the environment
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close() // nothing of it is read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", p.probe, res.Status)
	}
	return nil
}

// foreign is a server that package server runs.
type foreign struct {
	name string
	foreignServer
	stop func(context.Context) error
}

type foreignServer interface {
	Start(ctx context.Context) error
	Kill(ctx context.Context) error
	Close(ctx context.Context) error
	Running() bool
	Pid() int
	Dir() string
	Log() ([]byte, error)
}

// Name implements [Part].
func (f *foreign) Name() string { return f.name }

// Stop implements [Part].
func (f *foreign) Stop(ctx context.Context) error { return f.stop(ctx) }

// LogTail implements [Part].
func (f *foreign) LogTail() string {
	text, err := f.Log()
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

var (
	_ Part          = (*Program)(nil)
	_ Part          = (*foreign)(nil)
	_ foreignServer = (*server.Postgres)(nil)
	_ foreignServer = (*server.Redis)(nil)
)
