package program

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/engine/database"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/postgres"
)

// tailWithin bounds the question where the stream ends.
const tailWithin = 2 * time.Second

// Tail asks for the end of the event stream, for fsck.
func Tail(stream bus.Ender) func(context.Context) *fsck.Tail {
	return func(ctx context.Context) *fsck.Tail {
		ctx, cancel := context.WithTimeout(ctx, tailWithin)
		defer cancel()
		last, err := stream.Tail(ctx)
		switch {
		case errors.Is(err, bus.ErrNoStream):
			return &fsck.Tail{Gone: true}
		case err != nil:
			return &fsck.Tail{Error: err.Error()}
		}
		return &fsck.Tail{Last: last.Position}
	}
}

// Inspect opens what a configuration of the distributed form names, for fsck: it
// reads only, and leaves what it cannot reach to the report. The ledger is the
// caller's.
func Inspect(ctx context.Context, cfg config.Config) (src fsck.Sources, closing func() error, err error) {
	p := newProcess(config.Issuer, cfg, zerolog.Nop(), &step.Watchers{})
	closing = func() error { return p.Life.Stop(context.WithoutCancel(ctx)) }
	defer func() {
		if err != nil {
			err = errors.Join(err, closing())
		}
	}()
	sc, err := storeConfig(cfg.Store)
	if err != nil {
		return src, closing, err
	}
	sc.Recorded, sc.ReadOnly, p.looks = false, true, true
	if p.Store, err = postgres.Open(ctx, p.Clock, p.Log, sc); err != nil {
		return src, closing, err
	}
	p.Life.OnStop("store", func(context.Context) error { return p.Store.Close() }) //nolint:contextcheck // closing waits for what is under way
	src.Unseen = map[fsck.Part]string{}
	local, err := p.inspectTargets(ctx, &src)
	if err != nil {
		return src, closing, err
	}
	src.Store = local
	p.inspectStream(ctx, local)
	p.inspectIndex(ctx, &src, local)
	return src, closing, nil
}

// inspectTargets reaches targets where the master key is here.
func (p *Process) inspectTargets(ctx context.Context, src *fsck.Sources) (*fsck.Local, error) {
	p.Install = unseal.New(p.Store, unseal.Config{KeyFile: p.Config.KeyFile, Key: p.Config.MasterKey, StorageType: "postgresql"})
	known, err := p.Install.Load(ctx)
	if err == nil && !known {
		err = errors.New("the installation is not initialised")
	}
	if err != nil {
		src.Unseen[fsck.PartTargets] = err.Error()
	}
	p.engine, err = database.New(database.Deps{Store: p.Store, Sealer: p.Install, Clock: p.Clock, Log: p.Log}, database.Config{Program: "fsck"})
	if err != nil {
		return nil, err
	}
	p.Life.OnStop("targets", p.engine.Close)
	local := fsck.NewLocal(p.Store, byType(p.Engines()))
	if _, unseen := src.Unseen[fsck.PartTargets]; !unseen {
		src.Targets = local
	}
	return local, nil
}

func (p *Process) inspectStream(ctx context.Context, local *fsck.Local) {
	if len(p.Config.NATS.Servers) == 0 {
		return
	}
	bus, err := p.OpenStream(ctx)
	if err != nil {
		local.Tail = func(context.Context) *fsck.Tail { return &fsck.Tail{Error: err.Error()} }
		return
	}
	local.Tail = Tail(bus)
}

// inspectIndex reaches the index where the configuration has it; else the
// revokers say what becomes of it.
func (p *Process) inspectIndex(ctx context.Context, src *fsck.Sources, local *fsck.Local) {
	if len(p.Config.Redis.Addresses) == 0 {
		return
	}
	index, err := p.OpenIndex(ctx)
	if err != nil {
		src.Unseen[fsck.PartIndex] = err.Error()
		return
	}
	src.Index = &fsck.IndexView{Local: local, Index: index}
}
