package auditor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// appending is an appender that does as it is told.
type appending struct {
	do             func(ctx context.Context) (time.Duration, error)
	works          atomic.Int32 // how many calls of Do are under way
	left, released int
}

func (a *appending) Name() string { return "appender" }

func (a *appending) Do(ctx context.Context) (time.Duration, error) {
	a.works.Add(1)
	defer a.works.Add(-1)
	return a.do(ctx)
}

func (a *appending) Leave() error { a.left++; return nil }

func (a *appending) release(context.Context) error { a.released++; return nil }

// until works as long as it may, as a recovery does that takes minutes.
func until(ctx context.Context) (time.Duration, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// elect runs an election with an appender until stop.
func elect(t *testing.T, locks store.Locks, a *appending) (e *election, stop func()) {
	t.Helper()
	e = &election{
		locks: locks, clock: clock.System{}, log: zerolog.Nop(), owner: fmt.Sprintf("%p", a),
		hung: func() bool { return false }, wake: step.NewSignal(),
	}
	l := &lead{
		election: e, log: zerolog.Nop(), appender: a, release: a.release,
		runner: step.New(clock.System{}, zerolog.Nop(), step.Config{MaxBackoff: 2 * time.Second}, a),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- step.New(clock.System{}, zerolog.Nop(), step.Config{MaxBackoff: 2 * time.Second}, e, l).Run(ctx)
	}()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A recovery that takes minutes inside one Do keeps the lock: nobody else begins
// another (A7).
func TestLongRecoveryKeepsTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := storetest.NewFake(clock.System{})
		first, second := &appending{do: until}, &appending{do: until}
		_, stopFirst := elect(t, locks, first)
		synctest.Wait()
		_, stopSecond := elect(t, locks, second)
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			if first.works.Load() != 1 || second.works.Load() != 0 {
				t.Fatalf("%d and %d work", first.works.Load(), second.works.Load())
			}
		}
		stopSecond()
		stopFirst()
		if first.left+first.released > 0 {
			t.Error("at a stop the ledger was given up before Close")
		}
	})
}

// A leader that cannot reach the store stops at the end of its trust, whatever
// it does, gives the ledger up, and another leads by then; it leads again when
// its turn comes.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context) (time.Duration, error){
		"recovers": until,
		"idle":     func(context.Context) (time.Duration, error) { return time.Second, nil },
		"fails":    func(context.Context) (time.Duration, error) { return 0, errors.New("a test") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := storetest.NewFake(clock.System{})
				links := [2]*storetest.Faulty{storetest.NewFaulty(fake), storetest.NewFaulty(fake)}
				first, second := &appending{do: do}, &appending{do: do}
				e1, stopFirst := elect(t, links[0], first)
				synctest.Wait()
				e2, stopSecond := elect(t, links[1], second)
				time.Sleep(17 * time.Second)
				links[0].Break(storetest.Fault{Method: "Acquire"})
				cut := time.Now()
				for e1.current() != nil {
					time.Sleep(100 * time.Millisecond)
					if e1.current() != nil && e2.current() != nil {
						t.Fatal("two lead")
					}
				}
				if took := time.Since(cut); took > lockTTL {
					t.Errorf("it went on for %s", took)
				}
				synctest.Wait()
				if first.works.Load() != 0 || first.left != 1 || first.released != 1 {
					t.Errorf("%d work, left %d times, released %d times", first.works.Load(), first.left, first.released)
				}
				time.Sleep(lockEvery)
				synctest.Wait()
				if e2.current() == nil {
					t.Error("nobody leads")
				}
				links[0].Break()
				stopSecond()
				if err := e2.resign(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Second) // its back-off may be under way
				synctest.Wait()
				if e1.current() == nil {
					t.Error("it does not come back")
				}
				stopFirst()
			})
		})
	}
}

// hanging is a ledger whose disk hangs before it writes.
type hanging struct {
	*ledger.Ledger
	entered chan<- struct{}
	leave   <-chan struct{}
}

func (h *hanging) Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error) {
	h.entered <- struct{}{}
	<-h.leave
	return h.Ledger.Append(ctx, epoch, first, entries)
}

