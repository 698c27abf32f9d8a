package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
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
		last, err = b.message(ctx, state.LastSeq)
		return err
	})
	if errors.Is(err, ErrDenied) {
		return event.Event{}, nil
	}
	if err != nil {
		return event.Event{}, fmt.Errorf("look at the end of the stream: %w", err)
	}
	return last, nil
}

// message reads one of the stream: zero, where it has aged out since or is no
// event of this installation. The library asks a stream that allows it through
// another subject, for which this user may have no permission.
func (b *Bus) message(ctx context.Context, sequence uint64) (e event.Event, err error) {
	name := "STREAM.MSG.GET." + StreamName
	var found struct {
		Message *struct {
			Header []byte `json:"hdrs"`
			Data   []byte `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	err = b.ask(ctx, name, func(ctx context.Context) error {
		answer, err := b.nc.RequestWithContext(ctx, "$JS.API."+name, fmt.Appendf(nil, `{"seq":%d}`, sequence))
		if err != nil {
			return err //nolint:wrapcheck // below
		}
		return json.Unmarshal(answer.Data, &found)
	})
	if err != nil {
		return e, fmt.Errorf("read message %d: %w", sequence, err)
	}
	switch {
	case found.Error != nil && found.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return e, nil
	case found.Error != nil && found.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return e, bus.ErrNoStream
	case found.Error != nil:
		return e, fmt.Errorf("read message %d: %w", sequence, found.Error)
	case found.Message == nil:
		return e, fmt.Errorf("read message %d: the answer has none", sequence)
	}
	header, err := nats.DecodeHeadersMsg(found.Message.Header)
	if err != nil || header.Get(event.HeaderSource) != b.cfg.Source {
		return e, nil //nolint:nilerr // it is nobody's event
	}
	if e, err = event.Decode(event.Headers(header), found.Message.Data); err != nil {
		e = event.Event{}
		e.Position, _ = event.ParsePosition(header.Get(event.HeaderMsgID))
	}
	return e, nil
}
