package fsck_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
)

// life moves the leases of a world at random, as its processes do: an intent
// before the account, the account before the lease is active, the account gone
// before the lease has ended (B1, B3, C1); events follow whenever they do.
type life struct {
	*world
	t    *rapid.T
	open map[lease.State][]lease.Lease
	done int
}

// busy bounds a life: one that begins leases faster than they are read would be
// read for ever.
const busy = 150

func (l *life) move() {
	if l.done++; l.done > busy {
		return
	}
	take := func(s lease.State) (lease.Lease, bool) {
		all := l.open[s]
		if len(all) == 0 {
			return lease.Lease{}, false
		}
		i := rapid.IntRange(0, len(all)-1).Draw(l.t, "which")
		one := all[i]
		l.open[s] = slices.Delete(all, i, i+1)
		return one, true
	}
	put := func(one lease.Lease) { l.open[one.State] = append(l.open[one.State], one) }
	switch rapid.IntRange(0, 9).Draw(l.t, "move") {
	case 0:
		put(l.begin())
	case 1: // creation, and its confirmation later
		if one, ok := take(lease.Intent); ok {
			if l.accounts[one.Account] {
				one = l.apply(one.ID, lease.Activate{})
			}
			l.accounts[one.Account] = true
			put(one)
		}
	case 2:
		if one, ok := take(lease.Active); ok {
			put(l.apply(one.ID, lease.Renew{}))
		}
	case 3:
		if one, ok := take(lease.Active); ok {
			put(l.apply(one.ID, lease.Revoke{}))
		}
	case 4:
		if one, ok := take(lease.Revoking); ok {
			l.finish(one, put)
		}
	case 5:
		l.number(rapid.IntRange(1, 5).Draw(l.t, "numbers"))
	case 6:
		l.publish()
	case 7:
		l.record()
	default: // nothing
	}
}

// finish drops the account, or ends the lease of one that was dropped.
func (l *life) finish(one lease.Lease, put func(lease.Lease)) {
	if l.accounts[one.Account] {
		delete(l.accounts, one.Account)
		put(one)
		return
	}
	l.apply(one.ID, lease.Finish{To: lease.Revoked})
}

// between is what is done in the time between two looks: what was committed is
// delivered, and no revocation takes longer than that.
func (l *life) between() {
	for len(l.open[lease.Revoking]) > 0 {
		one := l.open[lease.Revoking][0]
		l.open[lease.Revoking] = l.open[lease.Revoking][1:]
		l.finish(one, func(one lease.Lease) { l.open[one.State] = append(l.open[one.State], one) })
	}
	l.deliver()
}

// However the parts of a healthy installation move while they are compared, in
// whatever pages and shares, nothing is reported.
func TestHealthyIsClean(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t.Context(), rt)
		l := &life{world: w, t: rt, open: map[lease.State][]lease.Lease{}}
		for range rapid.IntRange(0, 30).Draw(rt, "before") {
			l.move()
		}
		w.moves, w.settle = l.move, l.between
		r := w.check(fsck.Config{
			Page: rapid.IntRange(1, 5).Draw(rt, "page"), Hold: int64(rapid.IntRange(1, 20).Draw(rt, "hold")), Interval: 3 * time.Second,
		})
		if !r.Clean {
			rt.Fatalf("%+v, unseen %+v", r.Disagreements, r.Unseen)
		}
	})
}

// A disagreement is found among whatever moves, in whatever pages and shares, and
// only it.
func TestPlantedIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t.Context(), rt)
		victim := w.issue(1) // nobody else moves it
		w.deliver()
		l := &life{world: w, t: rt, open: map[lease.State][]lease.Lease{}}
		for range rapid.IntRange(0, 20).Draw(rt, "before") {
			l.move()
		}
		one := rapid.SampledFrom(plants()).Draw(rt, "plant")
		if one.still {
			l.between()
		}
		one.plant(w, victim)
		w.moves, w.settle = l.move, l.between
		if one.still {
			w.moves, w.settle = func() {}, func() {}
		}
		r := w.check(fsck.Config{
			Page: rapid.IntRange(1, 5).Draw(rt, "page"), Hold: int64(rapid.IntRange(1, 20).Draw(rt, "hold")),
		})
		found := 0
		for _, f := range r.Disagreements {
			switch {
			case f.Kind == one.want:
				found++
			case !slices.Contains(one.also, f.Kind):
				rt.Fatalf("%s: it found %s, too: %+v", one.name, f.Kind, f)
			}
		}
		if found != 1 || r.Code() != 1 {
			rt.Fatalf("%s: %s was reported %d times, exit code %d: %+v, passed %+v", one.name, one.want, found, r.Code(), r.Disagreements, r.Passed)
		}
	})
}