// D5: an appender that hangs in a write loses its lock in the store and still has
// the ledger: no other writes. When it goes on, its write is whole, and it makes
// no further one; the next appender goes on behind it, under a higher fence.
func TestHungWriteKeepsOthersOut(t *testing.T) {
	t.Parallel()
	s := newCandidates(2)
	dir := ledger.Config{Dir: t.TempDir(), Installation: "test", CheckpointInterval: 100 * time.Millisecond}
	reader := ledger.NewReader(dir.Dir)
	entered, leave := make(chan struct{}), make(chan struct{})
	var fences []uint64
	keepers := [2]*keeper{}
	for i := range keepers {
		keepers[i] = newKeeper(reader, s.clock, func(ctx context.Context) (opened, error) {
			l, err := ledger.Open(ctx, dir)
			if err != nil {
				return nil, err
			}
			fences = append(fences, l.Fence())
			if i == 0 {
				return &hanging{Ledger: l, entered: entered, leave: leave}, nil
			}
			return l, nil
		})
		keepers[i].may = func() bool { return s.all[i].current() != nil }
		s.all[i].hung = keepers[i].hung
	}
	text := func(from, to int) (out [][]byte) {
		for n := from; n <= to; n++ {
			out = append(out, fmt.Appendf(nil, "entry %d", n))
		}
		return out
	}

	s.do(t, 0)
	written := make(chan error, 1)
	go func() {
		_, err := keepers[0].Append(t.Context(), 1, 1, text(1, 3))
		written <- err
	}()
	<-entered
	// As long as it only hangs for a moment it keeps the lock.
	s.clock.Advance(lockTTL / 2)
	s.do(t, 0)
	s.leads(t, 0)
	s.clock.Advance(hungAfter + time.Second)
	if _, err := s.all[0].Do(t.Context()); !errors.Is(err, errHung) {
		t.Errorf("do: %v, want errHung", err)
	}
	s.do(t, 1)
	s.leads(t, 1)
	for range 3 {
		if _, err := keepers[1].Append(t.Context(), 1, 1, text(1, 9)); !errors.Is(err, ledger.ErrLocked) {
			t.Fatalf("the other appends: %v, want ErrLocked", err)
		}
	}
	close(leave)
	if err := <-written; err != nil {
		t.Errorf("the write that hung: %v", err)
	}
	if _, err := keepers[0].Append(t.Context(), 1, 4, text(4, 5)); !errors.Is(err, errNotElected) {
		t.Errorf("it goes on writing: %v", err)
	}
	if err := keepers[0].release(t.Context()); err != nil {
		t.Error(err)
	}
	if last, err := keepers[1].Append(t.Context(), 1, 1, text(1, 9)); err != nil || last != 9 {
		t.Errorf("append: %d, %v", last, err)
	}
	if err := keepers[1].Close(t.Context()); err != nil {
		t.Error(err)
	}
	n := 0
	for e, err := range reader.Entries(t.Context(), 1, 1, 100) {
		if n++; err != nil || string(e.Data) != fmt.Sprintf("entry %d", n) {
			t.Fatalf("entry %d is %q, %v", n, e.Data, err)
		}
	}
	if n != 9 || len(fences) != 2 || fences[1] <= fences[0] {
		t.Errorf("%d entries, fences %v", n, fences)
	}
}

// The lookout tells where the ledger ends, and errors of reading it.
func TestLookout(t *testing.T) {
	t.Parallel()
	var told []event.Position
	at, failed := event.Position{Epoch: 1, Number: 7}, error(nil)
	l := &lookout{end: func() (event.Position, error) { return at, failed }, grown: func(p event.Position) { told = append(told, p) }}
	if rest, err := l.Do(t.Context()); err != nil || rest != lookEvery || len(told) != 1 || told[0] != at {
		t.Errorf("do: %s, %v; told %v", rest, err, told)
	}
	failed = errors.New("a test")
	if _, err := l.Do(t.Context()); !errors.Is(err, failed) || len(told) != 1 {
		t.Errorf("do: %v; told %v", err, told)
	}
}
