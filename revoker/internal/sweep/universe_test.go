package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const every = time.Minute

// failer is a test, of rapid's or the testing package's.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// universe is one target and the installations that sweep it: an original and
// copies, each with a store of its own.
type universe struct {
	failer
	clock  *storetest.Clock
	target *enginetest.Fake
	probe  *enginetest.Probe
	sites  []*site
	// wrap makes of the target what processes see of it.
	wrap func(*enginetest.Fake) engine.Sweeper
	// taken tells of accounts that were taken away from one who did not know
	// better: what must never be.
	taken  []string
	serial int
	inside bool // a round of another within a round
}

// site is an installation.
type site struct {
	u         *universe
	n         int
	from      *site // the one it is a copy of
	store     *storetest.Fake
	procs     []*proc
	untold    bool // it has issued since its last round
	confirmed []*site
}

// proc is a process that sweeps.
type proc struct {
	site  *site
	sweep *sweep.Strays
	next  time.Time
	// meets happens once within the next round, before the call of the target
	// that calls counts down to.
	meets func()
	calls int
}

func newUniverse(f failer) *universe {
	u := &universe{failer: f, clock: storetest.NewClock()}
	u.wrap = func(f *enginetest.Fake) engine.Sweeper { return f }
	u.target = enginetest.NewFake(enginetest.FakeConfig{Clock: u.clock})
	u.target.AddTarget(engine.Target{ID: "a", MountID: "m", Mount: "database/", Name: "db"})
	u.probe = u.target.Probe("a")
	u.add(storetest.NewFake(u.clock), nil)
	return u
}

func (u *universe) add(s *storetest.Fake, from *site) *site {
	x := &site{u: u, n: len(u.sites), from: from, store: s}
	u.sites = append(u.sites, x)
	return x
}

// copied is another installation with all that this one has now.
func (x *site) copied() *site {
	s := storetest.NewFake(x.u.clock)
	for _, l := range x.store.Leases() {
		o := s.Apply(context.Background(), store.Transition{Change: change(l.ID, lease.Restore{Known: l})})[0]
		if o.Err != nil && !errors.Is(o.Err, lease.ErrOver) {
			x.u.Fatalf("copy %s: %v", l.ID, o.Err)
		}
	}
	entries, err := x.store.List(context.Background(), store.KindSystem, "", "", false, 0)
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	for _, e := range entries {
		e.Revision = 0
		if _, err := s.Write(context.Background(), store.Write{Puts: []store.Entry{e}}); err != nil {
			x.u.Fatalf("copy %s: %v", e.Key, err)
		}
	}
	c := x.u.add(s, x)
	c.confirmed = x.confirmed // a copy has that from its original, too
	return c
}

func change(id lease.ID, do lease.Action) lease.Change {
	return lease.Change{ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("tester"), Do: do}
}

// between is what a process sees of the target; something else may happen
// around each call.
type between struct {
	engine.Sweeper
	engine.Marker
	meet func()
}

func (b between) Mark(ctx context.Context, target string) (string, error) {
	b.meet()
	defer b.meet() // before the store is read
	return b.Marker.Mark(ctx, target)
}

func (b between) SetMark(ctx context.Context, target, was, now string) error {
	b.meet()
	return b.Marker.SetMark(ctx, target, was, now)
}

func (b between) Accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	b.meet()
	return b.Sweeper.Accounts(ctx, target, after, limit)
}

func (x *site) start(delay time.Duration) *proc {
	p := &proc{site: x, next: x.u.clock.Now().Add(delay)}
	sw := x.u.wrap(x.u.target)
	if m, ok := sw.(engine.Marker); ok {
		sw = between{sw, m, func() {
			if p.calls--; p.calls == 0 && !x.u.inside {
				x.u.inside = true
				p.meets()
				x.u.inside = false
			}
		}}
	}
	x.u.serial++
	p.sweep = &sweep.Strays{
		Store: x.store, Engines: map[string]engine.Sweeper{"database": sw}, Time: store.NewEstimate(x.store, x.u.clock),
		Clock: x.u.clock, Log: zerolog.Nop(), Every: every, Run: fmt.Sprintf("run%d", x.u.serial),
	}
	x.procs = append(x.procs, p)
	return p
}

