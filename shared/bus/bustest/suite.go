// Package bustest is the conformance suite of the event stream: the laws of
// package bus. Every implementation passes it; broken ones are shown to fail.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// T is the part of *testing.T that a law needs, so that a test can watch a law
// fail.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// Subject is a stream under test.
type Subject struct {
	Bus bus.Bus
	// Delete removes the stream and its consumers behind the bus's back.
	Delete func() error
	// Replicated: the broker keeps copies that may be behind each other.
	Replicated bool
}

// Law is one law of the contract.
type Law struct {
	Name  string
	Check func(t T, s Subject)
}

// Laws lists the laws. Each check gets an empty stream of its own.
func Laws() []Law {
	return []Law{
		{"events arrive in order and whole", ordered},
		{"D3 an event published twice is stored once", once},
		{"a durable consumer resumes after what it acknowledged", resumes},
		{"what was not acknowledged comes again", again},
		{"a consumer that is not durable starts with the next event", fromNow},
		{"fetch without events returns after its wait", empty},
		{"D3 publish stops at the first failure and says how many it sent", partial},
		{"a deleted stream is made anew and consumers go on", survivesDeletion},
		{"D4 the latest head arrives", heads},
		{"A7 what is stored can be read from its beginning, to its end", replays},
		{"A7 a stream that is empty or gone replays nothing", replaysNothing},
		{"A7 the tail is the last event that is stored", tails},
	}
}

// hang bounds every wait for something that must happen.
const hang = 2 * time.Minute

func events(from, n int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		k := int64(from + i)
		at := time.Unix(1_800_000_000+k, 5).UTC()
		out[i] = event.Event{
			Position: event.Position{Epoch: 1, Number: k}, Type: event.LeaseRevoked, Time: at,
			Subject: fmt.Sprintf("team/db/creds/r/%d", k),
			Data: event.Data{
				LeaseID: lease.ID(fmt.Sprintf("team/db/creds/r/%d", k)), Version: k, Mount: "team/db/",
				State: lease.Revoked, Actor: lease.System(lease.ActorExpiry), Reason: "lease expired", EndedAt: &at,
			},
		}
	}
	return out
}

// eventually tries until it is done. A broker may answer late, or say that it is
// away: the contract allows an error, and that its caller tries again.
func eventually(t T, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			t.Fatalf("%s: not within %s: %v", what, hang, err)
			return
		case <-timer.C:
		}
	}
}

// publish sends list as package publish does: from the first that was not
// acknowledged on.
func publish(t T, s Subject, list []event.Event) {
	t.Helper()
	acked := 0
	eventually(t, "publish", func(ctx context.Context) error {
		n, err := s.Bus.Publish(ctx, list[acked:])
		if acked += n; err == nil && acked != len(list) {
			t.Fatalf("publish: %d of %d, and no error", acked, len(list))
		}
		return err
	})
}

func consume(t T, s Subject, name string, durable bool) (c bus.Consumer) {
	t.Helper()
	eventually(t, "consume", func(ctx context.Context) (err error) {
		c, err = s.Bus.Consume(ctx, name, durable)
		return err
	})
	return c
}

// collect fetches until n events came.
func collect(t T, c bus.Consumer, n int) []event.Event {
	t.Helper()
	var got []event.Event
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for len(got) < n {
		more, err := c.Fetch(ctx, 100, time.Second)
		if ctx.Err() != nil {
			t.Fatalf("only %d of %d events arrived within %s (%v)", len(got), n, hang, err)
		}
		got = append(got, more...)
	}
	return got
}

func numbers(t T, got []event.Event, from, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d events, want %d", len(got), n)
		return
	}
	for i, e := range got {
		if e.Position.Number != int64(from+i) {
			t.Errorf("event %d has number %d, want %d", i, e.Position.Number, from+i)
			return
		}
	}
}

