package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Difference is what a look at index and store found.
type Difference struct {
	// Known: both answered. If not, nothing else is said.
	Known bool
	// Missing is how many leases that fall due within the window the index did
	// not have at two looks in a row. They have been offered again.
	Missing int
	// Compared is how many leases the look covered: the earliest ones.
	Compared int
	// Members of the whole index, due and in flight, as counted last.
	Members int
}

// Compared is an index that can be compared.
type Compared interface {
	expiry.Index
	expiry.Comparer
}

// Drift compares what the store has due within the window with the index, and
// offers again what it lacks (D2). Each look reads one page; every few seconds,
// or where something is missing, as many pages as a run may.
type Drift struct {
	store    store.Leases
	index    Compared
	time     *store.Estimate
	feed     *Feeder
	upcoming *Upcoming
	report   func(Difference)
	cfg      Config

	suspects map[lease.ID]time.Time // missing at the last look, for that time
	last     Difference
	whole    time.Time // by the store's clock: the next look at all pages
}

const (
	// wholeEvery is how often all pages are looked at.
	wholeEvery = 5 * time.Second
	// few are read from the store before they count as missing.
	few = 64
)

// NewDrift returns the step; report is called after each look.
func NewDrift(s store.Leases, x Compared, t *store.Estimate, f *Feeder, u *Upcoming, report func(Difference), cfg Config) *Drift {
	return &Drift{store: s, index: x, time: t, feed: f, upcoming: u, report: report, cfg: cfg.withDefaults()}
}

// Name implements [step.Step].
func (d *Drift) Name() string { return "drift" }

// Do implements [step.Step].
func (d *Drift) Do(ctx context.Context) (time.Duration, error) {
	found, err := d.compare(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.report(Difference{})
		}
		return 0, err
	}
	d.last = found
	d.report(found)
	if len(d.suspects) > 0 && found.Missing == 0 {
		return d.cfg.Every / 4, nil // are they under way?
	}
	return d.cfg.Every, nil
}

func (d *Drift) compare(ctx context.Context) (Difference, error) {
	now, err := d.time.Now(ctx)
	if err != nil {
		return Difference{}, err
	}
	found := Difference{Known: true, Members: d.last.Members}
	// The clock may have gone back.
	whole := d.last.Missing+len(d.suspects) > 0 || !now.Before(d.whole) || d.whole.Sub(now) > wholeEvery
	if whole {
		if found.Members, err = d.index.Len(ctx); err != nil {
			return Difference{}, fmt.Errorf("count the members of the index: %w", err)
		}
		d.whole = now.Add(wholeEvery)
	}
	missing, compared, more, err := d.look(ctx, now, whole)
	if err != nil {
		return Difference{}, err
	}
	var again []expiry.Member
	suspects := make(map[lease.ID]time.Time, len(missing))
	for _, m := range missing {
		if at, ok := d.suspects[m.ID]; ok && at.Equal(m.At) {
			again = append(again, m)
		}
		suspects[m.ID] = m.At
	}
	d.suspects = suspects
	if again, err = d.settled(ctx, again); err != nil {
		return Difference{}, err
	}
	found.Missing, found.Compared = len(again), compared
	if more && 2*len(again) > compared { // it was emptied, and there is more
		d.upcoming.Restart()
	}
	return found, d.feed.offer(ctx, again)
}

// look asks the index for what falls due within the window, earliest first;
// more: there is more than it looked at.
func (d *Drift) look(ctx context.Context, now time.Time, whole bool) (missing []expiry.Member, compared int, more bool, err error) {
	cursor, until := store.Cursor{At: now}, now.Add(d.cfg.Window)
	for page := 0; page < d.cfg.Pages && (page == 0 || whole || len(missing) > 0); page++ {
		due, err := d.store.Due(ctx, until, cursor, d.cfg.Page)
		if err != nil {
			return nil, 0, false, fmt.Errorf("read leases to compare: %w", err)
		}
		if len(due) == 0 {
			return missing, compared, false, nil
		}
		members := make([]expiry.Member, len(due))
		for i, one := range due {
			members[i] = member(one)
		}
		lacks, err := d.index.Missing(ctx, members...)
		if err != nil {
			return nil, 0, false, fmt.Errorf("compare leases with the index: %w", err)
		}
		missing, compared = append(missing, lacks...), compared+len(due)
		if len(due) < d.cfg.Page {
			return missing, compared, false, nil
		}
		last := due[len(due)-1]
		cursor = store.Cursor{At: last.At, ID: last.ID}
	}
	return missing, compared, true, nil
}

// settled leaves out what the index need not have: intents, and what changed
// since it was looked at. A few are read to find out; of many, most are lost.
func (d *Drift) settled(ctx context.Context, members []expiry.Member) ([]expiry.Member, error) {
	if len(members) > few {
		return members, nil
	}
	var out []expiry.Member
	for _, m := range members {
		l, err := d.store.Get(ctx, m.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("read a lease that the index lacks: %w", err)
		case l.State != lease.Intent && l.DueAt().Equal(m.At):
			out = append(out, m)
		}
	}
	return out, nil
}
