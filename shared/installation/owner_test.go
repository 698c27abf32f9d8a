package installation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

var by = lease.Actor{Name: "accessor", DisplayName: "a person"}

// failer is a test, of rapid's or the testing package's.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func must(f failer, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// B3: a mark is known if and only if it was given, in one spelling, and none is
// given twice; what the store keeps of it tells the same.
func TestMarks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		runs := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9A-Za-z]{1,16}`), 1, 6, rapid.ID).Draw(t, "runs")
		var o installation.Ownership
		ctx, fake := t.Context(), storetest.NewFake(clock.System{})
		given := map[string]bool{"": true}
		counts := map[string]int{}
		for range rapid.IntRange(0, 40).Draw(t, "rounds") {
			run := rapid.SampledFrom(runs).Draw(t, "run")
			mark := o.Next(run)
			if given[mark] {
				t.Fatalf("mark %q was given twice", mark)
			}
			if err := engine.CheckMark(mark); err != nil {
				t.Fatalf("mark %q cannot be kept: %v", mark, err)
			}
			given[mark] = true
			counts[run]++
		}
		must(t, installation.Own(ctx, fake, owned(ctx, t, fake).entry, o))
		kept := owned(ctx, t, fake).Ownership
		for _, run := range append(runs, "stranger") {
			for n := -1; n <= counts[run]+2; n++ {
				for _, mark := range []string{
					fmt.Sprintf("curfew:%s:%d", run, n), fmt.Sprintf("curfew:%s:+%d", run, n), fmt.Sprintf("curfew:%s:0%d", run, n),
					fmt.Sprintf("curfew:%s:%d ", run, n), fmt.Sprintf("%s:%d", run, n), fmt.Sprintf("curfew:%s", run),
					installation.Disputed("", run),
				} {
					if o.Knows(mark) != given[mark] || kept.Knows(mark) != given[mark] {
						t.Errorf("mark %q: known %t, after storing %t; given %t", mark, o.Knows(mark), kept.Knows(mark), given[mark])
					}
				}
			}
		}
	})
}

// The runs that are remembered are bounded; the ones that were at work last stay.
func TestRunsAreBounded(t *testing.T) {
	t.Parallel()
	var o installation.Ownership
	steady := o.Next("steady")
	var marks []string
	for i := range 1000 {
		marks = append(marks, o.Next(fmt.Sprint("run", i)))
		if i%100 == 0 {
			steady = o.Next("steady")
		}
	}
	if len(o.Runs) != 256 {
		t.Errorf("%d runs are kept", len(o.Runs))
	}
	if !o.Knows(steady) {
		t.Error("a run that goes on was forgotten")
	}
	for i, mark := range marks {
		if want := i >= len(marks)-255; o.Knows(mark) != want {
			t.Fatalf("mark %q: known %t, want %t", mark, o.Knows(mark), want)
		}
	}
}

// What stands in a target is foreign bytes: nothing but what was given is known.
func FuzzKnows(f *testing.F) {
	for _, s := range []string{"", "curfew:run:1", "curfew:run:2", "curfew:run:3", "curfew:run:01", "curfew::1", "curfew:run:1:", "curfew-disputed:run"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, mark string) {
		o := installation.Ownership{Runs: []installation.Run{{ID: "run", Count: 2}, {ID: "", Count: 9}, {ID: "a:b", Count: 1}}}
		want := mark == "" || mark == "curfew:run:1" || mark == "curfew:run:2"
		if o.Knows(mark) != want {
			t.Errorf("mark %q: known %t", mark, !want)
		}
		disputed := installation.Disputed(mark, "run")
		if o.Knows(disputed) || installation.Disputed(disputed, "other") != disputed {
			t.Errorf("the dispute over %q is %q", mark, disputed)
		}
	})
}

// held is an ownership with its entry.
type held struct {
	installation.Ownership
	entry store.Entry
}

const target = "target-1"

func owned(ctx context.Context, f failer, s store.Entries) held {
	f.Helper()
	o, e, err := installation.Owned(ctx, s, target)
	must(f, err)
	return held{o, e}
}

func contested(tb testing.TB, s store.Entries, want ...string) {
	tb.Helper()
	found, err := installation.Contested(context.Background(), s)
	must(tb, err)
	var got []string
	for target, mark := range found {
		got = append(got, target+" "+mark)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		tb.Errorf("contested: %q, want %q", got, want)
	}
}

// Own is a compare-and-swap: who was slower is told, and nothing is changed.
func TestOwnIsCompareAndSwap(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	first, second := owned(ctx, t, fake), owned(ctx, t, fake)
	first.Next("one")
	must(t, installation.Own(ctx, fake, first.entry, first.Ownership))
	second.Next("two")
	if err := installation.Own(ctx, fake, second.entry, second.Ownership); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second beginning: %v", err)
	}
	first, second = owned(ctx, t, fake), owned(ctx, t, fake)
	mark := first.Next("one")
	must(t, installation.Own(ctx, fake, first.entry, first.Ownership))
	second.Next("two")
	if err := installation.Contest(ctx, fake, second.entry, second.Ownership, "database/db", "x"); !errors.Is(err, store.ErrRevision) {
		t.Errorf("a change of what has changed: %v", err)
	}
	if now := owned(ctx, t, fake); !now.Knows(mark) || now.Knows("curfew:two:1") || now.Contested != "" {
		t.Errorf("kept: %+v", now)
	}
	if n := len(events(t, fake)); n != 0 {
		t.Errorf("a change that was not made left %d events", n)
	}
}

// B3: a contest stands until a confirmation that follows it; then the target is
// to be taken over until somebody has, and a later contest stands again.
func TestContestAndConfirm(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	own := func(h held) {
		t.Helper()
		must(t, installation.Own(ctx, fake, h.entry, h.Ownership))
	}
	contest := func(found string) {
		t.Helper()
		h := owned(ctx, t, fake)
		must(t, installation.Contest(ctx, fake, h.entry, h.Ownership, "database/db", found))
	}
	confirm := func(want bool) {
		t.Helper()
		if was, err := installation.Confirm(ctx, fake, by); err != nil || was != want {
			t.Fatalf("confirmed: %t, %v", was, err)
		}
	}
	h := owned(ctx, t, fake)
	mark := h.Next("ours")
	own(h)
	confirm(false)
	contest("curfew:other:7")
	contested(t, fake, "target-1 curfew:other:7")
	if h = owned(ctx, t, fake); h.Contested != "curfew:other:7" || h.Adopt || !h.Knows(mark) {
		t.Errorf("contested: %+v", h)
	}
	confirm(true)
	contested(t, fake)
	for range 3 { // each attempt to take over, until one has worked
		h = owned(ctx, t, fake)
		if h.Contested != "" || !h.Adopt {
			t.Fatalf("confirmed: %+v", h)
		}
		h.Next("ours")
		own(h)
	}
	h = owned(ctx, t, fake)
	h.Adopt = false
	own(h)
	if h = owned(ctx, t, fake); h.Adopt || h.Contested != "" {
		t.Errorf("taken over: %+v", h)
	}
	confirm(false)
	contest("curfew-disputed:other")
	contested(t, fake, "target-1 curfew-disputed:other")
	confirm(true)
	contest("curfew:other:9") // before anybody took it over
	contested(t, fake, "target-1 curfew:other:9")
	if h = owned(ctx, t, fake); h.Adopt || h.Contested == "" {
		t.Errorf("contested anew: %+v", h)
	}
	var said []string
	for _, e := range events(t, fake) {
		said = append(said, string(e.Type)+" "+e.Data.Target)
		if e.Type == event.InstallationDoubted && (!strings.Contains(e.Data.Reason, "database/db") || e.Data.Actor.Name != lease.ActorSweep) {
			t.Errorf("event %+v", e.Data)
		}
		if e.Type == event.InstallationConfirmed && e.Data.Actor != by {
			t.Errorf("confirmed by %+v", e.Data.Actor)
		}
	}
	const d, c = "installation.doubted target-1", "installation.confirmed "
	if !slices.Equal(said, []string{d, c, d, c, d}) {
		t.Errorf("events: %q", said)
	}
}

// A7: after a doubt every target may be taken over, also one that the store,
// older than the mark, knows nothing of.
func TestConfirmedDoubtAdoptsAll(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	must(t, installation.Raise(ctx, fake, "restored"))
	if h := owned(ctx, t, fake); h.Adopt {
		t.Error("a target is to be taken over although nobody confirmed")
	}
	_, err := installation.Confirm(ctx, fake, by)
	must(t, err)
	h := owned(ctx, t, fake)
	if !h.Adopt {
		t.Error("a target is not to be taken over although a person confirmed")
	}
	h.Adopt = false
	must(t, installation.Own(ctx, fake, h.entry, h.Ownership))
	if owned(ctx, t, fake).Adopt {
		t.Error("a target is to be taken over twice")
	}
}

// events numbers all events and returns them in the order of their commits.
func events(tb testing.TB, fake *storetest.Fake) []event.Event {
	tb.Helper()
	ctx := context.Background()
	l, _, err := fake.Acquire(ctx, "publisher", "test", 1<<40)
	must(tb, err)
	_, _, err = fake.Number(ctx, l, 1<<30)
	must(tb, err)
	all, err := fake.Events(ctx, event.Position{}, 1<<30)
	must(tb, err)
	return all
}
