package appender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

var (
	// ErrMissing says that the store has not the next event.
	ErrMissing = errors.New("events are missing from the store")
	// ErrRewound says that the store has not what the ledger has (A7).
	ErrRewound = errors.New("the store was restored from a copy")

	// ErrBeyond says that the stream got more than the store has a number for: commits
	// are lost, whether or not anybody has them.
	ErrBeyond = errors.New("the stream goes beyond it")
	// errUnreadable says that the ledger's last entry is no event.
	errUnreadable = errors.New("the ledger's last entry cannot be read")
	// errUnheard says that the end of the stream is asked for again.
	errUnheard = errors.New("the stream does not say where it ends")
	// errSuspended says that this is known, and that it was not recovered yet.
	errSuspended = errors.New("the store is suspended")
)

// Store is what the appender needs of the store.
type Store interface {
	store.Outbox
	Suspension(ctx context.Context) (store.Suspension, bool, error)
	Compared(ctx context.Context, s store.Suspension) error
}

// Recoverer brings a store back that has lost commits (A7).
type Recoverer interface {
	// Recover suspends the store for the reason found, nil where it is
	// suspended already, and makes it have what the ledger has, or says why
	// not.
	Recover(ctx context.Context, found error) error
}

// Ledger is what the appender needs of the ledger.
type Ledger interface {
	Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error)
	Next(ctx context.Context, epoch int64) (int64, error)
	Epochs() ([]int64, error)
	Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error]
}

// Config tunes an [Appender]; the zero value works.
type Config struct {
	Consumer string        // name in the stream; "auditor"
	Batch    int           // events appended at once; 4096
	Wait     time.Duration // for the stream; a quarter of the time between looks at the store's head; 250 ms
	Confirm  time.Duration // between confirmations to the store; 200 ms
	Timeout  time.Duration // of each call to the store; 10 s
	// Pause is how long it pauses at most after it has appended, so that under
	// load fewer and larger pieces are made durable; 100 ms.
	Pause time.Duration
	// Tail is how long the end of the stream is asked for, once after each start of
	// the store's server: a cluster of brokers that was started with it takes
	// several seconds to have a leader. Expiry waits meanwhile; 15 s.
	Tail time.Duration
}

// patience is how much longer than Config.Wait the stream may take to answer:
// it may have to make its consumer anew.
const patience = time.Second

// Appender is a step.
type Appender struct {
	ledger   Ledger
	stream   bus.Stream
	store    Store
	recovery Recoverer
	clock    clock.Clock
	log      zerolog.Logger
	cfg      Config
	appended func(event.Position)
	pace     step.Pace

	consumer bus.Consumer
	heads    <-chan event.Position
	silent   bool // the stream does not answer, and that was logged

	placed      bool           // what follows was read from ledger and store since the last failure
	last        event.Position // last durable entry
	line        []byte         // its content
	confirmed   event.Position // as the store has it
	confirmedAt time.Time
	head        event.Position   // the store's, when it was asked
	looked      time.Time        // when that was
	started     store.Suspension // that the next comparison ends; the zero value: none
	asked       time.Time        // when the stream was first asked for its end, for that comparison
	beyond      event.Position   // end of the stream that was found beyond the store's head
	recovered   event.Position   // end of the stream after a recovery for it: it has no more to give
	known       event.Position   // latest event heard of, from whomever
}

// New returns an appender. appended is called with the position of the last
// durable entry, at start and when it moves; it must not block.
func New(
	l Ledger, s bus.Stream, o Store, r Recoverer, c clock.Clock, log zerolog.Logger, cfg Config, appended func(event.Position),
) *Appender {
	cfg.Consumer = cmp.Or(cfg.Consumer, "auditor")
	cfg.Batch = cmp.Or(cfg.Batch, 4096)
	cfg.Wait = cmp.Or(cfg.Wait, 250*time.Millisecond)
	cfg.Confirm = cmp.Or(cfg.Confirm, 200*time.Millisecond)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Pause = cmp.Or(cfg.Pause, 100*time.Millisecond)
	cfg.Tail = cmp.Or(cfg.Tail, 15*time.Second)
	return &Appender{
		ledger: l, stream: s, store: o, recovery: r, clock: c, log: log, cfg: cfg, appended: appended,
		pace: step.Pace{Factor: 4, Most: cfg.Pause},
	}
}

