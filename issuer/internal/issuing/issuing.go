package issuing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/fault"
	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what issuing needs of the store.
type Store interface {
	Outbox
	Overdue
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
}

// Config tunes a [Desk]; the zero value works.
type Config struct {
	System     lease.TTLs    // the farthest level of limits
	MaxBacklog int64         // unconfirmed events above which nothing is issued; 1,000,000
	MaxLag     time.Duration // of revocation on a target, above which nothing is issued there; 2 min
	Grace      time.Duration // budget of a creation whose plan has none; 30 s
	// CommitWithin bounds each commit after the intent; 15 s.
	CommitWithin time.Duration
	Observer     Observer // [Nop]
}

// Desk issues credentials.
type Desk struct {
	store   Store
	clock   clock.Clock
	log     zerolog.Logger
	cfg     Config
	backlog *sample[int64]    // unconfirmed events
	behind  *sample[[]string] // targets where revocation is behind
}

// New returns a desk.
func New(s Store, c clock.Clock, log zerolog.Logger, cfg Config) *Desk {
	cfg.MaxBacklog = cmp.Or(cfg.MaxBacklog, 1_000_000)
	cfg.MaxLag = cmp.Or(cfg.MaxLag, 2*time.Minute)
	cfg.Grace = cmp.Or(cfg.Grace, 30*time.Second)
	cfg.CommitWithin = cmp.Or(cfg.CommitWithin, 15*time.Second)
	if cfg.Observer == nil {
		cfg.Observer = Nop{}
	}
	d := &Desk{store: s, clock: c, log: log, cfg: cfg}
	d.backlog, d.behind = newSample(c, s.Backlog), newSample(c, d.findBehind)
	return d
}

// issue is one credential on its way.
type issue struct {
	desk   *Desk
	engine engine.Creator
	mount  mounts.Mount
	req    *request.Request
	plan   *engine.Plan
	id     lease.ID
	grant  lease.Grant
	guard  store.Guard
}

// Issue makes the credential that p plans, for the lease id.
func (d *Desk) Issue(ctx context.Context, e engine.Creator, m mounts.Mount, r *request.Request, id lease.ID, p *engine.Plan) (*wire.Answer, error) {
	if r.Caller.UsedUp() {
		// As stock servers say it, which make the credential and revoke it.
		return nil, d.refused(ReasonToken, wire.Invalid("Secret cannot be returned; token had one use left, so leased credentials would end with it: "+
			"ask with a token that has another use left"))
	}
	asked := d.clock.Now()
	if err := d.checkBacklog(ctx); err != nil {
		return nil, d.refused(ReasonBacklog, err)
	}
	if err := d.checkLag(ctx, p.Target); err != nil {
		return nil, d.refused(ReasonLag, err)
	}
	i := &issue{
		desk: d, engine: e, mount: m, req: r, plan: p, id: id,
		grant: lease.Limits{Role: p.Limits, Mount: m.TTLs(), System: d.cfg.System}.Issue(0),
		guard: store.Guard{
			Entries: append([]store.Ref{m.Ref()}, p.Guard...),
			Token:   r.Caller.Lease.ID,
		},
	}
	intent, err := i.begin(ctx)
	if err != nil {
		return nil, err
	}
	// The target is about to be touched: what follows is finished, whatever the
	// client does (A8).
	ctx = context.WithoutCancel(ctx)
	made, err := i.create(ctx, intent)
	if err != nil {
		err = d.refused(ReasonTarget, err)
		return nil, i.fail(ctx, "creation failed: "+short(wire.Unlisted(fault.Of(err, r.ID).Error())), err)
	}
	active, err := i.activate(ctx, made.Handle)
	if err != nil {
		return nil, err
	}
	d.cfg.Observer.Issued(m.Path, d.clock.Now().Sub(asked))
	return i.answer(active, made.Data), nil
}

// begin commits the intent.
func (i *issue) begin(ctx context.Context) (lease.Lease, error) {
	out := i.apply(ctx, lease.Begin{
		Lease: lease.Lease{
			Kind: lease.Secret, MountID: i.mount.ID, Mount: i.mount.Path, Role: i.plan.Role, Engine: i.mount.Type,
			Target: i.plan.Target, TokenID: i.guard.Token, Account: i.plan.Account, Plan: i.plan.Frozen,
			TTL: i.grant.TTL, MaxTTL: i.grant.Max, CappedBy: i.grant.MaxBy, Renewable: i.plan.Renewable,
		},
		Grace:        i.grace(),
		TargetOffset: i.plan.TargetOffset,
	}, 0, "", i.guard)
	switch {
	case out.Err == nil:
		return out.Lease, nil
	case errors.Is(out.Err, store.ErrWithdrawn):
		return out.Lease, i.desk.refused(ReasonWithdrawn, withdrawn(out.Withdrawn))
	}
	return out.Lease, i.desk.refused(uncommitted(out.Err), fmt.Errorf("begin lease: %w", out.Err))
}

func (i *issue) grace() time.Duration {
	if i.plan.Grace > 0 {
		return i.plan.Grace
	}
	return i.desk.cfg.Grace
}

