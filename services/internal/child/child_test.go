package child

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ready starts a shell script and returns when it has made its file.
func ready(t *testing.T, script string) *Child {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ready")
	c, err := Start(exec.Command("/bin/sh", "-c", script+"; touch "+file+"; while :; do sleep 1; done"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
	})
	for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
		time.Sleep(time.Millisecond)
	}
	return c
}

func TestStop(t *testing.T) {
	t.Parallel()
	c := ready(t, "trap 'exit 7' TERM")
	if !c.Running() || c.Pid() <= 0 {
		t.Error("the child does not run")
	}
	if err := c.Stop(context.Background(), time.Minute); err != nil {
		t.Error(err)
	}
	if c.Running() || c.ExitCode() != 7 {
		t.Errorf("running %t, exit code %d", c.Running(), c.ExitCode())
	}
	if err := c.Stop(context.Background(), time.Minute); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

func TestStopEndsAChildThatIgnoresIt(t *testing.T) {
	t.Parallel()
	c := ready(t, "trap '' TERM")
	if err := c.Stop(context.Background(), time.Millisecond); err == nil {
		t.Error("a kill is not reported")
	}
	if c.Running() {
		t.Error("the child lives")
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	var c *Child
	if c.Running() {
		t.Error("a child that was never started runs")
	}
	if _, err := Start(exec.Command("/nonexistent")); err == nil {
		t.Error("a program that is not there was started")
	}
	ended, err := Start(exec.Command("/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	<-ended.Ended()
	if err := ended.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to one that has ended: %v", err)
	}
}
