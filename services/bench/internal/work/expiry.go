package work

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// Between looks at the target: of many accounts each look costs milliseconds, so
// these are rarer.
const (
	often  = 2 * time.Millisecond
	seldom = 50 * time.Millisecond
)

// expiry measures a mass expiry: leases that are all due within one second, from
// when each is due until its account is seen to be disabled, and gone.
func (b *Bench) expiry(ctx context.Context) error {
	v := variants()[0]
	row := report.Row{What: fmt.Sprintf("expiry of %d within a second", b.cfg.Leases), Role: v.name}
	var err error
	if _, err = b.bareStock(ctx, v, b.cfg.Leases); err != nil {
		return err
	}
	if row.Bare, err = b.bareDrain(ctx, v); err != nil {
		return err
	}
	leases, err := b.dueTogether(ctx, v, b.cfg.Leases)
	if err != nil {
		return err
	}
	oids, err := b.oids(ctx, leases)
	if err != nil {
		return err
	}
	first, last := span(leases)
	b.pause(ctx, first.Sub(b.clock.Now())-100*time.Millisecond) // for the CPU of the drain alone
	entries := b.recorded(ctx)
	var l lags
	u := b.watched(ctx, "expiry", time.Duration(b.cfg.Leases)*time.Second/2000, func() { l, err = b.lags(ctx, leases, oids, seldom) })
	if err != nil {
		return err
	}
	took := l.end.Sub(first)
	row.Rate = float64(len(leases)) / took.Seconds()
	row.More = map[string]float64{
		"due_within_ms":       report.Milliseconds(last.Sub(first)),
		"all_gone_after_ms":   report.Milliseconds(took),
		"disabled_p50_ms":     report.Milliseconds(measure.Quantile(l.disabled, 0.5)),
		"disabled_p99_ms":     report.Milliseconds(measure.Quantile(l.disabled, 0.99)),
		"between_10_and_90/s": l.middle,
	}
	if entries > 0 {
		if err := b.record(ctx, row.More, entries, l, first); err != nil {
			return err
		}
	}
	b.add(row, measure.Samples{Latencies: l.gone, Elapsed: took}, u)
	for i := range 100 {
		at := l.gone[len(l.gone)*i/100]
		b.point("gone", at.Seconds(), float64(i))
		b.point("disabled", measure.Quantile(l.disabled, float64(i)/100).Seconds(), float64(i))
	}
	return nil
}

func span(leases []lease) (first, last time.Time) {
	byDue := func(a, b lease) int { return a.due.Compare(b.due) }
	return slices.MinFunc(leases, byDue).due, slices.MaxFunc(leases, byDue).due
}

// lags are what a watch of expiring leases found; sorted.
type lags struct {
	disabled, gone []time.Duration
	end            time.Time // the last was gone
	middle         float64   // accounts a second while the middle 80 % went
	last           lease     // to go
}

// oids are those of the leases' accounts.
func (b *Bench) oids(ctx context.Context, leases []lease) ([]uint32, error) {
	accounts, err := b.site.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	oids := make([]uint32, len(leases))
	for i, l := range leases {
		if oids[i] = accounts[l.user]; oids[i] == 0 {
			return nil, fmt.Errorf("account %s of a lease that is due at %s is not there", l.user, l.due)
		}
	}
	return oids, nil
}

// lags watches leases go that are due.
func (b *Bench) lags(ctx context.Context, leases []lease, oids []uint32, every time.Duration) (out lags, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	seen, err := b.site.Watch(ctx, b.clock, every, oids)
	if err != nil {
		return out, err
	}
	gone := make([]time.Time, len(leases))
	for i, l := range leases {
		m := seen[oids[i]]
		if m.Disabled.Before(l.due) {
			return out, fmt.Errorf("account %s was taken away %s before it was due", l.user, l.due.Sub(m.Disabled))
		}
		out.disabled = append(out.disabled, m.Disabled.Sub(l.due))
		out.gone = append(out.gone, m.Gone.Sub(l.due))
		gone[i] = m.Gone
		if m.Gone.After(out.end) {
			out.end, out.last = m.Gone, l
		}
	}
	slices.Sort(out.disabled)
	slices.Sort(out.gone)
	slices.SortFunc(gone, time.Time.Compare)
	low, high := len(gone)/10, len(gone)*9/10
	if d := gone[high].Sub(gone[low]); d > 0 {
		out.middle = float64(high-low) / d.Seconds()
	}
	return out, nil
}

// singles measures the lag of leases that are due one at a time.
func (b *Bench) singles(ctx context.Context) error {
	v := variants()[0]
	role, err := b.role(ctx, v, 5*time.Second)
	if err != nil {
		return err
	}
	var disabled, gone []time.Duration
	const wave = 10 // that are due 150 ms apart
	for len(gone) < b.cfg.Singles {
		leases := make([]lease, min(wave, b.cfg.Singles-len(gone)))
		for i := range leases {
			if leases[i], err = b.issue(ctx, role); err != nil {
				return err
			}
			b.pause(ctx, 150*time.Millisecond)
		}
		if err := b.lookup(ctx, leases); err != nil {
			return err
		}
		oids, err := b.oids(ctx, leases)
		if err != nil {
			return err
		}
		l, err := b.lags(ctx, leases, oids, often)
		if err != nil {
			return err
		}
		disabled, gone = append(disabled, l.disabled...), append(gone, l.gone...)
	}
	slices.Sort(disabled)
	slices.Sort(gone)
	b.add(report.Row{What: "expiry of one, idle", Role: v.name, More: map[string]float64{
		"disabled_p50_ms": report.Milliseconds(measure.Quantile(disabled, 0.5)),
		"disabled_p99_ms": report.Milliseconds(measure.Quantile(disabled, 0.99)),
	}}, measure.Samples{Latencies: gone}, usage{})
	return nil
}

// prefix measures one revocation of very many leases.
func (b *Bench) prefix(ctx context.Context) error {
	v := variants()[0]
	row := report.Row{What: fmt.Sprintf("revoke-prefix of %d", b.cfg.Leases), Role: v.name, Clients: 1}
	var err error
	if _, err = b.bareStock(ctx, v, b.cfg.Leases); err != nil {
		return err
	}
	if row.Bare, err = b.bareDrain(ctx, v); err != nil {
		return err
	}
	role, err := b.role(ctx, v, long)
	if err != nil {
		return err
	}
	leases, err := b.stock(ctx, role, b.cfg.Leases)
	if err != nil {
		return err
	}
	oids, err := b.oids(ctx, leases)
	if err != nil {
		return err
	}
	start := b.clock.Now()
	for i := range leases {
		leases[i].due = start
	}
	answered := make(chan error, 1)
	var took time.Duration
	var l lags
	u := b.watched(ctx, "prefix", 3*time.Second, func() {
		go func() {
			_, err := b.api.Do(ctx, http.MethodPut, "sys/leases/revoke-prefix/"+mount+"/creds/"+role, map[string]any{"sync": true})
			took = b.clock.Now().Sub(start)
			answered <- err
		}()
		l, err = b.lags(ctx, leases, oids, seldom)
		if said := <-answered; err == nil {
			err = said
		}
	})
	if err != nil {
		return err
	}
	row.Rate = float64(len(leases)) / l.end.Sub(start).Seconds()
	row.More = map[string]float64{"answered_after_ms": report.Milliseconds(took), "all_gone_after_ms": report.Milliseconds(l.end.Sub(start))}
	b.add(row, measure.Samples{Latencies: l.gone}, u)
	return nil
}
