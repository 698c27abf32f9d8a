// Command local runs the distributed form on this machine, as processes on
// loopback addresses: `local up`, until ^C. `make up FORM=local` builds and runs
// it. Its other commands are parts of what it runs: a NATS server, and a proxy
// before the issuers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/services/local/internal/proxy"
	"github.com/curfew-project/curfew/services/local/internal/stream"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	var missing *find.NotFoundError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &missing):
		fmt.Fprintln(os.Stderr, missing)
		os.Exit(2)
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "local: interrupted; everything was stopped and removed")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{"up": up, "nats": nats, "proxy": serveProxy}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("want a command: up, nats or proxy; `local up -help` lists its flags")
	}
	return commands[args[0]](ctx, args[1:])
}

// up starts everything, and stops it at ^C.
func up(ctx context.Context, args []string) (err error) {
	cfg := topology.Config{Environ: os.Environ(), Clock: clock.System{}, Finder: find.Finder{Getenv: os.Getenv, Install: true, Log: os.Stderr}}
	f := flag.NewFlagSet("local up", flag.ContinueOnError)
	f.StringVar(&cfg.Address, "address", "", "host:port of the API; default: a free port")
	f.IntVar(&cfg.Issuers, "issuers", 2, "how many issuers")
	f.IntVar(&cfg.Revokers, "revokers", 2, "how many revokers")
	f.IntVar(&cfg.Auditors, "auditors", 2, "how many auditors")
	f.IntVar(&cfg.Streams, "nats", 3, "how many NATS servers")
	if err := f.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own folder: %w", err)
	}
	cfg.Programs = filepath.Dir(self)
	t, err := topology.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close(context.WithoutCancel(ctx))) }()
	tell(t)
	<-ctx.Done()
	return nil
}

// tell says what runs and how to reach it.
func tell(t *topology.Topology) {
	fmt.Printf("==> Curfew runs on this machine: %s\n    Files and logs: %s\n\n", strings.Join(t.Names(), ", "), t.Dir)
	fmt.Printf("    export VAULT_ADDR='%s'\n    export VAULT_TOKEN=\"$(cat '%s')\"\n\n", t.URL, t.RootTokenFile())
	fmt.Println("    ^C stops everything and removes it.")
}

// nats is a NATS server with JetStream.
func nats(ctx context.Context, args []string) error {
	var cfg stream.Config
	f := flag.NewFlagSet("local nats", flag.ContinueOnError)
	f.StringVar(&cfg.Name, "name", "nats", "name of the server")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:4222", "host:port for clients")
	f.StringVar(&cfg.Dir, "dir", "", "folder of its streams")
	f.StringVar(&cfg.Cluster, "cluster", "", "host:port for its peers")
	f.StringVar(&cfg.Routes, "routes", "", "URLs of all peers, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	return stream.Run(ctx, cfg)
}

// serveProxy is a proxy before issuers.
func serveProxy(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("local proxy", flag.ContinueOnError)
	listen := f.String("listen", "127.0.0.1:8200", "host:port for clients")
	to := f.String("to", "", "URLs of the issuers, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	log := zerolog.New(os.Stderr).With().Timestamp().Str("component", "proxy").Logger()
	p, err := proxy.New(strings.Split(*to, ","), log)
	if err != nil {
		return err
	}
	if err := p.Serve(ctx, *listen, clock.System{}, log); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
