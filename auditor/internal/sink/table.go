package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Actor is who answers for the devices, in events.
const Actor = "system:audit"

const (
	// lookEvery is how often the devices are looked at: who enables one waits.
	lookEvery = 250 * time.Millisecond
	// openWithin bounds the opening of the file of a new device.
	openWithin = 4 * time.Second
	// storeWithin bounds what a look asks of the store.
	storeWithin = 5 * time.Second
	// reportEvery bounds how often the trouble of a device is put on record, and
	// reportAfter is how long it lasts before: while one auditor takes over from
	// another, the file may be locked for a moment.
	reportEvery = 10 * time.Second
	reportAfter = 2 * time.Second
	// drainWithin is how long a device that was disabled is waited for.
	drainWithin = 2 * time.Second
	// forgetAfter is when a refused device is deleted that nobody has fetched.
	forgetAfter = time.Minute
	// most bounds a reason.
	most = 512
)

// Store is what devices need of the store.
type Store interface {
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
	Confirm(ctx context.Context, consumer string, upTo event.Position) error
	Confirmed(ctx context.Context, consumer string) (event.Position, error)
	Now(ctx context.Context) (time.Time, error)
}

// Opener opens what was sealed.
type Opener interface {
	Open(ciphertext []byte, context string) ([]byte, error)
}

// Table is the step that keeps the devices of an installation writing. Only the
// auditor that appends runs it.
type Table struct {
	ledger catalog.Ledger
	store  Store
	seal   Opener
	clock  clock.Clock
	log    zerolog.Logger
	open   func(device.Options) (outlet, error)

	reportEvery, reportAfter time.Duration

	failing  string               // why the last look failed, as it was logged
	reported map[string]time.Time // when the trouble of a device was put on record
	troubled map[string]time.Time // since when it has one that is not

	mu      sync.Mutex
	running map[string]*feeder // by id of the entry
}

// New returns the devices of a ledger.
func New(l catalog.Ledger, s Store, seal Opener, c clock.Clock, log zerolog.Logger, places Places) *Table {
	return &Table{
		ledger: l, store: s, seal: seal, clock: c, log: log, open: places.open, reportEvery: reportEvery, reportAfter: reportAfter,
		reported: map[string]time.Time{}, troubled: map[string]time.Time{}, running: map[string]*feeder{},
	}
}

// Status is what a device does.
type Status struct {
	Path    string // with trailing slash
	Trouble string // why it does not write; empty: it does
	Behind  int64  // events that the ledger has and it has not
}

// Status is that of every device that this auditor writes.
func (t *Table) Status() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Status
	for _, f := range t.running {
		trouble, at := f.state()
		all = append(all, Status{Path: f.key, Trouble: trouble, Behind: t.behind(at)})
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// behind is how many events the ledger has after a position, as far as it can be
// read.
func (t *Table) behind(at event.Position) (n int64) {
	epochs, _ := t.ledger.Epochs() // what cannot be read is somebody else's to report
	for _, epoch := range epochs {
		if size, err := t.ledger.Size(epoch); err == nil && epoch >= at.Epoch {
			n += size
		}
	}
	return max(0, n-at.Number)
}

// Grown says that the ledger has grown.
func (t *Table) Grown() { t.each(func(f *feeder) { f.wake.Set() }) }

// Reopen has every device open its file anew, for who rotates them.
func (t *Table) Reopen() {
	t.each(func(f *feeder) {
		f.reopen.Add(1)
		f.wake.Set()
	})
}

func (t *Table) each(do func(*feeder)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.running {
		do(f)
	}
}

// Name implements [step.Step].
func (t *Table) Name() string { return "audit devices" }

// Do implements [step.Step]: it works until ctx ends, with a goroutine a device,
// and has ended them all when it returns. What fails is tried again here: an
// error of the store ends no device.
func (t *Table) Do(ctx context.Context) (time.Duration, error) {
	defer t.stopAll()
	for ctx.Err() == nil {
		t.tell(ctx, t.look(ctx))
		timer, stop := t.clock.Timer(lookEvery)
		select {
		case <-ctx.Done():
		case <-timer:
		}
		stop()
	}
	return 0, ctx.Err()
}

// tell logs what a look came to, once.
func (t *Table) tell(ctx context.Context, err error) {
	text := ""
	if err != nil && ctx.Err() == nil {
		text = err.Error()
	}
	if text != "" && text != t.failing {
		t.log.Warn().Err(err).Msg("audit devices: they are not looked after; trying again")
	}
	t.failing = text
}

// look brings the devices that run to what the store says.
func (t *Table) look(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	entries, err := t.store.List(bounded, store.KindAudit, "", "", false, 2*device.Most)
	if err != nil {
		return fmt.Errorf("list audit devices: %w", err)
	}
	var errs error
	enabled := map[string]bool{}
	for _, e := range entries {
		d, err := device.Decode(e)
		enabled[e.ID] = err != nil || d.State != device.Refused
		if err == nil {
			err = t.see(ctx, e, d)
		}
		errs = errors.Join(errs, err)
	}
	t.each(func(f *feeder) {
		if !enabled[f.id] {
			f.last.Store(true)
			f.wake.Set()
		}
	})
	t.forget(ctx, enabled)
	return errs
}

// see does what the state of a device asks for.
func (t *Table) see(ctx context.Context, e store.Entry, d device.Device) error {
	switch d.State {
	case device.Enabling:
		return t.answer(ctx, e, d)
	case device.Active:
		if err := t.start(ctx, e, d, nil); err != nil {
			return err
		}
		return t.report(ctx, e, d)
	case device.Refused:
		now, err := t.store.Now(ctx)
		if err == nil && now.After(d.Until.Add(forgetAfter)) {
			_, err = t.store.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}})
		}
		return err
	}
	return fmt.Errorf("audit device %s has the unknown state %q", e.Key, d.State)
}

