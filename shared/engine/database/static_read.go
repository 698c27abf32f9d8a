package database

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/secret"
)

func (e *Engine) handleStatic(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	switch r.Operation {
	case engine.Read:
		return e.readStatic(ctx, r, name)
	case engine.Write:
		return e.writeStatic(ctx, r, name)
	case engine.Delete:
		return e.deleteStatic(ctx, r, name)
	case engine.List:
	}
	return nil, unsupportedOperation()
}

func (e *Engine) readStatic(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.staticByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, nothing()
	}
	d := map[string]any{
		"db_name":             s.DBName,
		"username":            s.Username,
		"rotation_period":     int64(s.Period / time.Second),
		"rotation_statements": texts(s.Statements),
		"credential_type":     "password",
	}
	if s.Policy != "" {
		d["credential_config"] = map[string]any{"password_policy": s.Policy}
	}
	if !s.LastRotation.IsZero() {
		d["last_vault_rotation"] = s.LastRotation.UTC()
		d["next_vault_rotation"] = s.next().UTC()
	}
	if len(s.Pending) > 0 {
		d["rotation_pending"] = true
	}
	if f := s.Failure; f.Attempts > 0 {
		d["rotation_error"], d["rotation_failures"], d["rotation_failed_at"] = f.Error, f.Attempts, f.At.UTC()
		if !f.RetryAt.IsZero() {
			d["rotation_retry_at"] = f.RetryAt.UTC()
		}
	}
	return &engine.Response{Data: d}, nil
}

// staticCreds serves static-creds/<name>: the password that is in force. While a
// rotation is open the target is asked which one that is.
func (e *Engine) staticCreds(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.staticByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, invalid("unknown role: " + name)
	}
	c, err := e.mustConnection(ctx, r.MountID, s.DBName)
	if err != nil {
		return nil, err
	}
	if !c.allows(name) {
		return nil, invalid(multi(fmt.Sprintf("%q is not an allowed role", name)))
	}
	password, s, err := e.inForce(ctx, r, c, s)
	if err != nil {
		return nil, listed(err)
	}
	now, err := e.storeNow(ctx)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{
		"username":            s.Username,
		"password":            password.Reveal(),
		"last_vault_rotation": s.LastRotation.UTC(),
		"rotation_period":     int64(s.Period / time.Second),
		"ttl":                 int64(max(0, s.next().Sub(now)).Round(time.Second) / time.Second),
	}}, nil
}

// errNeither: both passwords are refused, or there is none yet.
var errNeither = &engine.Error{
	Kind: engine.Conflict, After: time.Second,
	Message: "the password of the account is being rotated, and the target takes neither the current nor the new one at the moment: " +
		"try again; static-roles says why where it lasts",
}

// errUnproved: logins from here do not show which password is in force.
var errUnproved = &engine.Error{
	Kind: engine.Conflict, After: time.Second,
	Message: "the password of the account is being rotated, and pg_hba.conf of the target does not let Curfew try which one is in force: try again",
}

// inForce is the password that the target takes. A rotation that somebody left
// open is resolved: the current password is tried, then the pending one, which
// is promoted where it works (B11).
func (e *Engine) inForce(ctx context.Context, r *engine.Request, c *stored, s *storedStatic) (secret.Value, *storedStatic, error) {
	if len(s.Pending) == 0 && len(s.Current) > 0 {
		current, _, err := e.staticPasswords(&s.staticRole)
		return current, s, err
	}
	var password secret.Value
	err := e.use(ctx, c.entry.ID, func(o *opened, c *stored) error {
		if err := s.moved(c); err != nil {
			return err
		}
		for range tries {
			var settled bool
			var err error
			if password, settled, err = e.which(ctx, o, c, s, r); err != nil || settled {
				return err
			}
			// The target was changed between the two looks, or the store since.
			again, err := e.staticByID(ctx, s.ID)
			switch {
			case err != nil:
				return err
			case again.entry.Revision == s.entry.Revision:
				return errNeither
			}
			s = again
		}
		return errNeither
	})
	return password, s, err
}

// which tries the passwords of a role whose rotation is open; settled is false
// where neither works. s becomes the role as it is then.
func (e *Engine) which(
	ctx context.Context, o *opened, c *stored, s *storedStatic, r *engine.Request,
) (password secret.Value, settled bool, err error) {
	current, pending, err := e.staticPasswords(&s.staticRole)
	if err != nil {
		return password, false, err
	}
	if pending.Empty() && !current.Empty() { // meanwhile somebody else ended it
		return current, true, nil
	}
	for _, candidate := range []secret.Value{current, pending} {
		if candidate.Empty() {
			continue
		}
		verdict, err := o.TryAccount(ctx, s.Username, candidate)
		switch {
		case err != nil:
			return password, false, err
		case verdict == postgres.Unproved:
			return password, false, errUnproved
		case verdict == postgres.WrongPassword:
			continue
		case candidate.Equal(pending):
			if err := e.promoteStatic(ctx, s.ID, pending, r.Actor, "found in force", c.entry.ID); err != nil {
				return password, false, err
			}
			now, err := e.staticByID(ctx, s.ID)
			if err != nil {
				return password, false, err
			}
			*s = *now
		}
		return candidate, true, nil
	}
	return password, false, nil
}
