package appender_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// The stream wakes: between two looks at the store's head nothing else does.
func TestWokenByTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	do(t, a)
	var all []event.Event
	for _, n := range []int{30, 1, 89} {
		made := w.make(n)
		all = append(all, made...)
		w.stream.push(made)
		do(t, a)
		w.has(1, all)
	}
	w.confirmedIs(30) // paced: the second confirmation waits
	w.clock.Advance(200 * time.Millisecond)
	do(t, a)
	w.confirmedIs(120)
	if w.stream.acked != 120 {
		t.Errorf("%d events were acknowledged, want 120", w.stream.acked)
	}
	if last := w.appended[len(w.appended)-1]; last.Number != 120 {
		t.Errorf("told of %s, want 1-120", last)
	}
	reads := w.outbox.reads
	for range 5 {
		do(t, a)
	}
	if w.outbox.reads != reads {
		t.Error("the store was read while nothing happened")
	}
}

// Promise 6: without any stream.
func TestFromTheStoreAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(120)
	a := w.with(bus.Nop{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for w.confirmed().Number < 120 {
		w.clock.Advance(time.Second)
		if _, err := a.Do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	w.has(1, all)
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A broker that is away at the start, or later, delays nothing.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(10)
	w.stream.away = errAway
	a := w.appender()
	rest, err := a.Do(t.Context())
	if err != nil || rest <= 0 || rest > time.Second {
		t.Errorf("do: rest %s, %v; want a short one", rest, err)
	}
	w.has(1, all)
	w.stream.away = nil
	all = append(all, w.make(5)...)
	w.stream.push(all[10:])
	do(t, a)
	w.has(1, all)
	w.stream.away = errAway
	all = append(all, w.make(5)...)
	do(t, a)
	w.has(1, all)
}

// D5: what the stream leaves out, or brings in disorder, is no gap in the ledger.
func TestGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(100)
	w.stream.push(all[:10], slices.Concat(all[10:15], all[40:60]), all[99:], all[60:70])
	a := w.appender()
	for range 4 {
		do(t, a)
	}
	w.has(1, all)
	if w.stream.acked != w.stream.fetched {
		t.Errorf("%d of %d events were acknowledged", w.stream.acked, w.stream.fetched)
	}
}

// D5: duplicates and old numbers are dropped, wherever they stand, and cost
// nothing.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(30)
	w.stream.push(all[:10], all[:10], slices.Concat(all[5:20], all[3:25], all[24:26]), all[20:], all[:1])
	a := w.appender()
	do(t, a)
	reads := w.outbox.reads
	for range 4 {
		do(t, a)
	}
	w.has(1, all)
	if w.outbox.reads != reads {
		t.Error("old numbers made the store be read")
	}
	if w.stream.acked != w.stream.fetched {
		t.Errorf("%d of %d events were acknowledged", w.stream.acked, w.stream.fetched)
	}
}

// D4: a lost tail is seen by the announced head …
func TestLostTailByHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(10)
	w.stream.push(all[:10])
	a := w.appender()
	do(t, a)
	all = append(all, w.make(5)...)
	do(t, a)
	w.has(1, all[:10]) // nothing says yet that there is more
	w.stream.heads <- event.Position{Epoch: 1, Number: 15}
	do(t, a)
	w.has(1, all)
}

// … and without it by the store's.
func TestLostTailByTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	w.clock.Advance(time.Second)
	do(t, a)
	all := w.make(5)
	w.clock.Advance(999 * time.Millisecond)
	do(t, a)
	w.has(1, nil)
	w.clock.Advance(time.Millisecond)
	do(t, a)
	w.has(1, all)
}

// An announced head that is not the store's costs a read, no more.
func TestForeignHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(5)
	w.stream.push(all)
	a := w.appender()
	do(t, a)
	w.stream.heads <- event.Position{Epoch: 7, Number: 1 << 40}
	do(t, a)
	do(t, a)
	w.has(1, all)
	if w.outbox.reads > 4 {
		t.Errorf("the store was read %d times", w.outbox.reads)
	}
}

