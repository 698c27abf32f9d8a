package auditor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/api"
	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Deps are the collaborators; all are needed. A stream that is not there is
// [bus.Nop].
type Deps struct {
	Stream bus.Stream
	Store  store.Outbox
	Clock  clock.Clock
	Log    zerolog.Logger
}

// Config says where the ledger is. Dir and Installation are needed.
type Config struct {
	Dir          string
	Installation string // id, [a-z0-9-]
}

// Auditor is the role. Make it with [New], run it with [Auditor.Run].
type Auditor struct {
	ledger   *ledger.Ledger
	catalog  *catalog.Catalog
	appender *appender.Appender
	runner   *step.Runner
	handler  *api.Handler
}

// New opens the ledger, taking its lock; nothing runs yet. Close what Run does
// not: if Run is never called, call [Auditor.Close].
func New(ctx context.Context, d Deps, cfg Config) (*Auditor, error) {
	dir := filepath.Join(cfg.Dir, "ledger")
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, Installation: cfg.Installation, Log: d.Log})
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	c, err := catalog.Open(ctx, cfg.Dir)
	if err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	follower := catalog.NewFollower(l, c)
	handler := api.New(l.Reader, c, d.Clock, d.Log)
	app := appender.New(l, d.Stream, d.Store, d.Clock, d.Log, appender.Config{}, func(p event.Position) {
		handler.Grown(p)
		follower.Notify()
	})
	return &Auditor{
		ledger: l, catalog: c, appender: app, handler: handler,
		runner: step.New(d.Clock, d.Log, step.Config{}, app, follower),
	}, nil
}

// Handler serves /v1/audit/…; the caller authenticates.
func (a *Auditor) Handler() http.Handler { return a.handler }

// Run works until ctx ends, then confirms what it has and closes the ledger.
func (a *Auditor) Run(ctx context.Context) error {
	err := a.runner.Run(ctx)
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

// Close releases the ledger.
func (a *Auditor) Close(ctx context.Context) error {
	return errors.Join(a.appender.Close(ctx), a.ledger.Close(ctx), a.catalog.Close())
}
