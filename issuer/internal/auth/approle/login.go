package approle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/address"
	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// refused is the one answer for what is not known and for what has ended.
func refused() error { return wire.Invalid("invalid role or secret ID") }

// Login implements [auth.Method]. The use of a secret id is taken here: if
// making the token fails afterwards, it is lost.
func (a *Method) Login(ctx context.Context, m auth.Mount, r *request.Request) (tokens.Login, error) {
	roleID, text, err := credentials(r.Fields())
	if err != nil {
		return tokens.Login{}, err
	}
	role, err := a.byRoleID(ctx, m, roleID)
	if errors.Is(err, errNone) {
		return tokens.Login{}, refused()
	}
	if err != nil {
		return tokens.Login{}, err
	}
	if !role.BindSecretID {
		if err := admit(r, "role", role.CIDRs); err != nil {
			return tokens.Login{}, err
		}
		return a.token(m, role, secretID{}, nil), nil
	}
	if text.Empty() {
		return tokens.Login{}, wire.Invalid("missing secret_id")
	}
	s, err := a.present(ctx, m, role, text, r)
	if err != nil {
		return tokens.Login{}, err
	}
	var guard []store.Ref
	if s.Uses == 0 {
		// One with counted uses may rightly end with another login's use; what
		// decides there is the commit that took the use.
		guard = append(guard, s.ref())
	}
	return a.token(m, role, s, guard), nil
}

func credentials(f wire.Fields) (roleID string, text secret.Value, err error) {
	if roleID, err = f.String("role_id"); err != nil {
		return "", text, err
	}
	if roleID = strings.TrimSpace(roleID); roleID == "" {
		return "", text, wire.Invalid("missing role_id")
	}
	s, err := f.String("secret_id")
	if err != nil {
		return "", text, err
	}
	return roleID, secret.New(strings.TrimSpace(s)), nil
}

// present checks a secret id that somebody presents and takes one use of it.
func (a *Method) present(ctx context.Context, m auth.Mount, role role, text secret.Value, r *request.Request) (secretID, error) {
	for range attempts {
		s, found := a.find(ctx, role, text)
		if found != nil && !errors.Is(found, errNone) && !errors.Is(found, errEnded) {
			return s, found
		}
		// Only now, so that a count which grew meanwhile counts.
		tries, err := a.lockout.Look(ctx, m, role.RoleID)
		switch {
		case err != nil:
			return s, err
		case tries.Locked:
			return s, wire.Denied()
		case errors.Is(found, errNone):
			if err := a.lockout.Failed(ctx, m, role.RoleID); err != nil {
				return s, err
			}
			return s, refused()
		case errors.Is(found, errEnded):
			return s, refused()
		}
		if err := a.admitted(r, role, s); err != nil {
			return s, err
		}
		err = a.take(ctx, s, tries.Forget())
		if err == nil {
			return s, nil
		}
		// Another login took a use, or it was destroyed: look again.
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrNotFound) {
			return s, fmt.Errorf("take a use of the secret id: %w", err)
		}
	}
	return secretID{}, wire.Unavailable(nil, "too many logins with this secret id at the same time: try again")
}

// take commits that a use is taken, and forgets failed logins in the same
// commit. A secret id without counted uses costs no commit where nothing is to
// be forgotten.
func (a *Method) take(ctx context.Context, s secretID, forget []store.Ref) error {
	w := store.Write{Deletes: forget}
	switch {
	case s.Uses == 0 && len(forget) == 0:
		return nil
	case s.Uses == 0:
	case s.Uses == 1:
		// Withdrawn once only. The entry has no other edit at its last use.
		w.Withdrawals = []store.Ref{s.ref()}
	default:
		now, err := a.store.Now(ctx)
		if err != nil {
			return fmt.Errorf("read the time: %w", err)
		}
		after := s
		after.Uses--
		after.UpdatedAt = now
		put, err := after.entry()
		if err != nil {
			return err
		}
		w.Puts = []store.Entry{put}
	}
	_, err := a.store.Write(ctx, w)
	return err
}

// admitted checks where the request comes from. Who gets here knows the secret
// id and may be told.
func (*Method) admitted(r *request.Request, role role, s secretID) error {
	// The role's blocks may have been narrowed since: both count.
	if err := admit(r, "secret ID", s.CIDRs); err != nil {
		return err
	}
	return admit(r, "role", role.CIDRs)
}

func admit(r *request.Request, of string, blocks []string) error {
	if len(blocks) == 0 || address.Within(r.Actor.Address, blocks) {
		return nil
	}
	return wire.Invalid("source address %q unauthorized by CIDR restrictions on the %s", r.Actor.Address, of)
}

// token is what a login earns.
func (a *Method) token(m auth.Mount, role role, s secretID, guard []store.Ref) tokens.Login {
	meta := maps.Clone(s.Meta)
	if meta == nil {
		meta = map[string]string{}
	}
	meta["role_name"] = role.Name
	bound := role.Token.CIDRs
	if len(s.TokenCIDRs) > 0 {
		bound = s.TokenCIDRs
	}
	t := &role.Token
	return tokens.Login{
		Path: m.Path + "login", DisplayName: m.DisplayName(), Policies: t.Policies, Meta: meta,
		TTL: firstSet(t.TTL, m.DefaultTTL), MaxTTL: least(t.MaxTTL, m.MaxTTL),
		Period: t.Period, ExplicitMaxTTL: t.ExplicitMaxTTL, Uses: t.Uses, BoundCIDRs: bound,
		NoDefault: t.NoDefault, Guard: append([]store.Ref{role.ref()}, guard...),
	}
}

// firstSet and least fold the mount's level of limits into the role's.
func firstSet(role, mount time.Duration) time.Duration {
	if role > 0 {
		return role
	}
	return mount
}

func least(role, mount time.Duration) time.Duration {
	ceiling, _ := lease.Limits{Role: lease.TTLs{Max: role}, Mount: lease.TTLs{Max: mount}}.Ceiling()
	return ceiling
}
