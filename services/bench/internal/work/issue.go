package work

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/bare"
	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// warm operations of each client go before what counts.
const warm = 3

// issues measures issuing for each kind of role and number of clients, and the
// same statements without a server.
func (b *Bench) issues(ctx context.Context) error {
	for _, v := range variants() {
		if !slices.Contains(b.cfg.Roles, v.name) {
			continue
		}
		role, err := b.role(ctx, v, long)
		if err != nil {
			return err
		}
		for _, clients := range b.cfg.Clients {
			row := report.Row{What: "issue", Role: v.name, Clients: clients}
			if row.Bare, row.Single, err = b.bareIssue(ctx, v, clients); err != nil {
				return err
			}
			var s measure.Samples
			u := b.watched(ctx, fmt.Sprintf("issue %s %d", v.name, clients), b.cfg.Time, func() {
				s = measure.Closed(ctx, b.clock, clients, warm, measure.Bound{Time: b.cfg.Time, Count: v.most}, func(ctx context.Context, _ int) error {
					_, err := b.issue(ctx, role)
					return err
				})
			})
			b.add(row, s, u)
			b.point("issue per second, "+v.name, float64(clients), s.PerSecond())
			b.point("issue p99, "+v.name, float64(clients), row.P99)
			b.point("bare per second, "+v.name, float64(clients), row.Bare)
			if err := b.settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// bareIssue is the rate of the statements alone, in batches and one by one. What
// was made is removed.
func (b *Bench) bareIssue(ctx context.Context, v variant, clients int) (batched, single float64, err error) {
	many, err := bare.NewBatched(ctx, b.site.Target.ConnectAdmin, v.writers)
	if err != nil {
		return 0, 0, err
	}
	defer many.Close(ctx)
	if batched, err = b.bareRate(ctx, many, v, clients); err != nil {
		return 0, 0, err
	}
	if v.most > 0 {
		clients = 1 // grants on shared tables fail beside each other
	}
	one, err := bare.NewSingle(ctx, b.site.Target.ConnectAdmin, clients)
	if err != nil {
		return 0, 0, err
	}
	defer one.Close(ctx)
	single, err = b.bareRate(ctx, one, v, clients)
	return batched, single, err
}

func (b *Bench) bareRate(ctx context.Context, r bare.Runner, v variant, clients int) (float64, error) {
	var made atomic.Int64
	s := measure.Closed(ctx, b.clock, clients, warm, measure.Bound{Time: b.cfg.Time, Count: v.most}, func(ctx context.Context, client int) error {
		sql, err := bare.Create(v.creation, bareName(made.Add(1)), b.until(long), v.iterations)
		if err != nil {
			return err
		}
		return r.Run(ctx, client, sql)
	})
	if s.Failed() > 0 {
		return 0, fmt.Errorf("bare statements: %v", s.Errors)
	}
	_, err := b.bareDrain(ctx, v)
	return s.PerSecond(), err
}

// bareName is that of an account of the bare program.
func bareName(n int64) string { return fmt.Sprintf("v-bench-bare-%08d", n) }

// until is a VALID UNTIL.
func (b *Bench) until(d time.Duration) string { return b.clock.Now().Add(d).UTC().Format(time.RFC3339) }

// bareDrain takes all accounts away that are left and returns the rate.
func (b *Bench) bareDrain(ctx context.Context, v variant) (float64, error) {
	names, err := b.left(ctx)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	r, err := bare.NewBatched(ctx, b.site.Target.ConnectAdmin, 1)
	if err != nil {
		return 0, err
	}
	defer r.Close(ctx)
	start := b.clock.Now()
	if err := r.Drain(ctx, names, v.drop); err != nil {
		return 0, err
	}
	return float64(len(names)) / b.clock.Now().Sub(start).Seconds(), nil
}

// bareStock makes accounts without leases and returns their names.
func (b *Bench) bareStock(ctx context.Context, v variant, n int) ([]string, error) {
	r, err := bare.NewBatched(ctx, b.site.Target.ConnectAdmin, 1)
	if err != nil {
		return nil, err
	}
	defer r.Close(ctx)
	names := make([]string, n)
	var next atomic.Int64
	s := measure.Closed(ctx, b.clock, 128, 0, measure.Bound{Count: n}, func(ctx context.Context, client int) error {
		i := next.Add(1)
		names[i-1] = bareName(i)
		sql, err := bare.Create(v.creation, names[i-1], b.until(long), 1)
		if err != nil {
			return err
		}
		return r.Run(ctx, client, sql)
	})
	if s.Failed() > 0 {
		return nil, fmt.Errorf("bare statements: %v", s.Errors)
	}
	return names, nil
}