func (x *site) apply(id lease.ID, do lease.Action) {
	if o := x.store.Apply(context.Background(), store.Transition{Change: change(id, do)})[0]; o.Err != nil {
		x.u.Fatalf("%T: %v", do, o.Err)
	}
}

// issue is a credential that the site knows as live.
func (x *site) issue() string {
	x.u.serial++
	name, id := fmt.Sprintf("v-%03d", x.u.serial), lease.NewID("database/creds/a")
	x.apply(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{
		Kind: lease.Secret, MountID: "m", Mount: "database/", Engine: "database", Target: "a", Account: name, TTL: 1000 * time.Hour,
	}})
	x.u.account(name)
	x.apply(id, lease.Activate{})
	x.untold = true
	return name
}

func (u *universe) account(name string) {
	if _, err := u.probe.Add(name, true); err != nil {
		u.Fatalf("%v", err)
	}
}

// round is one of a process. What it opens leases for is taken away at once.
func (p *proc) round(jitter time.Duration) {
	x := p.site
	// A confirmation is over whoever is there while it is being heeded.
	o, _, err := installation.Owned(context.Background(), x.store, "a")
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	if o.Adopt {
		x.overAll()
	}
	rest, err := p.sweep.Do(context.Background())
	if err != nil || rest != every {
		x.u.Fatalf("round of site %d: rests %s, %v", x.n, rest, err)
	}
	x.untold = false
	p.next = x.u.clock.Now().Add(every + jitter)
	for _, l := range x.store.Leases() {
		if l.Kind == lease.Stray && l.State == lease.Revoking {
			x.taken(l)
		}
	}
}

func (x *site) taken(l lease.Lease) {
	for _, other := range x.u.sites {
		if other.knows(l.Account) && !x.mayTake(other) {
			x.u.taken = append(x.u.taken, fmt.Sprintf("site %d took %s, which site %d knows", x.n, l.Account, other.n))
		}
	}
	x.apply(l.ID, lease.Finish{To: lease.Revoked})
	x.u.target.Remove(context.Background(), "a", []lease.Lease{{Account: l.Account, ActivatedAt: l.IssuedAt}})
}

func (x *site) knows(account string) bool {
	return slices.ContainsFunc(x.store.Leases(), func(l lease.Lease) bool {
		return l.Account == account && l.Kind == lease.Secret && l.State.Live()
	})
}

// mayTake reports whether a person has confirmed this site over the other, or
// over what the other was copied from.
func (x *site) mayTake(other *site) bool {
	for o := other; o != nil && o != x; o = o.from {
		if slices.Contains(x.confirmed, o) {
			return true
		}
	}
	return false
}

func (x *site) confirm() {
	doubted, err := installation.Confirm(context.Background(), x.store, lease.Actor{Name: "a person"})
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	if doubted {
		x.overAll()
	}
}

func (x *site) overAll() {
	x.confirmed = slices.DeleteFunc(slices.Clone(x.u.sites), func(o *site) bool { return o == x })
}

// reports says why the site only reports: "" where it acts.
func (x *site) reports() string {
	contested, err := installation.Contested(context.Background(), x.store)
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	doubts, err := installation.Current(context.Background(), x.store)
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	if len(doubts) > 0 {
		return doubts[0]
	}
	return contested["a"]
}

func (x *site) reported() []string {
	found, err := installation.ReportedStrays(context.Background(), x.store)
	if err != nil {
		x.u.Fatalf("%v", err)
	}
	if r := found["a"]; r.Count != len(r.Accounts) {
		x.u.Errorf("%d of %d are named", len(r.Accounts), r.Count)
	}
	return found["a"].Accounts
}

// pass lets time pass, in which each process has its rounds: never later than
// an interval and a half after the last.
func (u *universe) pass(d time.Duration, jitter time.Duration) {
	const tick = every / 4
	for ; d > 0; d -= tick {
		u.clock.Advance(tick)
		for _, x := range u.sites {
			for _, p := range x.procs {
				if !u.clock.Now().Before(p.next) {
					p.round(jitter)
				}
			}
		}
	}
}

func (u *universe) exists(name string) bool { return slices.Contains(u.probe.Names(), name) }
