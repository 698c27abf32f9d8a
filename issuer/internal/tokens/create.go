package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Create makes a child of the caller's token, or an orphan where that was
// asked for.
func (g *Registry) Create(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	w, err := wishOf(r.Fields())
	if err != nil {
		return nil, err
	}
	if w.orphan && !sudo(r) {
		return nil, wire.Invalid("root or sudo privileges required to create orphan token")
	}
	return g.create(ctx, r, w)
}

// CreateOrphan makes a token without a parent. Whoever has the path may.
func (g *Registry) CreateOrphan(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	w, err := wishOf(r.Fields())
	if err != nil {
		return nil, err
	}
	w.orphan = true
	return g.create(ctx, r, w)
}

// sudo reports whether the caller may what else only root may.
func sudo(r *request.Request) bool {
	return r.Sudo || slices.Contains(r.Caller.Policies, rootPolicy)
}

func (g *Registry) create(ctx context.Context, r *request.Request, w wish) (*wire.Answer, error) {
	// One of limited uses could else have itself copied without the limit.
	if r.Caller.Lease.Uses > 0 || r.Caller.UsedUp() {
		return nil, wire.Invalid("restricted use token cannot generate child tokens")
	}
	if w.period > 0 && !sudo(r) {
		return nil, wire.Invalid("root or sudo privileges required to create periodic token")
	}
	parent, err := attributesOf(&r.Caller.Lease)
	if err != nil {
		return nil, err
	}
	a, err := w.attributes(parent, sudo(r))
	if err != nil {
		return nil, err
	}
	t := g.termOf(a, w, &r.Caller.Lease)
	a.Period = t.period
	l := lease.Lease{
		Kind: lease.Token, Mount: Mount, TTL: t.TTL, MaxTTL: t.Max, CappedBy: t.MaxBy,
		Renewable: w.renewable && t.TTL > 0, Uses: w.uses,
	}
	if !a.Orphan {
		l.TokenID = r.Caller.Lease.ID
	}
	if l.Plan, err = json.Marshal(a); err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	path := createPath
	if t.TTL == 0 {
		path = rootPath
	}
	text := secret.New(prefix + lease.RandomBase62(textLen))
	out, err := g.begin(ctx, beginning{
		text: text, path: path, lease: l, guard: store.Guard{Token: r.Caller.Lease.ID}, by: r.Actor, also: r.Event(http.StatusOK),
	})
	if err != nil {
		return nil, err
	}
	return g.made(&out, a, text, t, r.Actor), nil
}

// termOf is the life of a new token. A root token of a parent that never
// expires, for which no life was asked, never expires either.
func (g *Registry) termOf(a attributes, w wish, parent *lease.Lease) term {
	if slices.Contains(a.Policies, rootPolicy) && w.ttl == 0 && w.period == 0 && w.explicitMaxTTL == 0 && parent.ExpiresAt.IsZero() {
		return term{}
	}
	return g.term(wanted{ttl: w.ttl, period: w.period, explicit: w.explicitMaxTTL})
}

// made is the answer that hands out a token, or takes it back (A8).
func (g *Registry) made(l *lease.Lease, a attributes, text secret.Value, t term, by lease.Actor) *wire.Answer {
	id := l.ID
	return &wire.Answer{
		Auth: authOf(l, a, text, t.TTL), Issued: string(id), Warnings: t.warnings, Recorded: true,
		Undelivered: func(ctx context.Context) error { return g.withdraw(ctx, id, by, "not delivered") },
	}
}

// beginning is a token that is about to be made. Its lease's id and accessor
// are set by [Registry.begin].
type beginning struct {
	text  secret.Value
	path  string
	lease lease.Lease
	guard store.Guard
	by    lease.Actor
	also  event.Event // the request's; the zero event: none
}