func closed(t T, c bus.Consumer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func ordered(t T, s Subject) {
	c := consume(t, s, "ordered", true)
	defer closed(t, c)
	const n = 2500 // more than may be outstanding at a time
	sent := events(1, n)
	publish(t, s, sent)
	got := collect(t, c, n)
	numbers(t, got, 1, n)
	a, b := sent[7], got[7]
	if a.Type != b.Type || !a.Time.Equal(b.Time) || a.Subject != b.Subject || a.Data.Reason != b.Data.Reason || !a.Data.EndedAt.Equal(*b.Data.EndedAt) {
		t.Errorf("event changed on the way:\nsent %+v\ngot  %+v", a, b)
	}
}

func once(t T, s Subject) {
	c := consume(t, s, "once", true)
	defer closed(t, c)
	publish(t, s, events(1, 5))
	publish(t, s, events(1, 5))
	publish(t, s, events(6, 1))
	numbers(t, collect(t, c, 6), 1, 6)
}

func resumes(t T, s Subject) {
	c := consume(t, s, "resumes", true)
	publish(t, s, events(1, 10))
	collect(t, c, 10)
	if err := c.Ack(t.Context()); err != nil {
		t.Fatalf("ack: %v", err)
	}
	closed(t, c)
	publish(t, s, events(11, 5))
	c = consume(t, s, "resumes", true)
	defer closed(t, c)
	numbers(t, collect(t, c, 5), 11, 5)
}

func again(t T, s Subject) {
	publish(t, s, events(1, 4))
	c := consume(t, s, "again-1", true)
	numbers(t, collect(t, c, 4), 1, 4)
	closed(t, c)
	c = consume(t, s, "again-2", true) // another place: all of it
	defer closed(t, c)
	numbers(t, collect(t, c, 4), 1, 4)
}

func fromNow(t T, s Subject) {
	publish(t, s, events(1, 10))
	c := consume(t, s, "now", false)
	defer closed(t, c)
	publish(t, s, events(11, 3))
	got := collect(t, c, 3)
	if from := got[0].Position.Number; s.Replicated && from < 11 {
		// It began at a copy that lacked what the others had acknowledged.
		got = append(got, collect(t, c, int(14-from)-len(got))...)
		numbers(t, got, int(from), int(14-from))
		return
	}
	numbers(t, got, 11, 3)
}

func empty(t T, s Subject) {
	c := consume(t, s, "empty", false)
	defer closed(t, c)
	got, err := c.Fetch(t.Context(), 10, 50*time.Millisecond)
	if err != nil || len(got) != 0 {
		t.Errorf("fetch: %d events, %v; want none", len(got), err)
	}
}

func partial(t T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := s.Bus.Publish(ctx, events(1, 3))
	if err == nil && n != 3 || err != nil && n == 3 {
		t.Errorf("publish with a cancelled context: %d, %v: the two disagree", n, err)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("publish: %v, want the context's error", err)
	}
	publish(t, s, events(1, 3)) // sent again: at least once, stored once
	c := consume(t, s, "partial", true)
	defer closed(t, c)
	numbers(t, collect(t, c, 3), 1, 3)
}

func survivesDeletion(t T, s Subject) {
	durable, other := consume(t, s, "survivor", true), consume(t, s, "other", false)
	defer closed(t, durable)
	defer closed(t, other)
	publish(t, s, events(1, 3))
	collect(t, durable, 3)
	collect(t, other, 3)
	if err := s.Delete(); err != nil {
		t.Fatalf("delete the stream: %v", err)
	}
	want := events(4, 3)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for sent := 0; sent < len(want); {
		n, err := s.Bus.Publish(ctx, want[sent:])
		sent += n
		if ctx.Err() != nil {
			t.Fatalf("the stream was not made anew: %v", err)
		}
	}
	for name, c := range map[string]bus.Consumer{"durable": durable, "other": other} {
		for last := int64(0); last < 6; {
			got, _ := c.Fetch(ctx, 10, time.Second)
			if ctx.Err() != nil {
				t.Fatalf("the %s consumer did not go on: last number %d", name, last)
			}
			for _, e := range got {
				last = e.Position.Number
			}
		}
	}
}

func heads(t T, s Subject) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	ch, err := s.Bus.Heads(ctx)
	if err != nil {
		t.Fatalf("heads: %v", err)
	}
	for n := int64(1); ; n++ {
		if err := s.Bus.Announce(ctx, event.Position{Epoch: 1, Number: n}); err != nil {
			t.Fatalf("announce: %v", err)
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case h := <-ch:
			timer.Stop()
			if h.Epoch != 1 || h.Number < 1 || h.Number > n {
				t.Errorf("head is %s after %d announcements", h, n)
			}
			return
		case <-timer.C:
		case <-ctx.Done():
			t.Fatalf("no head arrived")
		}
	}
}