// answer opens the file of a new device, and tells who waits for it.
func (t *Table) answer(ctx context.Context, e store.Entry, d device.Device) error {
	now, err := t.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the store's clock: %w", err)
	}
	out, err := t.opened(ctx, e, d, now)
	reason := "audit device opened its file"
	if err != nil {
		d.State, d.Reason = device.Refused, bounded(err.Error())
		reason = "audit device refused: " + d.Reason
	} else {
		d.State = device.Active
		// What is committed after this has a higher number.
		if d.After, err = t.end(); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	if err := t.put(ctx, e, d, reason); err != nil {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
		if errors.Is(err, store.ErrRevision) {
			return nil // nobody waits any more
		}
		return err
	}
	if out == nil {
		return nil
	}
	e.Revision++
	return t.start(ctx, e, d, out)
}

// opened is the file of a new device.
func (t *Table) opened(ctx context.Context, e store.Entry, d device.Device, now time.Time) (out outlet, err error) {
	if now.After(d.Until) {
		return nil, errors.New("no auditor opened the file in time")
	}
	if _, err := t.hasher(e, d); err != nil {
		return nil, err
	}
	o, err := device.ParseOptions(d.Options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	late := later{open: t.open}
	if err := outside(ctx, t.clock, 0, func() error { return late.do(o) }); err != nil {
		late.abandon()
		if errors.Is(err, errHung) {
			err = fmt.Errorf("unable to open %q for writing: it did not answer within %s", o.Path, openWithin)
		}
		return nil, err
	}
	return late.out, nil
}

func (t *Table) hasher(e store.Entry, d device.Device) (h device.Hasher, err error) {
	key, err := t.seal.Open(d.Key, device.Sealing(e.ID))
	if err != nil {
		return h, fmt.Errorf("open the key of audit device %s: %w", e.Key, err)
	}
	return device.NewHasher(key), nil
}

// end is the ledger's last entry.
func (t *Table) end() (at event.Position, err error) {
	epochs, err := t.ledger.Epochs()
	if err != nil {
		return at, err
	}
	for _, epoch := range slices.Backward(epochs) {
		if size, err := t.ledger.Size(epoch); err != nil || size > 0 {
			return event.Position{Epoch: epoch, Number: size}, err
		}
	}
	return at, nil
}

// put commits a change of a device with its event.
func (t *Table) put(ctx context.Context, e store.Entry, d device.Device, reason string) error {
	e, err := device.Put(e, d)
	if err != nil {
		return err
	}
	_, err = t.store.Write(ctx, store.Write{Puts: []store.Entry{e}, Events: []event.Event{{
		Type: event.ConfigChanged, Subject: device.Subject(e.Key),
		Data: event.Data{Actor: lease.System(Actor), Reason: reason, Operation: "write", Path: strings.TrimSuffix(device.Subject(e.Key), "/")},
	}}})
	if err != nil {
		return fmt.Errorf("change audit device %s: %w", e.Key, err)
	}
	return nil
}

// start runs a device that does not run.
func (t *Table) start(ctx context.Context, e store.Entry, d device.Device, out outlet) error {
	if t.runs(e.ID) {
		return nil
	}
	f, err := t.feeder(ctx, e, d)
	if err != nil {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
		return err
	}
	f.out = out
	t.log.Info().Str("device", e.Key).Stringer("position", f.at).Msg("audit device: writing")
	ctx, f.cancel = context.WithCancel(ctx)
	t.mu.Lock()
	t.running[e.ID] = f
	t.mu.Unlock()
	go func() { // stopAll and forget wait for it
		defer close(f.done)
		f.run(ctx)
	}()
	return nil
}

func (t *Table) runs(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running[id] != nil
}

func (t *Table) feeder(ctx context.Context, e store.Entry, d device.Device) (*feeder, error) {
	h, err := t.hasher(e, d)
	if err != nil {
		return nil, err
	}
	o, err := device.ParseOptions(d.Options)
	if err != nil {
		return nil, fmt.Errorf("options of audit device %s: %w", e.Key, err)
	}
	at, err := t.store.Confirmed(ctx, device.Consumer(e.ID))
	if err != nil {
		return nil, fmt.Errorf("position of audit device %s: %w", e.Key, err)
	}
	if at.Before(d.After) {
		at = d.After
	}
	return &feeder{
		id: e.ID, key: e.Key, options: o, scribe: scribe{hash: h.Hash, plainAccessors: o.PlainAccessor},
		ledger: t.ledger, store: t.store, open: t.open, clock: t.clock, log: t.log, wake: step.NewSignal(),
		at: at, kept: at, confirmed: at, reached: at, done: make(chan struct{}),
	}, nil
}

// report puts a change of a device's trouble on record.
func (t *Table) report(ctx context.Context, e store.Entry, d device.Device) error {
	t.mu.Lock()
	f := t.running[e.ID]
	t.mu.Unlock()
	if f == nil {
		return nil
	}
	trouble, _ := f.state()
	trouble = bounded(trouble)
	if !t.worthTelling(e.ID, trouble, d.Trouble) {
		return nil
	}
	at, err := t.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the store's clock: %w", err)
	}
	reason := "audit device writes again"
	if d.Trouble = trouble; trouble != "" {
		d.Since = at
		reason = "audit device does not write: " + trouble
	} else {
		d.Since = time.Time{}
	}
	if err := t.put(ctx, e, d, reason); err != nil && !errors.Is(err, store.ErrRevision) {
		return err
	}
	t.reported[e.ID] = t.clock.Now()
	return nil
}