// D4: what the store has no more is told at every try, and nothing is put in
// its place, nor what the stream has.
func TestMissing(t *testing.T) {
	t.Parallel()
	for name, trimmed := range map[string]int64{"some": 20, "all": 30} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			all := w.make(10)
			w.stream.push(all)
			a := w.appender()
			do(t, a)
			w.make(20)
			if _, err := w.fake.Trim(t.Context(), event.Position{Epoch: 1, Number: trimmed}, 100); err != nil {
				t.Fatal(err)
			}
			w.stream.push(numbered(1, 11, 30, "stream"))
			for range 3 {
				wants(t, a, appender.ErrMissing)
				w.clock.Advance(time.Second)
			}
			w.has(1, all)
			w.confirmedIs(10)
		})
	}
}

// A ledger that was replaced by an empty or older one, after the store has
// deleted what it had confirmed.
func TestLedgerLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(30)
	a := w.appender()
	w.stream.push(all)
	do(t, a)
	w.confirmedIs(30)
	if _, err := w.fake.Trim(t.Context(), event.Position{Epoch: 1, Number: 20}, 100); err != nil {
		t.Fatal(err)
	}
	if err := w.ledger.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.dir = t.TempDir()
	w.open()
	a = w.appender()
	for range 3 {
		wants(t, a, appender.ErrMissing)
		w.stream.push(w.make(1))
		w.clock.Advance(time.Second)
	}
	w.has(1, nil)
}

// A7: a store that has less than the ledger. As long as it is not recovered,
// nothing is appended or confirmed. At start …
func TestOlderStoreAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(30)
	w.stream.push(all)
	do(t, w.appender())
	w.older(20)
	a := w.restart()
	w.stream.push(w.make(5))
	for range 3 {
		wants(t, a, appender.ErrRewound)
		w.clock.Advance(time.Second)
	}
	w.has(1, all)
	w.confirmedIs(0)
}

// … with as many events as the ledger, or more, by now …
func TestOtherStoreAtStart(t *testing.T) {
	t.Parallel()
	for _, more := range []int{10, 25} {
		w := newWorld(t)
		all := w.make(30)
		w.stream.push(all)
		do(t, w.appender())
		w.older(20)
		fresh := w.make(more)
		a := w.restart()
		w.stream.push(fresh)
		for range 3 {
			wants(t, a, appender.ErrRewound)
			w.clock.Advance(time.Second)
		}
		w.has(1, all)
		w.confirmedIs(0)
	}
}

// … and while running: by its head, or by what comes under old numbers.
func TestOlderStoreWhileRunning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more   int
		stream bool
	}{"head": {0, false}, "smaller numbers": {5, true}, "up to the same number": {10, true}, "beyond": {25, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			all := w.make(30)
			w.stream.push(all)
			a := w.appender()
			do(t, a)
			w.older(20)
			fresh := w.make(c.more)
			if c.stream {
				w.stream.push(fresh)
				_, _ = a.Do(t.Context()) // may see it at once
			}
			w.clock.Advance(time.Second)
			for range 3 {
				wants(t, a, appender.ErrRewound)
				w.clock.Advance(time.Second)
			}
			w.confirmedIs(0)
			for e, err := range w.ledger.Entries(t.Context(), 1, 1, 30) {
				if err != nil || !strings.Contains(string(e.Data), fmt.Sprintf(`"sys/%d"`, e.Number)) {
					t.Fatalf("entry %d is %s, %v", e.Number, e.Data, err)
				}
			}
		})
	}
}

// older replaces the store by a copy of it that was made at number n. What it
// commits from now on is told apart.
func (w *world) older(n int) {
	w.t.Helper()
	w.fake = storetest.NewFake(w.clock)
	w.store = storetest.NewFaulty(w.fake)
	w.outbox.Store = w.store
	w.acquire()
	w.n = 0
	w.make(n)
	w.n += 1000
}

