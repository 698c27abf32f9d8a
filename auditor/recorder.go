package auditor

import (
	"context"
	"errors"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

// Entry is one entry of a ledger: event Number of its epoch.
type Entry = ledger.Entry

// GapError is the error of an append whose first entry is not the next (D5).
type GapError = ledger.GapError

// What a ledger says of its lock.
var (
	ErrLocked = ledger.ErrLocked // another has it
	ErrFenced = ledger.ErrFenced // it was lost
)

// Segments are a ledger for readers: the entries of each epoch, from 1.
type Segments = record

// Appending is a ledger that is held for appending: Append writes the entries of
// an epoch from first on, which must be the next, and returns the last that is
// durable, also beside an error; Next is the number of the next.
type Appending = opened

// Recorder is the part of an auditor that writes the record, over a ledger that
// is not in a directory: election, appender and recovery, without what people
// read. The simulation of the whole system drives it.
type Recorder struct {
	ledger   *keeper
	appender *appender.Appender
	election *election
	runner   *step.Runner
}

// NewRecorder returns the recorder called name of a ledger; Deps.Locks is
// needed. open takes the ledger's lock; it is called anew after each loss of it.
func NewRecorder(d Deps, name string, l Segments, open func(context.Context) (Appending, error)) (*Recorder, error) {
	if d.Locks == nil {
		return nil, errors.New("make recorder: locks are needed")
	}
	held := newKeeper(l, d.Clock, open)
	r := &Recorder{ledger: held, election: newElection(d, name, held), appender: newAppender(d, held, func(event.Position) {})}
	r.runner = step.New(d.Clock, d.Log, paced(), r.election, r.election.leading(r.appender, held, r.appender))
	return r, nil
}

// Run works until ctx ends, then confirms what it has, and lets another lead.
func (r *Recorder) Run(ctx context.Context) error {
	err := r.runner.Run(ctx)
	return errors.Join(err, closeAll(context.WithoutCancel(ctx), r.appender, r.ledger, r.election))
}

// newAppender returns the appender of a ledger, with the recovery of its store.
func newAppender(d Deps, l *keeper, grown func(event.Position)) *appender.Appender {
	restorer := recovery.New(l, d.Stream, d.Store, d.Log, recovery.Config{})
	return appender.New(l, d.Stream, d.Store, restorer, d.Clock, d.Log, appender.Config{}, grown)
}

// closeAll confirms, releases the ledger, and lets another auditor lead, in this
// order. e is nil where there was no election.
func closeAll(ctx context.Context, a *appender.Appender, l *keeper, e *election) error {
	bounded, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	err := errors.Join(a.Close(bounded), l.Close(ctx))
	if e == nil {
		return err
	}
	bounded, cancel = context.WithTimeout(ctx, stopWithin)
	defer cancel()
	return errors.Join(err, e.resign(bounded))
}