// worthTelling reports whether the trouble of a device is to be put on record,
// where another is, or none.
func (t *Table) worthTelling(id, trouble, told string) bool {
	now := t.clock.Now()
	if trouble == "" || trouble == told {
		delete(t.troubled, id)
	} else if _, known := t.troubled[id]; !known {
		t.troubled[id] = now
	}
	lasts := trouble == "" || now.Sub(t.troubled[id]) >= t.reportAfter
	return trouble != told && lasts && now.Sub(t.reported[id]) >= t.reportEvery
}

// forget ends the devices that are not enabled any more, once they have written
// what the ledger had.
func (t *Table) forget(ctx context.Context, enabled map[string]bool) {
	t.mu.Lock()
	var over []*feeder
	for id, f := range t.running {
		if !enabled[id] {
			over = append(over, f)
			delete(t.running, id)
			delete(t.reported, id)
			delete(t.troubled, id)
		}
	}
	t.mu.Unlock()
	for _, f := range over {
		late, stop := t.clock.Timer(drainWithin)
		select {
		case <-f.done:
		case <-late:
		case <-ctx.Done():
		}
		stop()
		f.cancel()
		<-f.done
		t.log.Info().Str("device", f.key).Msg("audit device: disabled")
	}
}

func (t *Table) stopAll() {
	t.mu.Lock()
	all := t.running
	t.running = map[string]*feeder{}
	t.mu.Unlock()
	for _, f := range all {
		f.cancel()
	}
	for _, f := range all {
		<-f.done
	}
}

// bounded is a reason that fits an event.
func bounded(text string) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

var _ step.Step = (*Table)(nil)
