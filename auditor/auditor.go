package auditor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/api"
	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/auditor/internal/sink"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// ledgerDir is the ledger's below Config.Dir.
const ledgerDir = "ledger"

// stopWithin bounds each of the last two words to the store. Without them the
// next auditor confirms, and waits for the lock to lapse; the ledger has a bound
// of its own.
const stopWithin = 2 * time.Second

const (
	// settleWithin bounds a start that has to compare store and record.
	settleWithin = 30 * time.Second
	settleTries  = 3
	settlePause  = 500 * time.Millisecond
)

// Store is what the auditor needs of the store: the events, and whatever has to
// be put right in one that has lost commits (A7).
type Store interface {
	store.Leases
	store.Entries
	store.Outbox
	store.Recovery
	store.Time
}

// Deps are the collaborators; all are needed. A stream that is not there is
// [bus.Nop].
type Deps struct {
	Stream bus.Stream
	Store  Store
	// Locks, where several auditors share a ledger, elect the one that appends;
	// nil: this one has the ledger for itself, or does not start.
	Locks store.Locks
	// Seal opens the keys of audit devices; nil: this auditor has none.
	Seal  Opener
	Clock clock.Clock
	Log   zerolog.Logger
}

// Opener opens what was sealed for a context.
type Opener = sink.Opener

// DeviceStatus is what an audit device does.
type DeviceStatus = sink.Status

// Config says where the ledger is. Dir and Installation are needed.
type Config struct {
	Dir          string // of the catalogue, which is the auditor's own
	LedgerDir    string // of the ledger, which auditors share; <Dir>/ledger
	Installation string // id, [a-z0-9-]
	Name         string // of the process, for people who look at the lock
	// DeviceDirs are the directories, by absolute paths, below which files of audit
	// devices may be; none: there can be no device. NoDevice are what the program
	// keeps there for itself; Dir and LedgerDir are always among them.
	DeviceDirs, NoDevice []string
}

// Auditor is the role. Make it with [New], run it with [Auditor.Run].
type Auditor struct {
	ledger   *keeper
	catalog  *catalog.Catalog
	appender *appender.Appender
	devices  *sink.Table // nil: none
	election *election   // nil: alone
	clock    clock.Clock
	log      zerolog.Logger
	runner   *step.Runner
	handler  *api.Handler
}

// New opens the ledger, taking its lock, and fails while another process has
// it; with Deps.Locks it only reads until it is elected. What is on record can be
// read at once; nothing runs yet. Run closes what New opened: if Run is never
// called, call [Auditor.Close].
func New(ctx context.Context, d Deps, cfg Config) (*Auditor, error) {
	dir := cmp.Or(cfg.LedgerDir, filepath.Join(cfg.Dir, ledgerDir))
	reader := ledger.NewReader(dir)
	held := newKeeper(reader, d.Clock, func(ctx context.Context) (opened, error) {
		return ledger.Open(ctx, ledger.Config{Dir: dir, Installation: cfg.Installation, Log: d.Log})
	})
	var elected *election
	if d.Locks != nil {
		elected = newElection(d, cfg.Name, held)
	} else if err := held.hold(ctx); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the directory of the catalogue: %w", err), held.Close(ctx))
	}
	c, err := catalog.Open(ctx, cfg.Dir)
	if err != nil {
		return nil, errors.Join(err, held.Close(ctx))
	}
	last, err := end(reader)
	if err != nil {
		return nil, errors.Join(err, c.Close(), held.Close(ctx))
	}
	handler := api.New(reader, c, d.Clock, d.Log, api.Config{})
	handler.Grown(last)
	follower := catalog.NewFollower(reader, c, d.Log)
	var devices *sink.Table
	if d.Seal != nil {
		devices = sink.New(reader, d.Store, d.Seal, d.Clock, d.Log,
			sink.Places{Below: cfg.DeviceDirs, Except: append(slices.Clone(cfg.NoDevice), cfg.Dir, dir)})
	}
	grown := func(p event.Position) {
		handler.Grown(p)
		follower.Notify()
		if devices != nil {
			devices.Grown()
		}
	}
	a := &Auditor{devices: devices, ledger: held, catalog: c, election: elected, clock: d.Clock, log: d.Log, handler: handler}
	a.appender = newAppender(d, held, grown)
	leading := []step.Step{a.appender} // what one auditor does
	if devices != nil {
		leading = append(leading, devices)
	}
	steps := append(slices.Clone(leading), follower)
	if elected != nil {
		steps = []step.Step{
			elected,
			elected.leading(a.appender, held, leading...),
			&lookout{end: func() (event.Position, error) { return end(reader) }, grown: func(p event.Position) {
				handler.Reached(p)
				follower.Notify()
			}},
			follower,
		}
	}
	a.runner = step.New(d.Clock, d.Log, paced(), steps...)
	return a, nil
}

