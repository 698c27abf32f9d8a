package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
)

const (
	// outstanding bounds unacknowledged publishes; above 4,000 the client
	// stalls.
	outstanding = 1024
	ackTimeout  = 3 * time.Second
	// failures are how many publishes in a row it takes to give a server inside
	// the process up: with what a publisher waits between them, some 15 s.
	failures = 3
)

// Publish implements [bus.Publisher]. Events are stored in their order also
// when a leader dies between two of them: each says after which message of the
// stream it belongs, and the server refuses those behind one that was lost.
// While disconnected it fails at once.
func (b *Bus) Publish(ctx context.Context, events []event.Event) (acked int, err error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("publish: %w", ctx.Err())
	}
	if len(events) > 0 {
		b.marker.set(events[len(events)-1].Position)
	}
	acked, err = b.publishAll(ctx, events)
	return acked, b.tend(ctx, acked, err)
}

// tend starts a server inside the process anew where nothing could be published
// for some time, whatever the reason.
func (b *Bus) tend(ctx context.Context, acked int, err error) error {
	if b.inside == nil || ctx.Err() != nil || errors.Is(err, ErrDisconnected) && b.inside.runs() {
		return err // in the last case the client is about to connect
	}
	if err == nil || acked > 0 {
		b.failed = 0
		return err
	}
	if b.failed++; b.failed < failures {
		return err
	}
	b.failed = 0
	if again := b.inside.restart(ctx); again != nil {
		return errors.Join(err, again)
	}
	return fmt.Errorf("%w; the server inside the process was started anew", err)
}

// publishAll is Publish for who has its turn.
func (b *Bus) publishAll(ctx context.Context, events []event.Event) (acked int, err error) {
	guarded, release := b.denials.guard(ctx, event.SubjectPrefix+".")
	defer release()
	if err := b.ready(guarded); err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	for acked < len(events) {
		n, err := b.publish(guarded, events[acked:])
		acked += n
		if displaced(err) {
			b.tail = 0
			continue // the next is sent alone, which tells where the stream ends
		}
		if err != nil {
			b.tail = 0
			if errors.Is(err, jetstream.ErrNoStreamResponse) {
				b.checked = -1 // the stream is gone: the next call makes it anew
			}
			if why := context.Cause(guarded); errors.Is(why, ErrDenied) {
				err = why
			}
			return acked, fmt.Errorf("publish event %s: %w", events[acked].Position, told(err))
		}
	}
	return acked, nil
}

// ready fails fast while disconnected, and looks at the stream once for each
// connection.
func (b *Bus) ready(ctx context.Context) error {
	if err := b.Disconnected(); err != nil {
		return err
	}
	session := b.sessions.Load()
	if b.checked == session {
		return nil
	}
	b.tail = 0
	if err := b.ensureStream(ctx, true); err != nil {
		return err
	}
	b.checked = session
	return nil
}

// publish sends as many events as may be outstanding, or one if it is not
// known where the stream ends, and returns how many were acknowledged.
func (b *Bus) publish(ctx context.Context, events []event.Event) (acked int, err error) {
	if b.tail == 0 {
		events = events[:1]
	}
	futures := make([]jetstream.PubAckFuture, 0, min(len(events), outstanding))
	for i, e := range events[:min(len(events), outstanding)] {
		if err = ctx.Err(); err != nil {
			break
		}
		after := uint64(0)
		if b.tail != 0 {
			after = b.tail + uint64(i)
		}
		var f jetstream.PubAckFuture
		if f, err = b.send(e, after); err != nil {
			break // what was sent before is still acknowledged below
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case ack := <-f.Ok():
			acked++
			if b.tail = ack.Sequence; ack.Duplicate {
				b.tail = 0 // it lies somewhere before the end
			}
		case failed := <-f.Err():
			return acked, failed
		case <-ctx.Done():
			return acked, ctx.Err()
		}
	}
	return acked, err
}

// send sends an event that is to follow the message with sequence after; 0:
// any.
func (b *Bus) send(e event.Event, after uint64) (jetstream.PubAckFuture, error) {
	headers, body, err := event.Encode(e, b.cfg.Source)
	if err != nil {
		return nil, err
	}
	m := &nats.Msg{Subject: event.BrokerSubject(e), Header: nats.Header(headers), Data: body}
	if after != 0 {
		m.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(after, 10)}
	}
	return b.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
}

// displaced reports whether the server refused an event because the stream
// does not end where we thought: one before it was lost or stored already, or
// somebody else has written.
func displaced(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
