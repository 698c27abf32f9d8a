package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// maxAccount is where PostgreSQL cuts a name off, in bytes.
const maxAccount = 63

// writeStatic makes a static role, with a first rotation, or edits one, which
// touches no target.
func (e *Engine) writeStatic(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.staticByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s != nil {
		return e.updateStatic(ctx, r, s)
	}
	s = &storedStatic{staticRole: staticRole{ID: store.NewIncarnation(), Name: name, Mount: r.Mount, MountID: r.MountID}}
	warnings, err := s.update(r.Data)
	if err != nil {
		return nil, err
	}
	c, err := e.mustConnection(ctx, r.MountID, s.DBName)
	if err != nil {
		return nil, err
	}
	if !c.allows(name) {
		return nil, invalid(multi(fmt.Sprintf("%q is not an allowed role", name)))
	}
	if err := s.change(&c.connection, secret.Value{}, time.Time{}).Check(); err != nil {
		return nil, invalid(err.Error())
	}
	if err := e.createStatic(ctx, r, c, s); err != nil {
		return nil, listed(err)
	}
	return warned(warnings), nil
}

// update takes what the body names; the rest stays. The texts are those of stock
// servers where these have one.
func (s *storedStatic) update(data map[string]any) (warnings []string, err error) {
	f := newFields(data)
	before := s.staticRole
	f.text("db_name", &s.DBName)
	f.text("username", &s.Username)
	hasPeriod := f.duration("rotation_period", &s.Period)
	f.statements("rotation_statements", &s.Statements)
	var config map[string]any
	f.object("credential_config", &config)
	if err := f.unsupportedStatic(); err != nil {
		return nil, err
	}
	credential := newFields(config)
	if credential.text("password_policy", &s.Policy); credential.err != nil {
		return nil, invalid("credential_config validation failed: " + credential.err.Error())
	}
	switch made := s.entry.Revision > 0; {
	case f.err != nil:
		return nil, f.err
	case made && s.DBName != before.DBName:
		return nil, invalid("cannot update static account db_name: delete the static role and write it again")
	case made && s.Username != before.Username:
		return nil, invalid("cannot update static account username")
	case s.DBName == "":
		return nil, invalid("database name is required")
	case s.Username == "":
		return nil, invalid("username is a required field to create a static account")
	case len(s.Username) > maxAccount:
		return nil, invalid(fmt.Sprintf("username is longer than the %d bytes of a name in PostgreSQL", maxAccount))
	case !made && !hasPeriod:
		return nil, invalid("one of rotation_schedule or rotation_period must be provided to create a static account")
	case s.Period < minPeriod:
		return nil, invalid("rotation_period must be 5 seconds or more")
	}
	return append(f.ignored(), credential.ignored()...), nil
}

// unsupportedStatic refuses what would otherwise be ignored silently.
func (f *fields) unsupportedStatic() error {
	var schedule, window, imported string
	kind, skip := "password", false
	f.text("rotation_schedule", &schedule)
	f.text("rotation_window", &window)
	f.text("password", &imported)
	f.text("self_managed_password", &imported)
	f.flag("skip_import_rotation", &skip)
	f.text("credential_type", &kind)
	switch {
	case f.err != nil:
		return f.err
	case schedule != "" || window != "":
		return invalid("rotation_schedule and rotation_window are not supported: give a rotation_period")
	case imported != "" || skip:
		return invalid("a static role begins with a rotation: a password of your own, or skip_import_rotation, is not supported")
	case kind != "password":
		return invalid(fmt.Sprintf("credential_type is %q, only \"password\" is possible", kind))
	}
	return nil
}

// updateStatic edits a role; what failed before is tried again at once (C8).
func (e *Engine) updateStatic(ctx context.Context, r *engine.Request, s *storedStatic) (*engine.Response, error) {
	var warnings []string
	c, err := e.connectionByName(ctx, r.MountID, s.DBName)
	if err != nil {
		return nil, err
	}
	err = e.editStatic(ctx, s.ID, func(s *storedStatic) (*event.Event, error) {
		var err error
		if warnings, err = s.update(r.Data); err != nil {
			return nil, err
		}
		if c != nil {
			if err := s.change(&c.connection, secret.Value{}, time.Time{}).Check(); err != nil {
				return nil, invalid(err.Error())
			}
		}
		s.Mount, s.Failure.RetryAt = r.Mount, time.Time{}
		return s.edited(r.Actor, r.Operation, "", r.Data), nil
	})
	if err != nil {
		return nil, err
	}
	return warned(warnings), nil
}

// createStatic stores the role together with the password that its first rotation
// gives to the target. A target that refuses it leaves no role; where nobody
// knows, the role stays and the rotation goes on in the background.
func (e *Engine) createStatic(ctx context.Context, r *engine.Request, c *stored, s *storedStatic) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdWait+e.cfg.Static)
	defer cancel()
	return e.use(ctx, c.entry.ID, func(o *opened, c *stored) error {
		s.SystemID = c.Identity.SystemID
		if err := e.mayKeep(ctx, c, s.Username); err != nil {
			return err
		}
		return e.hold(ctx, &s.staticRole, holdWait, func(ctx context.Context, until time.Time) error {
			if err := s.holds(ctx, o); err != nil {
				return err
			}
			pending, err := e.insertStatic(ctx, r, s, &c.connection)
			if err != nil {
				return err
			}
			return e.firstRotation(ctx, o, c, s, pending, r, until)
		})
	})
}

