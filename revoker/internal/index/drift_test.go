package index_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/index"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// fragile is an index that can lose its content, and be away.
type fragile struct {
	*memory.Index
	away   error
	offers int
}

func (f *fragile) flush() { f.Index = memory.New() }

func (f *fragile) Offer(ctx context.Context, members ...expiry.Member) error {
	f.offers++
	return errors.Join(f.away, f.Index.Offer(ctx, members...))
}

func (f *fragile) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	if f.away != nil {
		return nil, f.away
	}
	return f.Index.Missing(ctx, members...)
}

// scene is an index that is compared with a store; the steps are run by hand.
type scene struct {
	*testing.T
	index    *fragile
	upcoming *index.Upcoming
	drift    *index.Drift
	told     []index.Difference
}

func newScene(t *testing.T, s store.Leases, cfg index.Config) *scene {
	t.Helper()
	c := &scene{T: t, index: &fragile{Index: memory.New()}}
	now := store.NewEstimate(storetest.NewFake(clock.System{}), clock.System{})
	feed := index.NewFeeder(c.index, func() {})
	c.upcoming = index.NewUpcoming(s, now, feed, cfg)
	c.drift = index.NewDrift(s, c.index, now, feed, c.upcoming, func(d index.Difference) { c.told = append(c.told, d) }, cfg)
	return c
}

func (c *scene) load() {
	c.Helper()
	for {
		rest, err := c.upcoming.Do(c.Context())
		if err != nil {
			c.Fatal(err)
		}
		if rest > 0 {
			return
		}
	}
}

// look looks once, lets time pass until the next look, and returns what was
// told.
func (c *scene) look() index.Difference {
	c.Helper()
	rest, err := c.drift.Do(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	time.Sleep(rest)
	return c.told[len(c.told)-1]
}

func (c *scene) want(got, want index.Difference) {
	c.Helper()
	want.Known = true
	if got != want {
		c.Errorf("drift is %+v, want %+v", got, want)
	}
}

// D2: an index that lost everything has what falls due soon again after two
// looks, a second and a quarter apart at most; where there is more than a look
// covers, the whole window is loaded anew.
func TestFlush(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"within a look": 700, "more than a look": 5000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &dues{}
				s.add("a", n, time.Now().Add(30*time.Second))
				c := newScene(t, s, index.Config{Page: 100, Pages: 10})
				seen := min(n, 1000)
				c.load()
				c.want(c.look(), index.Difference{Compared: seen, Members: n})
				c.want(c.look(), index.Difference{Compared: 100, Members: n}) // one page
				began := time.Now()
				c.index.flush()
				c.want(c.look(), index.Difference{Compared: seen, Members: n})                // under way?
				c.want(c.look(), index.Difference{Compared: seen, Missing: seen, Members: 0}) // no
				if took := time.Since(began); took > 1250*time.Millisecond {
					t.Errorf("the loss was told after %s", took)
				}
				select {
				case <-c.upcoming.Wake():
					if n == seen {
						t.Error("the window is loaded anew for what was offered already")
					}
					c.load()
				default:
					if n > seen {
						t.Error("the rest of the window is not loaded")
					}
				}
				c.want(c.look(), index.Difference{Compared: seen, Members: n})
				if m, err := c.index.Len(t.Context()); err != nil || m != n {
					t.Errorf("%d members, %v; want %d", m, err, n)
				}
			})
		})
	}
}

