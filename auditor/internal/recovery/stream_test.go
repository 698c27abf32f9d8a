package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A stream that is away, or stuck, keeps nothing waiting: what it gave counts,
// and that there may be more is said.
func TestStreamAway(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(*stream){
		"away":  func(s *stream) { s.events, s.err = nil, errors.New("no responders") },
		"part":  func(s *stream) { s.err = errors.New("no responders") },
		"stuck": func(s *stream) { s.stuck = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			history(w)
			broken(w.stream)
			w.settle(w.auditor(w.fake, recovery.Config{Stream: 50 * time.Millisecond}))
			want := lease.Active
			if name == "away" {
				want = ""
			}
			if l := w.lease("database/creds/r/in the stream"); l.State != want {
				t.Errorf("what only the stream has is %q, want %q", l.State, want)
			}
			if l := w.lease("database/creds/r/ended"); l.State != lease.Revoking {
				t.Errorf("what the ledger has is %q", l.State)
			}
			if r := w.reports(); len(r) != 1 || !strings.Contains(r[0].Reason, "only the stream") {
				t.Errorf("the report says %+v", r)
			}
		})
	}
}

// A store of which nobody knows what the stream had more does not go on with its
// numbers.
func TestStreamAwayAndNothingElseLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.active("a", "here")
	w.append(true)
	w.stream.err = errors.New("no responders")
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if len(w.ledger[2]) == 0 || len(w.doubts()) != 1 {
		t.Errorf("the second epoch has %d events, doubts %q", len(w.ledger[2]), w.doubts())
	}
}

// What the store published of its own before it was found out is not lost, under
// whatever number; nor is what comes twice.
func TestStreamOfTheFork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.active("a", "here")
	w.append(true)
	copied := len(w.acts)
	w.request("lost")
	w.append(true)
	w.publish()
	w.restore(copied)
	w.connection("of the fork")
	for range 3 {
		w.request("fork")
	}
	w.number()
	w.stream.events = append(w.stream.events, w.stored(event.Position{Epoch: 1, Number: 3})...)
	w.stream.events = append(w.stream.events, w.stream.events...)
	w.settle(w.auditor(w.fake, recovery.Config{Batch: 3}))
	if r := w.reports(); len(r) != 1 || r[0].LostCount != 0 || r[0].To != "1-4" {
		t.Errorf("the report says %+v", r)
	}
}

// The new epoch is greater than any that the stream has, but nobody can choose
// it by publishing one.
func TestEpochOfTheStream(t *testing.T) {
	t.Parallel()
	for last, want := range map[int64]int64{1: 2, 2: 3, 7: 8, 1 << 40: 2, 1<<63 - 1: 2} {
		w := newWorld(t)
		w.active("a", "here")
		w.append(true)
		copied := len(w.acts)
		w.request("lost")
		w.append(true)
		w.publish()
		w.stream.events = append(w.stream.events, event.Event{
			Position: event.Position{Epoch: last, Number: 9}, Type: event.RequestServed, Time: w.clock.Now(), Subject: "another",
		})
		w.restore(copied)
		w.settle(w.auditor(w.fake, recovery.Config{}))
		if head, err := w.fake.Head(t.Context()); err != nil || head.Epoch != want {
			t.Errorf("with %d in the stream the head is %s, %v; want epoch %d", last, head, err, want)
		}
	}
}

// What the ledger did not get before the store stepped back is in the stream
// alone, and by now the ledger has other events under those numbers.
func TestStreamAgainstTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	id := w.active("a", "here")
	w.append(true)
	copied := len(w.acts)
	w.end(id, true)
	w.number()
	w.publish()
	w.restore(copied)
	w.request("fork")
	w.request("fork")
	w.append(false)
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "the publisher's proof", Lost: true}); err != nil {
		t.Fatal(err)
	}
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(id); l.State != lease.Revoking {
		t.Errorf("what was revoked is %q", l.State)
	}
}

// endedInTheStream is a lease that began after a copy was made, on record, and
// whose end only the stream has.
func endedInTheStream(t *testing.T) (w *world, copied int, id lease.ID) {
	t.Helper()
	w = newWorld(t)
	w.mount()
	w.connection("here")
	w.append(true)
	copied = len(w.acts)
	id = w.active("a", "here")
	w.append(true)
	w.end(id, true)
	w.number()
	w.publish()
	return w, copied, id
}

