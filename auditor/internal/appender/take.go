package appender

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

// continues: q is the next number after p. All that the stream can tell.
func continues(p, q event.Position) bool { return q.Epoch == p.Epoch && q.Number == p.Number+1 }

// succeeds: q is what the store has next after p; another epoch begins where
// the store has nothing more of p's.
func (a *Appender) succeeds(p, q event.Position) bool {
	if continues(p, q) {
		return true
	}
	// What was confirmed may have been deleted: then the end of p's epoch, or
	// whole epochs, could be missing before q.
	return q.Epoch > p.Epoch && q.Number == 1 && !p.Before(a.confirmed)
}

// fetch takes what the stream has. lost: it does not answer.
func (a *Appender) fetch(ctx context.Context) (events []event.Event, lost bool) {
	err := a.follow(ctx)
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, a.cfg.Wait+patience)
		defer cancel()
		events, err = a.consumer.Fetch(bounded, a.cfg.Batch, a.cfg.Wait)
	}
	switch {
	case err == nil && a.silent:
		a.log.Info().Msg("the stream answers again")
	case err != nil && !a.silent && ctx.Err() == nil:
		a.log.Warn().Err(err).Msg("the stream does not answer; reading from the store")
	}
	a.silent = err != nil
	return events, err != nil
}

// follow opens the stream where it is not open.
func (a *Appender) follow(ctx context.Context) (err error) {
	if a.heads == nil {
		if a.heads, err = a.stream.Heads(ctx); err != nil {
			return fmt.Errorf("follow the head: %w", err)
		}
	}
	if a.consumer != nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, a.cfg.Wait+patience)
	defer cancel()
	var c bus.Consumer
	if c, err = a.stream.Consume(bounded, a.cfg.Consumer, true); err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	a.consumer = c
	return nil
}

// acknowledge tells the stream that nothing of events is needed again. If that
// fails they come again and are dropped.
func (a *Appender) acknowledge(ctx context.Context, events []event.Event) {
	if len(events) == 0 || a.last.Before(events[len(events)-1].Position) {
		return
	}
	if err := a.consumer.Ack(ctx); err != nil {
		a.log.Warn().Err(err).Msg("the stream was not acknowledged")
	}
}

// take appends the events that come next; smaller ones are dropped. complete is
// false where one does not follow: it and the rest are left.
func (a *Appender) take(ctx context.Context, events []event.Event, follows func(p, q event.Position) bool) (complete bool, err error) {
	var lines [][]byte
	var dropped event.Event
	at := a.last
	for _, e := range events {
		if !at.Before(e.Position) {
			dropped = e
			continue
		}
		if !follows(at, e.Position) {
			a.log.Info().Stringer("after", at).Stringer("got", e.Position).Msg("gap in the events")
			return false, a.flush(ctx, at, lines)
		}
		if e.Position.Epoch != at.Epoch {
			if err := a.flush(ctx, at, lines); err != nil {
				return false, err
			}
			lines = nil
		}
		line, err := encode(e)
		if err != nil {
			return false, err
		}
		lines, at = append(lines, line), e.Position
	}
	if err := a.flush(ctx, at, lines); err != nil {
		return false, err
	}
	return true, a.dismiss(ctx, dropped)
}

// dismiss looks once at what was dropped. Another event under a number that the
// ledger has means that the store was restored and numbers anew, or that the
// stream is not ours: the store tells which (A7).
func (a *Appender) dismiss(ctx context.Context, e event.Event) error {
	if e.Position.Number == 0 {
		return nil
	}
	same, err := a.has(ctx, e)
	if err != nil || same {
		return err
	}
	a.placed = false
	if err := a.place(ctx); err != nil {
		return err
	}
	a.log.Error().Stringer("event", e.Position).
		Msg("the stream has another event under a number that store and ledger agree on; dropped")
	return nil
}

// flush appends lines, of which the last is entry upTo.
func (a *Appender) flush(ctx context.Context, upTo event.Position, lines [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	first := upTo.Number - int64(len(lines)) + 1
	n, err := a.ledger.Append(ctx, upTo.Epoch, first, lines)
	// Also beside an error: what is durable counts.
	if durable := (event.Position{Epoch: upTo.Epoch, Number: min(n, upTo.Number)}); n >= first && a.last.Before(durable) {
		a.last = durable
		a.appended(a.last)
	}
	if err == nil && n != upTo.Number {
		err = fmt.Errorf("it ends with %d, want %d", n, upTo.Number)
	}
	if err != nil {
		return fmt.Errorf("append to the ledger: %w", err)
	}
	return nil
}

// catchUp reads from the store what the stream did not bring.
func (a *Appender) catchUp(ctx context.Context) error {
	// Asked before, so that what has a number by now is expected to be there.
	if err := a.look(ctx); err != nil {
		return err
	}
	head := a.known
	for {
		events, err := a.missing(ctx)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			if a.last.Before(a.confirmed) || a.last.Before(head) && head.Number > 0 {
				return fmt.Errorf("%w: the ledger ends with %s, confirmed was %s, the store has none up to its last, %s",
					ErrMissing, a.last, a.confirmed, head)
			}
			return nil
		}
		complete, err := a.take(ctx, events, a.succeeds)
		if err != nil {
			return err
		}
		if !complete {
			return fmt.Errorf("%w: the ledger ends with %s, confirmed was %s, the store goes on with %s",
				ErrMissing, a.last, a.confirmed, events[0].Position)
		}
		if err := a.confirm(ctx); err != nil || len(events) < a.cfg.Batch {
			return err
		}
	}
}

func (a *Appender) missing(ctx context.Context) ([]event.Event, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	events, err := a.store.Events(ctx, a.last, a.cfg.Batch)
	if err != nil {
		return nil, fmt.Errorf("read missing events: %w", err)
	}
	return events, nil
}
