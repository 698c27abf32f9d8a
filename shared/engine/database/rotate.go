package database

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// rotateRoot gives the connection's admin user a new password (B11). Each step
// can be the last: whoever logs in later tries the current and the pending
// password and promotes what works, and the next rotation carries on with the
// pending one instead of making another.
func (e *Engine) rotateRoot(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	c, err := e.mustConnection(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	f := newFields(r.Data)
	force := false
	f.flag("force", &force)
	switch {
	case f.err != nil:
		return nil, f.err
	case len(c.Current) == 0:
		return nil, invalid("connection " + name + " has no password to rotate")
	}
	// What has begun goes on without the client: to stop half-way helps nobody.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.Rotation)
	defer cancel()
	err = e.use(ctx, c.entry.ID, func(o *opened, now *stored) error {
		if err := e.refuseShared(ctx, now, force); err != nil {
			return err
		}
		return e.alone(ctx, now, func() error { return e.rotate(ctx, o, now, r.Actor) })
	})
	if err != nil {
		return nil, listed(err)
	}
	e.reopen(ctx, c.entry.ID)
	return warned(f.ignored()), nil
}

// alone keeps rotations of one admin user on one system apart. The lock
// outlives the rotation's own deadline, so that nothing of a holder that was
// stopped can arrive after the next has begun.
func (e *Engine) alone(ctx context.Context, c *stored, do func() error) error {
	l, ok, err := e.store.Acquire(ctx, rotationLock(c.Identity.SystemID, c.Username), rand.Text(), 3*e.cfg.Rotation)
	if err != nil {
		return storeError("lock rotation", err)
	}
	if !ok {
		return &engine.Error{Kind: engine.Conflict, Message: fmt.Sprintf(
			"the password of %q is being rotated by somebody else: look again in a minute", c.Username)}
	}
	err = do()
	if releasing := e.store.Release(context.WithoutCancel(ctx), l); releasing != nil {
		e.log.Warn().Err(releasing).Msg("lock of a rotation was not released and runs out by itself")
	}
	return err
}

// rotationLock names the lock of an account of a system.
func rotationLock(system, user string) string {
	sum := sha256.Sum256([]byte(system + "\x00" + user))
	return "database/rotate-root/" + hex.EncodeToString(sum[:])
}

func (e *Engine) rotate(ctx context.Context, o *opened, c *stored, by lease.Actor) error {
	pending, fresh, err := e.makePending(ctx, c.entry.ID, by) // (1)
	if err != nil {
		return err
	}
	if err := o.SetPassword(ctx, pending); err != nil { // (2)
		if fresh && engine.AsError(err).Kind == engine.Refused {
			// The target said no: nobody needs the password that it did not take. Of
			// one that was left over it may have taken an earlier offer.
			e.dropPending(ctx, c.entry.ID, by, pending)
		}
		return err
	}
	if err := o.TryLogin(ctx, pending); err != nil { // (3)
		return err
	}
	return e.promote(ctx, c.entry.ID, by, pending) // (4)
}

// makePending commits the new password before the target hears of it. One that
// is left over is taken up again; fresh: it was made now.
func (e *Engine) makePending(ctx context.Context, id string, by lease.Actor) (pending secret.Value, fresh bool, err error) {
	err = e.edit(ctx, id, by, "rotation begun", func(s *stored) (bool, error) {
		_, waiting, err := e.passwords(&s.connection)
		if err != nil {
			return false, err
		}
		if fresh = waiting.Empty(); !fresh {
			pending = waiting // one broke off: the target may have it
			return false, nil
		}
		// A verifier of the default number of iterations is made of it, whatever
		// its policy says (B10).
		if pending, err = e.password(ctx, s.Policy, &postgres.Plan{}); err != nil {
			return false, err
		}
		s.Pending, err = s.seal(e.sealer, fieldPassword, pending)
		return true, err
	})
	return pending, fresh, err
}

func (e *Engine) dropPending(ctx context.Context, id string, by lease.Actor, pending secret.Value) {
	err := e.edit(ctx, id, by, "rotation refused by the target", func(s *stored) (bool, error) {
		_, waiting, err := e.passwords(&s.connection)
		if err != nil || !waiting.Equal(pending) {
			return false, err
		}
		s.Pending = nil
		return true, nil
	})
	if err != nil {
		e.log.Warn().Err(err).Str("connection", id).Msg("pending password was not dropped; logins go on with the current one")
	}
}

// refuseShared refuses to change a password that another connection uses: it
// would be locked out. Deleted ones count while leases need them.
func (e *Engine) refuseShared(ctx context.Context, c *stored, force bool) error {
	if force {
		return nil
	}
	var names []string
	for _, withdrawn := range []bool{false, true} {
		err := each(ctx, e.store, store.KindConnection, "", withdrawn, func(entry store.Entry) error {
			other, err := decodeConnection(entry)
			if err != nil || entry.ID == c.entry.ID || !c.sharesAdmin(&other.connection) {
				return err
			}
			name := other.Mount + "config/" + other.Name
			if withdrawn {
				n, err := e.live(ctx, entry.ID)
				if err != nil || n == 0 {
					return err
				}
				name += fmt.Sprintf(" (deleted, needed by %d leases)", n)
			}
			names = append(names, name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return nil
	}
	return invalid(fmt.Sprintf("the admin user %q is also used by %s: a new password would lock them out. "+
		"Give each connection an admin user of its own, or rotate with force=true and write the others again", c.Username, strings.Join(names, ", ")))
}

// sharesAdmin reports whether two connections log in as the same user of the
// same system. What cannot be told counts as the same.
func (c *connection) sharesAdmin(other *connection) bool {
	if c.Username != other.Username {
		return false
	}
	if c.Identity.SystemID != "" && other.Identity.SystemID != "" {
		return c.Identity.SystemID == other.Identity.SystemID
	}
	ours, theirs := c.hosts(), other.hosts()
	return len(ours) == 0 || len(theirs) == 0 || slices.ContainsFunc(ours, func(h string) bool { return slices.Contains(theirs, h) })
}

// hosts lists host and port of the connection's URL, or nothing.
func (c *connection) hosts() []string {
	plain := strings.NewReplacer(usernameVariable, "u", passwordVariable, "p").Replace(c.URL)
	config, err := pgconn.ParseConfig(plain)
	if err != nil {
		return nil
	}
	out := []string{fmt.Sprint(config.Host, ":", config.Port)}
	for _, f := range config.Fallbacks {
		out = append(out, fmt.Sprint(f.Host, ":", f.Port))
	}
	return out
}

// reset ends the connection's sessions, after what is under way on them, and
// opens new ones: in this process at once, in the others at their next use.
func (e *Engine) reset(ctx context.Context, r *engine.Request, name string) error {
	c, err := e.mustConnection(ctx, r.MountID, name)
	if err != nil {
		return err
	}
	err = e.edit(ctx, c.entry.ID, r.Actor, "sessions are opened anew", func(s *stored) (bool, error) {
		s.Resets++
		return true, nil
	})
	if err != nil {
		return err
	}
	err = e.use(ctx, c.entry.ID, func(o *opened, _ *stored) error {
		_, err := o.Identify(ctx)
		return err
	})
	if err != nil {
		return listed(err)
	}
	return nil
}