// resumed is what a recovery does: it goes on in epoch 2, after event n of the
// first.
func (w *world) resumed(n int64) error {
	if err := w.fake.Suspend(w.t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		return err
	}
	return w.fake.Resume(w.t.Context(), 2, event.Position{Epoch: 1, Number: n}, store.Write{Events: []event.Event{{Type: event.StoreResumed}}})
}

// A7: what was found is handed to the recovery, once a try; after it the place is
// read anew and what the store has then is appended.
func TestRecovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(30)
	w.stream.push(all)
	do(t, w.appender())
	w.older(20)
	a := w.restart()
	w.healer.heal = func() error { return errAway }
	wants(t, a, errAway)
	w.healer.heal = func() error { return w.resumed(20) }
	do(t, a)
	if n := len(w.healer.found); n != 2 || !errors.Is(w.healer.found[0], appender.ErrRewound) || !errors.Is(w.healer.found[1], appender.ErrRewound) {
		t.Errorf("handed over: %v", w.healer.found)
	}
	fresh := w.make(1)
	do(t, a)
	w.has(1, all)
	events, err := w.fake.Events(t.Context(), event.Position{Epoch: 2}, 10)
	if err != nil || len(events) != 1 || len(fresh) != 1 {
		t.Fatalf("of the new epoch the store has %d events, %v", len(events), err)
	}
	w.has(2, events)
}

// A7: a suspension that somebody else has found a reason for is noticed at the
// start, and within a second later on.
func TestNoticesASuspension(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream.push(w.make(5))
	a := w.appender()
	do(t, a)
	resume := func() error { return w.fake.Resume(t.Context(), 0, event.Position{}, store.Write{}) }
	for range 2 {
		if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		w.healer = healer{heal: resume}
		w.clock.Advance(time.Second)
		do(t, a)
		if n := len(w.healer.found); n != 1 || w.healer.found[0] != nil {
			t.Errorf("handed over: %v, want one without a reason of its own", w.healer.found)
		}
		a = w.restart()
	}
	made := w.make(1)
	w.stream.push(made)
	do(t, a)
	w.clock.Advance(time.Second)
	do(t, a)
	w.confirmedIs(6)
}

// Settle compares and recovers, and appends nothing.
func TestSettle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(30)
	a := w.appender()
	if err := a.Settle(t.Context()); err != nil || len(w.healer.found) > 0 {
		t.Errorf("settle: %v, handed over: %v", err, w.healer.found)
	}
	w.has(1, nil)
	do(t, a)
	w.has(1, all)
	w.older(20)
	w.fake.ServerStarted()
	w.healer.heal = func() error { return nil } // and has not healed
	if err := a.Settle(t.Context()); !errors.Is(err, appender.ErrRewound) || len(w.healer.found) != 1 {
		t.Errorf("settle: %v, handed over: %v", err, w.healer.found)
	}
	w.healer = healer{heal: func() error { return w.resumed(20) }}
	if err := a.Settle(t.Context()); err != nil || len(w.healer.found) != 1 {
		t.Errorf("settle: %v, handed over: %v", err, w.healer.found)
	}
	if _, suspended, err := w.fake.Suspension(t.Context()); err != nil || suspended {
		t.Errorf("suspended: %t, %v", suspended, err)
	}
	w.store.Break(storetest.Fault{Method: "Head"})
	if err := a.Settle(t.Context()); !errors.Is(err, storetest.ErrInjected) || len(w.healer.found) != 1 {
		t.Errorf("settle: %v, handed over: %v", err, w.healer.found)
	}
}

