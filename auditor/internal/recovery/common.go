package recovery

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// anchor is the last event of which the store knows that it is on record, after
// making sure that it is. What the store has confirmed, it may have deleted:
// then the ledger's end is all there is to compare.
func (r *Recovery) anchor(ctx context.Context) (at event.Position, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		at, err = r.store.Confirmed(ctx, store.Ledger)
		return err
	})
	if err != nil {
		return at, fmt.Errorf("read the ledger's position: %w", err)
	}
	if at.Number == 0 {
		return at, nil
	}
	lines, err := r.lines(ctx, []event.Event{{Position: at}})
	if err != nil {
		return at, err
	}
	if lines[0] == nil {
		return at, fmt.Errorf("%w: the store knows that event %s is on record, and the ledger does not have it; "+
			"put back the ledger that belongs to this store", ErrForeign, at)
	}
	own, err := r.events(ctx, before(at), 1)
	if err != nil || len(own) == 0 || own[0].Position != at {
		return at, err
	}
	if !appender.Holds(lines[0], own[0]) && readable(at, lines[0]) {
		err = fmt.Errorf("%w: event %s, which the store knows to be on record, is another in the ledger; "+
			"put back the ledger that belongs to this store, or the store that belongs to this ledger", ErrForeign, at)
	}
	return at, err
}

// common is the last event that store and ledger both have, from the anchor on.
// Two histories that part somewhere differ in every event after that place.
func (r *Recovery) common(ctx context.Context, anchor event.Position) (event.Position, error) {
	common, at := anchor, anchor
	for {
		events, err := r.events(ctx, at, r.cfg.Batch)
		if err != nil || len(events) == 0 {
			return common, err
		}
		lines, err := r.lines(ctx, events)
		if err != nil {
			return common, err
		}
		for i, e := range events {
			switch {
			case lines[i] == nil:
				return common, nil
			case appender.Holds(lines[i], e):
				common = e.Position
			case readable(e.Position, lines[i]):
				return common, nil
			}
		}
		at = events[len(events)-1].Position
	}
}

// events reads the store's events after a position.
func (r *Recovery) events(ctx context.Context, after event.Position, limit int) (all []event.Event, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		all, err = r.store.Events(ctx, after, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return all, nil
}

// lines are the ledger's entries at the places of events; nil where it has none.
func (r *Recovery) lines(ctx context.Context, events []event.Event) ([][]byte, error) {
	lines := make([][]byte, len(events))
	for from := 0; from < len(events); {
		first, to := events[from].Position, from+1
		for to < len(events) && events[to].Position == ahead(first, to-from) {
			to++
		}
		last := ahead(first, to-from-1).Number
		for entry, err := range r.ledger.Entries(ctx, first.Epoch, first.Number, last) {
			if err != nil {
				return nil, fmt.Errorf("read the ledger: %w", err)
			}
			lines[from+int(entry.Number-first.Number)] = entry.Data
		}
		from = to
	}
	return lines, nil
}

// readable reports whether line is an event at all: what is damaged is neither
// equal nor another.
func readable(at event.Position, line []byte) bool {
	return catalog.Decode(at.Epoch, ledger.Entry{Number: at.Number, Data: line}).Type != catalog.Unreadable
}

func before(p event.Position) event.Position { return ahead(p, -1) }

func ahead(p event.Position, by int) event.Position {
	p.Number += int64(by)
	return p
}