// What began since is on record, its end is in the stream alone: it is revoked
// once more, so that the record has its end.
func TestEndInTheStreamAlone(t *testing.T) {
	t.Parallel()
	w, copied, id := endedInTheStream(t)
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(id); l.State != lease.Revoking {
		t.Errorf("what ended, which no record says, is %q", l.State)
	}
}

// A second recovery finds that end in the stream again, though the record has
// another by then: it has ended.
func TestEndInTheStreamTwice(t *testing.T) {
	t.Parallel()
	w, copied, id := endedInTheStream(t)
	older, clock := w.copied(copied)
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	w.change(id, lease.Finish{To: lease.Revoked})
	w.append(true)

	clock.Advance(w.clock.Now().Sub(clock.Now()))
	w.fake, w.clock = older, clock
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(id); l.State != "" {
		t.Errorf("what ended twice, once on record, is %q", l.State)
	}
}

// What has an expiry was confirmed, also where no record of that can be read: its
// revocation does not wait for a creation (B1).
func TestConfirmationThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	w.append(true)
	copied := len(w.acts)
	id := w.active("a", "here")
	w.end(id, false)
	w.append(true)
	for i, e := range w.ledger.events(t, 1) {
		if e.Type == event.LeaseCreated {
			w.ledger[1][i] = []byte("no event")
		}
	}
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(id); l.State != lease.Revoking || !l.Confirmed() || l.CreateDeadline.After(w.clock.Now()) {
		t.Errorf("it is %q, confirmed at %s, its creation refused from %s", l.State, l.ActivatedAt, l.CreateDeadline)
	}
}

// A ledger's entry that cannot be read is a loss, and hides nothing.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	for _, n := range []int{17, 31} { // which both have; which the store has not
		w := newWorld(t)
		history(w)
		w.ledger[1][n-1] = []byte("no event")
		w.stream.events = nil
		w.settle(w.auditor(w.fake, recovery.Config{}))
		r := w.reports()
		if len(r) != 1 || r[0].From != "1-18" {
			t.Fatalf("entry %d: %+v", n, r)
		}
		named := false
		for _, l := range r[0].Lost {
			named = named || l.What == "entry" && l.ID == "1-31"
		}
		if named != (n == 31) {
			t.Errorf("entry %d: lost %q", n, lost(r[0]))
		}
	}
}

// Copies of store and ledger of one moment agree: only the stream knows what came
// after it, and is asked where the store's server was started.
func TestStreamAloneHasMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	ended := w.active("ended", "here")
	w.append(true)
	copied, record := len(w.acts), maps.Clone(w.ledger)
	w.end(ended, true)
	began := w.active("began", "here")
	w.append(true)
	w.publish()
	w.restore(copied)
	w.ledger = record
	w.fake.ServerStarted()
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(began); l.State != lease.Active {
		t.Errorf("what began since is %q", l.State)
	}
	if l := w.lease(ended); l.State != lease.Revoking {
		t.Errorf("what ended since is %q", l.State)
	}
	if r := w.reports(); len(r) != 1 || len(w.doubts()) != 1 {
		t.Errorf("reports %+v, doubts %q", r, w.doubts())
	}
	// It is found once: the new epoch is beyond what the stream has.
	w.fake.ServerStarted()
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if r := w.reports(); len(r) != 1 {
		t.Errorf("reports %+v", r)
	}
}

