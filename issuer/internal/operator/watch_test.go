package operator_test

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/operator"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// world is a watch on a store, by a clock that only the test moves.
type world struct {
	t     *testing.T
	clock *storetest.Clock
	fake  *storetest.Fake
	store *storetest.Faulty
	watch *operator.Watch
	log   bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock()}
	w.fake = storetest.NewFake(w.clock)
	w.store = storetest.NewFaulty(w.fake)
	w.watch = operator.NewWatch(w.store, w.clock, zerolog.New(&w.log))
	return w
}

// sample has the watch look once.
func (w *world) sample() status.State {
	w.t.Helper()
	rest, err := w.watch.Do(w.t.Context())
	if err != nil || rest != time.Second {
		w.t.Fatalf("do: %s, %v; want a look each second", rest, err)
	}
	return w.watch.Standing()
}

func (w *world) is(want status.State) {
	w.t.Helper()
	if got := w.sample(); !reflect.DeepEqual(got, want) {
		w.t.Errorf("it is %+v, want %+v", got, want)
	}
}

// beat has a process say that it runs.
func (w *world) beat(name, version string, skew time.Duration) {
	w.t.Helper()
	now := w.clock.Now()
	err := installation.Beat(w.t.Context(), w.fake, installation.Process{
		Name: name, Program: "curfew-issuer", Version: version, Started: now, Seen: now, Skew: skew,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.is(status.State{})
	w.beat("a", "1.0.0", 0)
	w.beat("b", "1.0.0", 0)
	w.is(status.State{})
}

// The largest skew in either direction counts, of processes that have said lately
// that they run; the versions are told where they differ.
func TestSkew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.beat("a", "1.0.0", 20*time.Millisecond)
	w.beat("b", "1.1.0", -3*time.Second)
	w.beat("c", "1.0.0", time.Second)
	w.is(status.State{Skew: 3 * time.Second, Versions: []string{"1.0.0", "1.1.0"}})
	w.clock.Advance(time.Minute)
	w.beat("c", "1.0.0", time.Second)
	w.is(status.State{Skew: 3 * time.Second, Versions: []string{"1.0.0", "1.1.0"}})
	w.clock.Advance(time.Nanosecond)
	w.is(status.State{Skew: time.Second})
	if err := installation.Gone(t.Context(), w.fake, "c"); err != nil {
		t.Fatal(err)
	}
	w.is(status.State{})
}

func TestSuspendedAndDoubted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	w.is(status.State{Suspended: true})
	if err := installation.Raise(t.Context(), w.fake, "a test"); err != nil {
		t.Fatal(err)
	}
	w.is(status.State{Suspended: true, Doubted: true})
}

// A store that is silent for a moment, as under load, takes nobody out of
// service; after five seconds it is away, until it answers. What was seen last
// stays meanwhile. It is logged once each way.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Suspension", "Entry", "List", "Now"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.beat("a", "1.0.0", time.Second)
			w.is(status.State{Skew: time.Second})
			w.store.Break(storetest.Fault{Method: method})
			for range 4 {
				w.clock.Advance(time.Second)
				w.is(status.State{Skew: time.Second})
			}
			for range 3 {
				w.clock.Advance(time.Second)
				w.is(status.State{Away: true, Skew: time.Second})
			}
			w.store.Break()
			w.is(status.State{Skew: time.Second})
			if n := strings.Count(w.log.String(), "\n"); n != 2 {
				t.Errorf("the log has %d lines, want 2:\n%s", n, w.log.String())
			}
		})
	}
}

// A stop is no silence of the store.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.store.Break(storetest.Fault{Method: "Suspension"})
	w.clock.Advance(time.Hour)
	if _, err := w.watch.Do(ctx); err == nil || w.watch.Standing().Away || w.log.Len() > 0 {
		t.Errorf("do: %v; %+v; log %s", err, w.watch.Standing(), w.log.String())
	}
}