// Name implements [step.Step].
func (a *Appender) Name() string { return "appender" }

// Pause implements [step.Paced].
func (a *Appender) Pause() time.Duration { return a.pace.Pause() }

// Do implements [step.Step]: it waits for the stream to say something, and
// appends all that the store has.
func (a *Appender) Do(ctx context.Context) (time.Duration, error) {
	rest, err := a.round(ctx)
	if err != nil {
		a.placed = false // what failed may have been done
	}
	if errors.Is(err, errUnheard) {
		return a.cfg.Wait, nil // often enough for Config.Tail to be kept to
	}
	if err != nil {
		return a.cfg.Wait, a.recover(ctx, err)
	}
	return rest, nil
}

// Settle compares store and ledger, and recovers a store that has lost commits
// or is suspended (A7), without appending anything. It is not called while Do
// runs.
func (a *Appender) Settle(ctx context.Context) error {
	defer func() { a.placed = false }()
	a.placed = false
	err := a.place(ctx)
	if err == nil {
		return nil
	}
	if err := a.recover(ctx, err); err != nil {
		return err
	}
	// A recovery does not end the suspension by a start of the store's server: a
	// comparison does.
	a.placed = false
	return a.place(ctx)
}

// recover recovers the store where err is that it has to be; other errors are
// returned as they are.
func (a *Appender) recover(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrRewound):
		err = a.recovery.Recover(ctx, err)
		if err == nil {
			a.recovered = a.beyond
		}
		return err
	case errors.Is(err, errSuspended):
		return a.recovery.Recover(ctx, nil)
	}
	return err
}

func (a *Appender) round(ctx context.Context) (time.Duration, error) {
	if err := a.place(ctx); err != nil {
		return 0, err
	}
	a.pace.Worked(0)
	lost := a.listen(ctx)
	began := a.clock.Now()
	if lost || a.ahead(a.known) || a.ahead(a.confirmed) || a.clock.Now().Sub(a.looked) >= 4*a.cfg.Wait {
		if err := a.catchUp(ctx); err != nil {
			return 0, err
		}
	}
	if err := a.confirm(ctx); err != nil {
		return 0, err
	}
	a.pace.Worked(a.clock.Now().Sub(began))
	if lost { // do not spin while the broker is away
		return a.cfg.Wait, nil
	}
	return 0, nil
}

// ahead reports whether p is an event that the ledger does not have: not, where
// an epoch has none yet.
func (a *Appender) ahead(p event.Position) bool { return p.Number > 0 && a.last.Before(p) }

// Close confirms what was appended and ends following the stream. It may be
// called again.
func (a *Appender) Close(ctx context.Context) error {
	var err error
	if a.placed {
		a.confirmedAt = time.Time{}
		err = a.confirm(ctx)
	}
	return errors.Join(err, a.Leave())
}

// Leave ends following the stream, without a word to the store: another appends
// from now on. The next call of Do may have another context, and finds its place anew. It is
// not called while Do runs.
func (a *Appender) Leave() error {
	a.placed, a.heads = false, nil // heads end with the context
	if a.consumer == nil {
		return nil
	}
	c := a.consumer
	a.consumer = nil
	return c.Close()
}

// confirm tells the store what the ledger has, at most once a Config.Confirm,
// after comparing the last of it: then the store may delete it.
func (a *Appender) confirm(ctx context.Context) error {
	if !a.confirmed.Before(a.last) || a.clock.Now().Sub(a.confirmedAt) < a.cfg.Confirm {
		return nil
	}
	if _, err := a.read(ctx, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	if err := a.store.Confirm(ctx, publish.Ledger, a.last); err != nil {
		if errors.Is(err, store.ErrAhead) {
			err = errors.Join(ErrRewound, err)
		}
		return fmt.Errorf("confirm the ledger's position: %w", err)
	}
	a.confirmed, a.confirmedAt = a.last, a.clock.Now()
	return nil
}

var (
	_ step.Step  = (*Appender)(nil)
	_ step.Paced = (*Appender)(nil)
)
