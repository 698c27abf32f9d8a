package wrongclock

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Only the wall clock is another one: what passes between two readings is what
// passed, across a jump too.
func TestShifted(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int64{0, 1, 300, -1, -300, 86400, -86400} {
		before := time.Now()
		got := shifted(before, seconds)
		if ahead := got.Round(0).Sub(before.Round(0)); ahead != time.Duration(seconds)*time.Second {
			t.Errorf("%d: the wall clock is %v ahead", seconds, ahead)
		}
		if passed := got.Sub(before); passed != 0 {
			t.Errorf("%d: %v passed", seconds, passed)
		}
		if wall := shifted(before.Round(0), seconds); !wall.Equal(got.Round(0)) {
			t.Errorf("%d: %v without a monotonic reading, %v with it", seconds, wall, got)
		}
	}
}

// A process takes the clock that it is given, at any time, and has the machine's
// without one.
func TestSet(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "curfew.hcl")
	c := &clock{file: fileOf([]string{"curfew", "server", "-config=" + config})}
	synctest.Test(t, func(t *testing.T) {
		ahead := func() time.Duration {
			time.Sleep(2 * lookEvery) // of the bubble's time
			machine := time.Now()
			return c.at(machine).Round(0).Sub(machine.Round(0))
		}
		if got := ahead(); got != 0 {
			t.Errorf("with nothing said it is %v ahead", got)
		}
		for _, want := range []time.Duration{5 * time.Minute, -5 * time.Minute, 0} {
			if err := Set(config, want); err != nil {
				t.Fatal(err)
			}
			if got := ahead(); got != want {
				t.Errorf("it is %v ahead, want %v", got, want)
			}
		}
	})
	if err := Set(config, time.Millisecond); err == nil {
		t.Error("a part of a second was taken")
	}
	other := clock{file: fileOf([]string{"local", "nats"})}
	if now := time.Now(); !other.at(now).Equal(now) {
		t.Error("a process without a configuration has another clock")
	}
}
