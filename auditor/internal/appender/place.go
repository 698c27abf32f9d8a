package appender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
)

// place finds the ledger's last entry (D5) and makes sure that the store is the
// one that it came from (A7).
func (a *Appender) place(ctx context.Context) error {
	if a.placed {
		return nil
	}
	if err := a.end(ctx); err != nil {
		return fmt.Errorf("find the ledger's last entry: %w", err)
	}
	if a.last.Number > 0 {
		a.appended(a.last) // what is there can be read, whatever the store says
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	var err error
	if a.confirmed, err = a.store.Confirmed(bounded, publish.Ledger); err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	if a.last.Before(a.confirmed) {
		a.log.Error().Stringer("confirmed", a.confirmed).Stringer("ledger", a.last).
			Msg("the ledger has lost entries that it had confirmed; taking them from the store as far as it has them")
	}
	if _, err := a.read(ctx, 0); err != nil {
		return err
	}
	a.placed = true
	return a.agreed(ctx)
}

// agreed tells a store whose server was started that it has what the ledger has,
// after that was found by [Appender.read], and what the stream has.
func (a *Appender) agreed(ctx context.Context) error {
	if a.started.Started.IsZero() {
		return nil
	}
	if err := a.streamed(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	if err := a.store.Compared(ctx, a.started); err != nil {
		return fmt.Errorf("tell the store that it was compared: %w", err)
	}
	a.log.Info().Time("started", a.started.Started).Stringer("ledger", a.last).
		Msg("the store's server was started: its data agrees with the ledger")
	a.started, a.asked = store.Suspension{}, time.Time{}
	return nil
}

// answer bounds a single question for the end of the stream.
const answer = 2 * time.Second

// streamed makes sure that the stream has nothing beyond the store's head, which
// had every number before the stream did. Store and ledger may agree and both be
// older: copies of one moment, or one of the ledger's last moments, which no
// process lived to see. A stream that does not answer proves nothing, and is not
// waited for any longer than Config.Tail (promise 6): whether it has more is then
// seen before anything is published to it, by package publish.
func (a *Appender) streamed(ctx context.Context) error {
	if a.last.Number == 0 {
		return nil // nothing is on record: the stream may be another installation's
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	now, again := a.clock.Now(), !a.asked.IsZero()
	if !again {
		a.asked = now
	}
	bounded, stop := context.WithTimeout(ctx, answer)
	last, err := a.stream.Tail(bounded)
	stop()
	tail := last.Position
	switch {
	case errors.Is(err, bus.ErrNoStream), err == nil && tail == a.recovered:
		return nil
	case err != nil:
		if now.Sub(a.asked) < a.cfg.Tail { // it may be starting, too
			if !again {
				a.log.Warn().Err(err).Dur("at_most", a.cfg.Tail).Msg("the stream does not say where it ends; asking again")
			}
			return fmt.Errorf("compare the stream with the store: %w: %w", errUnheard, err)
		}
		a.log.Warn().Err(err).Msg("the stream does not say where it ends: whether it has more than store and ledger is not known")
		return nil
	}
	// In this order: an event has its number in the store before it is published.
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	if head.Before(tail) {
		a.beyond = tail
		return fmt.Errorf("%w: its last event is %s, the stream has %s: %w (A7)", ErrRewound, head, tail, ErrBeyond)
	}
	return nil
}

// end reads the last entry of the last segment that has one.
func (a *Appender) end(ctx context.Context) error {
	a.last, a.line = event.Position{}, nil
	epochs, err := a.ledger.Epochs()
	if err != nil {
		return err
	}
	for _, epoch := range slices.Backward(epochs) {
		next, err := a.ledger.Next(ctx, epoch)
		if err != nil {
			return err
		}
		if next == 1 {
			continue
		}
		for entry, err := range a.ledger.Entries(ctx, epoch, next-1, next-1) {
			if err != nil {
				return err
			}
			a.last, a.line = event.Position{Epoch: epoch, Number: entry.Number}, entry.Data
			return nil
		}
		return fmt.Errorf("entry %d of epoch %d is not there", next-1, epoch)
	}
	return nil
}

// look asks the store for its head. One before the ledger's last entry is that
// of another, older store; somebody else may have found that out.
func (a *Appender) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	why, suspended, err := a.store.Suspension(ctx)
	if err != nil {
		return fmt.Errorf("read the store's suspension: %w", err)
	}
	if suspended && why.Started.IsZero() {
		return fmt.Errorf("%w: %s (A7)", errSuspended, why.Reason)
	}
	if !a.started.Started.Equal(why.Started) {
		a.asked = time.Time{}
	}
	a.started = why
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	a.head, a.known, a.looked = head, head, a.clock.Now()
	if head.Before(a.last) {
		return fmt.Errorf("%w: its last event is %s, the ledger has %s (A7)", ErrRewound, head, a.last)
	}
	return nil
}

// read reads at most limit events that follow the ledger's last, after making
// sure that the store has that one too: not, if it is confirmed and deleted.
func (a *Appender) read(ctx context.Context, limit int) ([]event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	from := a.last
	from.Number = max(0, from.Number-1)
	events, err := a.store.Events(ctx, from, limit+1)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	switch {
	case a.last.Number == 0:
	case len(events) > 0 && events[0].Position == a.last:
		if !Holds(a.line, events[0]) {
			if json.Unmarshal(a.line, &event.Event{}) != nil {
				return nil, fmt.Errorf("%w: %s", errUnreadable, a.last)
			}
			return nil, fmt.Errorf("%w: its event %s is another than the ledger's (A7)", ErrRewound, a.last)
		}
		return events[1:], nil
	case a.confirmed.Before(a.last) && a.head.Epoch == a.last.Epoch:
		// In another epoch it would be known that it lost this one's end.
		return nil, fmt.Errorf("%w: it has no event %s, the ledger has (A7)", ErrRewound, a.last)
	}
	return events[:min(limit, len(events))], nil
}
