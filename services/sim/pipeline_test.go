package sim_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
)

// busOf is the event stream as one process reaches it.
type busOf struct {
	*process
	w *world
}

func (b busOf) Publish(ctx context.Context, events []event.Event) (int, error) {
	about := ""
	if len(events) > 0 {
		about = events[0].Position.String() + " and on"
	}
	return ask(ctx, b.process, call{method: "bus.Publish", about: about, target: "bus"}, func() (int, error) {
		n := len(events)
		if b.w.chaos && n > 1 && b.s.chance(b.w.odds.partly) { // the connection breaks in the middle
			n = b.s.rand.IntN(n)
		}
		acked, err := b.w.bus.Publish(context.WithoutCancel(ctx), events[:n])
		if err == nil && n < len(events) {
			err = fmt.Errorf("publish events: %w", errLost)
		}
		return acked, err
	})
}

func (b busOf) Announce(ctx context.Context, head event.Position) error {
	_, err := ask(ctx, b.process, call{method: "bus.Announce", target: "bus"}, func() (nothing, error) {
		return nothing{}, b.w.bus.Announce(context.WithoutCancel(ctx), head)
	})
	return err
}

func (b busOf) Heads(ctx context.Context) (<-chan event.Position, error) {
	return ask(ctx, b.process, call{method: "bus.Heads", target: "bus"}, func() (<-chan event.Position, error) { return b.w.bus.Heads(ctx) })
}

func (b busOf) Consume(ctx context.Context, name string, durable bool) (bus.Consumer, error) {
	c, err := ask(ctx, b.process, call{method: "bus.Consume", about: name, target: "bus"}, func() (bus.Consumer, error) {
		return b.w.bus.Consume(context.WithoutCancel(ctx), name, durable)
	})
	if err != nil {
		return nil, err
	}
	return consumerOf{b, c}, nil
}

func (b busOf) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		all, err := ask(ctx, b.process, call{method: "bus.Replay", target: "bus"}, func() (all []event.Event, err error) {
			for e, err := range b.w.bus.Replay(context.WithoutCancel(ctx), since) {
				if err != nil {
					return all, err
				}
				all = append(all, e)
			}
			return all, nil
		})
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(event.Event{}, err)
		}
	}
}

func (b busOf) Tail(ctx context.Context) (event.Event, error) {
	return ask(ctx, b.process, call{method: "bus.Tail", target: "bus", pure: true}, func() (event.Event, error) { return b.w.bus.Tail(ctx) })
}

type consumerOf struct {
	busOf
	bus.Consumer
}

// Fetch looks, waits for something to happen, and looks again. Events may come
// twice and in disorder: whoever consumes them has to bear it (D3).
func (c consumerOf) Fetch(ctx context.Context, limit int, wait time.Duration) ([]event.Event, error) {
	look := func() ([]event.Event, error) {
		return ask(ctx, c.process, call{method: "bus.Fetch", target: "bus", pure: !c.w.chaos}, func() ([]event.Event, error) {
			got, err := c.Consumer.Fetch(context.WithoutCancel(ctx), limit, 0)
			return c.w.disorder(got), err
		})
	}
	changed, stop := c.w.bus.Watch()
	defer stop()
	if got, err := look(); err != nil || len(got) > 0 {
		return got, err
	}
	over, release := c.Timer(wait)
	defer release()
	select {
	case <-changed:
		return look()
	case <-over:
		return nil, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("fetch events: %w", ctx.Err())
	}
}

func (c consumerOf) Ack(ctx context.Context) error {
	_, err := ask(ctx, c.process, call{method: "bus.Ack", target: "bus", pure: true}, func() (nothing, error) { return nothing{}, c.Consumer.Ack(context.WithoutCancel(ctx)) })
	return err
}

// indexOf is the shared expiry index as one process reaches it.
type indexOf struct {
	*process
	w *world
}

func indexed[A any](ctx context.Context, x indexOf, method, about string, effect func(ctx context.Context) (A, error)) (A, error) {
	detached := context.WithoutCancel(ctx)
	return ask(ctx, x.process, call{method: "index." + method, about: about, target: "index", pure: method == "Upcoming" || method == "Missing" || method == "Len"}, func() (A, error) { return effect(detached) })
}

func (x indexOf) Offer(ctx context.Context, members ...expiry.Member) error {
	if len(members) == 0 {
		return nil
	}
	_, err := indexed(ctx, x, "Offer", string(members[0].ID), func(ctx context.Context) (nothing, error) { return nothing{}, x.w.index.Offer(ctx, members...) })
	return err
}

func (x indexOf) Claim(ctx context.Context, target string, now time.Time, limit int, hold time.Duration) (expiry.Claim, error) {
	return indexed(ctx, x, "Claim", target, func(ctx context.Context) (expiry.Claim, error) { return x.w.index.Claim(ctx, target, now, limit, hold) })
}

func (x indexOf) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	_, err := indexed(ctx, x, "Complete", c.Target, func(ctx context.Context) (nothing, error) { return nothing{}, x.w.index.Complete(ctx, c, later...) })
	return err
}

func (x indexOf) Extend(ctx context.Context, c expiry.Claim, now time.Time, hold time.Duration) error {
	_, err := indexed(ctx, x, "Extend", c.Target, func(ctx context.Context) (nothing, error) { return nothing{}, x.w.index.Extend(ctx, c, now, hold) })
	return err
}

