package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// rotation is one attempt at a new password.
type rotation struct {
	by      lease.Actor
	reason  string
	wait    time.Duration                   // for whoever is at the account
	ifDue   bool                            // only if it still is
	allowed func(ctx context.Context) error // asked before the target is touched
	until   time.Time                       // local: when it ends, set under the account's lock
}

// rotateRole serves rotate-role/<name>.
func (e *Engine) rotateRole(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	s, err := e.staticByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, invalid("no static role found for role name")
	}
	_, err = e.rotateStatic(ctx, s, rotation{by: r.Actor, reason: "requested", wait: holdWait})
	if err != nil {
		return nil, e.unfinished(ctx, s.ID, err)
	}
	return nil, nil
}

// unfinished says of a rotation that failed whether it goes on by itself.
func (e *Engine) unfinished(ctx context.Context, id string, err error) error {
	failed := *engine.AsError(err)
	if s, again := e.staticByID(context.WithoutCancel(ctx), id); again == nil && len(s.Pending) > 0 && failed.Message != "" {
		failed.Message = "unable to finish rotating credentials; retries will continue in the background but it is also safe to retry manually: " + failed.Message
	}
	return listed(&failed)
}

// rotateStatic takes a static role through one rotation. done is false, without
// an error, where there was nothing to do any more. A failure is on record when
// it returns.
func (e *Engine) rotateStatic(ctx context.Context, s *storedStatic, r rotation) (done bool, err error) {
	// What has begun goes on without the client: to stop half-way helps nobody.
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.wait+e.cfg.Static)
	defer cancel()
	connection := ""
	done, err = e.attempt(short, s, r, &connection)
	switch {
	case err == nil, errors.Is(err, errHeld):
	case errors.Is(err, errNoStatic):
		if r.ifDue {
			return false, nil
		}
	default:
		e.failStatic(ctx, s, r.by, err, connection)
	}
	return done, err
}

func (e *Engine) attempt(ctx context.Context, s *storedStatic, r rotation, connection *string) (done bool, err error) {
	c, err := e.mustConnection(ctx, s.MountID, s.DBName)
	if err != nil {
		return false, err
	}
	*connection = c.revision()
	if r.allowed != nil {
		if err := r.allowed(ctx); err != nil {
			return false, err
		}
	}
	err = e.use(ctx, c.entry.ID, func(o *opened, c *stored) error {
		if err := s.moved(c); err != nil {
			return err
		}
		return e.hold(ctx, &s.staticRole, r.wait, func(ctx context.Context, until time.Time) (err error) {
			r.until = until
			done, err = e.rotateHeld(ctx, o, c, s.ID, r)
			return err
		})
	})
	return done, err
}

// revision tells one state of a connection's entry from every other.
func (s *stored) revision() string { return s.entry.ID + "." + strconv.FormatInt(s.entry.Revision, 10) }

// rotateHeld rotates under the account's lock.
func (e *Engine) rotateHeld(ctx context.Context, o *opened, c *stored, id string, r rotation) (bool, error) {
	s, err := e.staticByID(ctx, id) // as it is now
	if err != nil {
		return false, err
	}
	if r.ifDue {
		now, err := e.storeNow(ctx)
		if err != nil {
			return false, err
		}
		// Whoever has the lock is the only one: a rotation that is still open
		// has broken off.
		if s.due(c.revision(), 0).After(now) {
			return false, nil
		}
	}
	there, err := e.mountThere(ctx, s.MountID)
	switch {
	case err != nil:
		return false, err
	case !there:
		return false, errNoStatic
	}
	if err := e.mayKeep(ctx, c, s.Username); err != nil {
		return false, err
	}
	if err := s.holds(ctx, o); err != nil {
		return false, err
	}
	pending, fresh, err := e.pendStatic(ctx, id, &c.connection, r) // (1)
	if err != nil {
		return false, err
	}
	untouched, err := e.force(ctx, o, c, s, pending, r)
	if untouched && fresh {
		e.dropStaticPending(ctx, id, r.by, pending)
	}
	return err == nil, err
}

