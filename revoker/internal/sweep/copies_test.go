package sweep_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/installation"
)

// B3: in whatever order an original and its copy start, neither takes away what
// the other one knows; both report. The one that a person confirms acts.
func TestCopy(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(u *universe, original *site) (clone *site){
		"the copy starts at once": func(_ *universe, original *site) *site {
			clone := original.copied()
			clone.start(0)
			return clone
		},
		"the copy issues before it sweeps": func(_ *universe, original *site) *site {
			clone := original.copied()
			clone.start(every / 2)
			clone.issue()
			return clone
		},
		"the copy starts later": func(u *universe, original *site) *site {
			clone := original.copied()
			original.issue()
			u.pass(5*every, 0)
			clone.start(0)
			return clone
		},
		"the original is away": func(u *universe, original *site) *site {
			original.procs = nil
			clone := original.copied()
			clone.start(0)
			u.pass(10*every, 0)
			original.start(0)
			return clone
		},
		"the original restarts": func(u *universe, original *site) *site {
			clone := original.copied()
			original.issue()
			u.pass(2*every, 0)
			original.procs = nil
			clone.start(0)
			u.pass(every, 0)
			original.start(0)
			return clone
		},
		"the original is away for a while": func(u *universe, original *site) *site {
			clone := original.copied()
			original.issue() // and nothing more: it has no round after this
			original.procs = nil
			u.pass(5*every, 0)
			clone.start(0)
			u.pass(every, 0)
			original.start(0)
			return clone
		},
		"before any mark": func(u *universe, original *site) *site {
			u.probe.Remark("")
			clone := original.copied()
			clone.start(0)
			return clone
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUniverse(t)
			original := u.sites[0]
			original.start(0)
			u.account("v-000-stray")
			original.issue()
			u.pass(5*every, 0)
			if u.exists("v-000-stray") || original.reports() != "" {
				t.Fatalf("before there is a copy: accounts %q, reports %q", u.probe.Names(), original.reports())
			}
			clone := begin(u, original)
			var names []string
			for range 10 {
				names = append(names, original.issue(), clone.issue())
				u.pass(every, every/4)
			}
			u.pass(2*every, 0)
			for _, x := range u.sites {
				if x.reports() == "" {
					t.Errorf("site %d acts", x.n)
				}
			}
			for i, name := range names {
				if !u.exists(name) {
					t.Errorf("account %s is gone", name)
				}
				if other := u.sites[1-i%2]; !slices.Contains(other.reported(), name) {
					t.Errorf("site %d does not report %s: %q", other.n, name, other.reported())
				}
			}
			clone.confirm()
			u.pass(10*every, every/4)
			if clone.reports() != "" || len(clone.reported()) != 0 || original.reports() == "" {
				t.Errorf("after a person confirmed: %q, reported %q; the other %q", clone.reports(), clone.reported(), original.reports())
			}
			for i, name := range names {
				if u.exists(name) != (i%2 == 1) {
					t.Errorf("account %s of site %d: exists %t", name, i%2, u.exists(name))
				}
			}
			if len(u.taken) != 0 {
				t.Error(u.taken)
			}
		})
	}
}

// The laws above see what goes wrong where a target keeps no marks, or forgets
// them.
func TestWithoutMarks(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(f *enginetest.Fake) engine.Sweeper{
		"no marks":       func(f *enginetest.Fake) engine.Sweeper { return struct{ engine.Sweeper }{f} },
		"marks are lost": func(f *enginetest.Fake) engine.Sweeper { return forgetful{f} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUniverse(t)
			u.wrap = wrap
			u.sites[0].start(0)
			u.pass(5*every, 0)
			u.sites[0].copied().start(0)
			u.sites[0].issue()
			u.pass(5*every, 0)
			if len(u.taken) == 0 {
				t.Error("nothing was taken from the original, whose copy does not know better")
			}
		})
	}
}

// forgetful loses every mark.
type forgetful struct{ *enginetest.Fake }

