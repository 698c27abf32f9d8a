package recovery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
)

const (
	// room is how far before the ledger's last entry the stream is read: its
	// times are of the broker's clock.
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
	cut   error          // why the stream is not known to its end; nil: it is
}

// fold takes in what the store does not have: the ledger's entries after the
// common event, then of the stream what is neither in the ledger nor in the
// store under its number.
func (r *Recovery) fold(ctx context.Context, anchor, common event.Position, k *knowledge) (seen, error) {
	var head event.Position
	err := r.within(ctx, func(ctx context.Context) (err error) {
		head, err = r.store.Head(ctx)
		return err
	})
	if err != nil {
		return seen{}, fmt.Errorf("read the head: %w", err)
	}
	s := seen{to: common, epoch: max(head.Epoch, common.Epoch)}
	since, err := r.foldLedger(ctx, common, k, &s)
	if err != nil {
		return s, err
	}
	err = r.foldStream(ctx, anchor, since, k, &s)
	return s, err
}

// foldLedger also returns the time of the ledger's last entry, zero where that
// is not known.
func (r *Recovery) foldLedger(ctx context.Context, common event.Position, k *knowledge, s *seen) (last time.Time, err error) {
	epochs, err := r.ledger.Epochs()
	if err != nil {
		return last, err
	}
	for _, epoch := range epochs {
		s.epoch = max(s.epoch, epoch)
		if epoch < common.Epoch {
			continue
		}
		// Also the common one, for its time.
		from := int64(1)
		if epoch == common.Epoch {
			from = max(1, common.Number)
		}
		for entry, err := range r.ledger.Entries(ctx, epoch, from, math.MaxInt64) {
			if err != nil {
				return last, fmt.Errorf("read the ledger: %w", err)
			}
			e := catalog.Decode(epoch, entry)
			last = e.Time
			if !common.Before(e.Position) {
				continue
			}
			s.to, s.news = e.Position, s.news+1
			if err := r.foldEntry(ctx, e, k); err != nil {
				return last, err
			}
		}
	}
	return last, nil
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
func (r *Recovery) foldStream(ctx context.Context, anchor event.Position, since time.Time, k *knowledge, s *seen) error {
	if !since.IsZero() {
		since = since.Add(-room)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, r.cfg.Stream, errSlow)
	defer cancel()
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
		if p.Number < 1 || p.Epoch > furthest {
			continue
		}
		if page = append(page, e); len(page) == r.cfg.Batch {
			if err := r.foldPage(ctx, anchor, page, k, s); err != nil {
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
	return r.foldPage(ctx, anchor, page, k, s)
}

// foldPage takes in those events of the stream that are news. Up to the anchor
// that is only what the record has another event for: a store that went back
// together with the ledger may have gone on before the stream was heard.
func (r *Recovery) foldPage(ctx context.Context, anchor event.Position, page []event.Event, k *knowledge, s *seen) error {
	lines, err := r.lines(ctx, page)
	if err != nil {
		return err
	}
	for i, e := range page {
		known := !anchor.Before(e.Position) && (lines[i] == nil || !readable(e.Position, lines[i]))
		if !known && lines[i] != nil {
			if known, err = agree(e, lines[i]); err != nil {
				return err
			}
		}
		if !known {
			if known, err = r.owns(ctx, e); err != nil {
				return err
			}
		}
		s.epoch = max(s.epoch, e.Position.Epoch)
		if known {
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
	if err != nil || len(own) == 0 || own[0].Position != e.Position {
		return false, err
	}
	line, err := appender.Encode(own[0])
	if err != nil {
		return false, err
	}
	return agree(e, line)
}