// A7: the epoch that the store opens then is taken up.
func TestNewEpochAfterARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := numbered(1, 1, 30, "old")
	s := &epochs{events: old, head: old[29].Position}
	w.outbox.Store = s
	w.stream.push(old)
	do(t, w.appender())
	// The copy had 20; it went on with another 21 before that was found out.
	fresh := numbered(2, 1, 5, "new")
	s.events, s.head, s.confirmed = slices.Concat(old[:20], numbered(1, 21, 21, "lost"), fresh), fresh[4].Position, event.Position{Epoch: 1, Number: 20}
	a := w.restart()
	w.stream.push(old[20:], fresh)
	do(t, a)
	do(t, a)
	w.has(1, old)
	w.has(2, fresh)
	w.clock.Advance(time.Second)
	do(t, a)
	if s.confirmed != fresh[4].Position {
		t.Errorf("confirmed is %s, want %s", s.confirmed, fresh[4].Position)
	}
	// Numbers of the first epoch beyond the segment's end are dropped.
	w.stream.push(numbered(1, 31, 33, "late"))
	do(t, a)
	w.has(1, old)
}

// The first event of another epoch does not hide a lost tail of the one before.
func TestEpochSwitchWithALostTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second, fourth := numbered(1, 1, 20, "e"), numbered(2, 1, 7, "e"), numbered(4, 1, 3, "e")
	s := &epochs{events: slices.Concat(first, second, fourth), head: fourth[2].Position}
	w.outbox.Store = s
	w.stream.push(first[:12], slices.Concat(first[12:15], second))
	a := w.appender()
	do(t, a)
	do(t, a)
	w.has(1, first)
	w.has(2, second)
	w.has(3, nil)
	w.has(4, fourth)
	w.clock.Advance(time.Second)
	do(t, a)
	if s.confirmed != fourth[2].Position {
		t.Errorf("confirmed is %s, want %s", s.confirmed, fourth[2].Position)
	}
	// After a restart the end of the last segment is found again.
	do(t, w.restart())
	w.has(4, fourth)
}

// A switch whose append fails leaves nothing behind that was not done.
func TestEpochSwitchFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := numbered(1, 1, 5, "e"), numbered(2, 1, 5, "e")
	s := &epochs{events: first, head: first[4].Position}
	w.outbox.Store = s
	w.stream.push(first)
	a := w.appender()
	do(t, a)
	s.events, s.head = slices.Concat(first, second), second[4].Position
	failed := errors.New("disk full")
	w.ledger.before = failed
	w.stream.push(second)
	wants(t, a, failed)
	w.clock.Advance(time.Second)
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.confirmed.Epoch != 1 {
		t.Errorf("confirmed is %s: nothing of epoch 2 is in the ledger", s.confirmed)
	}
	do(t, w.restart())
	w.has(1, first)
	w.has(2, second)
}

// What was confirmed and deleted may be the end of an epoch: then a new one
// does not follow.
func TestEpochSwitchWithDeletedTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := numbered(1, 1, 20, "e"), numbered(2, 1, 5, "e")
	s := &epochs{events: second, head: second[4].Position}
	w.outbox.Store = s
	if _, err := w.ledger.Append(t.Context(), 1, 1, [][]byte{[]byte("1"), []byte("2")}); err != nil {
		t.Fatal(err)
	}
	s.confirmed = first[19].Position
	w.stream.push(second)
	wants(t, w.appender(), appender.ErrMissing)
	w.has(2, nil)
	s.events, s.head = nil, event.Position{Epoch: 2}
	w.clock.Advance(time.Second)
	wants(t, w.appender(), appender.ErrMissing)
}

// Whoever can publish to the broker puts nothing on record and stops nothing.
func TestForgedEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	do(t, a)
	all := w.make(10)
	w.stream.push(
		slices.Concat(numbered(1, 1, 5, "forged"), all), numbered(1, 3, 9, "forged"), numbered(1, 11, 40, "forged"),
		numbered(2, 1, 4, "forged"), numbered(1<<40, 1<<40, 1<<40, "forged"),
	)
	for range 6 {
		do(t, a)
	}
	w.has(1, all)
	w.has(2, nil)
	if w.stream.acked != w.stream.fetched {
		t.Errorf("%d of %d events were acknowledged", w.stream.acked, w.stream.fetched)
	}
}