// begin commits the token. Its text may be answered only if err is nil.
func (g *Registry) begin(ctx context.Context, b beginning) (lease.Lease, error) {
	marks, err := g.marks(b.text)
	if err != nil {
		return b.lease, err
	}
	id := marks[0].id(b.path)
	b.lease.Account = marks[0].accessor()
	t := store.Transition{
		Change: lease.Change{ID: id, Key: lease.RandomBase62(keyLen), By: b.by, Do: lease.Begin{Lease: b.lease}},
		Guard:  b.guard,
	}
	if b.also.Type != "" {
		b.also.Data.Granted, b.also.Data.Account = id, b.lease.Account
		t.Also = []event.Event{b.also}
	}
	outs := g.store.Apply(ctx, t)
	if len(outs) != 1 {
		return b.lease, fmt.Errorf("create token: %d outcomes for one transition", len(outs))
	}
	switch err := outs[0].Err; {
	case err == nil:
		return outs[0].Lease, g.confirm(ctx, &b, id)
	case errors.Is(err, store.ErrWithdrawn):
		return b.lease, gone(err)
	case errors.Is(err, store.ErrUnknown):
		return b.lease, fmt.Errorf("create token: %w",
			errors.Join(err, g.withdraw(ctx, id, b.by, "creation was not confirmed")))
	default:
		return b.lease, fmt.Errorf("create token: %w", err)
	}
}

// confirm checks the guard of a token that was begun once more (A3): a
// withdrawal that committed while the beginning did was seen by neither, and
// its listing may have missed the token. Until then nobody has the text.
func (g *Registry) confirm(ctx context.Context, b *beginning, id lease.ID) error {
	what, err := g.withdrawn(ctx, b.guard)
	switch {
	case err != nil:
		return fmt.Errorf("create token: %w", errors.Join(err, g.withdraw(ctx, id, b.by, "creation was not confirmed")))
	case what != "":
		err := fmt.Errorf("create token: %w: %s", store.ErrWithdrawn, what)
		return gone(errors.Join(err, g.withdraw(ctx, id, b.by, what+" was withdrawn")))
	}
	return nil
}

// gone is the 403 for a token whose guard found something withdrawn.
func gone(cause error) error {
	denied := wire.Denied()
	denied.Cause = cause
	return denied
}

// withdrawn names the first thing of a guard that is not in force any more.
func (g *Registry) withdrawn(ctx context.Context, guard store.Guard) (string, error) {
	for _, ref := range guard.Entries {
		e, err := g.store.EntryByID(ctx, ref.Kind, ref.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && e.Withdrawn {
			return string(ref.Kind), nil
		}
		if err != nil {
			return "", fmt.Errorf("check the %s: %w", ref.Kind, err)
		}
	}
	if guard.Token == "" {
		return "", nil
	}
	parent, err := g.store.Get(ctx, guard.Token)
	if err == nil {
		err = g.valid(ctx, &parent)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errUnknown) {
		return store.WithdrawnToken, nil
	}
	if err != nil {
		return "", fmt.Errorf("check the parent token: %w", err)
	}
	return "", nil
}

// Root makes a token that never expires and may do everything. An empty text
// lets it choose one. For starting an installation, and for dev mode, which
// chooses the text: an existing token of that text is kept.
func (g *Registry) Root(ctx context.Context, text secret.Value, by lease.Actor) (secret.Value, error) {
	if text.Empty() {
		text = secret.New(prefix + lease.RandomBase62(textLen))
	}
	plan, err := json.Marshal(attributes{Path: "auth/token/root", Policies: []string{rootPolicy}, DisplayName: "root", Orphan: true})
	if err != nil {
		return text, fmt.Errorf("encode token: %w", err)
	}
	l := lease.Lease{Kind: lease.Token, Mount: Mount, Plan: plan}
	if _, err = g.begin(ctx, beginning{text: text, path: rootPath, lease: l, by: by}); errors.Is(err, lease.ErrMove) || errors.Is(err, lease.ErrVersion) {
		if _, err = g.find(ctx, text); errors.Is(err, errUnknown) {
			return text, errors.New("create root token: a token of this text was revoked; choose another")
		}
	}
	return text, err
}
