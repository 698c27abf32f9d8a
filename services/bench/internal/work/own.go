package work

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// outage takes the target away when leases are due, and measures from its return
// until the backlog has gone.
func (b *Bench) outage(ctx context.Context) error {
	v := variants()[0]
	n := min(b.cfg.Leases, 2000)
	leases, err := b.dueTogether(ctx, v, n)
	if err != nil {
		return err
	}
	first, _ := span(leases)
	oids, err := b.oids(ctx, leases)
	if err != nil {
		return err
	}
	b.pause(ctx, first.Sub(b.clock.Now()))
	if err := b.site.KillTarget(ctx); err != nil {
		return err
	}
	b.pause(ctx, b.cfg.Outage)
	if err := b.site.StartTarget(ctx); err != nil {
		return err
	}
	back := b.clock.Now()
	bounded, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := b.site.Watch(bounded, b.clock, seldom, oids); err != nil {
		return err
	}
	took := b.clock.Now().Sub(back)
	b.enter(report.Row{
		What: fmt.Sprintf("target away for %s amid %d expiries", b.cfg.Outage, n), Role: v.name, Count: n, Rate: float64(n) / took.Seconds(),
		More: map[string]float64{"gone_after_return_ms": report.Milliseconds(took)},
	})
	return nil
}

// memory measures what live leases cost the server's processes, and how it starts
// with them.
func (b *Bench) memory(ctx context.Context) error {
	v := variants()[0]
	role, err := b.role(ctx, v, long)
	if err != nil {
		return err
	}
	row := report.Row{What: "memory", Role: v.name, More: map[string]float64{}}
	at := func(live int) {
		b.pause(ctx, b.cfg.Time/2) // what is free is given back meanwhile
		mb := float64(measure.Memory(b.site.Servers()...)) / 1e6
		b.point("memory", float64(live), mb)
		row.More[fmt.Sprintf("MB_at_%06d", live)] = mb
	}
	at(0)
	// Beginning with a tenth, so that what every load costs is not counted.
	live := 0
	for _, upto := range []int{b.cfg.Live / 10, b.cfg.Live / 2, b.cfg.Live} {
		if _, err := b.stock(ctx, role, upto-live); err != nil {
			return err
		}
		live = upto
		at(live)
	}
	row.Count = live
	b.enter(row)
	return b.restart(ctx, v, live)
}

// restart kills the server while leases are due, and starts it again.
func (b *Bench) restart(ctx context.Context, v variant, live int) error {
	const due = 100
	role, err := b.role(ctx, v, 5*time.Second)
	if err != nil {
		return err
	}
	leases, err := b.stock(ctx, role, due)
	if err != nil {
		return err
	}
	if err := b.lookup(ctx, leases); err != nil {
		return err
	}
	oids, err := b.oids(ctx, leases)
	if err != nil {
		return err
	}
	if err := b.site.Kill(ctx); err != nil {
		return err
	}
	_, last := span(leases)
	b.pause(ctx, last.Sub(b.clock.Now())+time.Second)
	start := b.clock.Now()
	for i := range leases {
		leases[i].due = start
	}
	if err := b.site.Start(ctx); err != nil {
		return err
	}
	answered := make(chan time.Duration, 1)
	asking, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	go func() {
		for asking.Err() == nil {
			if _, err := b.api.Do(asking, http.MethodGet, "auth/token/lookup-self", nil); err == nil {
				break
			}
			b.pause(asking, 2*time.Millisecond)
		}
		answered <- b.clock.Now().Sub(start)
	}()
	l, err := b.lags(ctx, leases, oids, often)
	first := <-answered
	if err != nil {
		return err
	}
	b.enter(report.Row{What: "restart after kill", Role: v.name, Count: live, More: map[string]float64{
		"first_answer_ms": report.Milliseconds(first), "first_disabled_ms": report.Milliseconds(l.disabled[0]),
		"all_overdue_gone_ms": report.Milliseconds(l.gone[len(l.gone)-1]),
	}})
	return nil
}
