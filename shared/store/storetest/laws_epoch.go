package storetest

import (
	"errors"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func epochLaws() []law {
	return []law{
		{"A7 an epoch numbers again what follows its beginning", lawEpoch},
		{"A7 positions of an old epoch lead into the new one", lawEpochPositions},
		{"A7 an epoch may take back those before it", lawEpochTakesBack},
		{"A7 what was trimmed keeps its number", lawEpochTrimmed},
		{"A7 what was confirmed in an old epoch is not confirmed in the new one", lawEpochPrune},
		{"A7 resuming without an epoch changes no number", lawResumeSame},
		{"A7 resuming is one commit", lawResumeAtomic},
		{"A7 resuming out of place changes nothing", lawResumeRefused},
		{"A7 resuming hints at what waits", lawResumeHint},
	}
}

func at(epoch, number int64) event.Position { return event.Position{Epoch: epoch, Number: number} }

// diverged is a store that was suspended in epoch 1 with n events, and has one
// more without a number.
func (s *subject) diverged(t T, n int) {
	t.Helper()
	s.append(t, n)
	s.suspend(t)
	if head := s.head(t); head != at(1, int64(n)) {
		t.Fatalf("the head is %s, want %s", head, at(1, int64(n)))
	}
	if err := s.Append(t.Context(), event.Event{Type: event.ConfigChanged, Subject: "meanwhile"}); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

// reads checks what the events after a position are: their positions, and their
// subjects, which append made the count of those before.
func (s *subject) reads(t T, after event.Position, want ...string) {
	t.Helper()
	got := []string{}
	for _, e := range s.events(t, after) {
		got = append(got, e.Position.String()+" "+e.Subject)
	}
	if !same(got, append([]string{}, want...)) {
		t.Errorf("after %s come %q, want %q", after, got, want)
	}
}

func lawEpoch(t T, s *subject) {
	s.diverged(t, 5)
	s.resume(t, 4, at(1, 3), event.Event{Type: event.StoreResumed, Subject: "resumed"})
	if head := s.head(t); head != at(4, 2) {
		t.Errorf("the head is %s, want %s", head, at(4, 2))
	}
	s.reads(t, event.Position{}, "1-1 0", "1-2 1", "1-3 2", "4-1 3", "4-2 4")
	s.numberAll(t)
	s.reads(t, event.Position{}, "1-1 0", "1-2 1", "1-3 2", "4-1 3", "4-2 4", "4-3 meanwhile", "4-4 resumed")
	s.append(t, 1)
	s.numberAll(t)
	s.reads(t, at(4, 4), "4-5 0")
	s.suspend(t)
	s.resume(t, 5, at(4, 5)) // nothing to number again
	if head := s.head(t); head != at(5, 0) {
		t.Errorf("the head is %s, want the new epoch's beginning", head)
	}
	s.append(t, 1)
	s.numberAll(t)
	s.reads(t, at(4, 4), "4-5 0", "5-1 0")
}

func lawEpochPositions(t T, s *subject) {
	s.diverged(t, 5)
	if err := s.Confirm(t.Context(), "c", at(1, 4)); err != nil {
		t.Fatalf("Confirm: %v", err)
	}
	s.resume(t, 2, at(1, 3))
	all := []string{"2-1 3", "2-2 4"}
	for _, after := range []event.Position{at(1, 3), at(1, 4), at(1, 5), at(1, 99), at(2, 0)} {
		s.reads(t, after, all...)
	}
	s.reads(t, at(1, 2), append([]string{"1-3 2"}, all...)...)
	s.reads(t, at(2, 1), "2-2 4")
	s.reads(t, at(3, 0))
	confirmed := func(want event.Position) {
		t.Helper()
		if p, err := s.Confirmed(t.Context(), "c"); err != nil || p != want {
			t.Errorf("confirmed is %s, %v; want %s", p, err, want)
		}
	}
	confirmed(at(1, 4)) // as it was: its consumer has that many of the old epoch
	for _, c := range []struct{ upTo, want event.Position }{
		{at(1, 3), at(1, 4)}, {at(1, 9), at(1, 9)}, {at(2, 1), at(2, 1)}, {at(1, 99), at(2, 1)}, {at(2, 2), at(2, 2)},
	} {
		if err := s.Confirm(t.Context(), "c", c.upTo); err != nil {
			t.Errorf("Confirm %s: %v", c.upTo, err)
		}
		confirmed(c.want)
	}
	for _, ahead := range []event.Position{at(2, 3), at(3, 0)} {
		if err := s.Confirm(t.Context(), "c", ahead); !errors.Is(err, store.ErrAhead) {
			t.Errorf("Confirm %s: %v, want ErrAhead", ahead, err)
		}
	}
	for _, c := range []struct {
		upTo          event.Position
		want, backlog int64
	}{{at(1, 2), 2, 4}, {at(1, 99), 1, 3}, {at(2, 1), 1, 2}, {at(9, 9), 1, 1}} {
		if n, err := s.Trim(t.Context(), c.upTo, 10); err != nil || int64(n) != c.want {
			t.Errorf("Trim up to %s: %d, %v; want %d", c.upTo, n, err, c.want)
		}
		if n := s.backlog(t); n != c.backlog {
			t.Errorf("after Trim up to %s the backlog is %d, want %d", c.upTo, n, c.backlog)
		}
	}
}

// lawEpochTakesBack: the common past of store and ledger may end before an
// epoch that the store began by itself.
func lawEpochTakesBack(t T, s *subject) {
	s.diverged(t, 4)
	s.resume(t, 2, at(1, 3))
	s.numberAll(t) // 2-1 3, 2-2 meanwhile
	s.suspend(t)
	s.resume(t, 3, at(2, 1))
	s.append(t, 1)
	s.numberAll(t)
	s.reads(t, at(1, 2), "1-3 2", "2-1 3", "3-1 meanwhile", "3-2 0")
	s.suspend(t)
	s.resume(t, 6, at(1, 2))
	s.reads(t, event.Position{}, "1-1 0", "1-2 1", "6-1 2", "6-2 3", "6-3 meanwhile", "6-4 0")
	for _, after := range []event.Position{at(1, 2), at(1, 3), at(2, 0), at(2, 1), at(3, 1), at(5, 0), at(6, 0)} {
		s.reads(t, after, "6-1 2", "6-2 3", "6-3 meanwhile", "6-4 0")
	}
}

func lawEpochTrimmed(t T, s *subject) {
	s.diverged(t, 5)
	if n, err := s.Trim(t.Context(), at(1, 3), 10); err != nil || n != 3 {
		t.Fatalf("Trim: %d, %v", n, err)
	}
	s.resume(t, 2, at(1, 1))
	if head := s.head(t); head != at(2, 2) {
		t.Errorf("the head is %s, want %s", head, at(2, 2))
	}
	s.numberAll(t)
	s.reads(t, event.Position{}, "2-1 3", "2-2 4", "2-3 meanwhile")
}

func lawEpochPrune(t T, s *subject) {
	first, second := s.ended(t, "database/creds/a"), s.ended(t, "database/creds/a") // events 1 to 4, 5 to 8
	s.suspend(t)
	if err := s.Confirm(t.Context(), store.Ledger, at(1, 8)); err != nil {
		t.Fatalf("Confirm: %v", err)
	}
	s.resume(t, 2, at(1, 4))
	s.clock.Advance(time.Second)
	gone := func(l lease.Lease) bool {
		_, err := s.Get(t.Context(), l.ID)
		return errors.Is(err, store.ErrNotFound)
	}
	prune := func(want int) {
		t.Helper()
		if n, err := s.Prune(t.Context(), s.clock.Now(), 10); err != nil || n != want {
			t.Errorf("Prune: %d, %v; want %d", n, err, want)
		}
	}
	prune(1)
	if !gone(first) || gone(second) {
		t.Errorf("gone are the first: %v, the second: %v; want the first only", gone(first), gone(second))
	}
	for _, c := range []struct {
		upTo event.Position
		want int
	}{{at(1, 99), 0}, {at(2, 3), 0}, {at(2, 4), 1}} {
		if err := s.Confirm(t.Context(), store.Ledger, c.upTo); err != nil {
			t.Errorf("Confirm %s: %v", c.upTo, err)
		}
		prune(c.want)
	}
}

func lawResumeSame(t T, s *subject) {
	s.diverged(t, 3)
	before := s.events(t, event.Position{})
	s.resume(t, 0, at(1, 1), event.Event{Type: event.StoreResumed, Subject: "resumed"})
	if after := s.events(t, event.Position{}); !same(after, before) || s.head(t) != at(1, 3) {
		t.Errorf("the numbered events became %s, were %s", text(after), text(before))
	}
	s.numberAll(t)
	s.reads(t, at(1, 2), "1-3 2", "1-4 meanwhile", "1-5 resumed")
	s.suspend(t)
	s.resume(t, 0, at(9, 9)) // is ignored
	if head := s.head(t); head != at(1, 5) {
		t.Errorf("the head is %s", head)
	}
}

func lawResumeAtomic(t T, s *subject) {
	role := s.put(t, store.KindRole, "m/r")
	s.diverged(t, 3)
	before := s.backlog(t)
	w := store.Write{
		Puts:        []store.Entry{{Kind: store.KindSystem, Key: "doubt", Value: []byte(`1`)}, {Kind: store.KindRole, Key: "m/r", Revision: 9}},
		Withdrawals: []store.Ref{},
		Deletes:     []store.Ref{{Kind: store.KindMount, ID: "never made"}},
		Events:      []event.Event{{Type: event.StoreResumed, Subject: "resumed"}},
	}
	if err := s.Resume(t.Context(), 2, at(1, 1), w); !errors.Is(err, store.ErrRevision) {
		t.Errorf("with a refused write: %v, want ErrRevision", err)
	}
	if _, suspended := s.suspended(t); !suspended || s.head(t) != at(1, 3) || s.backlog(t) != before {
		t.Errorf("a refused write: suspended %v, head %s, %d more events", suspended, s.head(t), s.backlog(t)-before)
	}
	if _, err := s.Entry(t.Context(), store.KindSystem, "doubt"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused write left an entry: %v", err)
	}
	s.reads(t, at(1, 1), "1-2 1", "1-3 2")
	w.Puts[1].Revision, w.Puts[1].Value = role.Revision, []byte(`2`)
	if err := s.Resume(t.Context(), 2, at(1, 1), w); err != nil {
		t.Fatalf("Resume: %v", err)
	}
	if _, suspended := s.suspended(t); suspended {
		t.Errorf("it is suspended")
	}
	for _, ref := range []struct {
		kind store.Kind
		key  string
	}{{store.KindSystem, "doubt"}, {store.KindRole, "m/r"}} {
		if e, err := s.Entry(t.Context(), ref.kind, ref.key); err != nil || len(e.Value) != 1 {
			t.Errorf("%s %s: %s, %v", ref.kind, ref.key, text(e), err)
		}
	}
	s.numberAll(t)
	s.reads(t, at(1, 1), "2-1 1", "2-2 2", "2-3 meanwhile", "2-4 resumed")
}

func lawResumeRefused(t T, s *subject) {
	s.append(t, 3)
	s.numberAll(t)
	w := store.Write{
		Puts:   []store.Entry{{Kind: store.KindSystem, Key: "doubt", Value: []byte(`1`)}},
		Events: []event.Event{{Type: event.StoreResumed}},
	}
	refused := func(epoch int64, after event.Position, want error) {
		t.Helper()
		_, before := s.suspended(t)
		if err := s.Resume(t.Context(), epoch, after, w); !errors.Is(err, want) {
			t.Errorf("epoch %d after %s: %v, want %v", epoch, after, err, want)
		}
		if _, suspended := s.suspended(t); suspended != before || s.backlog(t) != 3 || s.head(t) != at(1, 3) {
			t.Errorf("epoch %d after %s was refused: suspended %v, backlog %d, head %s", epoch, after, suspended, s.backlog(t), s.head(t))
		}
		if _, err := s.Entry(t.Context(), store.KindSystem, "doubt"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("epoch %d after %s was refused and wrote: %v", epoch, after, err)
		}
	}
	refused(2, at(1, 2), store.ErrNotSuspended)
	refused(0, event.Position{}, store.ErrNotSuspended)
	s.suspend(t)
	refused(1, at(1, 2), store.ErrEpoch)
	refused(-1, at(1, 2), store.ErrEpoch)
	refused(2, at(1, 4), store.ErrEpoch)
	refused(2, at(2, 0), store.ErrEpoch)
	s.resume(t, 2, at(1, 3))
	if err := s.Resume(t.Context(), 3, at(1, 3), w); !errors.Is(err, store.ErrNotSuspended) {
		t.Errorf("a second time: %v, want ErrNotSuspended", err)
	}
	s.reads(t, at(1, 2), "1-3 "+strconv.Itoa(2))
}

func lawResumeHint(t T, s *subject) {
	w, ok := s.Store.(store.Watcher)
	if !ok {
		return // an optional ability
	}
	s.suspend(t)
	s.append(t, 1)
	hint, stop := w.Watch()
	defer stop()
	s.resume(t, 0, event.Position{})
	select {
	case <-hint:
	default:
		t.Errorf("no hint of events that may be numbered again")
	}
}
