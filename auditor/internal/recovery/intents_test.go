package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// certain is how long after its intent the credential of [world.begin] has ended,
// however late it was confirmed.
const certain = time.Hour + 5*time.Minute

// suspend makes the store suspended, as one that found out by itself.
func (w *world) suspend(lost bool) {
	w.t.Helper()
	if err := w.fake.Suspend(w.ctx, store.Suspension{Reason: "a test", Lost: lost}); err != nil {
		w.t.Fatalf("suspend: %v", err)
	}
}

// expire is what a revoker does to what it takes for due.
func (w *world) expire(id lease.ID) error {
	return w.fake.Apply(w.ctx, store.Transition{Change: lease.Change{
		ID: id, Version: lease.AnyVersion, Key: "expire", By: lease.System(lease.ActorExpiry), Do: lease.Revoke{If: lease.IfDue},
	}})[0].Err
}

// A7: two credentials were confirmed and answered in the last moments, of which
// nothing has anything. Of one the store has the intent, of the other the record.
// Neither is rolled back while a client may hold it, both are in the end (B1).
func TestConfirmedInTheLastMoments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	stored := w.begin("stored", "here")
	w.append(true)
	copied := len(w.acts)
	recorded := w.begin("recorded", "here")
	w.append(true)
	w.change(stored, lease.Activate{})
	w.change(recorded, lease.Activate{})
	held := []lease.Lease{w.lease(stored), w.lease(recorded)}
	w.restore(copied)
	was := w.lease(stored)
	w.settle(w.auditor(w.fake, recovery.Config{}))

	for _, truth := range held {
		w.clock.Advance(truth.ExpiresAt.Sub(w.clock.Now()))
		l := w.lease(truth.ID)
		if err := w.expire(l.ID); !errors.Is(err, lease.ErrNotDue) || l.State != lease.Intent || !l.ConfirmBy.Equal(l.IssuedAt.Add(certain)) {
			t.Errorf("when %s ends it is %q until %s, and its roll-back is answered by %v; want ErrNotDue", l.ID, l.State, l.ConfirmBy, err)
		}
	}
	if l := w.lease(stored); !l.CreateDeadline.Equal(was.CreateDeadline) {
		t.Errorf("the target refused the creation from %s on, now from %s (B1)", was.CreateDeadline, l.CreateDeadline)
	}
	w.clock.Advance(10 * time.Minute)
	for _, truth := range held {
		if err := w.expire(truth.ID); err != nil || w.lease(truth.ID).Revocation.Reason != lease.ReasonUnconfirmed {
			t.Errorf("after its time %s is not rolled back: %v", truth.ID, err)
		}
	}
}

// Who wants an intent gone that is kept revokes it; who learns that its account
// is there confirms it, and it ends on time.
func TestKeptIntentsMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	revoked, confirmed := w.begin("revoked", "here"), w.begin("confirmed", "here")
	w.append(true)
	copied := len(w.acts)
	anew := w.begin("anew", "here")
	w.append(true)
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	w.change(revoked, lease.Revoke{})
	w.change(confirmed, lease.Activate{})
	w.change(anew, lease.Activate{})
	if l := w.lease(revoked); l.State != lease.Revoking {
		t.Errorf("what was revoked by request is %q", l.State)
	}
	for _, id := range []lease.ID{confirmed, anew} {
		if l := w.lease(id); l.State != lease.Active || l.ExpiresAt.Sub(l.IssuedAt) != time.Hour {
			t.Errorf("%s is %q until %s", id, l.State, l.ExpiresAt)
		}
	}
}

// Only what may be held is kept: nothing where nothing was lost, and no intent
// whose credential has ended.
func TestIntentsThatAreNotKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost bool
		wait time.Duration // before the recovery
		due  bool          // after it
	}{
		"nothing lost":          {false, 0, false},
		"nothing lost, overdue": {false, 2 * time.Minute, true},
		"lost":                  {true, 0, false},
		"lost, nearly over":     {true, certain - time.Minute, false},
		"lost long ago":         {true, certain, true},
	} {
		w := newWorld(t)
		id := w.begin("a", "here")
		w.append(true)
		was := w.lease(id)
		w.clock.Advance(c.wait)
		w.suspend(c.lost)
		w.settle(w.auditor(w.fake, recovery.Config{}))
		if l := w.lease(id); !c.lost && text(l) != text(was) {
			t.Errorf("%s: it is %s, was %s", name, text(l), text(was))
		}
		if err := w.expire(id); c.due != (err == nil) || !c.due && !errors.Is(err, lease.ErrNotDue) {
			t.Errorf("%s: the roll-back is answered by %v", name, err)
		}
	}
}

// A record that does not say for how long an intent's credential lives, or says
// nonsense, leaves the grace; what is long stays long.
func TestTermsOnRecord(t *testing.T) {
	t.Parallel()
	const long = 100 * 365 * 24 * time.Hour
	for said, want := range map[string]time.Duration{
		``: 5 * time.Minute, `,"ttl_seconds":-3600`: 5 * time.Minute, `,"ttl_seconds":7200`: 2 * time.Hour, `,"ttl_seconds":9223372036854775807`: long,
	} {
		w := newWorld(t)
		w.mount()
		w.connection("here")
		w.append(true)
		copied := len(w.acts)
		id := w.begin("a", "here")
		w.append(true)
		for i, line := range w.ledger[1] {
			w.ledger[1][i] = bytes.ReplaceAll(line, []byte(`,"ttl_seconds":3600`), []byte(said))
		}
		w.restore(copied)
		now := w.clock.Now()
		w.settle(w.auditor(w.fake, recovery.Config{}))
		l := w.lease(id)
		if left := l.ConfirmBy.Sub(now); l.State != lease.Intent || left < want || left > want+10*time.Minute && want < long {
			t.Errorf("%q: an intent %q until %s, want %s from now", said, l.State, l.ConfirmBy, want)
		}
	}
}

