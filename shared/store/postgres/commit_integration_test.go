//go:build integration

package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
)

func begin(id lease.ID) store.Transition {
	return store.Transition{Change: lease.Change{
		ID: id, Key: "key of " + string(id), By: lease.System("test"),
		Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Target: "t", TokenID: "k", Account: "a " + string(id)}},
	}}
}

func exists(t *testing.T, s store.Store, id lease.ID) bool {
	t.Helper()
	_, err := s.Get(t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// publisher takes the publisher's lock.
func publisher(tb testing.TB, s store.Store) store.Lock {
	tb.Helper()
	lock, ok, err := s.Acquire(tb.Context(), "publisher", "test", time.Hour)
	if err != nil || !ok {
		tb.Fatal(ok, err)
	}
	return lock
}

// dense numbers all there is and checks that numbers are. It returns the events.
func dense(t *testing.T, s store.Store) (all []event.Event) {
	t.Helper()
	lock := publisher(t, s)
	for {
		_, n, err := s.Number(t.Context(), lock, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	for {
		var after event.Position
		if len(all) > 0 {
			after = all[len(all)-1].Position
		}
		page, err := s.Events(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
	}
	for i, e := range all {
		if e.Position.Number != int64(i)+1 {
			t.Fatalf("event %d has position %s", i+1, e.Position)
		}
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != int64(len(all)) {
		t.Errorf("the backlog is %d, %v; want the %d events", n, err, len(all))
	}
	return all
}

// numbered is dense, and checks that the versions of each lease are in order and
// without gaps.
func numbered(t *testing.T, s store.Store) []event.Event {
	t.Helper()
	all := dense(t, s)
	versions := map[lease.ID]int64{}
	for _, e := range all {
		id := e.Data.LeaseID
		if id != "" && e.Data.Version != versions[id]+1 {
			t.Errorf("event %s is of version %d of %s, after version %d", e.Position, e.Data.Version, id, versions[id])
		}
		versions[id] = e.Data.Version
	}
	return all
}

// A6: a batch that fails as a whole is halved; what can be committed is, each
// exactly once.
func TestAFailedBatchIsHalved(t *testing.T) {
	t.Parallel()
	s := openReal(t, configured(t))
	broken := errors.New("too many at once")
	var sizes []int // one call is committed by one lane
	s.BreakCommits(func(units int) error {
		if sizes = append(sizes, units); units > 2 {
			return broken
		}
		return nil
	}, nil)
	var items []store.Transition
	for i := range 16 {
		items = append(items, begin(lease.ID(fmt.Sprintf("a/%02d", i))))
	}
	for i, out := range s.Apply(t.Context(), items...) {
		if out.Err != nil || !exists(t, s, items[i].Change.ID) {
			t.Errorf("item %d: %v", i, out.Err)
		}
	}
	if sizes[0] != 16 || len(sizes) != 1+2+4+8 {
		t.Errorf("tried batches of %v", sizes)
	}
	s.BreakCommits(nil, nil)
	if n := len(numbered(t, s)); n != 16 {
		t.Errorf("%d events of 16 leases", n)
	}
}

// panics is a change that panics when it is applied: a bug of ours.
type panics struct{ lease.Action }

// A6: an item that cannot be committed fails alone, whether it breaks here or
// in the database.
func TestABadItemFailsAlone(t *testing.T) {
	t.Parallel()
	s := openReal(t, configured(t))
	var items []store.Transition
	for i := range 9 {
		items = append(items, begin(lease.ID(fmt.Sprintf("a/%d", i))))
	}
	items[2] = begin("a/no text of Postgres: \x00")
	items[5].Change = lease.Change{ID: "a/0", Version: 1, Do: panics{}}
	for i, out := range s.Apply(t.Context(), items...) {
		bad := i == 2 || i == 5
		if (out.Err != nil) != bad || !bad && !exists(t, s, items[i].Change.ID) {
			t.Errorf("item %d: %v", i, out.Err)
		}
	}
	broken := errors.New("broken item")
	s.BreakCommits(func(int) error { return broken }, nil)
	if out := s.Apply(t.Context(), begin("b/1")); !errors.Is(out[0].Err, broken) || errors.Is(out[0].Err, store.ErrUnknown) || exists(t, s, "b/1") {
		t.Errorf("a commit that never works: %v", out[0].Err)
	}
	s.BreakCommits(nil, nil)
	if out := s.Apply(t.Context(), begin("b/1")); out[0].Err != nil {
		t.Errorf("the next one: %v", out[0].Err)
	}
	if n := len(numbered(t, s)); n != 7+1 {
		t.Errorf("%d events of 8 leases", n)
	}
}

// A6: a commit whose answer was lost is read back before anything is answered,
// whatever it was: it counts as done, and is not made twice.
func TestALostAnswerIsReadBack(t *testing.T) {
	t.Parallel()
	s := openReal(t, configured(t))
	var commits, lost atomic.Int32
	s.BreakCommits(nil, func(int) error {
		if commits.Add(1)%2 == 1 {
			lost.Add(1)
			return errors.New("answer lost")
		}
		return nil
	})
	hint, stop := s.Watch()
	defer stop()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			out := s.Apply(t.Context(), begin(lease.ID(fmt.Sprintf("a/%d", i))))
			if out[0].Err != nil || out[0].Lease.Version != 1 || out[0].Lease.Position == 0 {
				t.Errorf("item %d: %v, %+v", i, out[0].Err, out[0].Lease)
			}
		})
	}
	wg.Wait()
	select {
	case <-hint:
	default:
		t.Error("no hint of events whose answer was lost")
	}
	everyKindOfCommit(t, s)
	if lost.Load() < 5 {
		t.Errorf("%d answers were lost", lost.Load())
	}
}

// everyKindOfCommit makes each commit twice, so that with every second answer
// lost each kind has lost one, and checks that each was made once.
func everyKindOfCommit(t *testing.T, s *postgres.Store) {
	t.Helper()
	ctx := t.Context()
	check := func(act string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", act, err)
		}
	}
	for i := range 2 {
		key := fmt.Sprint("r", i)
		_, err := s.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: key}}, Events: []event.Event{{Type: event.ConfigChanged}}})
		check("write", err)
		if e, err := s.Entry(ctx, store.KindRole, key); err != nil || e.Revision != 1 {
			t.Errorf("written once: %+v, %v", e, err)
		}
		_, err = s.Raise(ctx, store.Barrier{Operation: key, Prefix: "a/"})
		check("raise", err)
		check("append", s.Append(ctx, event.Event{Type: event.SystemStarted}))
		lock := publisher(t, s)
		before, err := s.Head(ctx)
		check("head", err)
		head, n, err := s.Number(ctx, lock, 1)
		check("number", err)
		if n != 1 || head.Number != before.Number+1 {
			t.Errorf("numbered %d from %s to %s", n, before, head)
		}
		check("confirm", s.Confirm(ctx, "c", head))
		check("suspend", s.Suspend(ctx, store.Suspension{Reason: "test"}))
		check("resume", s.Resume(ctx, 0, event.Position{}, store.Write{Events: []event.Event{{Type: event.StoreResumed}}}))
	}
	if n := len(numbered(t, s)); n != 40+2*3 {
		t.Errorf("%d events, want %d", n, 46)
	}
}

