package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

// Tail implements [bus.Ender]: zero, too, where this user may not read it, and
// where what is last is no event of this installation.
func (b *Bus) Tail(ctx context.Context) (event.Event, error) {
	var last event.Event
	err := b.ask(ctx, "STREAM.INFO."+StreamName, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, StreamName)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return bus.ErrNoStream
		}
		if err != nil {
			return err
		}
		state := s.CachedInfo().State
		if state.Msgs == 0 {
			return nil
		}
		return b.ask(ctx, "STREAM.MSG.GET."+StreamName, func(ctx context.Context) error {
			m, err := s.GetMsg(ctx, state.LastSeq)
			if errors.Is(err, jetstream.ErrMsgNotFound) { // it has aged out since
				return nil
			}
			if err != nil {
				return err
			}
			if m.Header.Get(event.HeaderSource) != b.cfg.Source {
				return nil
			}
			if last, err = event.Decode(event.Headers(m.Header), m.Data); err != nil {
				last = event.Event{}
				last.Position, _ = event.ParsePosition(m.Header.Get(event.HeaderMsgID))
			}
			return nil
		})
	})
	if errors.Is(err, ErrDenied) {
		return event.Event{}, nil
	}
	if err != nil {
		return event.Event{}, fmt.Errorf("look at the end of the stream: %w", err)
	}
	return last, nil
}