// force is steps 2 to 4 of a rotation (B11). untouched: the target refused, and
// does not have the password by this attempt.
func (e *Engine) force(
	ctx context.Context, o *opened, c *stored, s *storedStatic, pending secret.Value, r rotation,
) (untouched bool, err error) {
	if err := o.ChangePassword(ctx, s.change(&c.connection, pending, r.until)); err != nil { // (2)
		kind := engine.AsError(err).Kind
		return kind == engine.Refused || kind == engine.Invalid, err
	}
	verdict, err := o.TryAccount(ctx, s.Username, pending) // (3)
	switch {
	case err != nil:
		return false, err
	case verdict == postgres.WrongPassword:
		return false, &engine.Error{Kind: engine.Refused, Message: fmt.Sprintf(
			"the target took a new password for %q and refuses a login with it: look whether rotation_statements set the password, "+
				"and whether something else changes it", s.Username)}
	}
	// Where the password does not decide logins from here, the answer to the
	// COMMIT is the proof.
	return false, e.promoteStatic(ctx, s.ID, pending, r.by, r.reason, c.entry.ID) // (4)
}

// drawStatic makes a password for a static role: by its own policy, else by that
// of its connection. The account's verifier has as many iterations as the weakest
// of policies needs (B10).
func (e *Engine) drawStatic(ctx context.Context, policy string, c *connection) (secret.Value, error) {
	return e.password(ctx, cmp.Or(policy, c.Policy), &postgres.Plan{Authentication: c.authentication()})
}

// pendStatic commits the new password before the target hears of it. One that is
// left over is taken up again: the target may have it. fresh: it was made now.
func (e *Engine) pendStatic(ctx context.Context, id string, c *connection, r rotation) (pending secret.Value, fresh bool, err error) {
	now, err := e.storeNow(ctx)
	if err != nil {
		return pending, false, err
	}
	err = e.editStatic(ctx, id, func(s *storedStatic) (*event.Event, error) {
		s.Begun = now
		reason := "rotation taken up again"
		var err error
		if _, pending, err = e.staticPasswords(&s.staticRole); err != nil {
			return nil, err
		}
		if fresh = pending.Empty(); fresh {
			reason = "rotation begun"
			if pending, err = e.drawStatic(ctx, s.Policy, c); err != nil {
				return nil, err
			}
			if s.Pending, err = e.sealStatic(&s.staticRole, pending); err != nil {
				return nil, err
			}
		}
		return s.edited(r.by, engine.Write, reason, nil), nil
	})
	return pending, fresh, err
}

// promoteStatic makes the pending password the current one, unless somebody did
// already.
func (e *Engine) promoteStatic(ctx context.Context, id string, pending secret.Value, by lease.Actor, reason, target string) error {
	now, err := e.storeNow(ctx)
	if err != nil {
		return err
	}
	return e.editStatic(ctx, id, func(s *storedStatic) (*event.Event, error) {
		_, waiting, err := e.staticPasswords(&s.staticRole)
		if err != nil || waiting.Empty() || !waiting.Equal(pending) {
			return nil, err
		}
		s.Current, s.Pending, s.LastRotation, s.Failure = s.Pending, nil, now, staticFailure{}
		return s.rotated(event.AccountRotated, by, reason, target), nil
	})
}

// dropStaticPending forgets a password that the target was offered once, and
// refused.
func (e *Engine) dropStaticPending(ctx context.Context, id string, by lease.Actor, pending secret.Value) {
	err := e.editStatic(ctx, id, func(s *storedStatic) (*event.Event, error) {
		_, waiting, err := e.staticPasswords(&s.staticRole)
		if err != nil || !waiting.Equal(pending) {
			return nil, err
		}
		s.Pending = nil
		return s.edited(by, engine.Write, "rotation refused by the target", nil), nil
	})
	if err != nil {
		e.log.Warn().Err(err).Str("role", id).Msg("pending password of a static role was not dropped; the next rotation takes it up")
	}
}

