package leases

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Abandon serves PUT sys/leases/abandon/<lease id>: the revocation of one lease
// is given up if it does not end in a while. The account may go on to exist, so
// it takes a reason, which is kept with who gave it (A1, A10). No stock client
// asks for it: that of revoke-force sends no reason.
func (b *Book) Abandon(ctx context.Context, r *request.Request, inPath string) (*wire.Answer, error) {
	id, err := Named(r, inPath)
	if err != nil {
		return nil, err
	}
	why, err := r.Fields().String("reason")
	if err == nil && why == "" {
		err = wire.Invalid("reason must be specified: it is kept with the lease and on record, with who gave it")
	}
	if err != nil {
		return nil, err
	}
	reason, err := reasonFor(r, "abandoned by force")
	if err != nil {
		return nil, err
	}
	l, err := b.store.Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, wire.Invalid("invalid lease")
	case err != nil:
		return nil, fmt.Errorf("look up lease: %w", err)
	case l.Kind == lease.Token:
		return nil, wire.Invalid("a token has nothing that could fail: revoke it")
	case l.Kind == lease.Stray:
		return nil, wire.Invalid("an account without a lease would be found again: remove it in the target, or mend what keeps it there")
	}
	return b.giveUp(context.WithoutCancel(ctx), r, l.ID, reason)
}

// giveUp lets the pipeline try once more, and abandons what is left.
func (b *Book) giveUp(ctx context.Context, r *request.Request, id lease.ID, reason string) (*wire.Answer, error) {
	l, _, err := b.begin(ctx, id, r.Actor, reason)
	if err != nil {
		return nil, err
	}
	r.Mount = l.Mount
	bounded, cancel := context.WithTimeout(ctx, b.cfg.ForceAfter)
	defer cancel()
	begun := l.Revocation.Attempts
	err = b.poll(bounded, func() (bool, error) {
		now, err := b.store.Get(bounded, id)
		if err == nil {
			l = now
		}
		return l.State.Final() || l.Revocation.Attempts > begun, err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("await revocation: %w", err)
	}
	answer := wire.OK(nil)
	out := b.apply(ctx, change(id, r.Actor, reason, lease.Finish{To: lease.Abandoned}, r.Event(answer.Code())))
	switch {
	case out.Err == nil:
		answer.Recorded = true
		err = b.markAbandoned(ctx, []lease.Lease{l})
	case passed(out.Err): // it ended in another way
		err = nil
	default:
		err = out.Err
	}
	if err != nil {
		return nil, fmt.Errorf("abandon lease: %w", err)
	}
	answer.Data = map[string]any{"lease_id": string(id), "state": string(out.Lease.State)}
	return answer, nil
}
