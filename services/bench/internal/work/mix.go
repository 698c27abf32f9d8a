package work

import (
	"context"
	"net/http"
	"sync"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// mixers bounds what is under way in the mix.
const mixers = 64

// held are the leases of one client of the mix.
type held struct {
	mu     sync.Mutex
	leases []lease
}

// mix measures a steady load at a fixed rate: of ten operations four issue, three
// renew, three revoke a lease, each client its own. A latency counts from when
// its operation was due.
func (b *Bench) mix(ctx context.Context) error {
	v := variants()[0]
	role, err := b.role(ctx, v, long)
	if err != nil {
		return err
	}
	clients := make([]held, mixers)
	turns := make([]int, mixers)
	var s measure.Samples
	u := b.watched(ctx, "mix", b.cfg.Mix, func() {
		s = measure.Open(ctx, b.clock, mixers, b.cfg.Rate, b.cfg.Mix, func(ctx context.Context, client int) error {
			turns[client]++
			return b.act(ctx, &clients[client], role, turns[client])
		})
	})
	b.add(report.Row{What: "mix at a fixed rate", Role: v.name, Clients: mixers, More: map[string]float64{"asked/s": b.cfg.Rate}}, s, u)
	return nil
}

// act does what is next in the order of ten.
func (b *Bench) act(ctx context.Context, h *held, role string, turn int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	const issue, renew, revoke = 'i', 'n', 'v'
	what := "iniviniviv"[turn%10]
	if len(h.leases) == 0 {
		what = issue
	}
	switch what {
	case renew:
		_, err := b.api.Do(ctx, http.MethodPut, "sys/leases/renew", map[string]any{"lease_id": h.leases[0].id, "increment": 3600 + turn})
		return err
	case revoke:
		l := h.leases[0]
		h.leases = h.leases[1:]
		_, err := b.api.Do(ctx, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": l.id, "sync": true})
		return err
	}
	l, err := b.issue(ctx, role)
	if err == nil {
		h.leases = append(h.leases, l)
	}
	return err
}
