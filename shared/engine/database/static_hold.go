package database

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// holdAgain is between looks at an account that somebody else holds.
	holdAgain = 50 * time.Millisecond
	// holdWait is how long a person's request waits for it.
	holdWait = 5 * time.Second
)

// errHeld: somebody else is at the account.
var errHeld = &engine.Error{
	Kind: engine.Conflict, After: time.Second,
	Message: "the password of the account is being rotated by somebody else: try again in a moment",
}

// hold keeps apart what is done about one account of one system (B11). It waits
// at most wait for whoever is at it. The lock outlives what is done, of which
// nothing arrives in the target after until, by the local clock.
func (e *Engine) hold(ctx context.Context, s *staticRole, wait time.Duration, do func(ctx context.Context, until time.Time) error) error {
	name, owner := rotationLock(s.SystemID, s.Username), rand.Text()
	giveUp := e.clock.Now().Add(wait)
	for {
		until := e.clock.Now().Add(e.cfg.Static) // from before the lock is asked for
		l, ok, err := e.store.Acquire(ctx, name, owner, e.cfg.Static+e.cfg.Static/2)
		if err != nil {
			return storeError("lock rotation", err)
		}
		if ok {
			held, cancel := context.WithTimeout(ctx, e.cfg.Static)
			err = do(held, until)
			cancel()
			releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarking)
			defer cancel()
			if failed := e.store.Release(releasing, l); failed != nil {
				e.log.Warn().Err(failed).Msg("lock of a rotation was not released and runs out by itself")
			}
			return err
		}
		if !e.clock.Now().Before(giveUp) {
			return errHeld
		}
		if !e.rest(ctx, holdAgain) {
			return errHeld
		}
	}
}

// rest waits; false if ctx ended first.
func (e *Engine) rest(ctx context.Context, d time.Duration) bool {
	return clock.Sleep(ctx, e.clock, d) == nil
}

// mayKeep refuses accounts whose password is somebody else's affair.
func (e *Engine) mayKeep(ctx context.Context, c *stored, username string) error {
	namer, err := e.namer(ctx)
	if err != nil {
		return err
	}
	_, account := namer.Recognise(username)
	_, group := namer.RecogniseGroup(username)
	if account || group || strings.HasPrefix(username, postgres.MarkRole("")) {
		return invalid(fmt.Sprintf("%q is an account of Curfew's own making: a static role is for accounts that people made", username))
	}
	kept := c.connection
	kept.Username = username
	for _, withdrawn := range []bool{false, true} {
		err := each(ctx, e.store, store.KindConnection, "", withdrawn, func(entry store.Entry) error {
			other, err := decodeConnection(entry)
			if err != nil || !kept.sharesAdmin(&other.connection) {
				return err
			}
			if withdrawn {
				if n, err := e.live(ctx, entry.ID); err != nil || n == 0 {
					return err
				}
			}
			return invalid(fmt.Sprintf("%q is the admin user of connection %sconfig/%s: its password is rotated by rotate-root",
				username, other.Mount, other.Name))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// movedStatic reports, as an error, that the account is on another system than
// the one that the connection reaches now (C6).
func (s *staticRole) moved(c *stored) error {
	if s.SystemID == c.Identity.SystemID {
		return nil
	}
	return &engine.Error{Kind: engine.Refused, Message: fmt.Sprintf(
		"target moved: the account is on the system %s, and connection %s now reaches %s; "+
			"point the connection back, or delete the static role and write it again", s.SystemID, c.Name, c.Identity.SystemID)}
}

// holds looks whether the account is there and a new password would be of use.
func (s *staticRole) holds(ctx context.Context, o *opened) error {
	standing, err := o.Standing(ctx, s.Username)
	switch {
	case err != nil:
		return err
	case !standing.Exists:
		return &engine.Error{Kind: engine.Refused, Message: fmt.Sprintf(
			"the account %q does not exist in the target: a static role keeps the password of an account that is there", s.Username)}
	case standing.Expired && len(s.Statements) == 0:
		return &engine.Error{Kind: engine.Refused, Message: fmt.Sprintf(
			"VALID UNTIL of the account %q has passed, so that no password works: ALTER ROLE … VALID UNTIL 'infinity'", s.Username)}
	}
	return nil
}