// A7: a store that was exchanged between the append and the confirmation must
// not delete what the ledger does not have.
func TestExchangedBeforeConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	for range 2 {
		w.stream.push(w.make(10))
		do(t, a)
	}
	w.confirmedIs(10)
	w.older(15)
	w.make(20)
	w.clock.Advance(200 * time.Millisecond)
	wants(t, a, appender.ErrRewound)
	w.confirmedIs(0)
}

// Append fails in both ways, with and without its position.
func TestAppendFails(t *testing.T) {
	t.Parallel()
	failed := errors.New("disk full")
	for name, f := range map[string]faulty{
		"not done":       {before: failed},
		"done":           {after: failed},
		"done, unspoken": {after: failed, gagged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			all := w.make(10)
			w.stream.push(all)
			a := w.appender()
			do(t, a)
			w.clock.Advance(time.Second)
			w.ledger.before, w.ledger.after, w.ledger.gagged = f.before, f.after, f.gagged
			all = append(all, w.make(20)...)
			wants(t, a, failed)
			if next, err := w.ledger.Next(t.Context(), 1); err != nil || w.confirmed().Number >= next {
				t.Fatalf("confirmed is %s, the ledger's next %d, %v", w.confirmed(), next, err)
			}
			do(t, a)
			w.clock.Advance(time.Second)
			do(t, a)
			w.has(1, all)
			w.confirmedIs(30)
		})
	}
}

// What is on disk after a failed write may be less than the ledger was before:
// the place is read anew.
func TestLedgerOpenedAnewWithLess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	all := w.make(10)
	w.stream.push(all)
	do(t, a)
	if err := w.ledger.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := t.TempDir()
	if err := os.CopyFS(was, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	held := w.ledger
	w.open()
	held.Ledger = w.ledger.Ledger
	made := w.make(10)
	w.stream.push(made)
	do(t, a) // not confirmed yet
	all = append(all, made...)
	if err := w.ledger.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.dir = was
	w.open()
	held.Ledger = w.ledger.Ledger
	all = append(all, w.make(5)...)
	w.stream.push(all[20:])
	gap := new(ledger.GapError)
	if _, err := a.Do(t.Context()); !errors.As(err, &gap) {
		t.Fatalf("do: %v, want a gap", err)
	}
	w.clock.Advance(time.Second)
	w.stream.push(all[24:])
	do(t, a)
	w.has(1, all)
	w.confirmedIs(25)
}

// A store that deleted what was never confirmed is not trusted with more.
func TestDeletedUnconfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(10)
	w.store.Break(storetest.Fault{Method: "Confirm"})
	wants(t, w.appender(), storetest.ErrInjected)
	w.store.Break()
	w.make(5)
	if _, err := w.fake.Trim(t.Context(), event.Position{Epoch: 1, Number: 10}, 100); err != nil {
		t.Fatal(err)
	}
	wants(t, w.appender(), appender.ErrRewound)
	w.has(1, all)
}

// A crash between append and confirmation.
func TestCrashBeforeConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(20)
	w.stream.push(all[:15])
	w.store.Break(storetest.Fault{Method: "Confirm"})
	wants(t, w.appender(), storetest.ErrInjected)
	w.confirmedIs(0)
	w.store.Break()
	w.stream.push(all[5:]) // not acknowledged: it comes again
	do(t, w.restart())
	w.has(1, all)
	w.confirmedIs(20)
}

// Every call to the store fails in both ways at every turn.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Suspension", "Head", "Events", "Confirm", "Confirmed"} {
		for nth := 1; nth <= 3; nth++ {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d done %t", method, nth, done), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.store.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
					a := w.appender()
					var all []event.Event
					failures := 0
					for range 6 {
						made := w.make(60)
						w.stream.push(made[:20], made[40:]) // with a gap
						all = append(all, made...)
						for range 4 {
							w.clock.Advance(time.Second)
							if _, err := a.Do(t.Context()); err != nil {
								failures++
							}
							if next, err := w.ledger.Next(t.Context(), 1); err != nil || w.confirmed().Number >= next {
								t.Fatalf("confirmed is %s, the ledger's next %d, %v", w.confirmed(), next, err)
							}
						}
						if method == "Confirmed" { // read at the start only
							a = w.appender()
						}
					}
					if failures != 1 {
						t.Errorf("%d turns failed, want the one with the fault", failures)
					}
					w.has(1, all)
					w.confirmedIs(int64(len(all)))
				})
			}
		}
	}
}

