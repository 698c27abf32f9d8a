package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

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
	return g.create(ctx, r, false)
}

// CreateOrphan makes a token without a parent.
func (g *Registry) CreateOrphan(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	return g.create(ctx, r, true)
}

func (g *Registry) create(ctx context.Context, r *request.Request, orphan bool) (*wire.Answer, error) {
	w, err := wishOf(r.Fields())
	if err != nil {
		return nil, err
	}
	w.orphan = w.orphan || orphan
	parent, err := attributesOf(&r.Caller.Lease)
	if err != nil {
		return nil, err
	}
	a, err := w.attributes(parent)
	if err != nil {
		return nil, err
	}
	l, grant := g.frame(a, w, &r.Caller.Lease)
	if l.Plan, err = json.Marshal(a); err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	text := secret.New(prefix + lease.RandomBase62(textLen))
	out, err := g.begin(ctx, text, l, r.Caller.Lease.ID, r.Actor, r.Event(http.StatusOK))
	if err != nil {
		return nil, err
	}
	answer := &wire.Answer{Auth: authOf(&out, a, text, grant.TTL), Recorded: true}
	if grant.Capped {
		answer.Warnings = []string{lease.CapWarning(grant.Asked, grant.Max, grant.MaxBy)}
	}
	answer.Undelivered = func(ctx context.Context) error { return g.withdraw(ctx, out.ID, r.Actor, "not delivered") }
	return answer, nil
}

// frame is the lease of a token with these attributes, and its grant.
func (g *Registry) frame(a attributes, w wish, parent *lease.Lease) (lease.Lease, lease.Grant) {
	grant := g.grant(a, w, parent)
	l := lease.Lease{
		Kind: lease.Token, Mount: Mount,
		Account: lease.RandomBase62(accessorLen),
		TTL:     grant.TTL, MaxTTL: grant.Max, CappedBy: grant.MaxBy,
		Renewable: w.renewable && grant.TTL > 0,
	}
	if !a.Orphan {
		l.TokenID = parent.ID
	}
	return l, grant
}

// grant is the life of a new token. A periodic one has no ceiling but its own:
// it lives as long as somebody renews it. A root token of a parent that never
// expires, for which no life was asked, never expires either.
func (g *Registry) grant(a attributes, w wish, parent *lease.Lease) lease.Grant {
	own := lease.TTLs{Max: a.ExplicitMaxTTL}
	if slices.Contains(a.Policies, rootPolicy) && w.ttl == 0 && w.period == 0 && own.Max == 0 && parent.ExpiresAt.IsZero() {
		return lease.Grant{}
	}
	limits := lease.Limits{Role: own, System: g.system}
	asked := w.ttl
	if w.period > 0 {
		limits.System.Max, asked = 0, w.period
	}
	grant := limits.Issue(asked)
	if grant.MaxBy == lease.RoleLimit {
		grant.MaxBy = lease.TokenLimit // its own explicit maximum: no role is involved
	}
	return grant
}

// begin commits the token. Its text may be answered only if err is nil.
func (g *Registry) begin(ctx context.Context, text secret.Value, l lease.Lease, guard lease.ID, by lease.Actor, also ...event.Event) (lease.Lease, error) {
	hashes, err := g.hashes(text)
	if err != nil {
		return l, err
	}
	path, hash := createPath, hashes[0]
	if l.TTL == 0 {
		path = rootPath
	}
	outs := g.store.Apply(ctx, store.Transition{
		Change: lease.Change{ID: id(path, hash), Key: lease.RandomBase62(textLen), By: by, Do: lease.Begin{Lease: l}},
		Guard:  store.Guard{Token: guard},
		Also:   also,
	})
	if len(outs) != 1 {
		return l, fmt.Errorf("create token: %d outcomes for one transition", len(outs))
	}
	switch err := outs[0].Err; {
	case err == nil:
		return outs[0].Lease, nil
	case errors.Is(err, store.ErrWithdrawn):
		return l, wire.Denied()
	case errors.Is(err, store.ErrUnknown):
		return l, fmt.Errorf("create token: %w",
			errors.Join(err, g.withdraw(ctx, id(path, hash), by, "creation was not confirmed")))
	default:
		return l, fmt.Errorf("create token: %w", err)
	}
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
	l := lease.Lease{
		Kind: lease.Token, Mount: Mount,
		Account: lease.RandomBase62(accessorLen), Plan: plan,
	}
	if _, err = g.begin(ctx, text, l, "", by); errors.Is(err, lease.ErrMove) || errors.Is(err, lease.ErrVersion) {
		if _, err = g.find(ctx, text); errors.Is(err, errUnknown) {
			return text, errors.New("create root token: a token of this text was revoked; choose another")
		}
	}
	return text, err
}

