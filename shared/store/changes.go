package store

import (
	"context"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Changes says which tokens changed, to who keeps what it has read of them (D7).
type Changes interface {
	// ChangedTokens names the tokens that changed in commits whose events come
	// after a position, whether those have a number yet or not: all commits that
	// returned before the call are seen. What cannot be told is Missed.
	ChangedTokens(ctx context.Context, after event.Position, limit int) (TokenChanges, error)
}

// TokenChanges is the answer of [Changes].
type TokenChanges struct {
	// Head is where to go on: the last number given.
	Head event.Position
	// At is the store's clock while it was read.
	At time.Time
	// Tokens that changed, sorted. One that only began is none of them.
	Tokens []lease.ID
	// Missed: more changed than the limit, or events after the position are
	// deleted already, or have other numbers by now (A7). Any token may have
	// changed, and Tokens is empty.
	Missed bool
}

// OfToken is a text that the body of an event has where, and only where, it is
// about a lease of kind token: quotes within values are escaped.
const OfToken = `"kind":"token"` //nolint:gosec // no credential: what JSON has of a kind

// ChangedToken is the token that an event says has changed; empty where it says
// so of none.
func ChangedToken(e *event.Event) lease.ID {
	if e.Data.Kind != lease.Token || e.Type == event.TokenCreated {
		return ""
	}
	return e.Data.LeaseID
}

// ChangedIn reads the bodies of events that have [OfToken]; more than limit are
// missed.
func (c *TokenChanges) ChangedIn(bodies []string, limit int) error {
	if len(bodies) > limit {
		c.Missed = true
	}
	if c.Missed {
		return nil
	}
	for _, body := range bodies {
		e, err := DecodeEvent(body)
		if err != nil {
			return err
		}
		if id := ChangedToken(&e); id != "" {
			c.Tokens = append(c.Tokens, id)
		}
	}
	slices.Sort(c.Tokens)
	c.Tokens = slices.Compact(c.Tokens)
	return nil
}
