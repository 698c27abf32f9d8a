package recovery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/publish"
)

const (
	// room is how far before the time of the last event in which it agrees the
	// stream is read: its times are of the broker's clock.
	room = time.Hour
	// plausible bounds by how much the stream's epoch may be ahead: whoever can
	// publish to the broker must not choose the store's next one.
	plausible = 1000
)

// seen is what store, ledger and stream have had between them.
type seen struct {
	to    event.Position // the last event on record
	epoch int64          // the greatest that has begun
	news  int            // events that the store does not have
	from  event.Position // up to here the stream agrees
	cut   error          // why the stream is not known to its end; nil: it is
}

// fold takes in what the store does not have: the ledger's entries after the
// common event, then of the stream what is neither in the ledger nor in the
// store under its number.
func (r *Recovery) fold(ctx context.Context, anchor, common event.Position, k *knowledge) (seen, error) {
	var head, sent event.Position
	err := r.within(ctx, func(ctx context.Context) (err error) {
		if head, err = r.store.Head(ctx); err != nil {
			return err //nolint:wrapcheck // below
		}
		sent, err = r.store.Confirmed(ctx, publish.Sent)
		return err
	})
	if err != nil {
		return seen{}, fmt.Errorf("read the positions: %w", err)
	}
	s := seen{to: common, epoch: max(head.Epoch, common.Epoch)}
	if s.from, err = r.parting(ctx, head, anchor, sent); err != nil {
		return s, err
	}
	if err := r.foldLedger(ctx, common, k, &s); err != nil {
		return s, err
	}
	err = r.foldStream(ctx, k, &s)
	return s, err
}

// parting is the last event in which the stream is known to agree: of what was
// sent, and is on record, the store, which may have gone on from a copy together
// with the ledger before the stream was heard. What the stream has of an older
// epoch than the store's was taken in when that one began, unless the stream was
// not read to its end then.
func (r *Recovery) parting(ctx context.Context, head, anchor, sent event.Position) (event.Position, error) {
	from, start := anchor, event.Position{Epoch: head.Epoch}
	switch {
	case sent.Before(start), anchor.Before(start):
		from = start
	case sent.Before(anchor):
		from = sent
	}
	var reports []installation.Restored
	err := r.within(ctx, func(ctx context.Context) (err error) {
		reports, err = installation.Recoveries(ctx, r.store)
		return err
	})
	if err != nil {
		return from, fmt.Errorf("read the reports: %w", err)
	}
	var unheard event.Position
	for _, one := range reports {
		if unheard == (event.Position{}) || one.Unheard == (event.Position{}) {
			unheard = one.Unheard
		}
	}
	if unheard != (event.Position{}) && unheard.Before(from) {
		from = unheard
	}
	return from, nil
}

