package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
)

// lane is one connection that callers use in turn. It is dialled when it is
// needed and again after it was lost.
type lane struct {
	dialer   *dialer
	database string
	slot     chan *link // the connection while nobody uses it, nil inside: to be dialled
	closed   chan struct{}
	shut     sync.Once

	lifetime time.Duration // of a connection; 0: no bound
	born     atomic.Int64  // when the connection in slot was dialled, local Unix nanoseconds; 0: none is
}

func newLane(d *dialer) *lane {
	l := &lane{dialer: d, slot: make(chan *link, 1), closed: make(chan struct{})}
	l.slot <- nil
	return l
}

var errClosed = &engine.Error{Kind: engine.Unreachable, Message: "the connection is closed"}

// use runs do on the lane's connection, for at most budget counted from when
// the connection stands.
func (l *lane) use(ctx context.Context, budget time.Duration, do func(context.Context, *link) error) error {
	select {
	case link := <-l.slot:
		link, err := l.with(ctx, link, budget, do)
		l.back(link)
		return err
	case <-l.closed:
		return errClosed
	case <-ctx.Done():
		return busy("the target is busy")
	}
}

func (l *lane) with(ctx context.Context, have *link, budget time.Duration, do func(context.Context, *link) error) (*link, error) {
	select {
	case <-l.closed:
		if have != nil {
			have.close(ctx)
		}
		return nil, errClosed
	default:
	}
	if have != nil && (l.outlived(l.lifetime) || !l.answers(ctx, have)) {
		have.close(ctx)
		have = nil
	}
	if have == nil {
		var err error
		if have, err = l.dialer.dial(ctx, l.database); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	err := do(ctx, have)
	have.used = l.dialer.clk.Now()
	if lost(err) || have.conn.IsClosed() || have.conn.TxStatus() != 'I' {
		have.close(ctx)
		return nil, err
	}
	return have, err
}

// back puts a connection, or nil, where the next user finds it.
func (l *lane) back(link *link) {
	var born int64
	if link != nil {
		born = link.born.UnixNano()
	}
	l.born.Store(born)
	l.slot <- link
}

// stands reports whether the lane has a connection, as its last user left it.
func (l *lane) stands() bool { return l.born.Load() != 0 }

// outlived reports whether the connection is older than the bound.
func (l *lane) outlived(bound time.Duration) bool {
	born := l.born.Load()
	return bound > 0 && born != 0 && l.dialer.clk.Now().Sub(time.Unix(0, born)) >= bound
}

// drop closes the connection; the next user dials anew.
func (l *lane) drop(ctx context.Context) {
	select {
	case link := <-l.slot:
		if link != nil {
			link.close(ctx)
		}
		l.back(nil)
	default: // the target is being closed
	}
}

// idle is how long a connection may rest before it is asked whether it is
// still there.
const idle = time.Second

// answering bounds that question.
const answering = 2 * time.Second

// answers keeps what a server or a firewall closed meanwhile from being met in
// the middle of a transaction, where it leaves a doubt.
func (l *lane) answers(ctx context.Context, link *link) bool {
	if link.conn.IsClosed() {
		return false
	}
	if l.dialer.clk.Now().Sub(link.used) < idle {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	_, err := link.run(ctx, ";")
	return err == nil
}

// again is use for what may be done twice: once more on a new connection where
// the first was lost.
func (l *lane) again(ctx context.Context, budget time.Duration, do func(context.Context, *link) error) error {
	err := l.use(ctx, budget, do)
	if lost(err) && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		return l.use(ctx, budget, do)
	}
	return err
}

// once is use on a connection that serves nobody else afterwards.
func (l *lane) once(ctx context.Context, budget time.Duration, do func(context.Context, *link) error) error {
	return l.use(ctx, budget, func(ctx context.Context, link *link) error {
		defer link.close(ctx)
		return do(ctx, link)
	})
}

// close waits for who uses the lane and closes the connection.
func (l *lane) close(ctx context.Context) error {
	l.shut.Do(func() { close(l.closed) })
	select {
	case link := <-l.slot:
		if link != nil {
			link.close(ctx)
		}
		l.back(nil)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func busy(text string) *engine.Error {
	return &engine.Error{Kind: engine.Busy, Message: text, After: time.Second}
}