// D2: a loss of a part is counted exactly and made good, wherever in the window
// it is, and does not load the window anew.
func TestPartLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &dues{}
		s.add("a", 950, time.Now().Add(30*time.Second))
		c := newScene(t, s, index.Config{Page: 100, Pages: 20})
		c.load()
		c.look()
		claimed, err := c.index.Claim(t.Context(), "a", time.Now().Add(time.Minute), 940, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.index.Complete(t.Context(), claimed, claimed.Members[70:]...); err != nil {
			t.Fatal(err)
		}
		c.want(c.look(), index.Difference{Compared: 950, Members: 950}) // the first page shows it
		c.want(c.look(), index.Difference{Compared: 950, Missing: 70, Members: 880})
		c.want(c.look(), index.Difference{Compared: 950, Members: 950})
		select {
		case <-c.upcoming.Wake():
			t.Error("the window is loaded anew")
		default:
		}
		// What no first page shows, the next look at all of them does.
		claimed, err = c.index.Claim(t.Context(), "a", time.Now().Add(time.Minute), 950, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.index.Complete(t.Context(), claimed, claimed.Members[:900]...); err != nil {
			t.Fatal(err)
		}
		total, looks := 0, 0
		for total == 0 && looks < 8 {
			total += c.look().Missing
			looks++
		}
		if total != 50 {
			t.Errorf("%d of 50 lost leases were found in %d looks", total, looks)
		}
		c.want(c.look(), index.Difference{Compared: 950, Members: 950})
	})
}

// What is under way to the index, has ended or moved meanwhile, and intents, of
// which no event tells when they fall due, are no drift; a lease that stays away
// is.
func TestNoDrift(t *testing.T) {
	bubble(t, func(w *world) {
		c := newScene(w.T, w.fake, index.Config{})
		c.want(c.look(), index.Difference{})
		late, gone, renewed := w.issue("a", 30*time.Second), w.issue("a", 30*time.Second), w.issue("a", 30*time.Second)
		lost, intent := w.issue("a", 30*time.Second), lease.NewID("database/creds/a")
		w.change(intent, lease.Begin{Grace: 30 * time.Second, Lease: lease.Lease{
			Kind: lease.Secret, MountID: "m", Mount: "database/", Engine: "database", Target: "a", TTL: time.Minute,
		}})
		c.want(c.look(), index.Difference{Compared: 5})
		if err := c.index.Offer(w.Context(), expiry.Member{ID: late.ID, Target: "a", At: late.DueAt()}); err != nil {
			w.Fatal(err)
		}
		w.change(gone.ID, lease.Revoke{})
		w.change(gone.ID, lease.Finish{To: lease.Revoked})
		w.change(renewed.ID, lease.Renew{Increment: 40 * time.Second})
		c.want(c.look(), index.Difference{Compared: 4, Missing: 1, Members: 1})
		missing, err := c.index.Missing(w.Context(), expiry.Member{ID: lost.ID, Target: "a", At: lost.DueAt()})
		if err != nil || len(missing) != 0 {
			w.Errorf("what was lost was not offered again: %v, %v", missing, err)
		}
		missing, err = c.index.Missing(w.Context(), expiry.Member{ID: intent, Target: "a", At: time.Now().Add(time.Hour)})
		if err != nil || len(missing) != 1 {
			w.Errorf("an open intent was offered: %v, %v", missing, err)
		}
	})
}

// Of an index, or a store, that does not answer nothing is known; what it lacks
// when it is back is.
func TestUnknown(t *testing.T) {
	bubble(t, func(w *world) {
		w.issue("a", time.Minute/2)
		c := newScene(w.T, w.store, index.Config{})
		c.load()
		c.want(c.look(), index.Difference{Compared: 1, Members: 1})
		c.index.away = errors.New("away")
		c.index.flush()
		if _, err := c.drift.Do(w.Context()); !errors.Is(err, c.index.away) || c.told[len(c.told)-1] != (index.Difference{}) {
			w.Errorf("without the index: %v, %+v", err, c.told)
		}
		c.index.away = nil
		c.look()
		c.want(c.look(), index.Difference{Compared: 1, Missing: 1})
		c.want(c.look(), index.Difference{Compared: 1, Members: 1})
		w.store.Break(storetest.Fault{Method: "Due", Nth: 1})
		if _, err := c.drift.Do(w.Context()); !errors.Is(err, storetest.ErrInjected) || c.told[len(c.told)-1].Known {
			w.Errorf("without the store: %v, %+v", err, c.told)
		}
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		c.index.away, c.told = context.Canceled, nil
		if _, err := c.drift.Do(ctx); err == nil || len(c.told) > 0 {
			w.Errorf("asked to stop: %v, %+v", err, c.told)
		}
	})
}

