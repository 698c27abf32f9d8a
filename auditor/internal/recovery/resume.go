package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// told bounds the losses that are logged; the report names more.
const told = 100

// outcome is all that a recovery found and did.
type outcome struct {
	why    store.Suspension
	at     time.Time
	common event.Position
	seen   seen
	restored
}

// lost reports whether the store lacks anything, or may.
func (o *outcome) lost() bool { return o.why.Lost || o.seen.news > 0 || o.seen.cut != nil }

// sentence is what became of it, for a person.
func (o *outcome) sentence() string {
	if !o.lost() {
		return "nothing was lost: the store has all that is on record"
	}
	had := fmt.Sprintf("what is on record up to %s of %s", o.common, o.seen.to)
	if o.common == o.seen.to && o.seen.news > 0 {
		had = fmt.Sprintf("what is on record, up to %s, and not %d events of the stream", o.common, o.seen.news)
	}
	text := fmt.Sprintf("the store had %s: %d leases were brought back, %d prolonged, %d put into revoking; %d things are lost",
		had, o.effects[returned], o.effects[prolonged], o.effects[revoked], len(o.losses))
	if o.seen.cut != nil {
		text += ", and what only the stream has"
	}
	if o.why.Lost {
		text += "; commits that were answered are missing, and what neither ledger nor stream has of them is not known: " +
			"revocations that were answered in the last moments have to be made again"
	}
	return text
}

// resume ends the suspension.
func (r *Recovery) resume(ctx context.Context, o outcome) error {
	var epoch int64
	if o.lost() {
		epoch = o.seen.epoch + 1
	}
	w, err := r.write(ctx, &o, epoch)
	if err != nil {
		return err
	}
	err = r.within(ctx, func(ctx context.Context) error { return r.store.Resume(ctx, epoch, o.common, w) })
	if err != nil {
		// It may have happened.
		if _, suspended, asked := r.suspension(ctx); asked != nil || suspended {
			return fmt.Errorf("resume the store: %w", err)
		}
	}
	r.tell(&o, epoch)
	return nil
}

// write is what shares the commit.
func (r *Recovery) write(ctx context.Context, o *outcome, epoch int64) (w store.Write, err error) {
	if epoch > 0 {
		err = r.within(ctx, func(ctx context.Context) error {
			w, err = installation.Raising(ctx, r.store,
				fmt.Sprintf("epoch %d began with a recovery: the store had lost commits, and may not know every account", epoch))
			return err
		})
		if err != nil {
			return w, fmt.Errorf("raise doubt: %w", err)
		}
		report, err := installation.Reporting(o.report(epoch))
		if err != nil {
			return w, err
		}
		w.Puts = append(w.Puts, report)
	}
	suspended := note(event.StoreSuspended, fmt.Sprintf("since %s: %s", o.why.Since.UTC().Format(time.RFC3339), o.why.Reason))
	w.Events = append([]event.Event{suspended}, append(w.Events, note(event.StoreResumed, o.sentence()))...)
	return w, nil
}

func note(t event.Type, reason string) event.Event {
	return event.Event{Type: t, Subject: installation.Path, Data: event.Data{
		Actor: lease.System(Actor), Reason: reason, Path: installation.Path,
	}}
}

func (o *outcome) report(epoch int64) installation.Restored {
	r := installation.Restored{
		Epoch: epoch, Reason: o.sentence(), At: o.at, From: o.common.String(), To: o.seen.to.String(),
		Returned: o.effects[returned], Prolonged: o.effects[prolonged], Revoked: o.effects[revoked],
		Lost: o.losses[:min(len(o.losses), installation.Named)], LostCount: len(o.losses),
	}
	if o.seen.cut != nil {
		r.Unheard = o.seen.from
	}
	return r
}

// tell logs what became of it.
func (r *Recovery) tell(o *outcome, epoch int64) {
	for _, l := range o.losses[:min(len(o.losses), told)] {
		r.log.Warn().Str("kind", l.What).Str("id", l.ID).Str("detail", l.Detail).
			Str("account", l.Account).Str("target", l.Target).Msg("lost with the store's commits")
	}
	level := zerolog.InfoLevel
	if epoch > 0 {
		level = zerolog.WarnLevel
	}
	r.log.WithLevel(level).Int64("epoch", epoch).Int("lost", len(o.losses)).Str("reason", o.sentence()).
		Msg("the store was recovered and goes on")
}
