package database

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/username"
	"github.com/curfew-project/curfew/shared/lease"
)

// Type is the name of the engine in `secrets enable`.
const Type = "database"

// Deps is what the engine stands on; all are needed.
type Deps struct {
	Store  Store
	Sealer Sealer
	Clock  clock.Clock
	Log    zerolog.Logger
}

// Config tunes an [Engine]; the zero value works.
type Config struct {
	// Program ends the application name of sessions in targets:
	// curfew/<program>; "server".
	Program string
	// Grace is how long a creation may take before it is rolled back; 10 s.
	Grace time.Duration
	// Making is how long a group role may take to be made; 20 s. One that nobody
	// needs is not dropped while it may be under way.
	Making time.Duration
	// Idle is how long a target that nobody uses keeps its sessions; 5 min.
	Idle time.Duration
	// Rotation bounds one rotate-root; 1 min.
	Rotation time.Duration
	// Static bounds one rotation of a static role; 20 s. One that broke off is
	// taken up again after one and a half times that.
	Static time.Duration
}

// Engine serves the mounts of type database. Make one with [New].
type Engine struct {
	store  Store
	sealer Sealer
	clock  clock.Clock
	log    zerolog.Logger
	cfg    Config

	naming struct {
		sync.Mutex
		namer *username.Namer
	}
	targets targets
	groups  groups
}

// New returns an engine; it reads and dials nothing.
func New(d Deps, cfg Config) (*Engine, error) {
	if d.Store == nil || d.Sealer == nil || d.Clock == nil {
		return nil, errors.New("make database engine: store, sealer and clock are needed")
	}
	cfg.Program = cmp.Or(cfg.Program, "server")
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	cfg.Making = cmp.Or(cfg.Making, 20*time.Second)
	cfg.Idle = cmp.Or(cfg.Idle, 5*time.Minute)
	cfg.Rotation = cmp.Or(cfg.Rotation, time.Minute)
	cfg.Static = cmp.Or(cfg.Static, 20*time.Second)
	e := &Engine{
		store: d.Store, sealer: d.Sealer, clock: d.Clock, cfg: cfg,
		log: d.Log.With().Str("component", "engine/database").Logger(),
	}
	e.targets.open = map[string]*opened{}
	e.groups.kept, e.groups.read = map[string]chan struct{}{}, map[string]lease.ID{}
	return e, nil
}

// Type implements [engine.Engine].
func (e *Engine) Type() string { return Type }

// Close ends the sessions in all targets, after what is under way. Calls that
// come later are refused.
func (e *Engine) Close(ctx context.Context) error { return e.targets.close(ctx) }

var (
	_ engine.Engine  = (*Engine)(nil)
	_ engine.Sweeper = (*Engine)(nil)
)
