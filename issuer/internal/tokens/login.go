package tokens

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/address"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Login is what an auth method grants to somebody that it has recognised.
type Login struct {
	// Path is the path of the login, "auth/approle/login": look-ups show it, the
	// ids of its tokens begin with it, and what is before its last element is
	// the mount.
	Path        string
	DisplayName string
	Policies    []string
	Meta        map[string]string

	TTL            time.Duration // 0: the system's default
	MaxTTL         time.Duration // ceiling of role or mount; 0: the system's
	Period         time.Duration // if set, renewals start anew, without a ceiling but ExplicitMaxTTL
	ExplicitMaxTTL time.Duration
	Uses           int      // requests that the token serves; 0: any number
	BoundCIDRs     []string // where it may be used from; none: anywhere
	NoDefault      bool     // leaves the policy default out

	// Guard is what must not have been withdrawn when the token is made (A3),
	// such as the role and the mount of the auth method, which becomes the
	// token's own (A2).
	Guard []store.Ref
}

// Login makes an orphan for who logged in by r, and answers it. An error that
// is [store.ErrWithdrawn] says that something in the Guard is gone; to the
// client it is a 403.
func (g *Registry) Login(ctx context.Context, r *request.Request, in Login) (*wire.Answer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	a := attributes{
		Path: in.Path, Policies: sanitized(in.Policies, !in.NoDefault), DisplayName: in.DisplayName, Meta: in.Meta,
		ExplicitMaxTTL: in.ExplicitMaxTTL, Orphan: true, BoundCIDRs: in.BoundCIDRs,
	}
	if slices.Contains(a.Policies, rootPolicy) {
		return nil, wire.Invalid("auth methods cannot create root tokens")
	}
	t := g.term(wanted{ttl: in.TTL, max: in.MaxTTL, period: in.Period, explicit: in.ExplicitMaxTTL})
	a.Period = t.period
	l := lease.Lease{
		Kind: lease.Token, Mount: path.Dir(in.Path) + "/", TTL: t.TTL, MaxTTL: t.Max, CappedBy: t.MaxBy,
		Renewable: true, Uses: in.Uses,
	}
	for _, ref := range in.Guard {
		if ref.Kind == store.KindAuth {
			l.MountID = ref.ID
			break
		}
	}
	var err error
	if l.Plan, err = json.Marshal(a); err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	text := secret.New(prefix + lease.RandomBase62(loginLen))
	out, err := g.begin(ctx, beginning{
		text: text, path: in.Path, lease: l, guard: store.Guard{Entries: in.Guard}, by: r.Actor, also: r.Event(http.StatusOK),
	})
	if err != nil {
		return nil, err
	}
	return g.made(&out, a, text, t, r.Actor), nil
}

// check refuses what an auth method must not ask for: a token that could not be
// found again, or one that is bound to nothing while it says otherwise.
func (in *Login) check() error {
	if !strings.HasPrefix(in.Path, "auth/") || strings.HasPrefix(in.Path, Mount) || path.Clean(in.Path) != in.Path || strings.Count(in.Path, "/") < 2 {
		return fmt.Errorf("log in: path %q is not one of an auth method", in.Path)
	}
	if in.Uses < 0 {
		return fmt.Errorf("log in: %d uses", in.Uses)
	}
	for _, c := range in.BoundCIDRs {
		if _, ok := address.Block(c); !ok {
			return fmt.Errorf("log in: bound to %q, which is no block of addresses", c)
		}
	}
	return nil
}