// An orderly stop confirms what is there.
func TestCloseConfirms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.appender()
	for range 2 {
		w.stream.push(w.make(10))
		do(t, a)
	}
	w.confirmedIs(10)
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.confirmedIs(20)
	if err := w.appender().Close(t.Context()); err != nil { // before it ran
		t.Error(err)
	}
}

// An event that is too large for an entry does not stop the record.
func TestHugeEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nasty := strings.Repeat("\x01\xff<ü", 10_000)
	fields := slices.Repeat([]string{nasty}, 100)
	by := lease.Actor{Name: nasty, DisplayName: nasty, Address: nasty, RequestID: nasty}
	id := lease.ID("database/creds/" + strings.Repeat("<", 2000))
	huge := event.Event{Type: event.LeaseRevocationFailed, Subject: nasty, Data: event.Data{
		LeaseID: id, TokenID: id, Mount: nasty, Role: nasty, Target: nasty, Account: nasty, IssuedBy: &by, Actor: by,
		Reason: nasty, SessionsNote: nasty, Error: nasty, Path: nasty, Fields: fields,
	}}
	if err := w.fake.Append(t.Context(), huge); err != nil {
		t.Fatal(err)
	}
	w.make(4)
	if _, _, err := w.fake.Number(t.Context(), w.lock, 10); err != nil {
		t.Fatal(err)
	}
	a := w.appender()
	w.clock.Advance(time.Second)
	do(t, a)
	w.clock.Advance(time.Second)
	do(t, a)
	w.confirmedIs(5)
	for e, err := range w.ledger.Entries(t.Context(), 1, 1, 1) {
		if err != nil || !strings.Contains(string(e.Data), "cut from") || !strings.Contains(string(e.Data), "database/creds/") {
			t.Errorf("entry 1 is %.300s, %v", e.Data, err)
		}
	}
	if huge.Data.Fields[0] != nasty || by.Name != nasty {
		t.Error("cutting changed the event itself")
	}
}

// D5, the law: whatever stream, store and ledger do, the ledger has the store's
// events, dense and in order, and what is confirmed is in it.
func TestLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		defer func() { _ = w.ledger.Close(t.Context()) }()
		var all []event.Event
		a := w.appender()
		failed := errors.New("disk full")
		slice := func(r *rapid.T) []event.Event {
			from := rapid.IntRange(0, len(all)).Draw(r, "from")
			return all[from:rapid.IntRange(from, len(all)).Draw(r, "to")]
		}
		turn := func() {
			_, _ = a.Do(t.Context())
			if next, err := w.ledger.Next(t.Context(), 1); err != nil || w.confirmed().Number >= next {
				r.Fatalf("confirmed is %s, the ledger's next %d, %v", w.confirmed(), next, err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"make":   func(r *rapid.T) { all = append(all, w.make(rapid.IntRange(1, 70).Draw(r, "n"))...) },
			"stream": func(r *rapid.T) { w.stream.push(slice(r), slice(r)) },
			"head": func(*rapid.T) {
				select {
				case w.stream.heads <- event.Position{Epoch: 1, Number: int64(len(all))}:
				default:
				}
			},
			"away": func(r *rapid.T) {
				w.stream.away = rapid.SampledFrom([]error{nil, errAway}).Draw(r, "away")
			},
			"do":   func(*rapid.T) { turn() },
			"time": func(*rapid.T) { w.clock.Advance(300 * time.Millisecond); turn() },
			"trim": func(*rapid.T) {
				if _, err := w.fake.Trim(t.Context(), w.confirmed(), 1000); err != nil {
					r.Fatal(err)
				}
			},
			"store": func(r *rapid.T) {
				w.store.Break(storetest.Fault{
					Method: rapid.SampledFrom([]string{"Suspension", "Head", "Events", "Confirm", "Confirmed"}).Draw(r, "method"),
					Nth:    rapid.IntRange(1, 2).Draw(r, "nth"), Done: rapid.Bool().Draw(r, "done"),
				})
			},
			"ledger": func(r *rapid.T) {
				if rapid.Bool().Draw(r, "done") {
					w.ledger.after, w.ledger.gagged = failed, rapid.Bool().Draw(r, "gagged")
				} else {
					w.ledger.before = failed
				}
			},
			"restart": func(*rapid.T) { a = w.restart() },
		})
		w.store.Break()
		w.ledger.before, w.ledger.after, w.stream.away, w.stream.batches = nil, nil, nil, nil
		for range 3 {
			w.clock.Advance(time.Second)
			if _, err := a.Do(t.Context()); err != nil {
				r.Fatalf("at the end: %v", err)
			}
		}
		w.has(1, all)
		w.confirmedIs(int64(len(all)))
	})
}

