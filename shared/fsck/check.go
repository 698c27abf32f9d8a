package fsck

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
)

// Config tunes a [Checker]; the zero value works.
type Config struct {
	// Interval is between two looks: running work can finish in it; 3 s.
	Interval time.Duration
	// Wait is how long looks are repeated until all agree; 0: once.
	Wait time.Duration
	Page int // rows and accounts read at once; 1000
	// Grace is how long after its time something may be under way; 10 s.
	Grace time.Duration
	// Hold is how many leases are held at once: of more, a part at a time is
	// compared, in as many passes as it takes; 1,000,000.
	Hold int64
}

// Checker compares the sides. Make it with [New]; one [Checker.Run] at a time.
type Checker struct {
	src   Sources
	clock clock.Clock
	cfg   Config
	owed  *event.Position // the head at the first look: what both have to have by the second
	last  Standing        // as seen last; its Now is zero where it could not be read
}

// New returns a checker.
func New(s Sources, c clock.Clock, cfg Config) *Checker {
	cfg.Interval = cmp.Or(cfg.Interval, 3*time.Second)
	cfg.Page = cmp.Or(cfg.Page, 1000)
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	cfg.Hold = cmp.Or(cfg.Hold, 1_000_000)
	return &Checker{src: s, clock: c, cfg: cfg}
}

// Run looks, and looks again where something did not agree; what it reports was
// there both times. With a Wait it goes on until all agree or the time is over.
// The error is ctx's: what fails on the way is in the report.
func (c *Checker) Run(ctx context.Context) (Report, error) {
	began := c.clock.Now()
	for looks := 0; ; {
		r, err := c.twice(ctx)
		if err != nil {
			return r, err
		}
		looks += r.Looks
		r.Looks = looks
		if r.Clean || c.clock.Now().Sub(began) >= c.cfg.Wait {
			return r, nil
		}
		if err := clock.Sleep(ctx, c.clock, min(time.Second, c.cfg.Interval)); err != nil {
			return r, err
		}
	}
}

// twice is two looks, the second only at what did not agree in the first.
func (c *Checker) twice(ctx context.Context) (Report, error) {
	c.owed = nil
	r := Report{Looks: 1}
	// Each is looked at again by itself: a scan of all leases costs.
	parts := []func(context.Context) findings{c.lookStanding, c.lookLeases}
	firsts := make([]findings, len(parts))
	again := false
	for i, look := range parts {
		from := c.clock.Now()
		firsts[i] = look(ctx)
		firsts[i].took = c.clock.Now().Sub(from)
		again = again || len(firsts[i].all) > 0
	}
	seconds := slices.Clone(firsts)
	if again && !c.src.Stopped {
		r.Looks = 2
		if err := c.again(ctx, parts, seconds); err != nil {
			return r, err
		}
	}
	for i := range parts {
		r.merge(&firsts[i], &seconds[i])
	}
	r.finish()
	return r, ctx.Err()
}

// again is the second look at what did not agree: after the interval, and
// before, so that nobody waits for the interval where everything has ended. What
// counts is what is there when it is over.
func (c *Checker) again(ctx context.Context, parts []func(context.Context) findings, found []findings) error {
	const early = 6 // looks within the interval, where they cost little
	began := c.clock.Now()
	for open := true; open; {
		if err := clock.Sleep(ctx, c.clock, c.cfg.Interval/early); err != nil {
			return err
		}
		open = false
		late := c.clock.Now().Sub(began) >= c.cfg.Interval
		for i, look := range parts {
			if len(found[i].all) == 0 {
				continue
			}
			if !late && found[i].took > c.cfg.Interval/early {
				open = true
				continue
			}
			from := c.clock.Now()
			found[i] = look(ctx)
			found[i].took = c.clock.Now().Sub(from)
			open = open || !late && len(found[i].all) > 0
		}
	}
	return nil
}

// merge takes what both looks have seen.
func (r *Report) merge(first, second *findings) {
	for i := range first.all {
		one := &first.all[i]
		at := slices.IndexFunc(second.all, func(g Finding) bool { return one.same(&g) })
		if at < 0 {
			r.Passed = append(r.Passed, *one)
			continue
		}
		r.Disagreements = append(r.Disagreements, second.all[at])
	}
	if first.omitted > 0 {
		r.Omitted += second.omitted
	}
	r.Unseen = append(r.Unseen, second.unseen...)
	r.Notes = append(r.Notes, second.notes...)
	r.Counts.Leases += second.counts.Leases
	r.Counts.Accounts += second.counts.Accounts
	r.Counts.Targets += second.counts.Targets
	r.Counts.Entries += second.counts.Entries
}

func (r *Report) finish() {
	r.Disagreements, r.Notes, r.Passed = sorted(r.Disagreements), sorted(r.Notes), sorted(r.Passed)
	if r.Unseen == nil {
		r.Unseen = []Gap{}
	}
	r.Clean = r.Code() == 0
}
