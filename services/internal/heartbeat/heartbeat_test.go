package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// world is a store and a process whose clock goes its own way.
type world struct {
	t     *testing.T
	clock *storetest.Clock // the store's
	fake  *storetest.Fake
	store *far
	own   *skewed
	beat  *Heartbeat
	log   bytes.Buffer
}

// far is a store that takes its time to answer.
type far struct {
	*storetest.Faulty
	clock       *storetest.Clock
	there, back time.Duration
}

func (f *far) Now(ctx context.Context) (time.Time, error) {
	f.clock.Advance(f.there)
	defer f.clock.Advance(f.back)
	return f.Faulty.Now(ctx)
}

// skewed is another clock, ahead of the store's.
type skewed struct {
	*storetest.Clock
	by time.Duration
}

func (s *skewed) Now() time.Time { return s.Clock.Now().Add(s.by) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock()}
	w.fake = storetest.NewFake(w.clock)
	w.store = &far{Faulty: storetest.NewFaulty(w.fake), clock: w.clock}
	w.own = &skewed{Clock: w.clock}
	w.beat = New(w.store, w.own, zerolog.New(&w.log), "one-7", "curfew-revoker", "1.2.3")
	return w
}

func (w *world) do() {
	w.t.Helper()
	if rest, err := w.beat.Do(w.t.Context()); err != nil || rest != every {
		w.t.Fatalf("do: %s, %v", rest, err)
	}
}

func (w *world) processes() []installation.Process {
	w.t.Helper()
	all, err := installation.Processes(w.t.Context(), w.fake)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestSaysThatItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	started := w.clock.Now()
	for range 3 {
		w.do()
		want := installation.Process{Name: "one-7", Program: "curfew-revoker", Version: "1.2.3", Started: started, Seen: w.clock.Now()}
		if got := w.processes(); len(got) != 1 || got[0] != want {
			t.Fatalf("it says %+v, want %+v", got, want)
		}
		w.clock.Advance(every)
	}
	for range 2 { // it may be called again
		if err := w.beat.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.processes(); len(got) > 0 {
		t.Errorf("after its stop it is %+v", got)
	}
}

// Whoever beats forgets those that were silent for an hour, and only those.
func TestForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := New(w.store, w.own, zerolog.Nop(), "old", "curfew-issuer", "1.0.0")
	if _, err := old.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(installation.Forgotten)
	w.do()
	if got := w.processes(); len(got) != 2 {
		t.Errorf("after an hour: %+v", got)
	}
	w.clock.Advance(1)
	w.do()
	if got := w.processes(); len(got) != 1 || got[0].Name != "one-7" {
		t.Errorf("after more than an hour: %+v", got)
	}
	w.clock.Advance(2 * installation.Forgotten)
	w.do() // itself it does not forget
	if got := w.processes(); len(got) != 1 {
		t.Errorf("it forgot itself: %+v", got)
	}
}

// The measured skew is the true one but for half the round trip, with its sign;
// without skew it is 0, however lopsided the way.
func TestSkewIsWithinTheRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.store.there = time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(rt, "there"))
		w.store.back = time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(rt, "back"))
		w.own.by = time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-int64(time.Hour), int64(time.Hour))).Draw(rt, "skew"))
		w.do()
		got := w.processes()[0].Skew
		if trip := w.store.there + w.store.back; (got-w.own.by).Abs() > trip+1 || w.own.by == 0 && got != 0 {
			rt.Fatalf("measured %s, it is %s with a round trip of %s", got, w.own.by, trip)
		}
	})
}

func TestSkewSign(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{3 * time.Second, -3 * time.Second} {
		w := newWorld(t)
		w.own.by = by
		w.store.there, w.store.back = 200*time.Millisecond, 200*time.Millisecond
		w.do()
		if got := w.processes()[0].Skew; got != by {
			t.Errorf("ahead by %s it says %s", by, got)
		}
	}
}

// A clock that is far off is a warning, once; so is its return.
func TestWarnsOfSkew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		by   time.Duration
		says string // how the log goes on
	}{
		{0, ""}, {2 * time.Second, ""}, {-2*time.Second - 1, `"level":"warn"`}, {3 * time.Second, ""}, {time.Second, `"level":"info"`}, {time.Minute, `"level":"warn"`},
	} {
		w.log.Reset()
		w.own.by = c.by
		w.do()
		if got := w.log.String(); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("skew %s: the log goes on with %q, want %q", c.by, got, c.says)
		}
	}
}

// A store that is away is an error, and the next beat is a whole one.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	for _, fault := range []storetest.Fault{{Method: "Now"}, {Method: "List"}, {Method: "Write"}, {Method: "Write", Done: true}} {
		w := newWorld(t)
		w.store.Break(fault)
		if _, err := w.beat.Do(t.Context()); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("%+v: %v", fault, err)
		}
		w.store.Break()
		w.do()
		if got := w.processes(); len(got) != 1 {
			t.Errorf("%+v: then it says %+v", fault, got)
		}
		w.store.Break(storetest.Fault{Method: "Entry"})
		if err := w.beat.Close(t.Context()); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("close: %v", err)
		}
	}
}

func TestOwnName(t *testing.T) {
	t.Parallel()
	if name := OwnName(); !strings.Contains(name, "-") || name != OwnName() {
		t.Errorf("the name is %q", name)
	}
}

var _ clock.Clock = (*skewed)(nil)