var _ appender.Store = (*epochs)(nil)

// D5: who leaves says nothing to the store, and follows the stream and its heads
// anew when its turn comes again: the context of before has ended.
func TestLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.make(5)
	w.stream.push(all)
	a := w.appender()
	do(t, a)
	w.confirmedIs(5)
	all = append(all, w.make(5)...)
	w.stream.push(all[5:])
	do(t, a) // the confirmation of these waits
	w.has(1, all)
	if err := a.Leave(); err != nil {
		t.Fatal(err)
	}
	w.confirmedIs(5)
	opened := w.stream.opened
	w.stream.heads = make(chan event.Position, 1) // of another subscription
	all = append(all, w.make(5)...)
	do(t, a)
	if w.stream.opened != opened+1 {
		t.Errorf("the stream was opened %d times, want %d", w.stream.opened, opened+1)
	}
	w.stream.heads <- event.Position{Epoch: 1, Number: 15}
	do(t, a)
	w.has(1, all)
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.confirmedIs(15)
}

// A7: store and ledger that agree may both be older than the stream, which is
// found out where the store's server was started.
func TestStreamHasMore(t *testing.T) {
	t.Parallel()
	started := func(w *world) *appender.Appender {
		w.stream.push(w.make(10))
		do(t, w.appender())
		w.fake.ServerStarted()
		return w.restart()
	}
	t.Run("it has", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.tail = event.Position{Epoch: 1, Number: 11}
		a := started(w)
		wants(t, a, appender.ErrRewound)
		wants(t, a, appender.ErrRewound) // it was not recovered
		if !w.suspended() {
			t.Error("it was taken for compared")
		}
		w.healer = healer{heal: func() error { return nil }} // nothing was lost
		if err := a.Settle(t.Context()); err != nil || w.suspended() || len(w.healer.found) != 1 {
			t.Errorf("%v, suspended: %v, to be healed: %v", err, w.suspended(), w.healer.found)
		}
	})
	t.Run("it has not", func(t *testing.T) {
		t.Parallel()
		for _, tail := range []event.Position{{}, {Epoch: 1, Number: 3}, {Epoch: 1, Number: 10}} {
			w := newWorld(t)
			w.stream.tail = tail
			do(t, started(w))
			if w.suspended() || len(w.healer.found) > 0 {
				t.Errorf("%s: suspended: %v, to be healed: %v", tail, w.suspended(), w.healer.found)
			}
		}
	})
	t.Run("there is none", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.gone = bus.ErrNoStream
		do(t, started(w))
		if w.suspended() {
			t.Error("it was not compared")
		}
	})
	t.Run("nothing is on record", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.tail = event.Position{Epoch: 1, Number: 11}
		w.fake.ServerStarted()
		do(t, w.appender())
		if w.suspended() || len(w.healer.found) > 0 {
			t.Errorf("suspended: %v, to be healed: %v", w.suspended(), w.healer.found)
		}
	})
	t.Run("it does not say", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.gone = errAway
		a := started(w)
		for range 14 { // it is no error, which its runner would wait longer and longer for
			do(t, a)
			w.clock.Advance(time.Second)
		}
		do(t, a)
		if !w.suspended() {
			t.Error("it was not asked for long enough")
		}
		w.clock.Advance(time.Second)
		do(t, a)
		if w.suspended() || len(w.healer.found) > 0 {
			t.Errorf("suspended: %v, to be healed: %v", w.suspended(), w.healer.found)
		}
	})
	t.Run("the store does not say", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.tail = event.Position{Epoch: 1, Number: 10}
		a := started(w)
		w.store.Break(storetest.Fault{Method: "Head", Nth: 2})
		wants(t, a, storetest.ErrInjected)
		w.store.Break()
		do(t, a)
		if w.suspended() {
			t.Error("it was compared and is suspended")
		}
	})
}

