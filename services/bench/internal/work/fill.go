package work

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/vault"
	"github.com/curfew-project/curfew/shared/clock"
)

// fill issues n credentials, each of the role that is chosen at its moment. One
// that is refused because the server is busy is asked for again.
func (b *Bench) fill(ctx context.Context, n int, role func() (string, error)) ([]lease, error) {
	out := make([]lease, n)
	errs := make([]error, fillers)
	var next atomic.Int64
	var all sync.WaitGroup
	for c := range fillers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if out[i], errs[c] = b.insist(ctx, role); errs[c] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return out, errors.Join(append(errs, ctx.Err())...)
}

// tries of one credential that is only stock.
const tries = 5

func (b *Bench) insist(ctx context.Context, role func() (string, error)) (l lease, err error) {
	for range tries {
		var name string
		if name, err = role(); err != nil {
			return l, err
		}
		l, err = b.issue(ctx, name)
		status, refused := errors.AsType[*vault.StatusError](err)
		if !refused || status.Status != http.StatusServiceUnavailable {
			return l, err
		}
		b.pause(ctx, time.Second)
	}
	return l, err
}

func (b *Bench) pause(ctx context.Context, d time.Duration) {
	_ = clock.Sleep(ctx, b.clock, d) // whoever goes on looks at ctx
}

// fillers are the clients that make a stock.
const fillers = 32

// dueTogether issues n credentials that all end within one second: as time goes
// on, from roles with ever shorter TTLs. It asks the server when each is due.
func (b *Bench) dueTogether(ctx context.Context, v variant, n int) ([]lease, error) {
	role, err := b.role(ctx, v, long)
	if err != nil {
		return nil, err
	}
	probe := measure.Closed(ctx, b.clock, fillers, 1, measure.Bound{Count: max(n/20, fillers)}, func(ctx context.Context, _ int) error {
		_, err := b.issue(ctx, role)
		return err
	})
	if probe.PerSecond() == 0 {
		return nil, fmt.Errorf("nothing is issued: %v", probe.Errors)
	}
	// Three times what it should take, for the look-ups, too; where that is not
	// enough, because the machine has other work, again with more.
	ahead := 4*time.Second + time.Duration(3*float64(n)/probe.PerSecond()*float64(time.Second))
	for range tries {
		if err := b.settle(ctx); err != nil {
			return nil, err
		}
		var leases []lease
		if leases, err = b.fillUntil(ctx, v, n, b.clock.Now().Add(ahead)); err == nil {
			return leases, nil
		}
		ahead *= 2
	}
	return nil, err
}

// fillUntil issues credentials that end at one time, and fails where that has
// almost come before it is done.
func (b *Bench) fillUntil(ctx context.Context, v variant, n int, due time.Time) ([]lease, error) {
	leases, err := b.fill(ctx, n, func() (string, error) {
		ttl := due.Sub(b.clock.Now()).Round(time.Second)
		if ttl < 2*time.Second {
			return "", errLate
		}
		return b.role(ctx, v, ttl)
	})
	if err != nil {
		return nil, err
	}
	if err := b.lookup(ctx, leases); err != nil {
		return nil, err
	}
	if first, _ := span(leases); first.Sub(b.clock.Now()) < time.Second {
		return nil, errLate
	}
	return leases, nil
}

var errLate = errors.New("issuing took too long for all to be due together")

// lookup asks when each lease is due.
func (b *Bench) lookup(ctx context.Context, leases []lease) error {
	var next atomic.Int64
	s := measure.Closed(ctx, b.clock, fillers, 0, measure.Bound{Count: len(leases)}, func(ctx context.Context, _ int) error {
		l := &leases[next.Add(1)-1]
		a, err := b.api.Do(ctx, http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": l.id})
		l.due = a.Data.ExpireTime
		return err
	})
	if s.Failed() > 0 {
		return fmt.Errorf("look leases up: %v", s.Errors)
	}
	return nil
}
