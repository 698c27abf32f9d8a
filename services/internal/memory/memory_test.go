package memory

import (
	"math"
	"runtime/debug"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

func TestAdapted(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, c := range map[string]struct {
		limit, live int64
		share       float64
		want        int64
	}{
		"at rest":                    {Floor, 20 * mib, 0, Floor},
		"a little to do":             {Floor, 20 * mib, 0.05, Floor},
		"collecting is dear":         {Floor, 150 * mib, 0.2, Floor + Floor/4},
		"much lives":                 {Floor, 1000 * mib, 0.05, 1000*mib + margin},
		"much lives, and it is dear": {1200 * mib, 1000 * mib, 0.2, 1500 * mib},
		"it was dear":                {1600 * mib, 1000 * mib, 0.01, 1500 * mib},
		"neither dear nor cheap":     {1600 * mib, 1000 * mib, 0.07, 1600 * mib},
		"what lived is gone":         {1600 * mib, 20 * mib, 0, 1500 * mib},
		"not below what lives":       {1050 * mib, 1000 * mib, 0, 1000*mib + margin},
	} {
		if got := adapted(c.limit, c.live, c.share); got != c.want {
			t.Errorf("%s: %d MiB, want %d", name, got/mib, c.want/mib)
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

func TestShare(t *testing.T) {
	t.Parallel()
	a := reading{collecting: 1, all: 10}
	if got := (reading{collecting: 2, all: 14}).share(a); math.Abs(got-0.25) > 1e-9 {
		t.Errorf("share %v", got)
	}
	if got := a.share(a); got != 0 {
		t.Errorf("without a collection: %v", got)
	}
}
