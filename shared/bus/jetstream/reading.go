package jetstream

import (
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	buffered  = 512 // messages on their way to a consumer
	heartbeat = time.Second
)

// reading is one consumer of the broker being read into a buffer. It ends with
// stop, or is lost and replaced.
type reading struct {
	consume  jetstream.ConsumeContext
	messages chan jetstream.Msg

	lost    chan struct{} // closed when it has to begin anew
	failing sync.Once
	done    chan struct{} // closed by stop
	ending  sync.Once
}

func read(from jetstream.Consumer) (*reading, error) {
	r := &reading{
		messages: make(chan jetstream.Msg, buffered), lost: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	r.consume, err = from.Consume(func(m jetstream.Msg) {
		select {
		case r.messages <- m:
		case <-r.done:
		}
	},
		jetstream.PullMaxMessages(buffered),
		jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(5*heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if fatal(err) {
				r.fail()
			}
		}))
	if err != nil {
		return nil, err
	}
	return r, nil
}

// fatal reports whether reading has to begin anew: the consumer is gone, or the
// broker is silent and may have lost it.
func fatal(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrConnectionClosed)
}

func (r *reading) fail() { r.failing.Do(func() { close(r.lost) }) }

// discard empties the buffer: what lies behind a gap comes again.
func (r *reading) discard() {
	for {
		select {
		case <-r.messages:
		default:
			return
		}
	}
}

// stop ends reading and returns when nothing of it runs any more. It may be
// called again.
func (r *reading) stop() {
	r.ending.Do(func() {
		close(r.done) // a handler that waits for room must not wait for ever
		r.consume.Stop()
	})
	<-r.consume.Closed()
}
