package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

const (
	// batch bounds what is written at once, in events and in bytes.
	batch      = 1000
	batchBytes = 1 << 20
	// settleEvery is how often what was written is made durable and confirmed: so
	// much is written again after a crash.
	settleEvery = time.Second
	// idle is how often a device looks at its file while there is nothing to
	// write.
	idle = time.Second
	// minBackoff and maxBackoff bound the wait after a failure.
	minBackoff, maxBackoff = 100 * time.Millisecond, 2 * time.Second
	// hungAfter is when a call that has not returned is called a failure.
	hungAfter = 30 * time.Second
	// leaveAfter is how long a stop waits for one.
	leaveAfter = 2 * time.Second
	// confirmWithin bounds a call of the store.
	confirmWithin = 5 * time.Second
)

var (
	errDeleted = errors.New("the file was deleted; what was written to it since it was last looked at is written again")
	errHung    = errors.New("the file does not answer")
)

// confirmer keeps positions.
type confirmer interface {
	Confirm(ctx context.Context, consumer string, upTo event.Position) error
}

// feeder brings one device up to the ledger. All but its trouble belongs to the
// goroutine that runs it.
type feeder struct {
	id, key string
	options device.Options
	scribe  scribe
	ledger  catalog.Ledger
	store   confirmer
	open    func(device.Options) (outlet, error)
	clock   clock.Clock
	log     zerolog.Logger
	wake    step.Signal

	out       outlet         // nil: to be opened
	at        event.Position // written
	kept      event.Position // durable, in a file that has a name
	confirmed event.Position // known to the store
	settledAt time.Time
	reopened  int64 // of reopen, when the file was opened

	reopen atomic.Int64              // counts requests to open the file anew
	since  atomic.Pointer[time.Time] // a call of the file is under way; nil: none is

	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	last   atomic.Bool   // no more than what the ledger has now

	mu      sync.Mutex
	trouble string
	reached event.Position // at, for who looks
}

// run feeds until ctx ends.
func (f *feeder) run(ctx context.Context) {
	var delay time.Duration
	for {
		last := f.last.Load()
		err := f.feed(ctx)
		f.tell(err)
		if ctx.Err() != nil || last {
			break
		}
		wait, wake := idle, f.wake
		if err != nil {
			delay = min(max(2*delay, minBackoff), maxBackoff)
			wait, wake = step.Jitter(delay), nil // what fails would spin
		} else {
			delay = 0
		}
		timer, stop := f.clock.Timer(wait)
		select {
		case <-ctx.Done():
		case <-timer:
		case <-wake:
		}
		stop()
	}
	f.leave(context.WithoutCancel(ctx))
}

// leave settles what was written, and gives the file up.
func (f *feeder) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveAfter)
	defer cancel()
	if f.out == nil {
		return
	}
	if err := f.settle(ctx); err != nil && !errors.Is(err, errDeleted) {
		f.log.Warn().Err(err).Str("device", f.key).Msg("audit device: the last lines are written again")
	}
	f.drop(ctx)
}

// tell notes and logs what became of a run.
func (f *feeder) tell(err error) {
	text := ""
	if err != nil && !errors.Is(err, errDeleted) && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	f.mu.Lock()
	before := f.trouble
	f.trouble, f.reached = text, f.at
	f.mu.Unlock()
	switch {
	case errors.Is(err, errDeleted):
		f.log.Warn().Err(err).Str("device", f.key).Msg("audit device: its file is gone; making another")
	case text != "" && text != before:
		f.log.Error().Err(err).Str("device", f.key).Stringer("position", f.at).Msg("audit device: it does not write; trying again")
	case text == "" && before != "" && err == nil:
		f.log.Info().Str("device", f.key).Stringer("position", f.at).Msg("audit device: it writes again")
	}
}

// state is what others may know: why it does not write, and how far it is.
func (f *feeder) state() (trouble string, at event.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since := f.since.Load(); since != nil && f.clock.Now().Sub(*since) > hungAfter {
		return errHung.Error(), f.reached
	}
	return f.trouble, f.reached
}

// feed writes what the ledger has more, and settles from time to time.
func (f *feeder) feed(ctx context.Context) error {
	if f.out != nil && f.reopened != f.reopen.Load() {
		if err := f.settle(ctx); err != nil {
			return err
		}
		f.drop(ctx)
	}
	if err := f.hold(ctx); err != nil {
		return err
	}
	epochs, err := f.ledger.Epochs()
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	for _, epoch := range epochs {
		if epoch < f.at.Epoch {
			continue
		}
		if err := f.follow(ctx, epoch); err != nil {
			return err
		}
	}
	return f.settleSometimes(ctx)
}

// hold opens the file where that has to be done.
func (f *feeder) hold(ctx context.Context) error {
	if f.out != nil {
		return nil
	}
	asked := f.reopen.Load()
	late := later{open: f.open}
	if err := f.outside(ctx, func() error { return late.do(f.options) }); err != nil {
		late.abandon()
		return err
	}
	f.out, f.reopened = late.out, asked
	return nil
}

// later is a file that is being opened, and that is closed again where nobody
// waits for it any more.
type later struct {
	open func(device.Options) (outlet, error)

	mu        sync.Mutex
	out       outlet
	abandoned bool
}

func (l *later) do(o device.Options) error {
	out, err := l.open(o)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.abandoned {
		return out.Close()
	}
	l.out = out
	return nil
}

func (l *later) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abandoned = true
	if l.out != nil {
		_ = l.out.Close() // nothing was written to it
	}
}