// Who wrote the last entry may know fewer fields of it than who wrote the event:
// programs are replaced one after the other.
func TestLastEntryOfAnotherRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream.push(w.make(10))
	do(t, w.appender())
	a := w.restart()
	w.ledger.added = true
	w.stream.push(w.make(5))
	do(t, a)
	w.confirmedIs(15)
}

// A7: a store whose server was started is told that it was compared once it was,
// at a start and while the appender runs; not, where it is an older one.
func TestServerStarted(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.push(w.make(10))
		w.fake.ServerStarted()
		do(t, w.appender())
		if w.suspended() || len(w.healer.found) > 0 {
			t.Errorf("suspended: %v, to be healed: %v", w.suspended(), w.healer.found)
		}
	})
	t.Run("nothing on record", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.fake.ServerStarted()
		if err := w.appender().Settle(t.Context()); err != nil || w.suspended() {
			t.Errorf("%v, suspended: %v", err, w.suspended())
		}
	})
	for name, f := range map[string]storetest.Fault{"not told": {Method: "Compared"}, "told, no answer": {Method: "Compared", Done: true}} {
		t.Run("meanwhile, "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			all := w.make(10)
			w.stream.push(all)
			a := w.appender()
			do(t, a)
			w.fake.ServerStarted()
			do(t, a)
			if !w.suspended() {
				t.Error("it was not compared since")
			}
			w.store.Break(f)
			w.clock.Advance(time.Second)
			wants(t, a, storetest.ErrInjected)
			w.store.Break()
			do(t, a)
			if w.suspended() {
				t.Error("it was compared and is suspended")
			}
			w.stream.push(w.make(5))
			do(t, a)
			w.confirmedIs(15)
		})
	}
	t.Run("again, much later", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.push(w.make(10))
		a := w.appender()
		do(t, a)
		w.fake.ServerStarted()
		w.store.Break(storetest.Fault{Method: "Compared", Done: true})
		w.clock.Advance(time.Second)
		wants(t, a, storetest.ErrInjected)
		w.store.Break()
		do(t, a)
		w.clock.Advance(7 * 24 * time.Hour)
		w.fake.ServerStarted()
		w.stream.gone = errAway
		do(t, a)
		if !w.suspended() {
			t.Error("the stream was not asked again after the second start")
		}
	})
	t.Run("older", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.stream.push(w.make(20))
		a := w.appender()
		do(t, a)
		w.older(15)
		w.fake.ServerStarted()
		w.clock.Advance(time.Second)
		wants(t, a, appender.ErrRewound)
		wants(t, w.restart(), appender.ErrRewound)
		if !w.suspended() || len(w.healer.found) != 2 {
			t.Errorf("suspended: %v, to be healed: %v", w.suspended(), w.healer.found)
		}
	})
}
