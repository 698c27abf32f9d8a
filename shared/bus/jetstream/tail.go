package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
)

// ErrNoStream says that the broker has no stream: the next publication makes it.
var ErrNoStream = errors.New("the broker has no stream")

// Tail is the position of the last event in the stream; zero where it has none,
// as when all have aged out, and where this user may not read it.
func (b *Bus) Tail(ctx context.Context) (event.Position, error) {
	var last event.Position
	err := b.ask(ctx, "STREAM.INFO."+StreamName, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, StreamName)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return ErrNoStream
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
