package step_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/step"
)

// script is a step that does as it is told.
type script struct {
	name string
	do   func(ctx context.Context, n int) (time.Duration, error)
	runs []time.Time // one step never runs twice at once, which -race proves
}

func (s *script) Name() string { return s.name }

func (s *script) Do(ctx context.Context) (time.Duration, error) {
	s.runs = append(s.runs, time.Now())
	return s.do(ctx, len(s.runs))
}

// waking is a script that can be woken.
type waking struct {
	*script
	signal step.Signal
}

func (w waking) Wake() <-chan struct{} { return w.signal }

// record is a log that steps may write to together.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// run runs steps for a while of the bubble's time and returns what Run
// returned, and the log.
func run(t *testing.T, d time.Duration, steps ...step.Step) (logged string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	log := &record{}
	err = step.New(clock.System{}, zerolog.New(log), step.Config{}, steps...).Run(ctx)
	return log.String(), err
}

func offsets(s *script, start time.Time) []time.Duration {
	var all []time.Duration
	for _, at := range s.runs {
		all = append(all, at.Sub(start))
	}
	return all
}

// Law: a step runs at once, then whenever the rest that it asked for is over;
// 0 means at once again.
func TestRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &script{name: "s", do: func(_ context.Context, n int) (time.Duration, error) {
			return []time.Duration{0, 0, time.Second, 3 * time.Second, time.Hour}[min(n, 4)], nil
		}}
		if log, err := run(t, time.Minute, s); err != nil || log != "" {
			t.Errorf("Run: %v, log %q", err, log)
		}
		if got, want := fmt.Sprint(offsets(s, start)), "[0s 0s 1s 4s]"; got != want {
			t.Errorf("it ran after %s, want %s", got, want)
		}
	})
}

// Law: a wake-up ends a rest; one that comes while the step runs makes it run
// once more, however many they were.
func TestWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		signal := step.NewSignal()
		s := waking{signal: signal, script: &script{name: "s", do: func(_ context.Context, n int) (time.Duration, error) {
			if n == 2 {
				signal.Set() // while it runs
				signal.Set()
			}
			return time.Hour, nil
		}}}
		go func() {
			time.Sleep(5 * time.Second)
			signal.Set()
		}()
		if _, err := run(t, time.Minute, s); err != nil {
			t.Error(err)
		}
		if got, want := fmt.Sprint(offsets(s.script, start)), "[0s 5s 5s]"; got != want {
			t.Errorf("it ran after %s, want %s", got, want)
		}
	})
}

// Law: after an error the step is tried again, later each time up to the most;
// a wake-up does not shorten that; a success resets it. Each error is logged
// with the step's name.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signal := step.NewSignal()
		broken := errors.New("target is away")
		s := waking{signal: signal, script: &script{name: "sweep", do: func(_ context.Context, n int) (time.Duration, error) {
			signal.Set()
			if n == 12 {
				<-signal
				return time.Millisecond, nil // well for once
			}
			return 0, broken
		}}}
		log, err := run(t, 10*time.Minute, s)
		if err != nil {
			t.Error(err)
		}
		most := 100 * time.Millisecond
		for i := 1; i < 20; i++ {
			gap := s.runs[i].Sub(s.runs[i-1])
			if i == 12 { // the rest after the success
				if most = 100 * time.Millisecond; gap != time.Millisecond {
					t.Errorf("after a success it rested %s", gap)
				}
				continue
			}
			if gap < most/2 || gap > most {
				t.Errorf("after failure %d it waited %s, want %s to %s", i, gap, most/2, most)
			}
			most = min(2*most, 10*time.Second)
		}
		if n := strings.Count(log, `"step":"sweep"`); n < 20 || !strings.Contains(log, "target is away") {
			t.Errorf("the log is %s", log)
		}
	})
}