// replayed collects a replay that ends without an error.
func replayed(t T, s Subject, since time.Time) (got []event.Event) {
	t.Helper()
	eventually(t, "replay", func(ctx context.Context) error {
		got = got[:0]
		for e, err := range s.Bus.Replay(ctx, since) {
			if err != nil {
				return fmt.Errorf("after %d events: %w", len(got), err)
			}
			got = append(got, e)
		}
		return nil
	})
	return got
}

func replays(t T, s Subject) {
	const n = 1300 // more than a broker hands out at once
	sent := events(1, n)
	publish(t, s, sent)
	reader := consume(t, s, "reader", true)
	defer closed(t, reader)
	collect(t, reader, n) // what others have read is still there
	if err := reader.Ack(t.Context()); err != nil {
		t.Fatalf("ack: %v", err)
	}
	for _, since := range []time.Time{{}, {}, time.Unix(1_000_000_000, 0)} { // it keeps no place
		got := replayed(t, s, since)
		numbers(t, got, 1, n)
		if len(got) != n {
			return
		}
		if a, b := sent[n-1], got[n-1]; a.Type != b.Type || !a.Time.Equal(b.Time) || a.Subject != b.Subject || a.Data.Version != b.Data.Version {
			t.Errorf("event changed on the way:\nsent %+v\ngot  %+v", a, b)
		}
	}
	eventually(t, "begin a replay", func(ctx context.Context) error {
		for _, err := range s.Bus.Replay(ctx, time.Time{}) {
			return err // nobody has to read all of it
		}
		return errors.New("no event")
	})
	if got := replayed(t, s, time.Unix(9_000_000_000, 0)); len(got) != 0 {
		t.Errorf("%d events since a time to come, want none", len(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var failed error
	for _, err := range s.Bus.Replay(ctx, time.Time{}) {
		failed = err
	}
	if failed == nil {
		t.Errorf("a replay that was cut short says nothing")
	}
}

func replaysNothing(t T, s Subject) {
	if got := replayed(t, s, time.Time{}); len(got) != 0 {
		t.Errorf("an empty stream replays %d events", len(got))
	}
	publish(t, s, events(1, 3))
	if err := s.Delete(); err != nil {
		t.Fatalf("delete the stream: %v", err)
	}
	if got := replayed(t, s, time.Time{}); len(got) != 0 {
		t.Errorf("a deleted stream replays %d events", len(got))
	}
}

func tails(t T, s Subject) {
	want := func(when string, last int64) {
		t.Helper()
		eventually(t, when, func(ctx context.Context) error {
			switch at, err := s.Bus.Tail(ctx); {
			case errors.Is(err, bus.ErrNoStream) && last == 0:
			case err != nil:
				return err
			case at.Position.Number != last:
				return fmt.Errorf("the tail is %s, want number %d", at.Position, last)
			case last > 0 && at.Type != event.LeaseRevoked:
				return fmt.Errorf("the tail is %+v, want the event", at)
			}
			return nil
		})
	}
	want("before the first event", 0)
	publish(t, s, events(1, 3))
	want("after three", 3)
	publish(t, s, events(4, 100))
	publish(t, s, events(50, 1)) // sent again: it is not stored
	want("after a hundred more", 103)
	if err := s.Delete(); err != nil {
		t.Fatalf("delete the stream: %v", err)
	}
	want("after it was deleted", 0)
	publish(t, s, events(104, 2))
	want("after two more", 105)
}
