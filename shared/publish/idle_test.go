package publish_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// run runs a publisher on a store with the bubble's clock until stop.
func run(t *testing.T) (w *world, stop func()) {
	t.Helper()
	fake := storetest.NewFake(clock.System{})
	w = &world{fake: fake, store: storetest.NewFaulty(fake), broker: &broker{clock: clock.System{}}}
	wake, release := fake.Watch()
	p, err := publish.New(w.store, w.broker, wake, clock.System{}, zerolog.Nop(), publish.Config{Owner: "a"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- step.New(clock.System{}, zerolog.Nop(), step.Config{MaxBackoff: 2 * time.Second}, p).Run(ctx)
	}()
	return w, func() {
		cancel()
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// D4: the head is told each second, also when nothing happens.
func TestHeadsWhenIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		w.append(t, 3)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		w.broker.mu.Lock()
		defer w.broker.mu.Unlock()
		heads := w.broker.heads
		if len(heads) < 10 {
			t.Fatalf("%d heads in 10 s, want one a second", len(heads))
		}
		for i := 1; i < len(heads); i++ {
			if gap := heads[i].at.Sub(heads[i-1].at); gap > time.Second {
				t.Errorf("%s between two heads", gap)
			}
		}
		if last := heads[len(heads)-1].pos; last != (event.Position{Epoch: 1, Number: 3}) {
			t.Errorf("the head told is %s, want 1-3", last)
		}
	})
}

// A commit is published at once: nothing polls.
func TestWokenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		for range 20 {
			time.Sleep(337 * time.Millisecond)
			at := time.Now()
			w.append(t, 1)
			synctest.Wait()
			if n := len(w.broker.numbers()); n != w.n || time.Since(at) != 0 {
				t.Fatalf("%d of %d events were published after %s, want all at once", n, w.n, time.Since(at))
			}
		}
		w.check(t)
	})
}

// Promise 6: a broker that is away for long loses nothing, and is caught up
// with soon after it is back. What it does not have stays in the store, even
// if the ledger has it.
func TestBrokerAwayForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		w.append(t, 10)
		synctest.Wait()
		w.broker.play(away)
		for range 20 {
			w.append(t, 5)
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		head, err := w.fake.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.confirm(t, head.Number)
		time.Sleep(time.Minute)
		if first := w.first(t); first != 11 {
			t.Errorf("the store begins with %d, want 11: the broker has 10", first)
		}
		w.broker.play(nil)
		time.Sleep(2 * time.Second) // the longest back-off
		synctest.Wait()
		w.check(t)
	})
}