// Law: a panic of a step is its error: it is tried again, the others go on.
func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := &script{name: "bad", do: func(context.Context, int) (time.Duration, error) { panic("broken lease") }}
		good := &script{name: "good", do: func(context.Context, int) (time.Duration, error) { return time.Second, nil }}
		log, err := run(t, 9500*time.Millisecond, bad, good)
		if err != nil || len(bad.runs) < 3 || len(good.runs) != 10 || !strings.Contains(log, "broken lease") {
			t.Errorf("Run: %v; the bad one ran %d times, the good one %d", err, len(bad.runs), len(good.runs))
		}
	})
}

// Law: a fatal error ends all steps, and Run says which step had it.
func TestFatal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		bad := &script{name: "bad", do: func(_ context.Context, n int) (time.Duration, error) {
			if n == 3 {
				return 0, fmt.Errorf("commit: %w", step.ErrFatal)
			}
			return time.Second, nil
		}}
		var left atomic.Bool
		slow := &script{name: "slow", do: func(ctx context.Context, _ int) (time.Duration, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // cleans up
			left.Store(true)
			return 0, ctx.Err()
		}}
		log, err := run(t, time.Hour, bad, slow)
		if !errors.Is(err, step.ErrFatal) || !strings.Contains(err.Error(), "bad") {
			t.Errorf("Run: %v, want the fatal error of the step bad", err)
		}
		if !left.Load() || time.Since(start) != 3*time.Second {
			t.Errorf("Run returned after %s; the other step had returned: %v", time.Since(start), left.Load())
		}
		if log != "" {
			t.Errorf("an error is returned or logged, not both: %s", log)
		}
	})
}

// Law: Run returns nil when its context ends, after all steps have returned.
func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var left atomic.Bool
		s := &script{name: "s", do: func(ctx context.Context, _ int) (time.Duration, error) {
			<-ctx.Done()
			time.Sleep(time.Minute)
			left.Store(true)
			return 0, ctx.Err()
		}}
		log := &record{}
		returned := make(chan error, 1)
		go func() { returned <- step.New(clock.System{}, zerolog.New(log), step.Config{}, s).Run(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(returned) > 0 {
			t.Error("Run returned before its step")
		}
		if err := <-returned; err != nil || !left.Load() || log.String() != "" {
			t.Errorf("Run: %v, the step returned: %v, log %q", err, left.Load(), log.String())
		}
	})
}

// Law: setting a signal never blocks, and is not lost while nobody listens.
func TestSignal(t *testing.T) {
	t.Parallel()
	s := step.NewSignal()
	for range 3 {
		s.Set()
	}
	<-s
	select {
	case <-s:
		t.Error("three settings woke twice")
	default:
	}
}

// paced is a script that was at work for so long.
type paced struct {
	waking
	pace *step.Pace
}

func (p paced) Pause() time.Duration { return p.pace.Pause() }

// Law: a step that is paced is not woken while it pauses, and then once; its
// pause counts as rest, and is bounded.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := paced{waking{&script{name: "s"}, step.NewSignal()}, &step.Pace{Factor: 3, Most: 30 * time.Millisecond}}
		p.do = func(_ context.Context, n int) (time.Duration, error) {
			began := time.Now()
			time.Sleep([]time.Duration{0, 5 * time.Millisecond, 100 * time.Millisecond, 0, 0}[min(n, 4)])
			p.pace.Worked(time.Since(began))
			if n <= 3 { // one that asks at once, and again
				p.signal.Set()
				return time.Second, nil
			}
			return 50 * time.Millisecond, nil
		}
		if log, err := run(t, 240*time.Millisecond, p); err != nil || log != "" {
			t.Errorf("Run: %v, log %q", err, log)
		}
		// 5 ms of work and 15 of pause; 100 and 30; none and none; then its rest.
		if got, want := fmt.Sprint(offsets(p.script, start)), "[0s 20ms 150ms 150ms 200ms]"; got != want {
			t.Errorf("it ran after %s, want %s", got, want)
		}
	})
}
