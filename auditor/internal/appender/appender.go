// Package appender moves events from the stream into the ledger.
//
// What holds (D5): "next" is read from the ledger's own last entry; only the
// next number is appended; smaller ones are dropped; missing ones are asked of
// the store; what was appended is confirmed to the store, never more.
package appender

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
)

// ErrMissing: neither the stream nor the store has the next event.
var ErrMissing = errors.New("events are missing from stream and store")

// Ledger is what the appender needs of the ledger.
type Ledger interface {
	Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error)
	Next(ctx context.Context, epoch int64) (int64, error)
}

// Config tunes an [Appender]; the zero value works.
type Config struct {
	Consumer string        // durable name; "auditor"
	Batch    int           // 1024
	Wait     time.Duration // for events, and between checks of the head; 250 ms
	Confirm  time.Duration // between confirmations to the store; 200 ms
}

// Appender is a step.
type Appender struct {
	ledger   Ledger
	stream   bus.Stream
	store    store.Outbox
	clock    clock.Clock
	log      zerolog.Logger
	cfg      Config
	appended func(event.Position) // called after entries became durable

	consumer  bus.Consumer
	heads     <-chan event.Position
	last      event.Position // last durable entry
	confirmed event.Position
	at        time.Time // of the last confirmation
	known     event.Position
	looked    time.Time // when the store was last asked for its head
}

// New returns an appender; appended, called with the last durable position,
// must not block.
func New(l Ledger, s bus.Stream, o store.Outbox, c clock.Clock, log zerolog.Logger, cfg Config, appended func(event.Position)) *Appender {
	cfg.Consumer = cmp.Or(cfg.Consumer, "auditor")
	cfg.Batch = cmp.Or(cfg.Batch, 1024)
	cfg.Wait = cmp.Or(cfg.Wait, 250*time.Millisecond)
	cfg.Confirm = cmp.Or(cfg.Confirm, 200*time.Millisecond)
	return &Appender{ledger: l, stream: s, store: o, clock: c, log: log, cfg: cfg, appended: appended}
}

// Name implements [step.Step].
func (a *Appender) Name() string { return "appender" }

// Do implements [step.Step].
func (a *Appender) Do(ctx context.Context) (time.Duration, error) {
	if err := a.open(ctx); err != nil {
		return 0, err
	}
	events, err := a.consumer.Fetch(ctx, a.cfg.Batch, a.cfg.Wait)
	if err != nil {
		// The store has everything too: a broker that is away delays nothing.
		a.log.Warn().Err(err).Msg("stream does not answer; reading from the store")
	}
	complete, failed := a.take(ctx, events)
	if failed != nil {
		return 0, failed
	}
	if len(events) > 0 && complete {
		if err := a.consumer.Ack(ctx); err != nil {
			a.log.Warn().Err(err).Msg("stream was not acknowledged")
		}
	}
	if err := a.catchUp(ctx, err != nil || !complete); err != nil {
		return 0, err
	}
	if err != nil { // do not spin while the broker is away
		return a.cfg.Wait, a.confirm(ctx)
	}
	return 0, a.confirm(ctx)
}

// open finds the place at the first run.
func (a *Appender) open(ctx context.Context) error {
	if a.consumer != nil {
		return nil
	}
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	next, err := a.ledger.Next(ctx, max(1, head.Epoch))
	if err != nil {
		return fmt.Errorf("find the ledger's next entry: %w", err)
	}
	a.last = event.Position{Epoch: max(1, head.Epoch), Number: next - 1}
	if a.confirmed, err = a.store.Confirmed(ctx, publish.Ledger); err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	if a.heads == nil {
		if a.heads, err = a.stream.Heads(ctx); err != nil {
			return fmt.Errorf("follow the head: %w", err)
		}
	}
	c, err := a.stream.Consume(ctx, a.cfg.Consumer, true)
	if err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	a.consumer = c
	a.appended(a.last)
	return nil
}

// take appends what follows the last entry; complete is false at a gap.
func (a *Appender) take(ctx context.Context, events []event.Event) (complete bool, err error) {
	var run [][]byte
	at := a.last
	for _, e := range events {
		if !at.Before(e.Position) {
			continue
		}
		if !follows(at, e.Position) {
			a.log.Info().Stringer("want_after", at).Stringer("got", e.Position).Msg("gap in the stream")
			return false, a.flush(ctx, run)
		}
		if e.Position.Epoch != at.Epoch {
			if err := a.flush(ctx, run); err != nil {
				return false, err
			}
			run = nil
			a.last = event.Position{Epoch: e.Position.Epoch}
		}
		line, err := json.Marshal(e)
		if err != nil {
			return false, fmt.Errorf("encode event %s: %w", e.Position, err)
		}
		run, at = append(run, line), e.Position
	}
	return true, a.flush(ctx, run)
}

func follows(p, q event.Position) bool {
	return q.Epoch == p.Epoch && q.Number == p.Number+1 || q.Epoch > p.Epoch && q.Number == 1
}

func (a *Appender) flush(ctx context.Context, run [][]byte) error {
	if len(run) == 0 {
		return nil
	}
	n, err := a.ledger.Append(ctx, a.last.Epoch, a.last.Number+1, run)
	if n > a.last.Number {
		a.last.Number = n
		a.appended(a.last)
	}
	if err != nil {
		return fmt.Errorf("append to the ledger: %w", err)
	}
	return nil
}

// catchUp reads from the store what the stream did not bring: at a gap, when
// the broker is away, and when an announced head stays ahead (D4).
func (a *Appender) catchUp(ctx context.Context, now bool) error {
	select {
	case h := <-a.heads:
		a.known = h
	default:
	}
	behind := a.last.Before(a.known)
	if !now && !behind && a.clock.Now().Sub(a.looked) < 4*a.cfg.Wait {
		return nil
	}
	if !now && !behind {
		head, err := a.store.Head(ctx)
		if err != nil {
			return fmt.Errorf("read the head: %w", err)
		}
		a.known, a.looked = head, a.clock.Now()
		if !a.last.Before(head) {
			return nil
		}
	}
	for {
		events, err := a.store.Events(ctx, a.last, a.cfg.Batch)
		if err != nil {
			return fmt.Errorf("read missing events: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		complete, err := a.take(ctx, events)
		if err != nil {
			return err
		}
		if !complete {
			return fmt.Errorf("%w: after %s the store has %s", ErrMissing, a.last, events[0].Position)
		}
		if len(events) < a.cfg.Batch {
			return nil
		}
	}
}

func (a *Appender) confirm(ctx context.Context) error {
	if !a.confirmed.Before(a.last) || a.clock.Now().Sub(a.at) < a.cfg.Confirm {
		return nil
	}
	a.at = a.clock.Now()
	if err := a.store.Confirm(ctx, publish.Ledger, a.last); err != nil {
		return fmt.Errorf("confirm the ledger's position: %w", err)
	}
	a.confirmed = a.last
	return nil
}

// Close confirms what was appended and ends following the stream.
func (a *Appender) Close(ctx context.Context) error {
	a.at = time.Time{}
	err := a.confirm(ctx)
	if a.consumer != nil {
		err = errors.Join(err, a.consumer.Close())
	}
	return err
}