// follow writes the lines of a segment.
func (f *feeder) follow(ctx context.Context, epoch int64) error {
	size, err := f.ledger.Size(epoch)
	if err != nil {
		return fmt.Errorf("read the size of segment %d: %w", epoch, err)
	}
	from := int64(1)
	if epoch == f.at.Epoch {
		from = f.at.Number + 1
		if size < f.at.Number {
			return fmt.Errorf("the ledger ends before event %s, which was written already: it was replaced", f.at)
		}
	}
	var p pages
	for entry, err := range f.ledger.Entries(ctx, epoch, from, size) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if err := p.add(catalog.Decode(epoch, entry), &f.scribe); err != nil {
			return err
		}
		if p.full() {
			if err := f.write(ctx, &p); err != nil {
				return err
			}
			if err := f.settleSometimes(ctx); err != nil {
				return err
			}
			p = pages{}
		}
	}
	return f.write(ctx, &p)
}

// write writes lines; of a write that was cut short it keeps the whole ones.
func (f *feeder) write(ctx context.Context, p *pages) error {
	if len(p.ends) == 0 {
		return nil
	}
	if err := f.hold(ctx); err != nil {
		return err
	}
	n, text, out := 0, p.text, f.out
	var err error
	if len(text) > 0 {
		err = f.outside(ctx, func() (err error) {
			n, err = out.Write(text)
			return err
		})
	}
	if errors.Is(err, errHung) {
		return err // n may still change
	}
	if at, some := p.reached(n); some {
		f.at = at
	}
	if err != nil {
		// The whole lines are settled while the file is at hand: until it is opened
		// again it may be deleted or renamed, and what they were is not known then.
		if settled := f.settle(ctx); settled != nil && !errors.Is(settled, errDeleted) {
			err = errors.Join(err, settled)
		}
		f.drop(ctx)
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// settleSometimes is settle, not more often than need be; but the file is looked
// at.
func (f *feeder) settleSometimes(ctx context.Context) error {
	if f.clock.Now().Sub(f.settledAt) < settleEvery {
		return nil
	}
	return f.settle(ctx)
}

// settle makes durable what was written, looks whether the file still has a
// name, and tells the store how far the device is. The position moves after all
// of that: what is told can be found.
func (f *feeder) settle(ctx context.Context) error {
	f.settledAt = f.clock.Now()
	if f.out == nil {
		return f.confirm(ctx)
	}
	where, out, dirty := inPlace, f.out, f.kept != f.at
	err := f.outside(ctx, func() (err error) {
		if dirty {
			if err := out.Sync(); err != nil {
				return fmt.Errorf("make the lines durable: %w", err)
			}
		}
		if where, err = out.Look(); err != nil {
			return fmt.Errorf("look at the file: %w", err)
		}
		return nil
	})
	switch {
	case errors.Is(err, errHung):
		return err
	case err != nil: // what the file has is not known: a failed sync is not repeated
		f.at = f.kept
		f.drop(ctx)
		return err
	case where == deleted:
		lost := dirty
		f.at = f.kept
		f.drop(ctx)
		if lost {
			return errDeleted
		}
		return nil
	case where == moved:
		f.drop(ctx)
	}
	f.kept = f.at
	return f.confirm(ctx)
}

// confirm tells the store.
func (f *feeder) confirm(ctx context.Context) error {
	if f.confirmed == f.kept {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	if err := f.store.Confirm(ctx, device.Consumer(f.id), f.kept); err != nil {
		return fmt.Errorf("keep the position: %w", err)
	}
	f.confirmed = f.kept
	return nil
}

// drop closes the file; the next use opens it.
func (f *feeder) drop(ctx context.Context) {
	out := f.out
	if out == nil {
		return
	}
	f.out = nil
	if err := f.outside(ctx, out.Close); err != nil {
		f.log.Warn().Err(err).Str("device", f.key).Msg("audit device: close its file")
	}
}

// outside calls the file system, which may hang. A stop waits for a moment and
// then leaves the call and the file to themselves: nobody may have to wait for
// the disk of a device. What do sets may be read unless it returns [errHung].
func (f *feeder) outside(ctx context.Context, do func() error) error {
	now := f.clock.Now()
	f.since.Store(&now)
	err := outside(ctx, f.clock, leaveAfter, do)
	if errors.Is(err, errHung) {
		f.out = nil
		return err
	}
	f.since.Store(nil)
	return err
}

// outside calls do and, once ctx has ended, waits for it no longer than patience.
func outside(ctx context.Context, c clock.Clock, patience time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }() // it outlives its caller where the disk hangs
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late, stop := c.Timer(patience)
	defer stop()
	select {
	case err := <-done:
		return err
	case <-late:
		return errHung
	}
}

// pages are lines that are to be written at once.
type pages struct {
	text []byte
	ends []end
}

// end is where the lines of an event end.
type end struct {
	after int
	at    event.Position
}

func (p *pages) add(e event.Event, s *scribe) error {
	text, err := s.lines(e)
	if err != nil {
		return err
	}
	p.text = append(p.text, text...)
	p.ends = append(p.ends, end{len(p.text), e.Position})
	return nil
}

func (p *pages) full() bool { return len(p.ends) >= batch || len(p.text) >= batchBytes }

// reached is the last event whose lines are among the first n bytes.
func (p *pages) reached(n int) (at event.Position, some bool) {
	for _, e := range p.ends {
		if e.after > n {
			break
		}
		at, some = e.at, true
	}
	return at, some
}
