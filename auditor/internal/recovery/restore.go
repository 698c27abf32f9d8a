package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// effect is what restoring does to a lease. It is part of the change's key, so
// that a later try finds what an earlier one has done.
type effect string

const (
	none      effect = "seen" // no more than its version, if anything
	returned  effect = "returned"
	prolonged effect = "prolonged"
	revoked   effect = "revoked"
)

const keyPrefix = "recovery-"

// reason is that of each restored lease.
const reason = "the store had lost what is on record"

// restored is what came of restoring.
type restored struct {
	effects map[effect]int
	losses  []installation.Loss
}

// restoring is one pass over what is known.
type restoring struct {
	*Recovery
	now     time.Time
	origins map[string]origin // by target
	restored
}

// restore brings every lease up to what is known of it.
func (r *Recovery) restore(ctx context.Context, k *knowledge, now time.Time) (restored, error) {
	p := &restoring{Recovery: r, now: now, origins: map[string]origin{}, restored: restored{effects: map[effect]int{}}}
	for ids := range slices.Chunk(k.ids(), r.cfg.Batch) {
		var items []store.Transition
		for _, id := range ids {
			item, needed, err := p.prepare(ctx, k.leases[id])
			if err != nil {
				return p.restored, err
			}
			if needed {
				items = append(items, item)
			}
		}
		if err := p.apply(ctx, items); err != nil {
			return p.restored, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(k.losses)) {
		p.losses = append(p.losses, k.losses[key])
	}
	return p.restored, nil
}

// prepare makes the change of one lease; not needed where there is nothing to
// be done, or nothing can be.
func (p *restoring) prepare(ctx context.Context, h *history) (item store.Transition, needed bool, err error) {
	known := h.known(p.now)
	row, err := p.row(ctx, known.ID)
	if err != nil {
		return item, false, err
	}
	switch {
	case row.State == lease.Intent && known.State == lease.Intent:
		if known.Version <= row.Version {
			p.effects[earlier(&row)]++
			return item, false, nil
		}
		known.ConfirmBy = kept(&row) // the store knows better than the record
	case row.State == "":
		if h.untold && known.State.Final() {
			// It ended, and no record says so: it ends once more, on record.
			known.State = lease.Revoking
		}
		if fate, err := p.place(ctx, &known); err != nil || fate != "" {
			return item, false, err
		}
	}
	return transition(known, lease.AnyVersion, effectOn(&row, &known), reason), true, nil
}

// transition restores a lease that has a version to what is known of it.
func transition(known lease.Lease, version int64, does effect, why string) store.Transition {
	return store.Transition{Change: lease.Change{
		ID: known.ID, Version: version, Key: keyPrefix + string(does) + "-" + lease.RandomBase62(16),
		By: lease.System(Actor), Reason: why, Do: lease.Restore{Known: known},
	}}
}

// row is a lease as the store has it; the zero Lease where it has none.
func (r *Recovery) row(ctx context.Context, id lease.ID) (row lease.Lease, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		row, err = r.store.Get(ctx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return lease.Lease{}, nil
	}
	if err != nil {
		return row, fmt.Errorf("read a lease: %w", err)
	}
	return row, nil
}

// place completes a lease that the store does not have, or says why it is not
// made anew: it has ended, or it is lost.
func (p *restoring) place(ctx context.Context, l *lease.Lease) (fate string, err error) {
	over := !l.ExpiresAt.IsZero() && !p.now.Before(l.ExpiresAt)
	switch {
	case l.State.Final():
		return "ended", nil
	case l.Kind == lease.Token && l.State == lease.Revoking:
		return "", nil // what it had issued is taken away with it
	case l.Kind == lease.Token && over && l.Inside == "":
		return "ended", nil
	case l.Kind == lease.Token:
		p.losses = append(p.losses, installation.Loss{
			What: "token", ID: l.Account, Detail: "its holder has to get another", By: l.IssuedBy, At: l.IssuedAt,
		})
		if l.Inside == "" {
			return "lost", nil
		}
		l.State = lease.Revoking // nobody can open it any more: what is inside goes with it (A9)
		return "", nil
	}
	from, err := p.origin(ctx, l.Target)
	if err != nil {
		return "", err
	}
	if from == (origin{}) {
		p.losses = append(p.losses, installation.Loss{
			What: "lease", ID: string(l.ID), Detail: "the store does not have its connection",
			Account: l.Account, Target: l.Target, By: l.IssuedBy, At: l.IssuedAt,
		})
		return "lost", nil
	}
	l.MountID, l.Engine = from.mountID, from.engine
	return "", nil
}

// origin is what a lease has of its connection and is not on record.
type origin struct{ mountID, engine string }

// origin finds it in the configuration; the zero one where that is not there.
func (p *restoring) origin(ctx context.Context, target string) (o origin, err error) {
	if o, known := p.origins[target]; known {
		return o, nil
	}
	connection, err := p.entry(ctx, store.KindConnection, target)
	if err != nil {
		return o, err
	}
	mountID, _, _ := strings.Cut(connection.Key, "/")
	mount, err := p.entry(ctx, store.KindMount, mountID)
	if err != nil {
		return o, err
	}
	var settings struct {
		Type string `json:"type"`
	}
	// A mount of which nothing can be said is none.
	if json.Unmarshal(mount.Value, &settings) == nil && settings.Type != "" {
		o = origin{mountID: mountID, engine: settings.Type}
	}
	p.origins[target] = o
	return o, nil
}

// entry reads an incarnation; the zero Entry where there is none.
func (p *restoring) entry(ctx context.Context, kind store.Kind, id string) (e store.Entry, err error) {
	if id == "" {
		return e, nil
	}
	err = p.within(ctx, func(ctx context.Context) error {
		e, err = p.store.EntryByID(ctx, kind, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{}, nil
	}
	if err != nil {
		return e, fmt.Errorf("read configuration: %w", err)
	}
	return e, nil
}

// effectOn foretells what [lease.Restore] does to a row.
func effectOn(row, known *lease.Lease) effect {
	switch {
	case row.State == "" && known.State == lease.Revoking, row.State.Live() && !known.State.Live():
		return revoked
	case row.State == "", row.State == lease.Intent && known.State == lease.Active:
		return returned
	case row.State == lease.Active && known.State == lease.Active && outlives(known.ExpiresAt, row.ExpiresAt):
		return prolonged
	}
	return none
}

// outlives compares expiries; the zero time is never.
func outlives(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// apply commits the changes and counts what they did, or had done before.
func (p *restoring) apply(ctx context.Context, items []store.Transition) error {
	if len(items) == 0 {
		return nil
	}
	var outcomes []store.Outcome
	err := p.within(ctx, func(ctx context.Context) error {
		outcomes = p.store.Apply(ctx, items...)
		return nil
	})
	for i := range outcomes {
		switch o := &outcomes[i]; {
		case o.Err == nil:
			p.effects[effectOf(items[i].Change.Key)]++
		case errors.Is(o.Err, lease.ErrOver):
			p.effects[earlier(&o.Lease)]++
		default:
			err = errors.Join(err, fmt.Errorf("restore %s: %w", items[i].Change.ID, o.Err))
		}
	}
	return err
}

func effectOf(key string) effect {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, keyPrefix), "-")
	return effect(name)
}

// earlier is the effect of an earlier try on a row that has nothing to learn.
func earlier(row *lease.Lease) effect {
	switch {
	case strings.HasPrefix(row.LastKey, keyPrefix):
		return effectOf(row.LastKey)
	case row.Revocation.By == lease.System(Actor):
		return revoked // and worked on since
	}
	return none
}
