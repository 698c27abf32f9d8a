package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

// Tail implements [bus.Stream]: zero, too, where this user may not read it, and
// where what is last is another installation's.
func (b *Bus) Tail(ctx context.Context) (event.Position, error) {
	var last event.Position
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
			last, err = event.ParsePosition(m.Header.Get(event.HeaderMsgID))
			return err
		})
	})
	if errors.Is(err, ErrDenied) {
		return event.Position{}, nil
	}
	if err != nil {
		return event.Position{}, fmt.Errorf("look at the end of the stream: %w", err)
	}
	return last, nil
}
