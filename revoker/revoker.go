package revoker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/claim"
	"github.com/curfew-project/curfew/revoker/internal/index"
	"github.com/curfew-project/curfew/revoker/internal/rotate"
	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/revoker/internal/tokens"
	"github.com/curfew-project/curfew/revoker/internal/work"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what a revoker needs of the store.
type Store interface {
	store.Leases
	store.Entries
	store.Time
	// Suspension is that of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Deps are the collaborators; all are needed. A stream that is not there is
// [bus.Nop].
type Deps struct {
	Store   Store
	Stream  bus.Stream
	Index   expiry.Index
	Engines []engine.Engine
	Clock   clock.Clock
	Log     zerolog.Logger
}

// Config tunes a [Revoker]; the zero value works but for Name.
type Config struct {
	Name string // unique to the process
	// Fallback is an index of the process's own that the overdue sweep feeds
	// while Index, which is shared, does not work; nil: it always feeds Index.
	Fallback expiry.Index

	// Observer is told what operators want to see; nil: [Nop].
	Observer Observer
	// Ahead is how far ahead the index learns of leases by their events: at least
	// Window, which is the default and fits an index in memory; [Everything] fits
	// one that is shared (D2).
	Ahead time.Duration

	Window      time.Duration // how far ahead the store is read; 1 min
	Overdue     time.Duration // between looks at the store; 1 s
	Batch       int           // leases of a flight; 128
	Flights     int           // of one target at a time; 16
	Lanes       int           // flights of all targets at a time; 0: no bound
	Hold        time.Duration // of a claim whose process died; 5 s
	StrayEvery  time.Duration // 1 min
	GhostEvery  time.Duration // 10 s
	RotateEvery time.Duration // between looks for passwords and group roles that are due; 5 s
	SweepEvery  time.Duration // barriers, mounts, claims; 1 s
	KeepEnded   time.Duration // leases that ended; 24 h
	Recount     time.Duration // between comparisons of the counts of living leases that nobody asks for; 24 h
	KeepBarrier time.Duration // operations on prefixes after they have ended, longer than any creation's grace; 1 h
	// Paused switches the claimer off: nothing is revoked. For the test that
	// shows that the demonstration fails without a revoker.
	Paused bool
}

// Everything is a [Config.Ahead] without end.
const Everything = index.Everything

// Revoker is the role. Make it with [New], run it with [Revoker.Run].
type Revoker struct {
	deps    Deps
	runner  *step.Runner
	claimer *claim.Claimer
	rotate  *rotate.Rotations
	groups  *rotate.Rotations
	indexer *index.Indexer
	feed    *index.Feeder
}

// New wires a revoker; it starts nothing.
func New(d Deps, cfg Config) (*Revoker, error) {
	if cfg.Name == "" {
		return nil, errors.New("revoker needs a name")
	}
	cfg.StrayEvery = cmp.Or(cfg.StrayEvery, time.Minute)
	cfg.GhostEvery = cmp.Or(cfg.GhostEvery, 10*time.Second)
	cfg.SweepEvery = cmp.Or(cfg.SweepEvery, time.Second)
	cfg.KeepEnded = cmp.Or(cfg.KeepEnded, 24*time.Hour)
	cfg.Recount = cmp.Or(cfg.Recount, 24*time.Hour)
	cfg.KeepBarrier = cmp.Or(cfg.KeepBarrier, time.Hour)

	now := store.NewEstimate(d.Store, d.Clock)
	indexes := []expiry.Index{d.Index}
	if cfg.Fallback != nil {
		indexes = append(indexes, cfg.Fallback)
	}
	revokers := map[string]engine.Revoker{"": tokens.New(d.Store)}
	sweepers := map[string]engine.Sweeper{}
	rotators, groups := map[string]engine.Rotator{}, map[string]engine.Rotator{}
	byType := map[string]engine.Engine{}
	for _, e := range d.Engines {
		revokers[e.Type()], byType[e.Type()] = e, e
		if s, ok := e.(engine.Sweeper); ok {
			sweepers[e.Type()] = s
		}
		if x, ok := e.(engine.Rotator); ok {
			rotators[e.Type()] = x
		}
		if x, ok := e.(engine.GroupKeeper); ok {
			groups[e.Type()] = x.GroupRoles()
		}
	}
	if cfg.Observer == nil {
		cfg.Observer = Nop{}
	}
	r := &Revoker{deps: d}
	nudge := func() { r.claimer.Nudge() }
	feed := index.NewFeeder(d.Index, nudge)
	r.feed = feed
	recall := index.NewRecaller(d.Store, now, feed)
	worker := work.New(watched{d.Store, cfg.Observer}, revokers, now, d.Log)
	r.claimer = claim.New(worker, recall, now, d.Clock, d.Log,
		claim.Config{Batch: cfg.Batch, Flights: cfg.Flights, Lanes: cfg.Lanes, Hold: cfg.Hold}, indexes...)
	icfg := index.Config{Window: cfg.Window, Ahead: cfg.Ahead, Every: cfg.Overdue, Urged: r.claimer.Urge}
	upcoming := index.NewUpcoming(d.Store, now, feed, icfg)
	r.indexer = index.NewIndexer(d.Stream, d.Store, now, feed, recall, "indexer-"+cfg.Name, icfg)

	strays := step.NewSignal()
	steps := []step.Step{
		r.indexer,
		upcoming,
		r.overdue(now, feed, nudge, cfg, icfg),
		&sweep.Barriers{Store: d.Store, Time: now, Keep: cfg.KeepBarrier, Every: cfg.SweepEvery},
		&sweep.Mounts{Store: d.Store, Time: now, Keep: cfg.KeepBarrier, Every: cfg.SweepEvery, Disabled: disabled(byType)},
		&sweep.Strays{
			Store: d.Store, Engines: sweepers, Time: now, Clock: d.Clock, Log: d.Log,
			Every: cfg.StrayEvery, Run: lease.RandomBase62(16), Now: strays, Told: cfg.Observer.Stray,
		},
		&sweep.Owners{Store: d.Store, Engines: sweepers, Every: 10 * time.Minute},
		&sweep.Ghosts{Engines: sweepers, Log: d.Log, Every: cfg.GhostEvery, Changed: strays.Set, Returned: r.claimer.Urge},
		&sweep.Prune{Store: d.Store, Time: now, Keep: cfg.KeepEnded, Every: time.Minute},
		&sweep.Recount{
			Store: d.Store, Time: now, Clock: d.Clock, Log: d.Log, Every: cfg.Recount, Look: 10 * time.Second, Told: cfg.Observer.Recounted,
		},
	}
	if x, ok := d.Index.(index.Compared); ok {
		told := func(d index.Difference) { cfg.Observer.Compared(Drift(d)) }
		steps = append(steps, index.NewDrift(d.Store, x, now, feed, upcoming, told, icfg))
	}
	for i, x := range indexes {
		steps = append(steps, &sweep.Lapse{Index: x, Time: now, Every: cfg.SweepEvery, Own: i > 0, Told: cfg.Observer.Lapsed})
	}
	r.rotate = rotate.New(rotate.Deps{
		Store: d.Store, Engines: rotators, Time: now, Clock: d.Clock, Log: d.Log, Told: cfg.Observer.Rotated, Due: cfg.Observer.RotationsDue,
	}, rotate.Config{Every: cfg.RotateEvery})
	r.groups = rotate.New(rotate.Deps{
		Store: d.Store, Engines: groups, Time: now, Clock: d.Clock, Log: d.Log, Told: func(engine.Rotation, error) {},
	}, rotate.Config{Name: "groups", Every: cfg.RotateEvery})
	steps = append(steps, r.rotate, r.groups)
	if !cfg.Paused {
		steps = append(steps, r.claimer.Steps()...)
	}
	r.runner = step.New(d.Clock, d.Log, step.Config{MaxBackoff: 2 * time.Second}, steps...)
	return r, nil
}

// Hint says that the revocation of a lease was begun, where somebody in this process
// knows it before the stream does. That it gets lost does no harm (D1).
func (r *Revoker) Hint(ctx context.Context, l *lease.Lease) {
	if err := r.feed.Hint(ctx, l); err != nil {
		r.deps.Log.Debug().Err(err).Str("lease", string(l.ID)).Msg("hint was not taken")
	}
}

// overdue is the step that feeds what is due to the index where it is claimed.
func (r *Revoker) overdue(now *store.Estimate, feed *index.Feeder, nudge func(), cfg Config, icfg index.Config) step.Step {
	if cfg.Fallback == nil {
		return index.NewOverdue(r.deps.Store, now, feed, icfg)
	}
	own := index.NewFeeder(cfg.Fallback, nudge)
	shared, ok := r.deps.Index.(index.Compared)
	if !ok { // nobody can say what it lacks
		return index.NewOverdue(r.deps.Store, now, own, icfg)
	}
	return index.NewOverdue(r.deps.Store, now, index.NewSieve(shared, r.claimer.Working, now, feed, own), icfg)
}

// disabled tells the engine of a mount that its last lease has ended.
func disabled(engines map[string]engine.Engine) func(context.Context, store.Entry) error {
	return func(ctx context.Context, mount store.Entry) error {
		for _, e := range engines {
			if err := e.Disabled(ctx, mount.ID); err != nil {
				return fmt.Errorf("%s: %w", e.Type(), err)
			}
		}
		return nil
	}
}

// Run works until ctx ends: it stops claiming, lets the flights in the air
// land, and returns.
func (r *Revoker) Run(ctx context.Context) error {
	err := r.runner.Run(ctx)
	r.claimer.Wait()
	r.rotate.Wait()
	r.groups.Wait()
	if closed := r.indexer.Close(); closed != nil {
		r.deps.Log.Warn().Err(closed).Msg("stream consumer was not closed")
	}
	return err
}
