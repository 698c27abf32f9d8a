package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/leases"
	"github.com/curfew-project/curfew/issuer/internal/policy"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Existing says whether what a write names is there already: then it is an
// update, else a creation. known is false where a path makes no difference.
type Existing func(ctx context.Context, r *request.Request) (exists, known bool, err error)

// Desk decides about requests and answers those about policies.
type Desk struct {
	*Book
	tokens   Tokens
	existing Existing
}

// Tokens finds the policies of others' tokens; one that is not valid is a 403.
type Tokens interface {
	PoliciesOf(ctx context.Context, text secret.Value) ([]string, error)
	PoliciesByAccessor(ctx context.Context, accessor string) ([]string, error)
}

// New returns the desk.
func New(b *Book, t Tokens, existing Existing) *Desk {
	return &Desk{Book: b, tokens: t, existing: existing}
}

// Denied is the 403 for a token that lacks a permission.
func Denied() *wire.Error {
	return &wire.Error{Status: http.StatusForbidden, Messages: []string{"1 error occurred:\n\t* permission denied\n\n"}}
}

// Check refuses r where its token may not do it. It sets r.Sudo, and r.Own where
// only the caller's own leases may be touched.
func (d *Desk) Check(ctx context.Context, r *request.Request) error {
	if openToTokens(r.Path) {
		return nil
	}
	decision, err := d.decide(ctx, r, r.Caller.Policies)
	if err != nil {
		return err
	}
	r.Sudo = decision.Sudo
	if decision.Allowed {
		return nil
	}
	if r.Own, err = d.own(ctx, r); err != nil {
		return err
	}
	if r.Own {
		return nil
	}
	return Denied()
}

// decide asks the policies of names about r.
func (d *Desk) decide(ctx context.Context, r *request.Request, names []string) (policy.Decision, error) {
	acl, err := d.ACL(ctx, names)
	if err != nil {
		return policy.Decision{}, err
	}
	q := policy.Request{
		Path: r.Path, Operation: policy.Operation(r.Operation), Sudo: protected(r.Operation, r.Path),
		Parameters: r.Data, WrapTTL: r.WrapTTL,
	}
	if r.Operation != engine.Write {
		return acl.Allows(q), nil
	}
	q.Operation = policy.Update
	update := acl.Allows(q)
	q.Operation = policy.Create
	create := acl.Allows(q)
	if update.Allowed == create.Allowed { // then it is all the same, and nothing is looked for
		return update, nil
	}
	exists, known, err := d.existing(ctx, r)
	switch {
	case err != nil:
		return update, fmt.Errorf("look for what would be written: %w", err)
	case known && !exists:
		return create, nil
	}
	return update, nil
}

// own reports whether r is about a lease that the caller's token created, lists
// such, or reads an operation that the token began.
func (d *Desk) own(ctx context.Context, r *request.Request) (bool, error) {
	verb, id := leaseVerb(r.Path)
	switch {
	case verb == "lookup" && r.Operation == engine.List:
		return true, nil
	case verb == "operations" && r.Operation == engine.Read:
		return d.began(ctx, r, id)
	case r.Operation != engine.Write, verb != "lookup" && verb != "renew" && verb != "revoke" && verb != "retry":
		return false, nil
	}
	// As the handlers read it, so that what is checked is what is done.
	named, err := leases.Named(r, id)
	if err != nil {
		return false, nil //nolint:nilerr // a request that names nothing is about nothing of theirs
	}
	l, err := d.store.Get(ctx, named)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up whose the lease is: %w", err)
	}
	return l.Kind == lease.Secret && l.TokenID != "" && l.TokenID == r.Caller.Lease.ID, nil
}

// leaseVerb is what path does with leases, and with which: sys/leases/renew/<id>,
// or one of the older names that are without leases/. Empty: nothing.
func leaseVerb(path string) (verb, rest string) {
	if below, ok := strings.CutPrefix(path, "sys/leases/"); ok {
		verb, rest, _ = strings.Cut(below, "/")
		return verb, rest
	}
	verb, rest, _ = strings.Cut(strings.TrimPrefix(path, "sys/"), "/")
	if strings.HasPrefix(path, "sys/") && (verb == "renew" || verb == "revoke") {
		return verb, rest
	}
	return "", ""
}

// began reports whether the caller's token began an operation on leases.
func (d *Desk) began(ctx context.Context, r *request.Request, id string) (bool, error) {
	e, err := leases.Operation(ctx, d.store, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up whose the operation is: %w", err)
	}
	barrier, err := store.DecodeBarrier(e.Value)
	if err != nil {
		return false, fmt.Errorf("look up whose the operation is: %w", err)
	}
	return r.Actor.Name != "" && barrier.By.Name == r.Actor.Name, nil
}

// openToTokens are the paths that every valid token may ask, because they tell
// it nothing but what concerns itself.
func openToTokens(path string) bool {
	const mounts = "sys/internal/ui/mounts"
	return path == ExplainPath || path == mounts || strings.HasPrefix(path, mounts+"/")
}

// Reaches reports whether the caller has any capability on one of the paths.
func (d *Desk) Reaches(ctx context.Context, r *request.Request, paths ...string) (bool, error) {
	acl, err := d.ACL(ctx, r.Caller.Policies)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(paths, func(path string) bool {
		return !slices.Equal(acl.Capabilities(path), []string{"deny"})
	}), nil
}

// ReachesBelow reports whether the caller has any capability on path, or on
// anything below mount, which ends in a slash.
func (d *Desk) ReachesBelow(ctx context.Context, r *request.Request, path, mount string) (bool, error) {
	acl, err := d.ACL(ctx, r.Caller.Policies)
	if err != nil {
		return false, err
	}
	return acl.Below(mount) || !slices.Equal(acl.Capabilities(path), []string{"deny"}), nil
}
