package memory

import (
	"runtime/debug"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

func TestRoom(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, c := range map[string]struct{ live, want int64 }{
		"at rest":            {20, 176},
		"the floor suffices": {136, 176},
		"a margin":           {150, 190},
		"still the margin":   {200, 240},
		"much lives":         {300, 440},
		"very much lives":    {1000, 1840},
	} {
		if got := room(c.live * mib); got != c.want*mib {
			t.Errorf("%s: %d MiB, want %d", name, got/mib, c.want)
		}
	}
}

// Not parallel: the limit is the process's.
func TestKeep(t *testing.T) { //nolint:paralleltest // the limit is the process's
	before := debug.SetMemoryLimit(-1)
	none := func(string) (string, bool) { return "", false }
	end := Keep(clock.System{}, none)
	if got := debug.SetMemoryLimit(-1); got != Floor {
		t.Errorf("the limit is %d", got)
	}
	held := make([]byte, 300<<20)
	for i := range held {
		held[i] = 1
	}
	for deadline := time.Now().Add(time.Minute); debug.SetMemoryLimit(-1) < int64(len(held))+margin; time.Sleep(10 * time.Millisecond) {
		_ = make([]byte, 1<<20)
		if time.Now().After(deadline) {
			t.Fatalf("the limit is %d, while %d bytes live", debug.SetMemoryLimit(-1), len(held))
		}
	}
	held[0] = 2
	end()
	end()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("afterwards the limit is %d, want %d", got, before)
	}
	for _, name := range []string{"GOMEMLIMIT", "GOGC"} {
		end := Keep(clock.System{}, func(asked string) (string, bool) { return "", asked == name })
		if got := debug.SetMemoryLimit(-1); got != before {
			t.Errorf("with %s the limit is %d", name, got)
		}
		end()
	}
}
