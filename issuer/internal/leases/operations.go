package leases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// kinds are what operations are entries of.
func kinds() []store.Kind { return []store.Kind{store.KindBarrier, store.KindDisabling} }

// kept is the barrier of an operation as the store has it.
func (b *Book) kept(ctx context.Context, operation string) (store.Barrier, bool) {
	barrier, _, err := b.operation(ctx, operation)
	return barrier, err == nil
}

func (b *Book) operation(ctx context.Context, id string) (store.Barrier, store.Entry, error) {
	e, err := Operation(ctx, b.store, id)
	if err != nil {
		return store.Barrier{}, e, fmt.Errorf("read operation: %w", err)
	}
	barrier, err := store.DecodeBarrier(e.Value)
	return barrier, e, err
}

// Operation is the entry of an operation; store.ErrNotFound where there is none.
func Operation(ctx context.Context, s interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
}, id string,
) (e store.Entry, err error) {
	for _, kind := range kinds() {
		if e, err = s.Entry(ctx, kind, id); !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	return e, err
}

// mark changes what an operation says of itself; one that is gone has nothing
// to say.
func (b *Book) mark(ctx context.Context, operation string, change func(*store.Barrier)) error {
	err := store.Change(ctx, b.store, func() (store.Write, error) {
		barrier, e, err := b.operation(ctx, operation)
		if err != nil {
			return store.Write{}, err
		}
		change(&barrier)
		e.Value, err = barrier.Encode()
		return store.Write{Puts: []store.Entry{e}}, err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark operation: %w", err)
	}
	return nil
}

// Listed marks an operation: all its leases, so many, are in revoking.
func (b *Book) Listed(ctx context.Context, operation string, total int) error {
	return b.mark(ctx, operation, func(barrier *store.Barrier) {
		if !barrier.Listed { // else a sweep was faster
			barrier.Listed, barrier.Total = true, int64(total)
		}
	})
}

// ListOperations serves LIST sys/leases/operations.
func (b *Book) ListOperations(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	limit := page
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	var keys []string
	for _, kind := range kinds() {
		entries, err := b.store.List(ctx, kind, "", r.After, false, limit)
		if err != nil {
			return nil, fmt.Errorf("list operations: %w", err)
		}
		for _, e := range entries {
			keys = append(keys, e.Key)
		}
	}
	if len(keys) == 0 {
		return nil, wire.Nothing()
	}
	slices.Sort(keys)
	keys = keys[:min(len(keys), limit)]
	answer := wire.OK(map[string]any{"keys": keys})
	if len(keys) == page {
		answer.Warnings = []string{fmt.Sprintf("the list was cut after %d keys: go on with after=%s", page, keys[page-1])}
	}
	return answer, nil
}

// ReadOperation serves GET sys/leases/operations/<id>: how far a revocation of
// a prefix, or of a mount that was disabled, has come (A2, A4).
func (b *Book) ReadOperation(ctx context.Context, _ *request.Request, id string) (*wire.Answer, error) {
	barrier, _, err := b.operation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Nothing()
	}
	if err != nil {
		return nil, err
	}
	var t tally
	if barrier.FinishedAt.IsZero() {
		if t, err = b.tally(ctx, barrier); err != nil {
			return nil, err
		}
	}
	data := map[string]any{
		"operation": barrier.Operation, "type": kindOf(barrier), "prefix": barrier.Prefix, "reason": barrier.Reason,
		"by": barrier.By.Name, "display_name": barrier.By.DisplayName, "raised_at": wire.Stamp(barrier.RaisedAt),
		"listed": barrier.Listed, "total": nil, "done": nil,
		"open": t.open, "failed": t.failed, "abandoned": barrier.Abandoned,
		"failures": t.reasons.shown(), "other_failures": t.reasons.others,
		"finished": barrier.Listed && t.open+t.failed == 0, "finished_at": wire.Stamp(barrier.FinishedAt),
	}
	if barrier.Listed { // before, nobody has counted them
		data["total"] = barrier.Total
		data["done"] = max(0, barrier.Total-barrier.Abandoned-int64(t.open)-int64(t.failed))
	}
	return wire.OK(data), nil
}

func kindOf(barrier store.Barrier) string {
	switch {
	case barrier.MountID != "":
		return "disable"
	case barrier.Force:
		return "revoke-force"
	}
	return "revoke-prefix"
}

// tally is how far an operation has come.
type tally struct {
	open    int // no attempt has failed since the barrier
	failed  int
	first   lease.Lease // of those that failed
	reasons reasons
}

func (b *Book) tally(ctx context.Context, barrier store.Barrier) (tally, error) {
	var t tally
	q := barrier.Takes()
	q.States = open()
	err := b.each(ctx, q, func(found []lease.Lease) error {
		for i := range found {
			l := &found[i]
			if l.Revocation.LastFailedAt.Before(barrier.RaisedAt) {
				t.open++
				continue
			}
			if t.failed == 0 {
				t.first = *l
			}
			t.failed++
			t.reasons.add(l)
		}
		return nil
	})
	return t, err
}

// reasons groups failed revocations by what went wrong. It holds no more than
// mostReasons groups, whatever it is given.
type reasons struct {
	groups []reason
	others int // leases with a reason that is not among them
}

type reason struct {
	text          string
	count, parked int
	leases        []string // some of them
	next          time.Time
}

const (
	mostReasons  = 20
	mostExamples = 5
)

// add counts l under its reason, which is the same for all leases where it
// differs only by the name of the account.
func (r *reasons) add(l *lease.Lease) {
	text := l.Revocation.LastError
	if l.Account != "" {
		text = strings.ReplaceAll(text, l.Account, "{{name}}")
	}
	i := slices.IndexFunc(r.groups, func(g reason) bool { return g.text == text })
	if i < 0 {
		if len(r.groups) == mostReasons {
			r.others++
			return
		}
		i = len(r.groups)
		r.groups = append(r.groups, reason{text: text})
	}
	g := &r.groups[i]
	g.count++
	if l.Revocation.Parked {
		g.parked++
	}
	if len(g.leases) < mostExamples {
		g.leases = append(g.leases, string(l.ID))
	}
	if next := l.Revocation.NextTryAt; g.next.IsZero() || !next.IsZero() && next.Before(g.next) {
		g.next = next
	}
}

// shown is the groups on the wire, the largest first.
func (r *reasons) shown() []map[string]any {
	slices.SortStableFunc(r.groups, func(a, b reason) int { return b.count - a.count })
	out := make([]map[string]any, len(r.groups))
	for i, g := range r.groups {
		out[i] = map[string]any{
			"error": g.text, "count": g.count, "parked": g.parked, "lease_ids": g.leases, "next_attempt": wire.Stamp(g.next),
		}
	}
	return out
}