func (x indexOf) Lapse(ctx context.Context, now time.Time) (int, error) {
	return indexed(ctx, x, "Lapse", "", func(ctx context.Context) (int, error) { return x.w.index.Lapse(ctx, now) })
}

func (x indexOf) Upcoming(ctx context.Context, until time.Time) ([]expiry.Upcoming, error) {
	return indexed(ctx, x, "Upcoming", "", func(ctx context.Context) ([]expiry.Upcoming, error) { return x.w.index.Upcoming(ctx, until) })
}

func (x indexOf) Len(ctx context.Context) (int, error) {
	return indexed(ctx, x, "Len", "", func(ctx context.Context) (int, error) { return x.w.index.Len(ctx) })
}

func (x indexOf) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	return indexed(ctx, x, "Missing", "", func(ctx context.Context) ([]expiry.Member, error) { return x.w.index.Missing(ctx, members...) })
}

// ledger is the record in memory; it is what survives every auditor.
type ledger struct {
	segments map[int64][][]byte
	holder   *process // has its lock
	fence    int
}

func (l *ledger) last() (p event.Position) {
	for epoch, lines := range l.segments {
		if q := (event.Position{Epoch: epoch, Number: int64(len(lines))}); q.Number > 0 && p.Before(q) {
			p = q
		}
	}
	return p
}

// ledgerOf is the ledger as one auditor reaches it.
type ledgerOf struct {
	*process
	w *world
}

// Epochs implements auditor.Segments.
func (l ledgerOf) Epochs() ([]int64, error) {
	return ask(l.ctx, l.process, call{method: "ledger.Epochs", target: "ledger", pure: true}, func() ([]int64, error) {
		return slices.Sorted(maps.Keys(l.w.ledger.segments)), nil
	})
}

// Size implements auditor.Segments.
func (l ledgerOf) Size(epoch int64) (int64, error) {
	return ask(l.ctx, l.process, call{method: "ledger.Size", target: "ledger", pure: true}, func() (int64, error) {
		return int64(len(l.w.ledger.segments[epoch])), nil
	})
}

// Entries implements auditor.Segments.
func (l ledgerOf) Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[auditor.Entry, error] {
	return func(yield func(auditor.Entry, error) bool) {
		lines, err := ask(ctx, l.process, call{method: "ledger.Entries", target: "ledger", pure: true}, func() ([][]byte, error) {
			all := l.w.ledger.segments[epoch]
			to := min(to, int64(len(all)))
			return all[min(from-1, to):to], nil
		})
		for i, line := range lines {
			if !yield(auditor.Entry{Number: from + int64(i), Data: line}, nil) {
				return
			}
		}
		if err != nil {
			yield(auditor.Entry{}, err)
		}
	}
}

// open takes the ledger's lock, which a dead process does not have any more.
func (l ledgerOf) open(ctx context.Context) (auditor.Appending, error) {
	return ask(ctx, l.process, call{method: "ledger.Open", target: "ledger"}, func() (auditor.Appending, error) {
		led := l.w.ledger
		if led.holder != nil && !led.holder.dead() {
			return nil, auditor.ErrLocked
		}
		led.holder = l.process
		led.fence++
		return appending{l, led.fence}, nil
	})
}

// appending is the ledger while it is held.
type appending struct {
	ledgerOf
	fence int
}

func (a appending) held() error {
	if a.w.ledger.fence != a.fence {
		return auditor.ErrFenced
	}
	return nil
}

// Append implements auditor.Appending. An append may be cut short.
func (a appending) Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error) {
	type appended struct {
		last  int64
		error error
	}
	got, err := ask(ctx, a.process, call{method: "ledger.Append", about: fmt.Sprintf("%d-%d", epoch, first), target: "ledger", change: true}, func() (appended, error) {
		led := a.w.ledger
		have := int64(len(led.segments[epoch]))
		if err := a.held(); err != nil {
			return appended{have, err}, nil //nolint:nilerr // the call was made: this is its answer
		}
		if first != have+1 {
			return appended{have, &auditor.GapError{Epoch: epoch, Want: have + 1, Got: first}}, nil
		}
		var broken error
		if a.w.chaos && a.s.chance(a.w.odds.partly) {
			entries, broken = entries[:a.s.rand.IntN(len(entries)+1)], errors.New("disk full")
		}
		led.segments[epoch] = append(led.segments[epoch], entries...)
		if a.w.defect == defectAppend && a.s.chance(0.1) {
			led.segments[epoch] = append(led.segments[epoch], entries...)
		}
		return appended{int64(len(led.segments[epoch])), broken}, nil
	})
	if err != nil {
		return 0, err
	}
	return got.last, got.error
}

// Next implements auditor.Appending.
func (a appending) Next(ctx context.Context, epoch int64) (int64, error) {
	return ask(ctx, a.process, call{method: "ledger.Next", target: "ledger", pure: true}, func() (int64, error) {
		return int64(len(a.w.ledger.segments[epoch])) + 1, a.held()
	})
}

// Close implements auditor.Appending.
func (a appending) Close(ctx context.Context) error {
	_, err := ask(ctx, a.process, call{method: "ledger.Close", target: "ledger"}, func() (nothing, error) {
		if a.held() == nil {
			a.w.ledger.holder = nil
		}
		return nothing{}, nil
	})
	return err
}

var (
	_ bus.Bus         = busOf{}
	_ expiry.Index    = indexOf{}
	_ expiry.Comparer = indexOf{}
)
