package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/program"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// Files opens what `curfew fsck` compares where it asks no server. lookup reads
// the environment.
func Files(lookup func(string) (string, bool)) func(ctx context.Context, dataDir, file string) (fsck.Sources, func() error, error) {
	return func(ctx context.Context, dataDir, file string) (fsck.Sources, func() error, error) {
		cfg := config.Default()
		cfg.DataDir = dataDir
		if file != "" {
			if err := cfg.Read(file); err != nil {
				return fsck.Sources{}, nil, err
			}
			if err := cfg.Environ(lookup); err != nil {
				return fsck.Sources{}, nil, err
			}
		}
		cfg.Derive()
		src, closing, err := open(ctx, &cfg)
		if err != nil {
			return src, nil, err
		}
		if src.Unseen == nil {
			src.Unseen = map[fsck.Part]string{}
		}
		if _, err := os.Stat(cfg.Audit.LedgerDir); err == nil {
			src.Ledger = files(cfg.Audit.LedgerDir)
		} else {
			src.Unseen[fsck.PartLedger] = fmt.Sprintf("no ledger at %q (ledger_dir of audit, or data_dir)", cfg.Audit.LedgerDir)
		}
		return src, closing, nil
	}
}

func open(ctx context.Context, cfg *config.Config) (fsck.Sources, func() error, error) {
	switch {
	case cfg.Store.URL != "":
		return program.Inspect(ctx, *cfg)
	case cfg.DataDir != "":
		return stopped(ctx, cfg)
	}
	return fsck.Sources{}, nil, errors.New("the configuration names neither a data_dir nor a store")
}

// stopped opens the data directory of the embedded form. Its index is in memory
// and is made anew at each start; so is whatever its stream lacks.
func stopped(ctx context.Context, cfg *config.Config) (fsck.Sources, func() error, error) {
	s, err := sqlite.Inspect(ctx, filepath.Join(cfg.DataDir, "store"), clock.System{})
	if errors.Is(err, sqlite.ErrLocked) {
		return fsck.Sources{}, nil, fmt.Errorf("%w: a server runs on this directory; ask it, without -data-dir and -config", err)
	}
	if err != nil {
		return fsck.Sources{}, nil, err
	}
	install := unseal.New(s, unseal.Config{KeyFile: cfg.KeyFile, Key: cfg.MasterKey, Manual: !cfg.AutoUnseal, StorageType: "sqlite"})
	known, err := install.Load(ctx)
	switch {
	case err != nil:
	case !known:
		err = errors.New("the installation is not initialised")
	case !cfg.AutoUnseal:
		err = errors.New("the master key is with people: the accounts are looked at by a server that they have unsealed")
	}
	src := fsck.Sources{Stopped: true, Unseen: map[fsck.Part]string{}}
	if err != nil {
		src.Unseen[fsck.PartTargets] = err.Error()
	}
	e, err := database.New(database.Deps{Store: s, Sealer: install, Clock: clock.System{}, Log: zerolog.Nop()}, database.Config{Program: "fsck"})
	if err != nil {
		return src, nil, errors.Join(err, s.Close()) //nolint:contextcheck // closing waits for what is under way
	}
	local := fsck.NewLocal(s, map[string]engine.Engine{e.Type(): e})
	src.Store = local
	if _, unseen := src.Unseen[fsck.PartTargets]; !unseen {
		src.Targets = local
	}
	return src, func() error { return errors.Join(e.Close(context.WithoutCancel(ctx)), s.Close()) }, nil //nolint:contextcheck // see above
}

// files is a ledger that is read from its directory.
type files string

// Record implements [fsck.Ledger].
func (f files) Record(ctx context.Context, share fsck.Share, each func(fsck.Line) error) error {
	return auditor.Examine(ctx, string(f), share, each)
}
