package appender

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
)

// consumerName is the ledger's among those whose confirmation the store keeps.
const consumerName = publish.Ledger

// place finds the ledger's last entry (D5) and makes sure that the store is the
// one that it came from (A7).
func (a *Appender) place(ctx context.Context) error {
	if a.placed {
		return nil
	}
	last, err := a.end(ctx)
	if err != nil {
		return err
	}
	if a.last = last; last.Number > 0 {
		a.appended(last) // what is there can be read, whatever the store says
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	bounded, cancel := a.within(ctx)
	defer cancel()
	if a.confirmed, err = a.store.Confirmed(bounded, consumerName); err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	switch {
	case a.confirmed.Before(a.last):
		if err := a.compare(ctx); err != nil {
			return err
		}
	case a.last.Before(a.confirmed):
		a.log.Error().Stringer("confirmed", a.confirmed).Stringer("ledger", a.last).
			Msg("the ledger has lost entries that it had confirmed; taking them from the store as far as it has them")
	}
	a.placed = true
	return nil
}

// end is the last entry of the last segment that has one.
func (a *Appender) end(ctx context.Context) (event.Position, error) {
	epochs, err := a.ledger.Epochs()
	if err != nil {
		return event.Position{}, fmt.Errorf("find the ledger's last entry: %w", err)
	}
	for _, epoch := range slices.Backward(epochs) {
		next, err := a.ledger.Next(ctx, epoch)
		if err != nil {
			return event.Position{}, fmt.Errorf("find the ledger's last entry: %w", err)
		}
		if next > 1 {
			return event.Position{Epoch: epoch, Number: next - 1}, nil
		}
	}
	return event.Position{}, nil
}

// look asks the store for its head. One before the ledger's last entry is that
// of another, older store.
func (a *Appender) look(ctx context.Context) error {
	ctx, cancel := a.within(ctx)
	defer cancel()
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	if a.looked = a.clock.Now(); head.Before(a.last) {
		return fmt.Errorf("%w: its last event is %s, the ledger has %s (A7)", ErrRewound, head, a.last)
	}
	a.known = head
	return nil
}

// behind reports whether there is more than the ledger has, by the announced
// heads and, at its pace, by the store itself (D4).
func (a *Appender) behind(ctx context.Context) (bool, error) {
	select {
	case h := <-a.heads:
		if a.known.Before(h) {
			a.known = h
		}
	default:
	}
	if a.clock.Now().Sub(a.looked) >= 4*a.cfg.Wait {
		if err := a.look(ctx); err != nil {
			return false, err
		}
	}
	return a.last.Before(a.known), nil
}

// compare makes sure that the store has, as the ledger's last event, what the
// ledger has. The store must still have it: it is not yet confirmed.
func (a *Appender) compare(ctx context.Context) error {
	bounded, cancel := a.within(ctx)
	defer cancel()
	before := event.Position{Epoch: a.last.Epoch, Number: a.last.Number - 1}
	events, err := a.store.Events(bounded, before, 1)
	if err != nil {
		return fmt.Errorf("compare the store with the ledger: %w", err)
	}
	if len(events) == 0 || events[0].Position != a.last {
		if len(events) > 0 && events[0].Position.Epoch > a.last.Epoch {
			return nil // the store has opened another epoch, knowing that it lost this one's end (A7)
		}
		return fmt.Errorf("%w: it has no event %s, the ledger has (A7)", ErrRewound, a.last)
	}
	same, err := a.has(ctx, events[0])
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: its event %s is another than the ledger's (A7)", ErrRewound, a.last)
	}
	return nil
}

// has reports whether the ledger has e under e's number.
func (a *Appender) has(ctx context.Context, e event.Event) (bool, error) {
	p := e.Position
	want, err := encode(e)
	if err != nil {
		return false, err
	}
	for entry, err := range a.ledger.Entries(ctx, p.Epoch, p.Number, p.Number) {
		if err != nil {
			return false, fmt.Errorf("read entry %s: %w", p, err)
		}
		return alike(entry, want), nil
	}
	return false, nil
}

// alike compares what an event says. Its subject is left out, since a message's
// header loses spaces at the ends; what it names is in the data too.
func alike(entry ledger.Entry, line []byte) bool {
	if bytes.Equal(entry.Data, line) {
		return true
	}
	var have, want event.Event
	if json.Unmarshal(entry.Data, &have) != nil || json.Unmarshal(line, &want) != nil {
		return false
	}
	have.Subject, want.Subject = "", ""
	have.Time, want.Time = have.Time.UTC(), want.Time.UTC()
	x, err1 := json.Marshal(have)
	y, err2 := json.Marshal(want)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