// reader counts reads of leases.
type reader struct {
	store.Leases
	reads []lease.ID
	err   error
}

func (r *reader) GetMany(ctx context.Context, ids ...lease.ID) ([]lease.Lease, error) {
	r.reads = append(r.reads, ids...)
	if r.err != nil {
		return nil, r.err
	}
	return r.Leases.GetMany(ctx, ids...)
}

// D2: an index that is to know everything gets what falls due beyond the window
// as the events say, in one offer and without reading the store; within the
// window the store is read.
func TestEverything(t *testing.T) {
	bubble(t, func(w *world) {
		r, x := &reader{Leases: w.fake}, &fragile{Index: memory.New()}
		now := store.NewEstimate(w.fake, clock.System{})
		feed := index.NewFeeder(x, func() {})
		run := func(ahead time.Duration) {
			t.Helper()
			i := index.NewIndexer(w.stream, r, now, feed, index.NewRecaller(r, now, feed), "test", index.Config{Ahead: ahead})
			if _, err := i.Do(w.Context()); err != nil {
				w.Fatal(err)
			}
		}
		has := func(l lease.Lease, at time.Time) bool {
			t.Helper()
			missing, err := x.Missing(w.Context(), expiry.Member{ID: l.ID, Target: l.Target, At: at})
			if err != nil {
				w.Fatal(err)
			}
			return len(missing) == 0
		}
		year, hour, soon := w.issue("a", 365*24*time.Hour), w.issue("b", time.Hour), w.issue("a", 30*time.Second)
		ended, never := w.issue("a", time.Hour), w.issue("a", 0)
		batch := events(year, hour, soon, ended, never)
		w.change(ended.ID, lease.Revoke{})
		ended = w.change(ended.ID, lease.Finish{To: lease.Revoked})
		batch = append(batch, events(ended)...)

		w.stream.batches = [][]event.Event{batch}
		run(2 * time.Hour) // bounded
		if has(year, year.ExpiresAt) || !has(hour, hour.ExpiresAt) || !has(soon, soon.ExpiresAt) || x.offers != 1 {
			w.Errorf("bounded to two hours, in %d offers: year %t, hour %t, soon %t",
				x.offers, has(year, year.ExpiresAt), has(hour, hour.ExpiresAt), has(soon, soon.ExpiresAt))
		}
		x.flush()
		r.reads, x.offers = nil, 0
		w.stream.batches = [][]event.Event{batch}
		run(index.Everything)
		n, err := x.Len(w.Context())
		if err != nil || n != 3 || x.offers != 1 || !has(year, year.ExpiresAt) || has(year, year.ExpiresAt.Add(-1)) || !has(hour, hour.ExpiresAt) {
			w.Errorf("%d members in %d offers, %v; want year, hour and soon at their times, in one", n, x.offers, err)
		}
		if !slices.Equal(r.reads, []lease.ID{soon.ID}) {
			w.Errorf("the store was read for %v, want only what falls due soon", r.reads)
		}

		// A renewal only moves in the store: who claims at the old time learns of it.
		hour = w.change(hour.ID, lease.Renew{Increment: 3 * time.Hour})
		w.stream.batches = [][]event.Event{events(hour)}
		run(index.Everything)
		if !has(hour, hour.ExpiresAt.Add(-2*time.Hour)) {
			w.Error("a later time moved a member in due (D1)")
		}
		// A store that does not answer takes no hint away.
		other := w.issue("a", 10*time.Second)
		r.err, r.reads = errors.New("away"), nil
		w.stream.batches = [][]event.Event{events(soon, other)}
		run(index.Everything)
		if !has(other, other.ExpiresAt) || len(r.reads) != 2 {
			w.Errorf("without the store, offered %t, after it was read for %v; want the event's time after one try", has(other, other.ExpiresAt), r.reads)
		}
	})
}
