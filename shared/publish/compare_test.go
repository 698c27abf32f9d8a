package publish_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// third returns a world whose store has numbered three events and a publisher
// that has sent none, with the stream's last event told by at.
func third(t *testing.T, at func(third event.Event) event.Event) (*world, *publish.Publisher) {
	t.Helper()
	w := newWorld()
	w.append(t, 3)
	lock, _, err := w.fake.Acquire(t.Context(), publish.LockName, "before", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.fake.Number(t.Context(), lock, 3); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	events, err := w.fake.Events(t.Context(), event.Position{}, 3)
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events: %v", len(events), err)
	}
	w.broker.tail = at(events[2])
	p, err := publish.New(w.store, w.broker, nil, w.clock, zerolog.Nop(), publish.Config{Owner: "a", Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	return w, p
}

// A7: a stream that ends with an event of the store, or does not say, is
// published to; it is asked once.
func TestStreamAgrees(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(event.Event) event.Event{
		"nothing":          func(event.Event) event.Event { return event.Event{} },
		"the same event":   func(e event.Event) event.Event { e.Time = e.Time.In(time.FixedZone("", 3600)); return e },
		"one not readable": func(e event.Event) event.Event { return event.Event{Position: e.Position} },
		"another release":  func(e event.Event) event.Event { e.Data.TTLSeconds++; return e },
		"an older epoch":   func(e event.Event) event.Event { e.Position = event.Position{Number: 9}; return e },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := third(t, at)
			w.drain(t, p)
			w.append(t, 1)
			w.drain(t, p)
			w.check(t)
			if w.broker.asked != 1 {
				t.Errorf("asked %d times", w.broker.asked)
			}
		})
	}
	t.Run("no stream", func(t *testing.T) {
		t.Parallel()
		w, p := third(t, func(event.Event) event.Event { return event.Event{} })
		w.broker.gone = bus.ErrNoStream
		w.drain(t, p)
		w.check(t)
	})
}

// What the store has recorded as sent is not compared: it may be deleted.
func TestStreamBehind(t *testing.T) {
	t.Parallel()
	w, p := third(t, func(e event.Event) event.Event { e.Subject = "another"; return e })
	if err := w.fake.Confirm(t.Context(), publish.Sent, w.broker.tail.Position); err != nil {
		t.Fatal(err)
	}
	w.append(t, 1)
	w.drain(t, p)
	if n := len(w.broker.numbers()); n != 1 {
		t.Errorf("%d events were sent, want 1", n)
	}
}

// While one looks, another may send, record and delete what the stream ends with.
func TestStreamMovesOn(t *testing.T) {
	t.Parallel()
	w, p := third(t, func(e event.Event) event.Event { e.Position.Number--; return e })
	w.broker.then = func() {
		if n, err := w.fake.Trim(t.Context(), w.broker.tail.Position, 10); n != 2 || err != nil {
			t.Errorf("deleted %d: %v", n, err)
		}
	}
	if _, err := p.Do(t.Context()); err != nil {
		t.Error(err)
	}
	if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil {
		t.Errorf("suspended: %t, %v", suspended, err)
	}
}

// Who takes the lock back compares again: somebody else has published meanwhile.
func TestComparedAfterHandOver(t *testing.T) {
	t.Parallel()
	w, p := third(t, func(e event.Event) event.Event { return e })
	w.drain(t, p)
	w.clock.Advance(time.Minute)
	if _, ok, err := w.fake.Acquire(t.Context(), publish.LockName, "another", time.Millisecond); !ok || err != nil {
		t.Fatalf("the lock is taken: %v", err)
	}
	w.clock.Advance(time.Minute)
	w.append(t, 1)
	w.broker.tail = event.Event{Position: event.Position{Epoch: 1, Number: 40}}
	if _, err := p.Do(t.Context()); !errors.Is(err, publish.ErrRewound) {
		t.Errorf("do: %v, want ErrRewound", err)
	}
}

// A7: a stream that ends with what is none of the store's events is not published
// to before the store was recovered.
func TestStreamDiffers(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(event.Event) event.Event{
		"more":            func(e event.Event) event.Event { e.Position.Number++; return e },
		"a later epoch":   func(e event.Event) event.Event { e.Position = event.Position{Epoch: 2, Number: 1}; return e },
		"another subject": func(e event.Event) event.Event { e.Subject = "another"; return e },
		"another time":    func(e event.Event) event.Event { e.Time = e.Time.Add(time.Microsecond); return e },
		"another type":    func(e event.Event) event.Event { e.Type = "another"; return e },
		"another lease":   func(e event.Event) event.Event { e.Data.LeaseID = "another"; return e },
		"another version": func(e event.Event) event.Event { e.Data.Version++; return e },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := third(t, at)
			w.store.Break(storetest.Fault{Method: "Suspend", Nth: 1})
			for range 2 { // the proof is kept until the store is suspended
				if _, err := p.Do(t.Context()); !errors.Is(err, publish.ErrRewound) {
					t.Fatalf("do: %v, want ErrRewound", err)
				}
			}
			why, suspended, err := w.fake.Suspension(t.Context())
			if err != nil || !suspended || !why.Lost || why.Reason == "" {
				t.Fatalf("suspended: %t, %+v, %v; want it, with commits lost", suspended, why, err)
			}
			w.drain(t, p)
			if n := len(w.broker.numbers()); n != 0 {
				t.Fatalf("%d events were sent", n)
			}
			w.resume(t, 2, 3)
			w.append(t, 1)
			w.drain(t, p) // a stream that lies is believed once
			if n := len(w.broker.numbers()); n == 0 {
				t.Error("nothing was sent after the recovery")
			}
			if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil {
				t.Errorf("suspended again: %v", err)
			}
		})
	}
}

// Who cannot compare publishes nothing, and tries again.
func TestStreamNotCompared(t *testing.T) {
	t.Parallel()
	same := func(e event.Event) event.Event { return e }
	for name, c := range map[string]struct{ breaks, mends func(*world) }{
		"the stream": {
			func(w *world) { w.broker.gone = errAway },
			func(w *world) { w.broker.gone = nil },
		},
		"the head":   {func(w *world) { w.store.Break(storetest.Fault{Method: "Head", Nth: 1}) }, func(*world) {}},
		"the events": {func(w *world) { w.store.Break(storetest.Fault{Method: "Events", Nth: 1}) }, func(*world) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := third(t, same)
			c.breaks(w)
			if _, err := p.Do(t.Context()); err == nil || errors.Is(err, publish.ErrRewound) {
				t.Fatalf("do: %v", err)
			}
			if n := len(w.broker.numbers()); n != 0 {
				t.Fatalf("%d events were sent", n)
			}
			c.mends(w)
			w.drain(t, p)
			w.check(t)
		})
	}
}

// A store that was suspended may be another afterwards: it is compared anew.
func TestComparedAfterSuspension(t *testing.T) {
	t.Parallel()
	w, p := third(t, func(e event.Event) event.Event { return e })
	w.drain(t, p)
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	w.append(t, 1)
	w.clock.Advance(time.Second)
	w.drain(t, p)
	w.resume(t, 0, 0)
	w.broker.tail = event.Event{Position: event.Position{Epoch: 1, Number: 40}}
	if _, err := p.Do(t.Context()); !errors.Is(err, publish.ErrRewound) {
		t.Errorf("do: %v, want ErrRewound", err)
	}
}
