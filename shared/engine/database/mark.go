package database

import (
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// unmarking bounds one try to take a mark away: somebody may wait.
	unmarking = 5 * time.Second
	// unmarkFor is how long a connection that nobody needs is kept because its
	// target does not let its mark be taken away. A mark that stays behind is a
	// role that can do nothing.
	unmarkFor = 24 * time.Hour
)

// Mark implements [engine.Marker].
func (e *Engine) Mark(ctx context.Context, target string) (string, error) {
	var mark string
	err := e.use(ctx, target, func(o *opened, _ *stored) (err error) {
		mark, err = o.Mark(ctx, target)
		return err
	})
	if err != nil {
		return "", engine.AsError(err)
	}
	return mark, nil
}

// SetMark implements [engine.Marker]. The store hears of the first mark before
// the target does, so that it is taken away with the connection.
func (e *Engine) SetMark(ctx context.Context, target, was, now string) error {
	if err := engine.CheckMark(now); err != nil {
		return err
	}
	err := e.use(ctx, target, func(o *opened, s *stored) error {
		if !s.Marked {
			if err := e.edit(ctx, target, system(), "target is to be marked", marked); err != nil {
				return err
			}
		}
		if err := o.SetMark(ctx, target, was, now); err != nil {
			return err
		}
		_, err := e.connectionByID(ctx, target)
		if err != nil && engine.AsError(err).Kind == engine.NotFound {
			// It was deleted meanwhile, and with it the mark before this one.
			e.unmarked(ctx, o, target)
		}
		return err
	})
	if err != nil {
		return engine.AsError(err)
	}
	return nil
}

func marked(s *stored) (bool, error) {
	if s.Marked {
		return false, nil
	}
	s.Marked = true
	return true, nil
}

// unmarked takes a mark away whose connection is gone.
func (e *Engine) unmarked(ctx context.Context, o *opened, id string) {
	if err := o.Unmark(ctx, id); err != nil {
		e.left(err, id)
	}
}

func (e *Engine) left(err error, id string) {
	e.log.Warn().Err(err).Str("connection", id).Str("account", postgres.MarkRole(id)).Msg("the mark of a deleted connection stays in its target")
}

// release deletes a connection that no lease needs, for good. First its mark is
// taken away; as long as the target does not let that happen the connection is
// kept, with the credential that it takes, and the janitor tries again, but not
// for ever.
func (e *Engine) release(ctx context.Context, id string) error {
	entry, err := e.store.EntryByID(ctx, store.KindConnection, id) // it may have been marked since the caller read it
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return storeError("read connection", err)
	}
	s, err := decodeConnection(entry)
	if err != nil || !s.Marked {
		return e.erase(ctx, id) // what can not be read is of no use to anybody
	}
	short, cancel := context.WithTimeout(ctx, unmarking)
	defer cancel()
	erased := false
	err = e.with(short, s, func(o *opened) error {
		if err := o.Unmark(short, id); err != nil {
			return err
		}
		erased = true
		if err := e.erase(ctx, id); err != nil {
			return err
		}
		// A sweep that was on its way may have set it again. One that comes later
		// finds no connection.
		e.unmarked(short, o, id)
		return nil
	})
	if err == nil || erased {
		return err
	}
	return e.postpone(ctx, s, err)
}

// postpone keeps a connection whose mark could not be taken away, until it was
// tried for long enough by the store's clock.
func (e *Engine) postpone(ctx context.Context, s *stored, cause error) error {
	now, err := e.store.Now(ctx)
	if err != nil {
		return storeError("read the store's clock", err)
	}
	id := s.entry.ID
	if !s.KeptUntil.IsZero() && !now.Before(s.KeptUntil) {
		e.left(cause, id)
		return e.erase(ctx, id, changed(system(), s.Mount, "config/"+s.Name, engine.Delete,
			"the mark stays in the target: role "+postgres.MarkRole(id), nil))
	}
	err = e.edit(ctx, id, system(), "kept until its mark is taken away", func(s *stored) (bool, error) {
		if !s.KeptUntil.IsZero() {
			return false, nil
		}
		s.KeptUntil = now.Add(unmarkFor)
		return true, nil
	})
	if err != nil {
		return err
	}
	return cause
}

// erase deletes the entry of a connection.
func (e *Engine) erase(ctx context.Context, id string, events ...event.Event) error {
	w := store.Write{Deletes: []store.Ref{{Kind: store.KindConnection, ID: id}}, Events: events}
	if _, err := e.store.Write(ctx, w); err != nil {
		return storeError("delete connection", err)
	}
	e.reopen(ctx, id)
	return nil
}

var _ engine.Marker = (*Engine)(nil)