func (forgetful) Mark(context.Context, string) (string, error)          { return "", nil }
func (forgetful) SetMark(context.Context, string, string, string) error { return nil }

// step is one of a random history.
type step struct {
	What   int
	Site   int
	Other  int
	Jitter time.Duration
	Within int // before which call of the target another has a round; 0: none
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		What: rapid.IntRange(0, 19).Draw(t, "what"), Site: rapid.IntRange(0, 3).Draw(t, "site"), Other: rapid.IntRange(0, 3).Draw(t, "other"),
		Jitter: time.Duration(rapid.IntRange(0, 2).Draw(t, "jitter")) * every / 4, Within: rapid.IntRange(0, 6).Draw(t, "within"),
	}
})

// B3: whatever starts, stops, is copied, doubted and confirmed, and whatever
// meets within a round: no account is taken away that another installation knows
// as live, unless a person confirmed the one over the other. And confirming
// works: twice at most, and the strays are gone.
func TestCopiesNeverTake(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := newUniverse(t)
		u.sites[0].start(0)
		for _, s := range rapid.SliceOfN(steps, 1, 60).Draw(t, "history") {
			u.step(s)
			if len(u.taken) != 0 {
				t.Fatal(u.taken)
			}
		}
		u.settle(t)
	})
}

func (u *universe) step(s step) {
	x := u.sites[s.Site%len(u.sites)]
	for _, y := range u.sites {
		for _, p := range y.procs {
			p.meets, p.calls = u.within(s, p)
		}
	}
	switch s.What {
	case 0, 1:
		if len(u.sites) < 4 {
			x.copied().start(s.Jitter)
		}
	case 2, 3:
		if len(x.procs) < 2 {
			x.start(s.Jitter)
		}
	case 4, 5: // what was issued since the last round, nobody else can know of
		if len(x.procs) > 1 || len(x.procs) == 1 && !x.untold {
			x.procs = x.procs[1:]
		}
	case 6:
		x.confirm()
	case 7:
		if err := installation.Raise(context.Background(), x.store, "test"); err != nil {
			u.Fatalf("%v", err)
		}
	case 8:
		u.target.Inject(enginetest.Fault{Method: enginetest.MethodSetMark, After: true, Times: 1})
	case 9, 10, 11, 12:
		if len(x.procs) > 0 {
			x.issue()
		}
	case 13:
		u.pass(3*every, s.Jitter)
	default:
		u.pass(every/4, s.Jitter)
	}
}

// within is what happens in the next round of p, and before which call of the
// target: another process has a round.
func (u *universe) within(s step, p *proc) (meets func(), calls int) {
	x := u.sites[s.Other%len(u.sites)]
	if len(x.procs) == 0 {
		return nil, 0
	}
	q := x.procs[s.Within%len(x.procs)]
	if q == p {
		return nil, 0
	}
	return func() { q.round(s.Jitter) }, s.Within
}

func (u *universe) settle(t *rapid.T) {
	for _, y := range u.sites {
		for _, p := range y.procs {
			p.calls = 0
		}
	}
	x := u.sites[rapid.IntRange(0, len(u.sites)-1).Draw(t, "the one")]
	if len(x.procs) == 0 {
		x.start(0)
	}
	u.account("v-stray")
	for range 2 {
		u.pass(6*every, 0)
		x.confirm()
	}
	u.pass(6*every, 0)
	if u.exists("v-stray") || x.reports() != "" || len(x.reported()) != 0 {
		t.Errorf("confirmed site %d: reports %q, %q; the stray exists %t", x.n, x.reports(), x.reported(), u.exists("v-stray"))
	}
	for _, y := range u.sites {
		if y != x && len(y.procs) > 0 && y.reports() == "" {
			t.Errorf("site %d acts beside the confirmed site %d", y.n, x.n)
		}
	}
	if len(u.taken) != 0 {
		t.Error(u.taken)
	}
}
