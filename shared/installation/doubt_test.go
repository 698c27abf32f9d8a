package installation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func doubts(tb testing.TB, s store.Entries, want ...string) {
	tb.Helper()
	got, err := installation.Current(context.Background(), s)
	must(tb, err)
	if !slices.Equal(got, want) {
		tb.Errorf("doubts: %q, want %q", got, want)
	}
}

func TestDoubt(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	doubts(t, fake)
	must(t, installation.Raise(ctx, fake, "restored"))
	must(t, installation.Raise(ctx, fake, "moved"))
	must(t, installation.Raise(ctx, fake, "restored"))
	doubts(t, fake, "restored", "moved")
	if w, err := installation.Raising(ctx, fake, "moved"); err != nil || len(w.Puts)+len(w.Deletes)+len(w.Events) != 0 {
		t.Errorf("a reason that stands is raised by %+v, %v", w, err)
	}
	request := event.Event{Type: event.ConfigChanged, Subject: "the request"}
	for _, want := range []bool{true, false} {
		if was, err := installation.Confirm(ctx, fake, by, request); err != nil || was != want {
			t.Errorf("confirmed: %t, %v; want %t", was, err, want)
		}
		doubts(t, fake)
	}
	must(t, installation.Raise(ctx, fake, "restored"))
	doubts(t, fake, "restored")
	var types []event.Type
	for _, e := range events(t, fake) {
		types = append(types, e.Type)
	}
	if want := []event.Type{
		event.InstallationDoubted, event.InstallationDoubted,
		event.InstallationConfirmed, event.ConfigChanged, event.ConfigChanged, event.InstallationDoubted,
	}; !slices.Equal(types, want) {
		t.Errorf("events %q, want %q", types, want)
	}
}

// A recovery commits its doubt with the end of the suspension (A7).
func TestRaisingInAnotherCommit(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	must(t, fake.Suspend(ctx, store.Suspension{Reason: "rewound"}))
	w, err := installation.Raising(ctx, fake, "restored")
	must(t, err)
	must(t, installation.Raise(ctx, fake, "moved"))
	if err := fake.Resume(ctx, 2, event.Position{}, w); !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrRevision) {
		t.Fatalf("a doubt was raised over another: %v", err)
	}
	doubts(t, fake, "moved")
	w, err = installation.Raising(ctx, fake, "restored")
	must(t, err)
	must(t, fake.Resume(ctx, 2, event.Position{}, w))
	doubts(t, fake, "moved", "restored")
}

// meeting is a store in which something else is committed before a write.
type meeting struct {
	*storetest.Fake
	before func()
}

func (m *meeting) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	if m.before != nil {
		m.before()
	}
	return m.Fake.Write(ctx, w)
}

// Whatever is committed between the reading and the writing of a change, both
// count: what stands in the end is what the events say, in their order.
func TestChangesThatMeet(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	acts := map[string]func(s store.Entries) error{
		"raise a": func(s store.Entries) error { return installation.Raise(ctx, s, "a") },
		"raise b": func(s store.Entries) error { return installation.Raise(ctx, s, "b") },
		"confirm": func(s store.Entries) error { _, err := installation.Confirm(ctx, s, by); return err },
		"nothing": func(store.Entries) error { return nil },
		"raise two": func(s store.Entries) error {
			return errors.Join(installation.Raise(ctx, s, "c"), installation.Raise(ctx, s, "d"))
		},
	}
	for name, first := range acts {
		for met, second := range acts {
			for before, begin := range acts {
				m := &meeting{Fake: storetest.NewFake(clock.System{})}
				must(t, begin(m.Fake))
				m.before = sync.OnceFunc(func() { must(t, second(m.Fake)) })
				if err := first(m); err != nil {
					t.Errorf("%s, met by %s, after %s: %v", name, met, before, err)
				}
				folds(t, m.Fake)
			}
		}
	}
}

func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		fake := storetest.NewFake(clock.System{})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i%4 == 0 {
					_, err := installation.Confirm(t.Context(), fake, by)
					must(t, err)
					return
				}
				must(t, installation.Raise(t.Context(), fake, fmt.Sprint("reason ", i%3)))
			})
		}
		wg.Wait()
		folds(t, fake)
	}
}

// folds checks that what stands is what the events say.
func folds(tb testing.TB, fake *storetest.Fake) {
	tb.Helper()
	var want []string
	for _, e := range events(tb, fake) {
		if e.Type == event.InstallationDoubted {
			if slices.Contains(want, e.Data.Reason) {
				tb.Errorf("%q was raised twice", e.Data.Reason)
			}
			want = append(want, e.Data.Reason)
		}
		if e.Type == event.InstallationConfirmed {
			if len(want) == 0 {
				tb.Error("nothing was confirmed")
			}
			want = nil
		}
	}
	doubts(tb, fake, want...)
}

// A store that does not compare revisions loses a doubt: the laws above see it.
func TestLostUpdateIsSeen(t *testing.T) {
	t.Parallel()
	fake := storetest.NewFake(clock.System{})
	must(t, installation.Raise(t.Context(), fake, "a"))
	careless := &overwriting{Fake: fake, before: sync.OnceFunc(func() { must(t, installation.Raise(t.Context(), fake, "b")) })}
	must(t, installation.Raise(t.Context(), careless, "c"))
	var seen record
	seen.TB = t
	folds(&seen, fake)
	if seen.errors == 0 {
		t.Error("a doubt was lost, and nobody saw it")
	}
}

// overwriting is a store whose edits always have the right revision.
type overwriting struct {
	*storetest.Fake
	before func()
}

func (s *overwriting) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	s.before()
	for i, e := range w.Puts {
		now, err := s.Entry(ctx, e.Kind, e.Key)
		if err != nil {
			return nil, err
		}
		w.Puts[i].Revision = now.Revision
	}
	return s.Fake.Write(ctx, w)
}

// record counts errors instead of failing.
type record struct {
	testing.TB
	errors int
}

func (r *record) Errorf(string, ...any) { r.errors++ }
func (r *record) Error(...any)          { r.errors++ }

// A change that is met each time gives up with what the store says, and a store
// that is away is not asked again.
func TestChangeGivesUp(t *testing.T) {
	t.Parallel()
	m := &meeting{Fake: storetest.NewFake(clock.System{})}
	n := 0
	m.before = func() {
		n++
		must(t, installation.Raise(context.Background(), m.Fake, fmt.Sprint("reason ", n)))
	}
	if err := installation.Raise(t.Context(), m, "mine"); !errors.Is(err, store.ErrRevision) {
		t.Errorf("met each time: %v", err)
	}
	if n < 2 || n > 100 {
		t.Errorf("tried %d times", n)
	}
	must(t, m.Close())
	m.before = nil
	if err := installation.Raise(t.Context(), m, "mine"); !errors.Is(err, storetest.ErrClosed) {
		t.Errorf("store away: %v", err)
	}
}