// However many are due, and whatever breaks meanwhile, each intent is kept, once.
func TestManyIntents(t *testing.T) {
	t.Parallel()
	const many = 25
	intents := func(s *storetest.Fake) (n int) {
		for _, l := range s.Leases() {
			if l.State == lease.Intent && l.Version == 2 && l.ConfirmBy.Equal(l.IssuedAt.Add(certain)) {
				n++
			}
		}
		return n
	}
	for _, method := range []string{"Due", "Get", "Apply"} {
		for nth := 1; nth <= 30; nth += 3 {
			for _, done := range []bool{false, true} {
				w := newWorld(t)
				for i := range many {
					w.active(fmt.Sprint("active ", i), "here")
					w.begin(fmt.Sprint("begun ", i), "here")
					w.token(fmt.Sprint(i))
				}
				w.clock.Advance(time.Hour - time.Minute) // actives are due, or soon
				for i := range many {
					w.begin(fmt.Sprint("late ", i), "here")
				}
				w.append(true)
				w.suspend(true)
				w.settle(w.auditor(storetest.NewFaulty(w.fake, storetest.Fault{Method: method, Nth: nth, Done: done}), recovery.Config{Batch: 7}))
				if n := intents(w.fake); n != 2*many {
					t.Errorf("%s %d, done %t: %d of %d intents are kept", method, nth, done, n, 2*many)
				}
				if n := len(w.ledger.events(t, 2)); n != 2*many+3 {
					t.Errorf("%s %d, done %t: the second epoch has %d events", method, nth, done, n)
				}
			}
		}
	}
}

// meeting is a store in which something else is committed before a change.
type meeting struct {
	*storetest.Fake
	before func()
}

func (m *meeting) Apply(ctx context.Context, items ...store.Transition) []store.Outcome {
	m.before()
	return m.Fake.Apply(ctx, items...)
}

// An intent that is confirmed or revoked while it is looked at is no intent any
// more: it is left alone, and stops nothing.
func TestIntentsThatMoveMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	confirmed, revoked, still := w.begin("confirmed", "here"), w.begin("revoked", "here"), w.begin("still", "here")
	w.append(true)
	w.suspend(true)
	m := &meeting{w.fake, sync.OnceFunc(func() {
		w.change(confirmed, lease.Activate{Handle: []byte("oid")})
		w.change(revoked, lease.Revoke{})
	})}
	if _, err := w.auditor(m, recovery.Config{}).Do(t.Context()); err != nil {
		t.Errorf("do: %v", err)
	}
	for id, want := range map[lease.ID]lease.State{confirmed: lease.Active, revoked: lease.Revoking, still: lease.Intent} {
		if l := w.lease(id); l.State != want || l.Version != 2 {
			t.Errorf("%s is %q in version %d, want %q in version 2", id, l.State, l.Version, want)
		}
	}
	if len(w.reports()) != 1 {
		t.Errorf("%d reports", len(w.reports()))
	}
}

// What was kept by one recovery and is on record so is kept by the next, above
// the version that others have seen.
func TestKeptTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	id := w.begin("a", "here")
	w.append(true)
	copied := len(w.acts)
	older, clock := w.copied(copied)
	anew := w.begin("anew", "here")
	w.append(true)
	w.restore(copied)
	w.settle(w.auditor(w.fake, recovery.Config{}))
	seen := map[lease.ID]lease.Lease{id: w.lease(id), anew: w.lease(anew)}
	clock.Advance(w.clock.Now().Sub(clock.Now()))
	w.fake, w.clock = older, clock
	w.settle(w.auditor(w.fake, recovery.Config{}))
	for id, was := range seen {
		if l := w.lease(id); l.State != lease.Intent || l.Version != was.Version+1 || !l.ConfirmBy.Equal(was.ConfirmBy) {
			t.Errorf("after the second time %s is %s, after the first it was %s", id, text(l), text(was))
		}
	}
}

// A store that knows to have lost commits says what a person has to do about
// those that nothing has.
func TestReportOfTheLastMoments(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		w := newWorld(t)
		w.append(true)
		copied := len(w.acts)
		w.request("more")
		w.append(true)
		w.restore(copied)
		w.suspend(lost)
		w.settle(w.auditor(w.fake, recovery.Config{}))
		const want = "revocations that were answered in the last moments have to be made again"
		if r := w.reports(); len(r) != 1 || strings.Contains(r[0].Reason, want) != lost {
			t.Errorf("known to have lost: %t; the report says %+v", lost, r)
		}
		var resumed []string
		for _, e := range w.ledger.events(t, 2) {
			if e.Type == event.StoreResumed {
				resumed = append(resumed, e.Data.Reason)
			}
		}
		if len(resumed) != 1 || strings.Contains(resumed[0], want) != lost {
			t.Errorf("known to have lost: %t; on record is %q", lost, resumed)
		}
	}
}
