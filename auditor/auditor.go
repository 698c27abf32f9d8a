package auditor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

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

// ledgerDir is the ledger's below Config.Dir.
const ledgerDir = "ledger"

// stopWithin bounds the last words to the store; the ledger has a bound of its
// own.
const stopWithin = 5 * time.Second

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
	ledger   *keeper
	catalog  *catalog.Catalog
	appender *appender.Appender
	runner   *step.Runner
	handler  *api.Handler
}

// New opens the ledger, taking its lock, and fails while another process has
// it. What is on record can be read at once; nothing runs yet. Run closes what
// New opened: if Run is never called, call [Auditor.Close].
func New(ctx context.Context, d Deps, cfg Config) (*Auditor, error) {
	dir := filepath.Join(cfg.Dir, ledgerDir)
	reader := ledger.NewReader(dir)
	held, err := keep(ctx, reader, func(ctx context.Context) (opened, error) {
		return ledger.Open(ctx, ledger.Config{Dir: dir, Installation: cfg.Installation, Log: d.Log})
	})
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
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
	app := appender.New(held, d.Stream, d.Store, d.Clock, d.Log, appender.Config{}, func(p event.Position) {
		handler.Grown(p)
		follower.Notify()
	})
	return &Auditor{
		ledger: held, catalog: c, appender: app, handler: handler,
		// What comes back is to be on record soon.
		runner: step.New(d.Clock, d.Log, step.Config{MaxBackoff: 2 * time.Second}, app, follower),
	}, nil
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

// Close ends streams, confirms, and releases the ledger, in this order. It may
// be called again; not while Run runs.
func (a *Auditor) Close(ctx context.Context) error {
	a.Drain()
	bounded, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	return errors.Join(a.appender.Close(bounded), a.ledger.Close(ctx), a.catalog.Close())
}