// insertStatic commits the role, the claim on its account, and the password
// that is to come.
func (e *Engine) insertStatic(ctx context.Context, r *engine.Request, s *storedStatic, c *connection) (pending secret.Value, err error) {
	if pending, err = e.drawStatic(ctx, s.Policy, c); err != nil {
		return pending, err
	}
	if s.Pending, err = e.sealStatic(&s.staticRole, pending); err != nil {
		return pending, err
	}
	if s.Begun, err = e.storeNow(ctx); err != nil {
		return pending, err
	}
	entry, err := s.encoded()
	if err != nil {
		return pending, err
	}
	value, err := json.Marshal(claim{Role: s.path()})
	if err != nil {
		return pending, fmt.Errorf("encode claim: %w", err)
	}
	taken := store.Entry{Kind: store.KindStaticAccount, Key: s.claimKey(), ID: s.ID, Value: value}
	_, err = e.store.Write(ctx, store.Write{
		Puts: []store.Entry{entry, taken}, Events: []event.Event{*s.edited(r.Actor, r.Operation, "", r.Data)},
	})
	if errors.Is(err, store.ErrExists) {
		return pending, e.claimed(ctx, s, err)
	}
	if err != nil {
		return pending, storeError("store static role", err)
	}
	// A3: the mount may have been disabled meanwhile, and its roles listed.
	there, err := e.mountThere(ctx, s.MountID)
	if err == nil && !there {
		err = errors.Join(e.eraseStatic(ctx, s, r.Actor, engine.Delete, "mount was disabled"),
			&engine.Error{Kind: engine.NotFound, Message: "the mount was disabled"})
	}
	return pending, err
}

// claimed names the role that has the account already.
func (e *Engine) claimed(ctx context.Context, s *storedStatic, cause error) error {
	entry, err := e.store.Entry(ctx, store.KindStaticAccount, s.claimKey())
	var has claim
	if err == nil {
		err = json.Unmarshal(entry.Value, &has)
	}
	if err != nil || has.Role == s.path() { // the name is taken, by somebody who was faster
		return storeError("store static role", cause)
	}
	return invalid(fmt.Sprintf("the password of %q is kept by %s already: an account has one static role", s.Username, has.Role))
}

func (e *Engine) firstRotation(
	ctx context.Context, o *opened, c *stored, s *storedStatic, pending secret.Value, r *engine.Request, until time.Time,
) error {
	untouched, err := e.force(ctx, o, c, s, pending, rotation{by: r.Actor, reason: "static role was made", until: until})
	if err == nil {
		return nil
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), failing)
	defer cancel()
	if untouched {
		erasing := e.eraseStatic(after, s, r.Actor, engine.Delete, "refused by the target")
		if erasing == nil {
			return err
		}
		err = errors.Join(err, erasing)
	}
	e.failStatic(after, s, r.Actor, err, c.revision())
	failed := *engine.AsError(err)
	if failed.Message != "" {
		failed.Message = "the static role is stored and its first rotation goes on in the background: " + failed.Message
	}
	return &failed
}

// eraseStatic deletes a role and its claim; the account stays as it is.
func (e *Engine) eraseStatic(ctx context.Context, s *storedStatic, by lease.Actor, op engine.Operation, reason string) error {
	_, err := e.store.Write(ctx, store.Write{
		Deletes: []store.Ref{{Kind: store.KindStaticRole, ID: s.ID}, {Kind: store.KindStaticAccount, ID: s.ID}},
		Events:  []event.Event{*s.edited(by, op, reason, nil)},
	})
	if err != nil {
		return storeError("delete static role", err)
	}
	return nil
}

// deleteStatic forgets a role once nobody is at its account: what is under way
// would give the account a password that nobody knows.
func (e *Engine) deleteStatic(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.staticByName(ctx, r.MountID, name)
	if err != nil || s == nil {
		return nil, err
	}
	var warnings []string
	err = e.hold(ctx, &s.staticRole, holdWait, func(ctx context.Context, _ time.Time) error {
		now, err := e.staticByID(ctx, s.ID)
		if errors.Is(err, errNoStatic) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(now.Pending) > 0 {
			warnings = append(warnings, fmt.Sprintf("a rotation had broken off: the account %q may have a password that nobody was given", s.Username))
		}
		return e.eraseStatic(ctx, now, r.Actor, r.Operation, "")
	})
	if err != nil {
		return nil, err
	}
	return warned(warnings), nil
}

// releaseStatic forgets the static roles of a mount that is disabled; accounts
// stay as they are.
func (e *Engine) releaseStatic(ctx context.Context, mountID string) error {
	return each(ctx, e.store, store.KindStaticRole, mountID+"/", false, func(entry store.Entry) error {
		s, err := decodeStatic(entry)
		if err != nil {
			return err
		}
		return e.hold(ctx, &s.staticRole, 0, func(ctx context.Context, _ time.Time) error {
			return e.eraseStatic(ctx, s, lease.System(lease.ActorMount), engine.Delete, "mount was disabled")
		})
	})
}

// stopped names the static roles that a connection takes along when it is
// deleted: they stay, and go on with the next connection of its name that
// reaches the same system.
func (e *Engine) stopped(ctx context.Context, c *stored) ([]string, error) {
	var out []string
	err := each(ctx, e.store, store.KindStaticRole, c.MountID+"/", false, func(entry store.Entry) error {
		s, err := decodeStatic(entry)
		if err == nil && s.DBName == c.Name {
			out = append(out, fmt.Sprintf("static role %q uses this connection: its password is not rotated any more "+
				"until a connection of this name reaches the same server again", s.Name))
		}
		return err
	})
	return out, err
}
