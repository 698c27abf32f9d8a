package storetest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func outboxLaws() []law {
	return []law{
		{"D3 numbers are dense from 1 and hide what has none", lawNumber},
		{"D3 who lost the lock numbers nothing", lawFence},
		{"D4 a confirmation never goes back", lawConfirm},
		{"D4 trimming takes the oldest numbered events only", lawTrim},
		{"watch: commits with events are hinted at", lawWatch},
		{"E whoever gave up before the commit changed nothing", lawContext},
		{"close: later calls fail", lawClose},
	}
}

func positionBefore(epoch, number int64) event.Position {
	return event.Position{Epoch: epoch, Number: number - 1}
}

func (s *subject) append(t T, n int) {
	t.Helper()
	for i := range n {
		e := event.Event{Type: event.RequestServed, Subject: strconv.Itoa(i), Time: time.Unix(1, 0), Data: event.Data{Count: i}}
		if err := s.Append(t.Context(), e); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
}

func lawNumber(t T, s *subject) {
	lock := s.lock(t, "a")
	head, err := s.Head(t.Context())
	if err != nil || head.Number != 0 {
		t.Fatalf("the first head is %s, %v", head, err)
	}
	if got, n, err := s.Number(t.Context(), lock, 10); got != head || n != 0 || err != nil {
		t.Errorf("Number of nothing: %s, %d, %v", got, n, err)
	}
	s.append(t, 5)
	if all := s.events(t, event.Position{}); len(all) != 0 {
		t.Errorf("%d events are visible without a number", len(all))
	}
	if n, err := s.Backlog(t.Context()); n != 5 || err != nil {
		t.Errorf("the backlog is %d, %v; want 5", n, err)
	}
	for _, want := range []int{3, 2, 0} {
		before := head
		head, n, err := s.Number(t.Context(), lock, 3)
		if err != nil || n != want || head.Epoch != before.Epoch {
			t.Errorf("Number: %s, %d, %v; want %d more", head, n, err, want)
		}
		if now, err := s.Head(t.Context()); now != head || err != nil {
			t.Errorf("Head: %s, %v; want %s", now, err, head)
		}
	}
	all := s.events(t, event.Position{})
	for i, e := range all {
		if e.Position != (event.Position{Epoch: head.Epoch, Number: int64(i) + 1}) || e.Subject != strconv.Itoa(i) || e.Data.Count != i {
			t.Errorf("event %d is %s", i, text(e))
		}
		if !e.Time.Equal(s.clock.Now()) {
			t.Errorf("event %d is of %s, want the store's time", i, e.Time)
		}
	}
	if len(all) != 5 {
		t.Errorf("%d events, want 5", len(all))
	}
	if rest := s.events(t, all[2].Position); len(rest) != 2 || rest[0].Position != all[3].Position {
		t.Errorf("after %s come %s", all[2].Position, text(rest))
	}
	if future := s.events(t, event.Position{Epoch: head.Epoch + 1}); len(future) != 0 {
		t.Errorf("an epoch that has not begun has %d events", len(future))
	}
}

func lawFence(t T, s *subject) {
	s.append(t, 3)
	mine := s.lock(t, "a")
	s.clock.Advance(2 * time.Minute) // it lapsed, but nobody took it
	if _, n, err := s.Number(t.Context(), mine, 1); n != 1 || err != nil {
		t.Errorf("a lapsed lock that nobody took: %d, %v", n, err)
	}
	theirs := s.lock(t, "b")
	refused := func(name string, l store.Lock) {
		t.Helper()
		if _, n, err := s.Number(t.Context(), l, 1); !errors.Is(err, store.ErrLost) || n != 0 {
			t.Errorf("%s: %d, %v; want ErrLost", name, n, err)
		}
	}
	refused("the old owner", mine)
	refused("a forged fence", store.Lock{Name: theirs.Name, Owner: "a", Fence: theirs.Fence})
	refused("nobody's lock", store.Lock{Name: "other", Owner: "a", Fence: 1})
	if err := s.Release(t.Context(), theirs); err != nil {
		t.Fatalf("Release: %v", err)
	}
	refused("one that was released", theirs)
	if head, err := s.Head(t.Context()); head.Number != 1 || err != nil {
		t.Errorf("the head is %s, %v; want 1", head, err)
	}
}

func lawConfirm(t T, s *subject) {
	if p, err := s.Confirmed(t.Context(), "c"); err != nil || p.Number != 0 {
		t.Errorf("at first: %s, %v", p, err)
	}
	s.append(t, 9)
	s.numberAll(t)
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	for _, c := range []struct{ upTo, want int64 }{{3, 3}, {7, 7}, {5, 7}, {0, 7}, {9, 9}} {
		if err := s.Confirm(t.Context(), "c", event.Position{Epoch: head.Epoch, Number: c.upTo}); err != nil {
			t.Errorf("Confirm %d: %v", c.upTo, err)
		}
		if p, err := s.Confirmed(t.Context(), "c"); err != nil || p.Number != c.want || p.Epoch != head.Epoch {
			t.Errorf("after %d: %s, %v; want %d", c.upTo, p, err, c.want)
		}
	}
	if err := s.Confirm(t.Context(), "c", event.Position{Epoch: head.Epoch, Number: 10}); !errors.Is(err, store.ErrAhead) {
		t.Errorf("beyond the head: %v, want ErrAhead", err)
	}
	if p, err := s.Confirmed(t.Context(), "other"); err != nil || p.Number != 0 {
		t.Errorf("another consumer: %s, %v", p, err)
	}
}

func lawTrim(t T, s *subject) {
	s.append(t, 10)
	lock := s.lock(t, "suite")
	head, _, err := s.Number(t.Context(), lock, 7)
	if err != nil {
		t.Fatalf("Number: %v", err)
	}
	for _, c := range []struct {
		upTo        int64
		limit, want int
	}{{0, 10, 0}, {5, 2, 2}, {5, 10, 3}, {5, 10, 0}, {3, 10, 0}, {50, 10, 2}} {
		if n, err := s.Trim(t.Context(), event.Position{Epoch: head.Epoch, Number: c.upTo}, c.limit); n != c.want || err != nil {
			t.Errorf("Trim up to %d, at most %d: %d, %v; want %d", c.upTo, c.limit, n, err, c.want)
		}
	}
	if n, err := s.Backlog(t.Context()); n != 3 || err != nil {
		t.Errorf("the backlog is %d, %v; want the 3 without a number", n, err)
	}
	all := s.numberAll(t)
	if len(all) != 3 || all[0].Position.Number != 8 || all[0].Subject != "7" {
		t.Errorf("left are %s, want numbers 8 to 10", text(all))
	}
}

func lawWatch(t T, s *subject) {
	w, ok := s.Store.(store.Watcher)
	if !ok {
		return // an optional ability
	}
	hint, stop := w.Watch()
	defer stop()
	silent := func(after string) {
		t.Helper()
		select {
		case <-hint:
			t.Errorf("a hint after %s", after)
		default:
		}
	}
	silent("nothing")
	s.put(t, store.KindRole, "without an event")
	silent("a commit without events")
	s.append(t, 3)
	select {
	case <-hint:
	default:
		t.Errorf("no hint after events")
	}
	silent("the one hint of several commits")
	stop()
	s.append(t, 1)
	silent("the end of the watch")
}

func lawContext(t T, s *subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	item := s.beginning(lease.NewID("database/creds/a"))
	if out := s.Apply(ctx, item); !errors.Is(out[0].Err, context.Canceled) {
		t.Errorf("Apply: %v, want its context's error", out[0].Err)
	}
	if _, err := s.Get(t.Context(), item.Change.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it was applied: %v", err)
	}
	if _, err := s.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "a"}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v, want its context's error", err)
	}
}

func lawClose(t T, s *subject) {
	l := s.begin(t, "database/creds/a")
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := s.Get(t.Context(), l.ID); err == nil {
		t.Errorf("Get was answered")
	}
	if out := s.one(t, s.change(l.ID, 1, lease.Activate{})); out.Err == nil {
		t.Errorf("Apply was done")
	}
	if err := s.Append(t.Context(), event.Event{}); err == nil {
		t.Errorf("Append was done")
	}
}
