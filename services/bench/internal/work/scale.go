package work

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/report"
	"github.com/curfew-project/curfew/services/bench/internal/site"
)

// lanes are those of each revoker where several share the work, and the targets of
// one that has no bound.
const lanes = 8

// scale measures what more revokers are worth where the way to the targets is what
// takes time, and what more targets cost a single one. Leases fall due while the
// revokers are frozen; what counts is from when they go on until the last account
// is gone.
func (b *Bench) scale(ctx context.Context) error {
	one := 0.0
	for _, n := range b.cfg.Revokers {
		rate, err := b.scaled(ctx, n, lanes, b.cfg.Targets, &one)
		if err != nil {
			return err
		}
		b.point("scale-out", float64(n), rate)
	}
	one = 0
	for _, targets := range []int{1, lanes} {
		if _, err := b.scaled(ctx, 1, 0, targets, &one); err != nil {
			return err
		}
	}
	return nil
}

// scaled measures one number of revokers and targets. one is the rate of the first
// of those that compare; 0: this is it.
func (b *Bench) scaled(ctx context.Context, revokers, bound, targets int, one *float64) (rate float64, err error) {
	s, err := b.site.Beside(ctx, revokers, bound)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	if err := s.Prepare(ctx); err != nil {
		return 0, err
	}
	far := New(s, b.clock, b.log, b.report, b.cfg)
	if err := far.connect(ctx); err != nil {
		return 0, err
	}
	if far.baseline, err = s.Accounts(ctx); err != nil {
		return 0, err
	}
	roles, end, err := far.reach(ctx, targets)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return 0, err
	}
	row := report.Row{What: fmt.Sprintf("drain of %d targets of %s", targets, b.cfg.Latency), Role: variants()[0].name}
	if row.Count, row.Rate, err = far.drained(ctx, roles); err != nil {
		return 0, err
	}
	if *one == 0 {
		*one = row.Rate
	}
	row.More = map[string]float64{"revokers": float64(revokers), "of_the_first": row.Rate / *one}
	if bound > 0 {
		row.More["lanes"] = float64(bound)
	}
	b.enter(row)
	return row.Rate, far.settle(ctx)
}

// brief is the TTL of leases of far targets: longer than issuing them takes.
const brief = 30 * time.Second

// reach connects far targets, which are databases of one server, and returns a role
// of each.
func (b *Bench) reach(ctx context.Context, targets int) (roles []string, end func() error, err error) {
	var ways []*site.Delay
	end = func() (err error) {
		for _, d := range ways {
			err = errors.Join(err, d.Close())
		}
		return err
	}
	v := variants()[0]
	for i := range targets {
		d, err := b.site.Delayed(ctx, b.cfg.Latency)
		if err != nil {
			return nil, end, err
		}
		ways = append(ways, d)
		name := fmt.Sprintf("far-%02d", i)
		// Statements of one database wait for each other (B6).
		if err := b.site.CreateDatabase(ctx, name); err != nil {
			return nil, end, err
		}
		if err := b.connectAs(ctx, name, d.Address(), name); err != nil {
			return nil, end, err
		}
		if err := b.writeRole(ctx, name, name, v, brief); err != nil {
			return nil, end, err
		}
		roles = append(roles, name)
	}
	return roles, end, nil
}

// drained lets leases of all roles fall due and returns how many were taken away,
// and how many a second.
func (b *Bench) drained(ctx context.Context, roles []string) (n int, rate float64, err error) {
	var next atomic.Int64
	n = len(roles) * b.cfg.Each
	leases, err := b.fill(ctx, n, func() (string, error) { return roles[int(next.Add(1)-1)%len(roles)], nil })
	if err != nil {
		return 0, 0, err
	}
	if err := b.lookup(ctx, leases); err != nil {
		return 0, 0, err
	}
	oids, err := b.oids(ctx, leases)
	if err != nil {
		return 0, 0, err
	}
	first, last := span(leases)
	if first.Sub(b.clock.Now()) < time.Second {
		return 0, 0, errLate
	}
	b.pause(ctx, first.Sub(b.clock.Now())-time.Second/2)
	thaw, err := b.site.Freeze()
	if err == nil {
		b.pause(ctx, last.Sub(b.clock.Now())+time.Second/10)
	}
	at, thawed := thaw()
	if err := errors.Join(err, thawed, ctx.Err()); err != nil {
		return 0, 0, err
	}
	l, err := b.lags(ctx, leases, oids, 5*often)
	if err != nil {
		return 0, 0, err
	}
	return n, float64(n) / l.end.Sub(at).Seconds(), nil
}
