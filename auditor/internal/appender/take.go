package appender

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/shared/event"
)

// catchUp appends all that the store has.
func (a *Appender) catchUp(ctx context.Context) error {
	// Asked before, so that what has a number by now is expected to be there.
	if err := a.look(ctx); err != nil {
		return err
	}
	head := a.head
	for {
		events, err := a.read(ctx, a.cfg.Batch)
		if err == nil {
			err = a.agreed(ctx)
		}
		if err != nil {
			return err
		}
		if len(events) == 0 && (a.ahead(a.confirmed) || a.ahead(head)) {
			return fmt.Errorf("%w: the ledger ends with %s, confirmed was %s, the store's last is %s",
				ErrMissing, a.last, a.confirmed, head)
		}
		if err := a.take(ctx, events); err != nil {
			return err
		}
		if len(events) < a.cfg.Batch {
			return nil
		}
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
}

// follows: q is what the store has next after p. Another epoch begins where it
// has nothing more of p's.
func (a *Appender) follows(p, q event.Position) bool {
	if q.Epoch == p.Epoch {
		return q.Number == p.Number+1
	}
	// What was confirmed may have been deleted: then the end of p's epoch, or
	// whole epochs, could be missing before q.
	return q.Epoch > p.Epoch && q.Number == 1 && !p.Before(a.confirmed)
}

// take appends events that the store has after the ledger's last.
func (a *Appender) take(ctx context.Context, events []event.Event) error {
	var lines [][]byte
	at := a.last
	for _, e := range events {
		if !a.follows(at, e.Position) {
			if err := a.append(ctx, at, lines); err != nil {
				return err
			}
			return fmt.Errorf("%w: the ledger ends with %s, confirmed was %s, the store goes on with %s",
				ErrMissing, a.last, a.confirmed, e.Position)
		}
		if e.Position.Epoch != at.Epoch {
			if err := a.append(ctx, at, lines); err != nil {
				return err
			}
			lines = nil
		}
		line, err := Encode(e)
		if err != nil {
			return err
		}
		lines, at = append(lines, line), e.Position
	}
	return a.append(ctx, at, lines)
}

// append makes lines durable, of which the last is entry upTo.
func (a *Appender) append(ctx context.Context, upTo event.Position, lines [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	first := upTo.Number - int64(len(lines)) + 1
	n, err := a.ledger.Append(ctx, upTo.Epoch, first, lines)
	// Also beside an error: what is durable counts.
	if n >= first && n <= upTo.Number {
		a.last, a.line = event.Position{Epoch: upTo.Epoch, Number: n}, lines[n-first]
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
