package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const againByRequest = "tried again by request"

// Retry serves PUT sys/leases/retry and PUT sys/leases/retry/<lease id>: a
// revocation that waits for its next try is due now. Who asked, and why, is on
// record (A10); the pipeline does it, as any other.
func (b *Book) Retry(ctx context.Context, r *request.Request, inPath string) (*wire.Answer, error) {
	id, err := Named(r, inPath)
	if err != nil {
		return nil, err
	}
	reason, err := reasonFor(r, againByRequest)
	if err != nil {
		return nil, err
	}
	answer := wire.OK(map[string]any{"retried": 1})
	out := b.apply(ctx, change(id, r.Actor, reason, lease.Retry{}, r.Event(answer.Code())))
	switch {
	case out.Err == nil:
		r.Mount, answer.Recorded = out.Lease.Mount, true
		return answer, nil
	case errors.Is(out.Err, store.ErrNotFound):
		return nil, wire.Invalid("invalid lease")
	case passed(out.Err):
		return nil, wire.Invalid("the lease is not being revoked (it is %s): there is nothing to try again", out.Lease.State)
	}
	return nil, fmt.Errorf("retry revocation: %w", out.Err)
}

// RetryPrefix serves PUT sys/leases/retry-prefix/<prefix>: as Retry, for all
// revocations below a path that have failed.
func (b *Book) RetryPrefix(ctx context.Context, r *request.Request, prefix string) (*wire.Answer, error) {
	below, err := b.below(prefix)
	if err != nil {
		return nil, err
	}
	return b.retryAll(ctx, r, []store.Query{{Prefix: below, States: []lease.State{lease.Revoking}}})
}

// RetryConnection serves PUT sys/leases/retry-connection/<mount>/<name>: as
// Retry, for all revocations of a connection that have failed.
func (b *Book) RetryConnection(ctx context.Context, r *request.Request, connection string) (*wire.Answer, error) {
	selected, err := b.ofConnection(ctx, store.Query{States: []lease.State{lease.Revoking}}, connection, b.names())
	if err != nil {
		return nil, err
	}
	return b.retryAll(ctx, r, selected)
}

// retryAll makes what has failed of the selected revocations due, for as long as
// a request lists; next, in the answer, is where the next request goes on, which
// names it in after.
func (b *Book) retryAll(ctx context.Context, r *request.Request, selected []store.Query) (*wire.Answer, error) {
	reason, err := reasonFor(r, againByRequest)
	if err != nil {
		return nil, err
	}
	after, err := r.Fields().String("after")
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, b.cfg.ListWithin)
	defer cancel()
	done, next := 0, ""
	for _, q := range selected {
		q.After = lease.ID(after)
		err := b.each(bounded, q, func(found []lease.Lease) error {
			n, err := b.retry(bounded, found, r.Actor, reason)
			done += n
			if err == nil {
				next = string(found[len(found)-1].ID)
			}
			return err
		})
		switch {
		case err == nil:
		case ctx.Err() == nil && bounded.Err() != nil && next != "" && len(selected) == 1:
			return wire.OK(map[string]any{"retried": done, "next": next}), nil
		default:
			return nil, fmt.Errorf("retry revocations: %w", err)
		}
	}
	return &wire.Answer{Status: http.StatusOK, Data: map[string]any{"retried": done, "next": ""}}, nil
}

// retry makes those due that have failed before; one under way is left alone.
func (b *Book) retry(ctx context.Context, found []lease.Lease, by lease.Actor, reason string) (int, error) {
	var items []store.Transition
	for i := range found {
		if found[i].Revocation.Attempts > 0 {
			items = append(items, change(found[i].ID, by, reason, lease.Retry{}))
		}
	}
	if len(items) == 0 {
		return 0, nil
	}
	n := 0
	var failed error
	for _, out := range b.store.Apply(ctx, items...) {
		switch {
		case out.Err == nil:
			n++
		case !passed(out.Err):
			failed = errors.Join(failed, out.Err)
		}
	}
	return n, failed
}
