// Package command holds the commands of the program that are not clients: the
// server and the verifier of the ledger.
package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli"
	"github.com/curfew-project/curfew/services/curfew/internal/server"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/memory"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
)

// devAddress is where dev mode listens if nobody says otherwise.
const devAddress = "127.0.0.1:8200"

// serverFlags are those of `curfew server`, spelt as Vault's.
type serverFlags struct {
	config, devToken, devAddress, logLevel string
	dev, check                             bool
}

// Server is `curfew server`. lookup reads the environment.
// hangups tells of SIGHUP.
func Server(lookup func(string) (string, bool), hangups *step.Watchers) cli.Extension {
	return cli.Extension{New: func(streams cli.IO) *cobra.Command {
		var f serverFlags
		cmd := &cobra.Command{
			Use:   "server",
			Short: "Run Curfew: all roles in one process",
			Example: `  curfew server -dev
  curfew server -config=curfew.hcl
  curfew server -config=curfew.hcl -check-config`,
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return f.run(cmd.Context(), streams, lookup, hangups)
			},
		}
		flags := cmd.Flags()
		flags.StringVar(&f.config, "config", "", "configuration file (HCL)")
		flags.BoolVar(&f.check, "check-config", false, "print the configuration and stop")
		flags.BoolVar(&f.dev, "dev", false, "keep nothing; revoke all leases at the end; for trying out")
		flags.StringVar(&f.devToken, "dev-root-token-id", "", "root token in dev mode; default: a random one")
		flags.StringVar(&f.devAddress, "dev-listen-address", "", "address in dev mode; default: 127.0.0.1:8200")
		flags.StringVar(&f.logLevel, "log-level", "", "trace, debug, info, warn or error")
		return cmd
	}}
}

func (f *serverFlags) run(ctx context.Context, streams cli.IO, lookup func(string) (string, bool), hangups *step.Watchers) error {
	cfg, err := f.load(lookup)
	if err != nil {
		return err
	}
	if f.check {
		if err := listener.Check(cfg.Listener); err != nil {
			return err
		}
		return cfg.Print(streams.Stdout)
	}
	if cfg.Dev {
		dir, err := os.MkdirTemp("", "curfew-dev-")
		if err != nil {
			return fmt.Errorf("make a directory for dev mode: %w", err)
		}
		defer os.RemoveAll(dir)
		cfg.DataDir, cfg.KeyFile = dir, ""
		if err := cfg.Finish(config.Server); err != nil {
			return err
		}
	}
	defer memory.Keep(clock.System{}, lookup)()
	log := cfg.Log.Logger(streams.Stderr)
	s, err := server.New(ctx, cfg, clock.System{}, log, hangups)
	if err != nil {
		return err
	}
	return s.Run(ctx, func(a server.Announcement) { announce(streams.Stdout, cfg, a) })
}

// load is flag over environment over file over default.
func (f *serverFlags) load(lookup func(string) (string, bool)) (config.Config, error) {
	cfg := config.Default()
	switch {
	case f.dev && f.config != "":
		return cfg, fmt.Errorf("-dev keeps nothing and takes no -config")
	case !f.dev && f.config == "":
		return cfg, fmt.Errorf("either -config=FILE or -dev is needed")
	case !f.dev && f.devToken != "":
		return cfg, fmt.Errorf("-dev-root-token-id is for -dev only")
	}
	if f.config != "" {
		if err := cfg.Read(f.config); err != nil {
			return cfg, err
		}
	}
	if err := cfg.Environ(lookup); err != nil {
		return cfg, err
	}
	if f.dev {
		cfg.Dev, cfg.AutoInit, cfg.Log.Format = true, true, "text"
		address := cmp.Or(f.devAddress, cfg.Listener.Address, devAddress)
		cfg.Listener.Address, cfg.Listener.Plain, cfg.Listener.CertFile, cfg.Listener.KeyFile = address, true, "", ""
		cfg.DataDir = os.TempDir() // replaced by one that is removed
		cfg.DevToken = secret.New(f.devToken)
		if f.devToken == "" {
			cfg.DevToken = unseal.NewToken()
		}
	}
	if f.logLevel != "" {
		cfg.Log.Level = f.logLevel
	}
	return cfg, cfg.Finish(config.Server)
}

// announce tells a person what to do next. The dev token is printed because dev
// mode has no other place for it.
func announce(w io.Writer, cfg config.Config, a server.Announcement) {
	fmt.Fprintf(w, "==> Curfew %s serves the API at %s\n", version.Version, a.Address)
	switch {
	case cfg.Dev:
		fmt.Fprintf(w, `
WARNING! Dev mode keeps nothing: when it stops, all its leases are revoked and
everything is forgotten.

    export VAULT_ADDR='%s'
    export VAULT_TOKEN='%s'

`, a.Address, a.RootToken.Reveal())
	case a.Sealed:
		fmt.Fprintln(w, "    Sealed: `curfew operator unseal` opens it to who has the key.")
	case !a.Initialized:
		fmt.Fprintln(w, "    Not initialised: `curfew operator init` makes the installation and prints its root token, once.")
	default:
		fmt.Fprintf(w, "    Root token of the first start: %s\n", a.TokenFile)
	}
	if a.Stream != "" {
		fmt.Fprintf(w, "    Event stream: %s, user %s, password in %s\n", a.Stream, a.StreamUser, a.StreamFile)
	}
}
