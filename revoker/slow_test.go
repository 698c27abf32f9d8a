package revoker_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
)

// sluggish is an engine whose removals take a while before they fail or work.
type sluggish struct {
	*enginetest.Fake
	takes time.Duration
}

func (s sluggish) Remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	time.Sleep(s.takes) // of the bubble
	return s.Fake.Remove(ctx, target, batch)
}

// C8: a failure that takes longer than the sweep's interval still has its
// delay: the sweep offers the lease again and again while the flight lasts, and
// that must not make it due at once when the flight has failed.
func TestSlowFailureIsNotRetriedAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		r, err := revoker.New(revoker.Deps{
			Store: w.store, Stream: bus.Nop{}, Index: memory.New(), Engines: []engine.Engine{sluggish{w.engine, 5 * time.Second}},
			Clock: clock.System{}, Log: zerolog.Nop(),
		}, alone())
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				w.Error(err)
			}
		}()
		l := w.issue("a", time.Second, "")
		heal := w.engine.Inject(enginetest.Fault{
			Method: enginetest.MethodRemove, Account: l.Account,
			Err: &engine.Error{Kind: engine.Refused, Message: "must be owner of table items"},
		})
		time.Sleep(time.Hour)
		if n := w.lease(l.ID).Revocation.Attempts; n < 4 || n > 6 {
			w.Errorf("a parked revocation was tried %d times in an hour", n)
		}
		heal()
		w.ended(w.wait(l.ID, 16*time.Minute))
		w.record(l)
	})
}