// create makes the account. An error may mean that it was made.
func (i *issue) create(ctx context.Context, intent lease.Lease) (made engine.Created, err error) {
	ctx, cancel := context.WithTimeout(ctx, i.grace())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("create account: panic: %v\n%s", p, debug.Stack())
		}
	}()
	outs := i.engine.Create(ctx, i.plan.Target, []engine.Creation{{Lease: intent, Secret: i.plan.Secret}})
	if len(outs) != 1 {
		return made, fmt.Errorf("create account: %d outcomes for one lease", len(outs))
	}
	return outs[0], outs[0].Err
}

// activate commits that the account was seen. Only its success may be answered.
func (i *issue) activate(ctx context.Context, handle []byte) (lease.Lease, error) {
	guard := i.guard
	guard.Barriers = true
	out := i.apply(ctx, lease.Activate{Handle: handle}, lease.AnyVersion, "", guard, i.req.Granting(i.id, i.plan.Account))
	switch {
	case out.Err == nil && out.Withdrawn != "":
		return out.Lease, i.desk.refused(ReasonWithdrawn, withdrawn(out.Withdrawn))
	case out.Err == nil && out.Lease.State == lease.Active:
		return out.Lease, nil
	case out.Err == nil:
		return out.Lease, i.desk.refused(ReasonStore, fmt.Errorf("activate lease: it is %s", out.Lease.State))
	case errors.Is(out.Err, lease.ErrOver), errors.Is(out.Err, lease.ErrMove):
		return out.Lease, i.desk.refused(ReasonWithdrawn, wire.Invalid("the lease was revoked before its credential was ready"))
	}
	i.desk.cfg.Observer.Refused(uncommitted(out.Err))
	return out.Lease, i.fail(ctx, "activation was not confirmed", fmt.Errorf("activate lease: %w", out.Err))
}

// answer hands out the credential, or takes it back.
func (i *issue) answer(l lease.Lease, data map[string]any) *wire.Answer {
	a := &wire.Answer{
		LeaseID: string(l.ID), Issued: string(l.ID), Renewable: l.Renewable,
		Data: data, Warnings: slices.Clone(i.plan.Warnings), Recorded: true,
		Undelivered: func(ctx context.Context) error {
			_, err := i.revoke(context.WithoutCancel(ctx), "not delivered")
			return err
		},
	}
	if i.grant.Capped {
		a.Warnings = append(a.Warnings, lease.CapWarning(i.grant.Asked, i.grant.Max, i.grant.MaxBy))
	}
	// It is not shortened in the store: it goes on if the token is renewed.
	var byToken bool
	if a.Duration, byToken = l.RemainingWith(&i.req.Caller.Lease, l.ActivatedAt); byToken {
		a.Warnings = append(a.Warnings, lease.CapWarning(l.Remaining(l.ActivatedAt), a.Duration, lease.TokenLimit))
	}
	return a
}

// fail takes back what may have been made and returns cause. The request's
// event shares the commit.
func (i *issue) fail(ctx context.Context, reason string, cause error) error {
	status := fault.Of(cause, i.req.ID).Status
	applied, err := i.revoke(ctx, reason, i.req.Event(status))
	if err != nil {
		i.desk.log.Error().Err(err).Str("lease_id", string(i.id)).Str("request_id", i.req.ID).
			Msg("failed issue is left to the sweep")
	}
	if !applied {
		return cause
	}
	return recorded{cause}
}

// tries at a revocation that nothing else would begin before the sweep.
const tries = 3

// revoke begins the revocation, and says whether it did; one that is begun
// already is success.
func (i *issue) revoke(ctx context.Context, reason string, also ...event.Event) (bool, error) {
	var err error
	for range tries {
		err = i.apply(ctx, lease.Revoke{If: lease.Always}, lease.AnyVersion, reason, store.Guard{}, also...).Err
		if err == nil {
			return true, nil
		}
		if errors.Is(err, lease.ErrOver) || errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
	}
	return false, fmt.Errorf("revoke lease: %w", err)
}

func (i *issue) apply(ctx context.Context, do lease.Action, version int64, reason string, guard store.Guard, also ...event.Event) store.Outcome {
	ctx, cancel := context.WithTimeout(ctx, i.desk.cfg.CommitWithin)
	defer cancel()
	outs := i.desk.store.Apply(ctx, store.Transition{
		Change: lease.Change{
			ID: i.id, Version: version, Key: lease.RandomBase62(24), By: i.req.Actor, Reason: reason, Do: do,
		},
		Guard: guard,
		Also:  also,
	})
	if len(outs) != 1 {
		return store.Outcome{Err: fmt.Errorf("%d outcomes for one transition", len(outs))}
	}
	return outs[0]
}

// withdrawn says what the client may not use any more.
func withdrawn(what string) error {
	switch what {
	case store.WithdrawnToken:
		return wire.Denied()
	case string(store.KindSystem):
		return wire.Sealed()
	case store.WithdrawnPrefix:
		return wire.Invalid("leases of this path were revoked while the credential was made: ask again")
	}
	return wire.Invalid("the %s was deleted while the credential was made", what)
}

// recorded marks an error whose request's event is committed.
type recorded struct{ error }

// Unwrap gives the cause.
func (r recorded) Unwrap() error { return r.error }

// Recorded reports whether the event of a request that failed with err is
// committed.
func Recorded(err error) bool {
	_, ok := errors.AsType[recorded](err)
	return ok
}

// short bounds what an engine's message adds to a row.
func short(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
