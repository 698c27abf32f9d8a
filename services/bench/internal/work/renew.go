package work

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/bare"
	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// renewers and revokers are the clients of the benchmarks of that name.
const (
	renewers = 32
	revokers = 8
)

// renews measures renewals that move the end of logins in the target, too. Each
// client renews leases of its own, in turn.
func (b *Bench) renews(ctx context.Context) (err error) {
	v := variants()[0]
	row := report.Row{What: "renew", Role: v.name, Clients: renewers}
	if row.Bare, row.Single, err = b.bareRenew(ctx, v); err != nil {
		return err
	}
	role, err := b.role(ctx, v, time.Hour)
	if err != nil {
		return err
	}
	const each = 8
	leases, err := b.stock(ctx, role, renewers*each)
	if err != nil {
		return err
	}
	turns := make([]int, renewers)
	var s measure.Samples
	u := b.watched(ctx, "renew", b.cfg.Time, func() {
		s = measure.Closed(ctx, b.clock, renewers, warm, measure.Bound{Time: b.cfg.Time}, func(ctx context.Context, client int) error {
			turns[client]++
			l := leases[client*each+turns[client]%each]
			// Ever later: a renewal to the same end would move nothing.
			_, err := b.api.Do(ctx, http.MethodPut, "sys/leases/renew", map[string]any{"lease_id": l.id, "increment": 3600 + turns[client]})
			return err
		})
	})
	b.add(row, s, u)
	return nil
}

func (b *Bench) bareRenew(ctx context.Context, v variant) (batched, single float64, err error) {
	names, err := b.bareStock(ctx, v, renewers)
	if err != nil {
		return 0, 0, err
	}
	many, err := bare.NewBatched(ctx, b.site.Target.ConnectAdmin, 1)
	if err != nil {
		return 0, 0, err
	}
	defer many.Close(ctx)
	one, err := bare.NewSingle(ctx, b.site.Target.ConnectAdmin, renewers)
	if err != nil {
		return 0, 0, err
	}
	defer one.Close(ctx)
	rates := [2]float64{}
	for i, r := range []bare.Runner{many, one} {
		s := measure.Closed(ctx, b.clock, renewers, warm, measure.Bound{Time: b.cfg.Time}, func(ctx context.Context, client int) error {
			return r.Run(ctx, client, bare.Extend(names[client], b.until(long)))
		})
		if s.Failed() > 0 {
			return 0, 0, fmt.Errorf("bare statements: %v", s.Errors)
		}
		rates[i] = s.PerSecond()
	}
	_, err = b.bareDrain(ctx, v)
	return rates[0], rates[1], err
}

// revokes measures synchronous revocations: each answer says that the account is
// gone.
func (b *Bench) revokes(ctx context.Context) error {
	v := variants()[0]
	n := min(b.cfg.Leases, 10_000)
	row := report.Row{What: "revoke, synchronous", Role: v.name, Clients: revokers}
	names, err := b.bareStock(ctx, v, n)
	if err != nil {
		return err
	}
	if row.Bare, err = b.bareRevoke(ctx, v, names); err != nil {
		return err
	}
	role, err := b.role(ctx, v, long)
	if err != nil {
		return err
	}
	leases, err := b.stock(ctx, role, n)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var s measure.Samples
	u := b.watched(ctx, "revoke", 3*time.Second, func() {
		s = measure.Closed(ctx, b.clock, revokers, 0, measure.Bound{Count: n}, func(ctx context.Context, _ int) error {
			_, err := b.api.Do(ctx, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": leases[next.Add(1)-1].id, "sync": true})
			return err
		})
	})
	b.add(row, s, u)
	return nil
}

// bareRevoke disables and drops each account in two commits, as many at a time as
// there are clients.
func (b *Bench) bareRevoke(ctx context.Context, v variant, names []string) (float64, error) {
	r, err := bare.NewBatched(ctx, b.site.Target.ConnectAdmin, 1)
	if err != nil {
		return 0, err
	}
	defer r.Close(ctx)
	var next atomic.Int64
	s := measure.Closed(ctx, b.clock, revokers, 0, measure.Bound{Count: len(names)}, func(ctx context.Context, client int) error {
		name := names[next.Add(1)-1]
		if err := r.Run(ctx, client, bare.Disable(name)); err != nil {
			return err
		}
		return r.Run(ctx, client, v.drop(name))
	})
	if s.Failed() > 0 {
		return 0, fmt.Errorf("bare statements: %v", s.Errors)
	}
	return s.PerSecond(), nil
}