// A3: an activation never shares a transaction with the beginning of its lease.
func TestAnActivationIsCheckedInASnapshotOfItsOwn(t *testing.T) {
	t.Parallel()
	s := openReal(t, configured(t))
	var sizes []int
	s.BreakCommits(func(units int) error { sizes = append(sizes, units); return nil }, nil)
	activate := store.Transition{Change: lease.Change{ID: "a/1", Version: 1, Key: "k", Do: lease.Activate{}}}
	for _, out := range s.Apply(t.Context(), begin("a/0"), begin("a/1"), activate, begin("a/2")) {
		if out.Err != nil {
			t.Error(out.Err)
		}
	}
	if fmt.Sprint(sizes) != "[2 2]" {
		t.Errorf("committed together were %v", sizes)
	}
}

// The store's notifications reach other processes, and not their sender.
func TestOthersAreNotified(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	a, b := openReal(t, cfg), openReal(t, cfg)
	hint, stop := b.Watch()
	defer stop()
	listening := make(chan error, 1)
	ctx, cancel := contextOf(t)
	go func() { listening <- b.Listen(ctx) }()
	<-hint // it listens
	for i := range 3 {
		if out := a.Apply(t.Context(), begin(lease.ID(fmt.Sprint("a/", i))))[0]; out.Err != nil {
			t.Fatal(out.Err)
		}
		select {
		case <-hint:
		case <-time.After(hangs):
			t.Fatal("no hint of another's commit")
		}
	}
	cancel()
	if err := <-listening; err != nil {
		t.Error(err)
	}
}

// A channel of a schema with an unusual name is heard as well.
func TestAnUnusualSchema(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	cfg.Schema = `We"ird ` + strings.TrimPrefix(cfg.Schema, "test_")
	s := openReal(t, cfg)
	if out := s.Apply(t.Context(), begin("a/1"))[0]; out.Err != nil {
		t.Fatal(out.Err)
	}
	again := openReal(t, cfg)
	if !exists(t, again, "a/1") {
		t.Error("another process sees another store")
	}
	for _, bad := range []string{"pg_store", strings.Repeat("x", 64), "a\x00"} {
		cfg.Schema = bad
		if _, err := postgres.Open(t.Context(), nil, noLog(), cfg); err == nil {
			t.Errorf("schema %q was taken", bad)
		}
	}
}