func (r *Recovery) foldLedger(ctx context.Context, common event.Position, k *knowledge, s *seen) error {
	epochs, err := r.ledger.Epochs()
	if err != nil {
		return err
	}
	for _, epoch := range epochs {
		s.epoch = max(s.epoch, epoch)
		if epoch < common.Epoch {
			continue
		}
		from := int64(1)
		if epoch == common.Epoch {
			from = common.Number + 1
		}
		for entry, err := range r.ledger.Entries(ctx, epoch, from, math.MaxInt64) {
			if err != nil {
				return fmt.Errorf("read the ledger: %w", err)
			}
			e := catalog.Decode(epoch, entry)
			s.to, s.news = e.Position, s.news+1
			if err := r.foldEntry(ctx, e, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// recorded is the time of the last entry up to a position, zero where there is
// none, or it cannot be read.
func (r *Recovery) recorded(ctx context.Context, at event.Position) (time.Time, error) {
	epochs, err := r.ledger.Epochs()
	if err != nil {
		return time.Time{}, err
	}
	for _, epoch := range slices.Backward(epochs) {
		if epoch > at.Epoch {
			continue
		}
		size, err := r.ledger.Size(epoch)
		if err != nil {
			return time.Time{}, err
		}
		if epoch == at.Epoch {
			size = min(size, at.Number)
		}
		if size == 0 {
			continue
		}
		for entry, err := range r.ledger.Entries(ctx, epoch, size, size) {
			if err != nil {
				return time.Time{}, fmt.Errorf("read the ledger: %w", err)
			}
			return catalog.Decode(epoch, entry).Time, nil
		}
	}
	return time.Time{}, nil
}

// foldEntry takes an entry in. A lease that began and ended since, and that the
// store never knew, is forgotten but for a hash: what is kept grows with what
// lives, not with what happened.
func (r *Recovery) foldEntry(ctx context.Context, e event.Event, k *knowledge) error {
	k.learn(e)
	if !k.passed(e) {
		return nil
	}
	row, err := r.row(ctx, e.Data.LeaseID)
	if err == nil && row.State == "" {
		k.forget(e.Data.LeaseID)
	}
	return err
}

// errSlow: the stream takes longer than it may.
var errSlow = errors.New("the stream took too long")

// foldStream is done when the stream is read, or does not answer, or takes too
// long: what it has is known to nobody else, but nothing waits for it.
func (r *Recovery) foldStream(ctx context.Context, k *knowledge, s *seen) error {
	bounded, cancel := context.WithTimeoutCause(ctx, r.cfg.Stream, errSlow)
	defer cancel()
	since, err := r.since(ctx, bounded, s.from, s.to)
	if err != nil {
		return err
	}
	furthest := s.epoch + plausible
	var page []event.Event
	for e, err := range r.stream.Replay(bounded, since) {
		if err == nil && bounded.Err() != nil {
			err = context.Cause(bounded)
		}
		if err != nil {
			s.cut = err
			break
		}
		p := e.Position
		if p.Number < 1 || p.Epoch > furthest || !s.from.Before(p) {
			continue
		}
		if page = append(page, e); len(page) == r.cfg.Batch {
			if err := r.foldPage(ctx, page, k, s); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.cut != nil {
		r.log.Warn().Err(s.cut).Msg("the stream could not be read to its end; what it alone has is lost")
	}
	return r.foldPage(ctx, page, k, s)
}

// since is from when on the stream may have what the ledger does not have, up to
// from and from there to its end. Where that is long and the two still agree an
// hour before the ledger's end, what was before is not read again.
func (r *Recovery) since(ctx, bounded context.Context, from, end event.Position) (time.Time, error) {
	first, err := r.recorded(ctx, from)
	if err != nil {
		return first, err
	}
	last, err := r.recorded(ctx, end)
	if err != nil {
		return first, err
	}
	if !first.IsZero() {
		first = first.Add(-room)
	}
	last = last.Add(-room)
	if !last.After(first.Add(room)) { // reading some of it twice would take longer
		return first, nil
	}
	for e, err := range r.stream.Replay(bounded, last) {
		if err != nil || end.Before(e.Position) {
			break // an error is told by who reads it
		}
		if !from.Before(e.Position) {
			continue
		}
		lines, err := r.lines(ctx, []event.Event{e})
		if err == nil && lines[0] != nil && appender.Holds(lines[0], e) {
			return last, nil
		}
		return first, err
	}
	return first, nil
}

// foldPage takes in those events of the stream that are news: neither the ledger
// nor the store has them. An entry that cannot be read is a loss by itself, and
// does not hide what the stream has.
func (r *Recovery) foldPage(ctx context.Context, page []event.Event, k *knowledge, s *seen) error {
	lines, err := r.lines(ctx, page)
	if err != nil {
		return err
	}
	for i, e := range page {
		s.epoch = max(s.epoch, e.Position.Epoch)
		if lines[i] != nil && appender.Holds(lines[i], e) {
			continue
		}
		own, err := r.owns(ctx, e)
		if err != nil {
			return err
		}
		if own {
			continue
		}
		k.learnStreamed(e)
		s.news++
		if s.to.Before(e.Position) {
			s.to = e.Position
		}
	}
	return nil
}

// owns reports whether e is what the store itself has under that number: it may
// have published events of its own before it was found out.
func (r *Recovery) owns(ctx context.Context, e event.Event) (bool, error) {
	own, err := r.events(ctx, before(e.Position), 1)
	return err == nil && len(own) > 0 && own[0].Same(&e), err
}
