package wrapping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what wrapping needs of the store.
type Store interface {
	Apply(ctx context.Context, items ...store.Transition) []store.Outcome
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
	Now(ctx context.Context) (time.Time, error)
}

// Desk wraps and unwraps.
type Desk struct {
	store Store
	max   time.Duration
}

// New returns the desk; max bounds the life of wrapping tokens.
func New(s Store, maxTTL time.Duration) *Desk { return &Desk{store: s, max: maxTTL} }

// plan is that of a wrapping token's lease. What it has in common with those of
// tokens is what look-ups by accessor show.
type plan struct {
	Path        string   `json:"path"` // of the request whose answer it is
	Policies    []string `json:"policies"`
	DisplayName string   `json:"display_name"`
	Orphan      bool     `json:"orphan"`
	Accessor    string   `json:"wrapped_accessor,omitempty"` // of what is inside
	Content     []byte   `json:"content,omitempty"`          // sealed
}

// largest is the largest answer that is wrapped, in bytes.
const largest = 512 << 10

// Check refuses a life that no wrapping token may have, before anything is
// issued for it.
func (d *Desk) Check(ttl time.Duration) error {
	if ttl > d.max {
		return wire.Invalid("the wrapping TTL %s is above the system's max_lease_ttl of %s", ttl, d.max)
	}
	return nil
}

// Wrap answers r with a wrapping token that holds answer. Where there is
// nothing to hold it is the answer itself. With an error nobody has anything
// of it, and what it issued is taken back.
func (d *Desk) Wrap(ctx context.Context, r *request.Request, answer *wire.Answer) (*wire.Answer, error) {
	if answer.Bodiless() {
		return answer, nil
	}
	wrapped, err := d.wrap(ctx, r, answer)
	if err != nil && answer.Undelivered != nil {
		err = errors.Join(err, answer.Undelivered(context.WithoutCancel(ctx)))
	}
	return wrapped, err
}

func (d *Desk) wrap(ctx context.Context, r *request.Request, answer *wire.Answer) (*wire.Answer, error) {
	content, err := answer.Body("") // the request's id will be that of who opens it
	if err != nil {
		return nil, err
	}
	if len(content) > largest {
		return nil, wire.Invalid("the answer has %d bytes; at most %d can be wrapped", len(content), largest)
	}
	text := newText()
	p := plan{Path: r.Path, Policies: []string{"response-wrapping"}, Orphan: true, Accessor: answer.Accessor}
	if answer.Auth != nil {
		p.Accessor = answer.Auth.Accessor
	}
	if p.Content, err = seal(text, content); err != nil {
		return nil, err
	}
	l := lease.Lease{
		Kind: lease.Token, Mount: Mount, Account: lease.RandomBase62(accessorLen), TTL: r.WrapTTL, MaxTTL: r.WrapTTL,
		Uses: 1, Wraps: true, Inside: lease.ID(answer.Issued),
	}
	if l.Plan, err = json.Marshal(p); err != nil {
		return nil, fmt.Errorf("encode wrapping token: %w", err)
	}
	var also []event.Event
	if !answer.Recorded {
		also = append(also, r.Event(http.StatusOK))
	}
	made, err := d.change(ctx, idOf(text), 0, r.Actor, "", lease.Begin{Lease: l}, also...)
	if err != nil {
		return nil, fmt.Errorf("make wrapping token: %w", errors.Join(err, d.withdraw(ctx, idOf(text), r.Actor, "creation was not confirmed")))
	}
	shown := d.answer(&made, &p, text, made.IssuedAt)
	shown.Undelivered = func(ctx context.Context) error {
		var inside error
		if answer.Undelivered != nil {
			inside = answer.Undelivered(ctx)
		}
		return errors.Join(inside, d.withdraw(ctx, made.ID, r.Actor, "not delivered"))
	}
	return shown, nil
}

// answer hands out a wrapping token that was made, or given another text, at a
// time.
func (d *Desk) answer(l *lease.Lease, p *plan, text secret.Value, at time.Time) *wire.Answer {
	return &wire.Answer{Recorded: true, Wrap: &wire.Wrap{
		Token: text, Accessor: l.Account, TTL: l.TTL, CreatedAt: at, Path: p.Path, WrappedAccessor: p.Accessor,
	}}
}

// change applies one change of a lease. An answer of the store that was lost is
// read back (A6): nobody may be told that a token is used up that is not, or
// the other way round.
func (d *Desk) change(ctx context.Context, id lease.ID, version int64, by lease.Actor, reason string, do lease.Action, also ...event.Event) (lease.Lease, error) {
	key := lease.RandomBase62(keyLen)
	outs := d.store.Apply(ctx, store.Transition{
		Change: lease.Change{ID: id, Version: version, Key: key, By: by, Reason: reason, Do: do},
		Also:   also,
	})
	if len(outs) != 1 {
		return lease.Lease{}, fmt.Errorf("%d outcomes for one transition", len(outs))
	}
	if !errors.Is(outs[0].Err, store.ErrUnknown) {
		return outs[0].Lease, outs[0].Err
	}
	if l, err := d.store.Get(ctx, id); err == nil && l.LastKey == key {
		return l, nil
	}
	return outs[0].Lease, outs[0].Err
}

// withdrawWithin bounds how long taking back is tried; after it what nobody
// received ends by itself.
const withdrawWithin = 5 * time.Second

// withdraw revokes what nobody received; what is over already is success.
func (d *Desk) withdraw(ctx context.Context, id lease.ID, by lease.Actor, reason string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin)
	defer cancel()
	var err error
	for range 3 {
		_, err = d.change(ctx, id, lease.AnyVersion, by, reason, lease.Revoke{})
		if err == nil || errors.Is(err, lease.ErrOver) || errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("take back %s: %w", id, err)
}
