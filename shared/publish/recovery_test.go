package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// older is a store that has a smaller head where it is told to.
type older struct {
	publish.Store
	head event.Position
}

func (o *older) Number(ctx context.Context, l store.Lock, limit int) (event.Position, int, error) {
	head, n, err := o.Store.Number(ctx, l, limit)
	if err == nil && o.head.Number > 0 {
		head = o.head
	}
	return head, n, err
}

// arrivals are what the broker got in an epoch: number and place in the order of
// commits.
func (b *broker) arrivals(epoch int64) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.sent {
		if e.Position.Epoch == epoch {
			out = append(out, fmt.Sprintf("%d:%s", e.Position.Number, e.Subject))
		}
	}
	return out
}

func (w *world) resume(t *testing.T, epoch, after int64) {
	t.Helper()
	if err := w.fake.Resume(t.Context(), epoch, event.Position{Epoch: 1, Number: after}, store.Write{}); err != nil {
		t.Fatal(err)
	}
}

// A7: a store that steps back under a publisher is suspended, whatever comes in
// between, and published from the first event of its new epoch.
func TestRewoundStore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	old := &older{Store: w.store}
	p, err := publish.New(old, w.broker, nil, w.clock, zerolog.Nop(), publish.Config{Owner: "a"})
	if err != nil {
		t.Fatal(err)
	}
	w.append(t, 5)
	w.drain(t, p)
	old.head = event.Position{Epoch: 1, Number: 3}
	w.store.Break(storetest.Fault{Method: "Suspend", Nth: 1})
	for range 2 { // the proof is kept until the store is suspended
		if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil {
			t.Fatalf("suspended: %t, %v", suspended, err)
		}
		if _, err := p.Do(t.Context()); !errors.Is(err, publish.ErrRewound) {
			t.Fatalf("do: %v, want ErrRewound", err)
		}
	}
	why, suspended, err := w.fake.Suspension(t.Context())
	if err != nil || !suspended || !why.Lost || why.Reason == "" {
		t.Fatalf("suspended: %t, %+v, %v; want it, with commits lost", suspended, why, err)
	}
	old.head = event.Position{}
	w.append(t, 2)
	w.drain(t, p)
	if n := len(w.broker.numbers()); n != 5 {
		t.Fatalf("%d events were sent while the store is suspended, want 5", n)
	}
	w.resume(t, 2, 3) // what it had sent as 1-4 and 1-5 is not what was lost
	w.append(t, 1)
	w.clock.Advance(time.Second)
	w.drain(t, p)
	if got, want := w.broker.arrivals(2), []string{"1:4", "2:5", "3:6", "4:7", "5:8"}; !slices.Equal(got, want) {
		t.Errorf("of the new epoch arrived %v, want %v", got, want)
	}
	w.clock.Advance(time.Second)
	w.drain(t, p)
	at, err := w.fake.Confirmed(t.Context(), publish.Sent)
	if want := (event.Position{Epoch: 2, Number: 5}); err != nil || at != want {
		t.Errorf("recorded is %s, %v; want %s", at, err, want)
	}
}

// A7: nothing is numbered, sent or deleted while the store is suspended; that is
// said once. What was suspended for nothing goes on with the same numbers.
func TestWaitsWhileSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var log bytes.Buffer
	p, err := publish.New(w.store, w.broker, nil, w.clock, zerolog.New(&log), publish.Config{Owner: "a"})
	if err != nil {
		t.Fatal(err)
	}
	w.append(t, 3)
	w.drain(t, p)
	w.append(t, 2)
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	w.confirm(t, 3)
	for range 20 { // longer than the lock lives
		w.clock.Advance(time.Second)
		if rest, err := p.Do(t.Context()); err != nil || rest != time.Second {
			t.Fatalf("do: rest %s, %v; want a second", rest, err)
		}
	}
	if n := bytes.Count(log.Bytes(), []byte("suspended")); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log.Bytes())
	}
	if first, n := w.first(t), len(w.broker.numbers()); first != 1 || n != 3 {
		t.Errorf("the store begins with %d, %d events were sent; want 1 and 3", first, n)
	}
	if other, ok, err := w.fake.Acquire(t.Context(), publish.LockName, "b", time.Second); ok || err != nil {
		t.Errorf("the lock was lost: %+v, %v", other, err)
	}
	w.resume(t, 0, 0)
	w.drain(t, p)
	w.check(t)
}

// Who begins after the recovery knows only what the copy had recorded: more than
// both have, or less.
func TestBeginsInANewEpoch(t *testing.T) {
	t.Parallel()
	for _, common := range []int64{0, 4, 7, 10} {
		t.Run(fmt.Sprint(common), func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			p := w.publisher(t, "a", publish.Config{Batch: 3})
			w.append(t, 7)
			w.drain(t, p)
			w.clock.Advance(time.Second)
			w.drain(t, p) // 7 are recorded as sent
			w.append(t, 3)
			if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
				t.Fatal(err)
			}
			w.resume(t, 5, common)
			w.append(t, 2)
			w.clock.Advance(time.Minute)
			w.drain(t, w.publisher(t, "b", publish.Config{Batch: 3}))
			var want []string
			for n := common + 1; n <= 12; n++ {
				want = append(want, fmt.Sprintf("%d:%d", n-common, n))
			}
			if got := w.broker.arrivals(5); !slices.Equal(got, want) {
				t.Errorf("of the new epoch arrived %v, want %v", got, want)
			}
			for n, all := int64(1), w.broker.arrivals(1); n <= common; n++ {
				if !slices.Contains(all, fmt.Sprintf("%d:%d", n, n)) {
					t.Errorf("%d did not arrive, but %v", n, all)
				}
			}
		})
	}
}