// heardLate is a store that went back to a copy of one moment together with its
// ledger, while the stream did not answer, and has given further of its numbers to
// other events when the publisher hears the stream, gap after that. What only the
// stream has: ended has, began is a lease, kept was prolonged.
func heardLate(t *testing.T, gap time.Duration, further int) (w *world, ended, began, kept lease.ID) {
	t.Helper()
	w = newWorld(t)
	w.mount()
	w.connection("here")
	ended, kept = w.active("ended", "here"), w.active("kept", "here")
	w.append(true)
	copied, record := len(w.acts), maps.Clone(w.ledger)
	w.end(ended, true)
	began = w.active("began", "here")
	w.change(kept, lease.Renew{Increment: 5 * time.Hour})
	w.append(true)
	w.publish()
	w.restore(copied)
	w.ledger = record
	w.fake.ServerStarted()
	w.stream.err = errors.New("no responders")
	w.clock.Advance(gap)
	for range further {
		w.request("since")
	}
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil {
		t.Fatalf("it waits for the stream: %v", err)
	}
	p, err := publish.New(w.fake, sending{ending{stream: w.stream}}, nil, w.clock, noLog(), publish.Config{Owner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Do(t.Context()); err == nil || errors.Is(err, publish.ErrRewound) {
		t.Fatalf("published to a stream that is away: %v", err)
	}
	w.stream.err = nil
	sent := len(w.stream.events)
	if _, err := p.Do(t.Context()); !errors.Is(err, publish.ErrRewound) || len(w.stream.events) != sent {
		t.Fatalf("published %d events: %v", len(w.stream.events)-sent, err)
	}
	return w, ended, began, kept
}

// The same, where the stream does not answer until the store has gone on and given
// its numbers to other events: who publishes finds it out before the first of them
// is sent.
func TestStreamHeardLate(t *testing.T) {
	t.Parallel()
	for _, gap := range []time.Duration{0, 50 * time.Minute, 2 * time.Hour} {
		for _, further := range []int{1, 20} { // before the stream's last number; beyond it
			t.Run(fmt.Sprintf("%d events after %s", further, gap), func(t *testing.T) {
				t.Parallel()
				w, ended, began, kept := heardLate(t, gap, further)
				sent := len(w.stream.events)
				w.settle(w.auditor(w.fake, recovery.Config{}))
				if l := w.lease(began); l.State != lease.Active {
					t.Errorf("what began since is %q", l.State)
				}
				if l := w.lease(ended); l.State != lease.Revoking {
					t.Errorf("what ended since is %q", l.State)
				}
				if l := w.lease(kept); l.ExpiresAt.Sub(l.ActivatedAt) < 4*time.Hour {
					t.Errorf("what was prolonged ends at %s", l.ExpiresAt)
				}
				if r := w.reports(); len(r) != 1 || len(w.doubts()) != 1 {
					t.Errorf("reports %+v, doubts %q", r, w.doubts())
				}
				// The stream still ends as it did, which is known to be settled.
				p, err := publish.New(w.fake, sending{ending{stream: w.stream}}, nil, w.clock, noLog(), publish.Config{Owner: "test"})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Do(t.Context()); err != nil || len(w.stream.events) == sent {
					t.Errorf("published %d events: %v", len(w.stream.events)-sent, err)
				}
			})
		}
	}
}

// What a recovery has taken in from the stream is no news to the next one, which
// would undo what was decided since.
func TestStreamTakenInOnce(t *testing.T) {
	t.Parallel()
	for _, published := range []bool{true, false} {
		t.Run(fmt.Sprintf("published since %t", published), func(t *testing.T) {
			t.Parallel()
			w, _, _, kept := heardLate(t, 0, 20)
			w.settle(w.auditor(w.fake, recovery.Config{}))
			w.change(kept, lease.Renew{Increment: 10 * time.Minute})
			w.append(true)
			if published {
				w.publish()
				head, err := w.fake.Head(t.Context())
				if err == nil {
					err = w.fake.Confirm(t.Context(), publish.Sent, head)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			end := w.lease(kept).ExpiresAt
			for range 2 { // the store's server fails over, and nothing is lost
				if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
					t.Fatal(err)
				}
				w.settle(w.auditor(w.fake, recovery.Config{}))
			}
			if l := w.lease(kept); !l.ExpiresAt.Equal(end) {
				t.Errorf("its holder made it end at %s, now it ends at %s", end, l.ExpiresAt)
			}
			if r := w.reports(); len(r) != 1 {
				t.Errorf("%d reports, the last says %+v", len(r), r[len(r)-1])
			}
		})
	}
}

// A stream that agrees with the ledger is not read from the copy's moment on.
func TestStreamReadFromTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	w.append(true)
	copied := len(w.acts)
	for range 300 {
		w.request("lost")
	}
	w.clock.Advance(3 * time.Hour)
	w.request("lost")
	w.append(true)
	last := w.active("the stream alone", "here")
	w.number()
	w.publish()
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(last); l.State != lease.Active {
		t.Errorf("what only the stream has is %q", l.State)
	}
	if w.stream.read > 50 {
		t.Errorf("%d of %d events were read", w.stream.read, len(w.stream.events))
	}
}

// That hour is not read twice where there is no more of it.
func TestStreamReadOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	for range 200 {
		w.request("old")
	}
	w.append(true)
	sent, err := w.fake.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent.Number -= 5 // it is recorded each second
	w.do(func(f *storetest.Fake) { _ = f.Confirm(context.Background(), publish.Sent, sent) })
	copied := len(w.acts)
	w.request("lost")
	w.append(true)
	w.publish()
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if w.stream.read != len(w.stream.events) {
		t.Errorf("%d events were read, of %d", w.stream.read, len(w.stream.events))
	}
}

// A recovery that comes before the first event of the new epoch is on record takes
// nothing in again, either.
func TestRecoveredTwiceInARow(t *testing.T) {
	t.Parallel()
	w, _, _, kept := heardLate(t, 0, 1)
	r := recovery.New(w.ledger, w.stream, w.fake, noLog(), recovery.Config{})
	if err := r.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.change(kept, lease.Renew{Increment: 10 * time.Minute})
	end := w.lease(kept).ExpiresAt
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if l := w.lease(kept); !l.ExpiresAt.Equal(end) || len(w.reports()) != 1 {
		t.Errorf("its holder made it end at %s, now it ends at %s; %d reports", end, l.ExpiresAt, len(w.reports()))
	}
}

// What a recovery could not read of the stream is taken in by the next that can.
func TestStreamCutAndBack(t *testing.T) {
	t.Parallel()
	w, ended, began, _ := heardLate(t, 0, 20)
	had := w.stream.events
	w.stream.events, w.stream.err = nil, errors.New("no responders")
	again := func(want int) {
		t.Helper()
		w.settle(w.auditor(w.fake, recovery.Config{}))
		if n := len(w.reports()); n != want {
			t.Errorf("%d reports, want %d", n, want)
		}
		if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
	}
	again(1)
	again(2) // still away
	w.stream.events, w.stream.err = had, nil
	again(3)
	if l := w.lease(began); l.State != lease.Active {
		t.Errorf("what began since is %q", l.State)
	}
	if l := w.lease(ended); l.State != lease.Revoking {
		t.Errorf("what ended since is %q", l.State)
	}
	again(3) // it has been heard
}

// marked is a stream that does not run yet: its end is what its mark says.
type marked struct {
	bus.Nop
	at event.Position
}

func (m marked) Tail(context.Context) (event.Event, error) { return event.Event{Position: m.at}, nil }

// That an event has a number proves a commit, also where nobody has the event: the
// credential that it may have confirmed works until its first term is over.
func TestMarkBeyondAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	id := w.begin("a", "here")
	w.append(true)
	w.publish()
	copied, record := len(w.acts), maps.Clone(w.ledger)
	w.change(id, lease.Activate{Handle: []byte("oid")}) // answered, and about to be sent
	w.number()
	head, err := w.fake.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.restore(copied)
	w.ledger = record
	before := w.lease(id).ConfirmBy
	for range 2 {
		w.fake.ServerStarted()
		r := recovery.New(w.ledger, w.stream, w.fake, noLog(), recovery.Config{})
		w.settle(appender.New(w.ledger, marked{at: head}, w.fake, r, w.clock, noLog(), appender.Config{Wait: time.Nanosecond}, func(event.Position) {}))
		if len(w.doubts()) != 1 || len(w.reports()) != 1 {
			t.Errorf("doubts %q, %d reports", w.doubts(), len(w.reports()))
		}
	}
	if after := w.lease(id).ConfirmBy; !after.After(before) {
		t.Errorf("what may have been answered is rolled back at %s, as before", after)
	}
}

// A last entry that cannot be read is for a person, and no reason to recover.
func TestLastEntryUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.active("a", "here")
	w.append(true)
	w.ledger[1][len(w.ledger[1])-1] = []byte("no event")
	a := w.auditor(w.fake, recovery.Config{})
	for range 3 {
		w.clock.Advance(time.Second)
		if _, err := a.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("do: %v", err)
		}
	}
	if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil || strings.Contains(w.log.String(), "recover") {
		t.Errorf("suspended: %t, %v\n%s", suspended, err, w.log.String())
	}
}