// paced is how failures are tried again: what comes back is to be on record
// soon.
func paced() step.Config { return step.Config{MaxBackoff: 2 * time.Second} }

// Appends reports whether this auditor is the one that appends; alone, it is.
func (a *Auditor) Appends() bool { return a.election == nil || a.election.current() != nil }

// Devices is what the audit devices do that this auditor writes: all of them, or
// none where it stands by.
func (a *Auditor) Devices() []DeviceStatus {
	if a.devices == nil {
		return nil
	}
	return a.devices.Status()
}

// Reopen has audit devices open their files anew, for who rotates them.
func (a *Auditor) Reopen() {
	if a.devices != nil {
		a.devices.Reopen()
	}
}

// end is the ledger's last entry as readers see it.
func end(r *ledger.Reader) (event.Position, error) {
	epochs, err := r.Epochs()
	if err != nil {
		return event.Position{}, err
	}
	for _, epoch := range slices.Backward(epochs) {
		// A damaged segment is for the appender to report: it does not keep
		// the rest from being read.
		if size, err := r.Size(epoch); err == nil && size > 0 {
			return event.Position{Epoch: epoch, Number: size}, nil
		}
	}
	return event.Position{}, nil
}

// Settle compares the store with the record, so that nothing is issued or
// revoked from a store that is older (A7): a program calls it after [New] and
// before it starts what does that. A store that has lost commits, or is
// suspended, is recovered. A start never waits for it longer than half a minute:
// by then such a store is suspended, and Run goes on with the recovery. Where
// the comparison could not be made the log says so, and Run makes it. An auditor
// that has first to be elected leaves it to Run.
func (a *Auditor) Settle(ctx context.Context) {
	if a.election != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for try := 1; ; try++ {
		err := a.appender.Settle(ctx)
		if err == nil {
			return
		}
		last := try == settleTries || ctx.Err() != nil || errors.Is(err, recovery.ErrForeign)
		if last {
			a.log.Error().Err(err).Msg("store and record were not settled before the start; trying again beside it")
			return
		}
		a.log.Warn().Err(err).Msg("store and record are not settled yet")
		pause, stop := a.clock.Timer(settlePause)
		select {
		case <-pause:
		case <-ctx.Done():
		}
		stop()
	}
}

// Handler serves /v1/audit/…; the caller authenticates.
func (a *Auditor) Handler() http.Handler { return a.handler }

// Drain ends the streams of readers, who come back; other requests are served
// on. For an HTTP server that shuts down: it waits for every open request, and
// a stream has no end of its own. See [http.Server.RegisterOnShutdown].
func (a *Auditor) Drain() { a.handler.Stop() }

// Run works until ctx ends, then confirms what it has and closes the ledger.
func (a *Auditor) Run(ctx context.Context) error {
	err := a.runner.Run(ctx)
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

// Close ends streams, confirms, releases the ledger, and lets another auditor
// lead, in this order. It may be called again; not while Run runs.
func (a *Auditor) Close(ctx context.Context) error {
	a.Drain()
	return errors.Join(closeAll(ctx, a.appender, a.ledger, a.election), a.catalog.Close())
}