// wish is what a client asked for.
type wish struct {
	policies       []string
	displayName    string
	meta           map[string]string
	ttl            time.Duration
	explicitMaxTTL time.Duration
	period         time.Duration
	orphan         bool
	renewable      bool
	noDefault      bool
}

func wishOf(f wire.Fields) (w wish, err error) {
	if err := refuse(f); err != nil {
		return w, err
	}
	read := func(get func() error) {
		if err == nil {
			err = get()
		}
	}
	read(func() (e error) { w.policies, e = f.Strings("policies"); return })
	read(func() (e error) { w.displayName, e = f.String("display_name"); return })
	read(func() (e error) { w.meta, e = f.StringMap("meta"); return })
	read(func() (e error) { w.ttl, e = f.Duration("ttl"); return })
	read(func() (e error) { w.explicitMaxTTL, e = f.Duration("explicit_max_ttl"); return })
	read(func() (e error) { w.period, e = f.Duration("period"); return })
	read(func() (e error) { w.orphan, e = f.Bool("no_parent", false); return })
	read(func() (e error) { w.renewable, e = f.Bool("renewable", true); return })
	read(func() (e error) { w.noDefault, e = f.Bool("no_default_policy", false); return })
	return w, err
}

// refuse names what would make a token weaker or other than asked if it were
// ignored.
func refuse(f wire.Fields) error {
	kind, err := f.String("type")
	if err != nil {
		return err
	}
	if kind != "" && kind != "service" && kind != "default" {
		return wire.Invalid("token type %q is not supported: use service", kind)
	}
	uses, err := f.Int("num_uses")
	if err != nil {
		return err
	}
	if uses != 0 {
		return wire.Invalid("num_uses is not supported: use a short ttl")
	}
	for _, name := range []string{"id", "entity_alias"} {
		if v, err := f.String(name); err != nil || v != "" {
			return wire.Invalid("%s is not supported: leave it empty", name)
		}
	}
	return nil
}

// attributes are those of the token wished for by one with parent's.
func (w wish) attributes(parent attributes) (attributes, error) {
	a := attributes{
		Path: createPath, Policies: w.policies, DisplayName: "token", Meta: w.meta,
		Period: w.period, ExplicitMaxTTL: w.explicitMaxTTL, Orphan: w.orphan,
	}
	if w.displayName != "" {
		a.DisplayName = "token-" + w.displayName
	}
	if len(a.Policies) == 0 {
		a.Policies = parent.Policies
	}
	a.Policies = slices.Clone(a.Policies)
	asksRoot := slices.Contains(a.Policies, rootPolicy)
	switch {
	case slices.Contains(parent.Policies, rootPolicy):
	case asksRoot:
		return a, wire.Invalid("root tokens may not be created without parent token being root")
	default:
		for _, p := range a.Policies {
			if p != "default" && !slices.Contains(parent.Policies, p) {
				return a, wire.Invalid("child policies must be subset of parent")
			}
		}
	}
	if !asksRoot && !w.noDefault {
		a.Policies = append(a.Policies, "default")
	}
	slices.Sort(a.Policies)
	a.Policies = slices.Compact(a.Policies)
	return a, nil
}
