package fsck

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Compared is an index that can be compared.
type Compared interface {
	expiry.Index
	expiry.Comparer
	expiry.Lister
}

// IndexView compares an index in reach with the store: what falls due within a
// window, as the revokers do (D2). It changes neither.
type IndexView struct {
	Local *Local
	Index Compared
	// Window is how far ahead is compared; 1 min.
	Window time.Duration
}

const (
	indexPage  = 1000
	indexPages = 20 // that are compared in each direction
)

// Drift implements [Index].
func (v *IndexView) Drift(ctx context.Context) (d Drift, err error) {
	window := v.Window
	if window <= 0 {
		window = time.Minute
	}
	now, err := v.Local.store.Now(ctx)
	if err != nil {
		return d, err
	}
	if _, err := v.Index.Len(ctx); err != nil {
		return Drift{Down: err.Error()}, nil //nolint:nilerr // that it is down is the answer
	}
	if err := v.missing(ctx, now, now.Add(window), &d); err != nil {
		return d, err
	}
	return d, v.extra(ctx, now.Add(window), &d)
}

// missing is what the store has due and the index lacks. Intents it need not
// have: no event tells when they fall due.
func (v *IndexView) missing(ctx context.Context, now, until time.Time, d *Drift) error {
	cursor := store.Cursor{At: now}
	for range indexPages {
		due, err := v.Local.store.Due(ctx, until, cursor, indexPage)
		if err != nil || len(due) == 0 {
			return err
		}
		members := make([]expiry.Member, len(due))
		for i, one := range due {
			members[i] = expiry.Member{ID: one.ID, Target: one.Target, At: one.At}
		}
		lacks, err := v.Index.Missing(ctx, members...)
		if err != nil {
			return err
		}
		for _, m := range lacks {
			r, found, err := v.Local.Lease(ctx, m.ID)
			if err != nil {
				return err
			}
			if found && r.State != lease.Intent && r.NextAt.Equal(m.At) {
				d.Missing = append(d.Missing, r)
			}
		}
		d.Compared += len(due)
		if len(due) < indexPage {
			return nil
		}
		last := due[len(due)-1]
		cursor = store.Cursor{At: last.At, ID: last.ID}
	}
	return nil
}

// extra is what the index has due and the store has not.
func (v *IndexView) extra(ctx context.Context, until time.Time, d *Drift) error {
	targets, err := v.Index.Upcoming(ctx, until)
	if err != nil {
		return err
	}
	for _, t := range targets {
		for page := range indexPages {
			waiting, err := v.Index.Waiting(ctx, t.Target, until, page*indexPage, indexPage)
			if err != nil {
				return err
			}
			for _, m := range waiting {
				r, found, err := v.Local.Lease(ctx, m.ID)
				if err != nil {
					return err
				}
				if !found || r.State.Final() {
					d.Extra = append(d.Extra, Member{ID: m.ID, At: m.At})
				}
			}
			if len(waiting) < indexPage {
				break
			}
		}
	}
	return nil
}

var _ Index = (*IndexView)(nil)
