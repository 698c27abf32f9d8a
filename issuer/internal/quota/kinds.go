package quota

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// maxRate keeps what a bucket holds within an int on every machine.
const maxRate = 1e9

// WriteRate serves PUT and POST sys/quotas/rate-limit/<name>.
func (d *Desk) WriteRate(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	w, err := d.wanted(ctx, r, store.KindRateQuota, name)
	if err != nil {
		return nil, err
	}
	l := limit{}
	text, err := r.Fields().String("rate")
	if err != nil {
		return nil, err
	}
	l.Rate, err = strconv.ParseFloat(text, 64)
	if err != nil || !(l.Rate > 0 && l.Rate <= maxRate) || math.IsNaN(l.Rate) {
		return nil, wire.Invalid("'rate' is invalid: want a number above 0, at most %g", maxRate)
	}
	if l.Interval, err = r.Fields().Duration("interval"); err != nil {
		return nil, err
	}
	if !r.Fields().Has("interval") {
		l.Interval = time.Second
	}
	if l.Interval < time.Second {
		return nil, wire.Invalid("'interval' is invalid: want 1s or more")
	}
	if l.Block, err = r.Fields().Duration("block_interval"); err != nil {
		return nil, err
	}
	if w.value, err = json.Marshal(l); err != nil {
		return nil, fmt.Errorf("encode rate limit: %w", err)
	}
	return d.put(ctx, r, w)
}

// ReadRate serves GET sys/quotas/rate-limit/<name>.
func (d *Desk) ReadRate(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	e, err := d.one(ctx, store.KindRateQuota, name)
	if err != nil {
		return nil, err
	}
	rule, err := newRule(&e)
	if err != nil {
		return nil, err
	}
	data := shape(&e)
	data["rate"], data["interval"], data["block_interval"] = rule.limit.Rate, wire.Seconds(rule.limit.Interval), wire.Seconds(rule.limit.Block)
	return wire.OK(data), nil
}

// ListRate serves LIST sys/quotas/rate-limit.
func (d *Desk) ListRate(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	return d.list(ctx, store.KindRateQuota)
}

// DeleteRate serves DELETE sys/quotas/rate-limit/<name>.
func (d *Desk) DeleteRate(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	return d.remove(ctx, r, store.KindRateQuota, name)
}

// WriteCount serves PUT and POST sys/quotas/lease-count/<name>.
func (d *Desk) WriteCount(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	w, err := d.wanted(ctx, r, store.KindLeaseQuota, name)
	if err != nil {
		return nil, err
	}
	most, err := r.Fields().Int("max_leases")
	if err != nil {
		return nil, err
	}
	if most == 0 {
		return nil, wire.Invalid("'max_leases' is invalid: want a whole number above 0")
	}
	if w.value, err = store.QuotaValue(int64(most)); err != nil {
		return nil, err
	}
	return d.put(ctx, r, w)
}

// ReadCount serves GET sys/quotas/lease-count/<name>; "counter" is how many
// leases it governs.
func (d *Desk) ReadCount(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	e, err := d.one(ctx, store.KindLeaseQuota, name)
	if err != nil {
		return nil, err
	}
	entries, err := d.store.List(ctx, store.KindLeaseQuota, "", "", false, maxQuotas+1)
	if err != nil {
		return nil, fmt.Errorf("list quotas: %w", err)
	}
	all := make([]store.Quota, len(entries))
	data := shape(&e)
	at := -1
	for i := range entries {
		if all[i], err = store.DecodeQuota(entries[i]); err != nil {
			return nil, err
		}
		if all[i].Living, err = d.store.Living(ctx, all[i].Path); err != nil {
			return nil, err
		}
		if all[i].Name == name {
			at = i
		}
	}
	if at < 0 {
		return nil, wire.Nothing() // deleted meanwhile
	}
	var none store.Tally
	data["max_leases"], data["counter"] = all[at].Max, none.Used(all, &all[at])
	return wire.OK(data), nil
}

// ListCount serves LIST sys/quotas/lease-count.
func (d *Desk) ListCount(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	return d.list(ctx, store.KindLeaseQuota)
}

// DeleteCount serves DELETE sys/quotas/lease-count/<name>.
func (d *Desk) DeleteCount(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	return d.remove(ctx, r, store.KindLeaseQuota, name)
}
