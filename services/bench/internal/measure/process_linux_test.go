package measure

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// The time of a child counts for its parent, while it runs and after.
func TestProcessorTime(t *testing.T) {
	t.Parallel()
	own := CPU(os.Getpid())
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); CPU(cmd.Process.Pid) < 3*tick; time.Sleep(tick) {
		if time.Now().After(deadline) {
			t.Fatal("a busy process uses no time")
		}
	}
	if got := CPU(os.Getpid()); got < own+3*tick {
		t.Errorf("with a running child %s, before %s", got, own)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := CPU(os.Getpid()); got < own+3*tick {
		t.Errorf("with an ended child %s, before %s", got, own)
	}
	if got := CPU(cmd.Process.Pid); got != 0 {
		t.Errorf("of a process that is not there: %s", got)
	}
	if Memory(os.Getpid()) < 1<<20 || Memory(cmd.Process.Pid) != 0 {
		t.Errorf("memory is %d, of a process that is not there %d", Memory(os.Getpid()), Memory(cmd.Process.Pid))
	}
}