// The delays of C8.
const (
	firstRetry = 500 * time.Millisecond
	maxRetry   = time.Minute
	parkRetry  = 15 * time.Minute
	// failing bounds the commit that says why a rotation failed.
	failing = 10 * time.Second
)

// failStatic puts a failure on record: on the role, and as an event (C8).
func (e *Engine) failStatic(ctx context.Context, r *storedStatic, by lease.Actor, cause error, connection string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failing)
	defer cancel()
	failed := engine.AsError(cause)
	e.log.Warn().Err(cause).AnErr("cause", failed.Err).Str("role", r.path()).Msg("password of a static role was not rotated")
	now, err := e.storeNow(ctx)
	if err == nil {
		err = e.editStatic(ctx, r.ID, func(s *storedStatic) (*event.Event, error) {
			delay, parked := fate(failed, s.Failure.Attempts)
			f := staticFailure{Attempts: s.Failure.Attempts + 1, Error: failed.Message, At: now, Connection: connection}
			target, _, _ := strings.Cut(connection, ".")
			ev := s.rotated(event.AccountRotationFailed, by, "", target)
			if delay > 0 {
				f.RetryAt = now.Add(delay)
				ev.Data.NextTryAt = &f.RetryAt
			}
			s.Failure = f
			ev.Data.Error, ev.Data.Attempts, ev.Data.Parked = f.Error, f.Attempts, parked
			return ev, nil
		})
	}
	if err != nil && !errors.Is(err, errNoStatic) {
		e.log.Warn().Err(err).Str("role", r.path()).Msg("that a rotation failed is not on record")
	}
}

// fate says when a failed rotation is tried again; 0: as soon as the target
// answers, of which its callers keep count.
func fate(err *engine.Error, before int) (delay time.Duration, parked bool) {
	switch {
	case err.Kind == engine.Unreachable, err.Kind == engine.Busy, err.Kind == engine.NotYet:
		return 0, false
	case err.Parks() && before > 0:
		return parkRetry, true
	case err.Parks(): // one quick look at whether it was a passing state
		return firstRetry, true
	}
	return step.Jitter(min(firstRetry<<min(before, 10), maxRetry)), false
}

// Rotations implements [engine.Rotator].
func (e *Engine) Rotations(ctx context.Context, until time.Time) ([]engine.Rotation, error) {
	var out []engine.Rotation
	connections, mounts := map[string]*stored{}, map[string]bool{}
	err := each(ctx, e.store, store.KindStaticRole, "", false, func(entry store.Entry) error {
		s, err := decodeStatic(entry)
		if err != nil {
			return err
		}
		key := connectionKey(s.MountID, s.DBName)
		c, known := connections[key]
		if !known {
			if c, err = e.connectionByName(ctx, s.MountID, s.DBName); err != nil {
				return err
			}
			connections[key] = c
		}
		there, known := mounts[s.MountID]
		if !known {
			if there, err = e.mountThere(ctx, s.MountID); err != nil {
				return err
			}
			mounts[s.MountID] = there
		}
		target, revision := "none "+key, ""
		if c != nil {
			target, revision = c.entry.ID, c.revision()
		}
		if at := s.due(revision, e.cfg.Static); there && !at.After(until) {
			out = append(out, engine.Rotation{
				ID: s.ID, Target: target, Mount: s.Mount, Role: s.Name, Due: at, Attempts: s.Failure.Attempts,
			})
		}
		return nil
	})
	return out, err
}

// Rotate implements [engine.Rotator].
func (e *Engine) Rotate(ctx context.Context, r engine.Rotation, allowed func(context.Context) error) (bool, error) {
	s, err := e.staticByID(ctx, r.ID)
	if errors.Is(err, errNoStatic) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	done, err := e.rotateStatic(ctx, s, rotation{
		by: lease.System(lease.ActorRotation), reason: "rotation period", ifDue: true, allowed: allowed,
	})
	if errors.Is(err, errHeld) {
		return false, nil
	}
	if err != nil {
		return false, engine.AsError(err)
	}
	return done, nil
}

var _ engine.Rotator = (*Engine)(nil)
