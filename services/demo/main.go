// Command demo walks through the life of two database credentials on a Postgres
// and a Curfew of its own, and fails if anything that it tells did not happen.
// `make demo` builds and runs it.
//
// -form=distributed plays it on the programs of the distributed form, with two
// issuers, revokers and auditors, three NATS servers, Redis and a store of their
// own; without it, on `curfew server`.
//
// Environment: KEEP=1 leaves everything running afterwards, until ^C;
// CURFEW_PG_BIN names the programs of Postgres; CURFEW_DEMO_PAUSED=1 switches
// the revoker off, for the test that wants the demo to fail then.
//
// It exits with 0 when the whole story held, 1 when a step did not, 2 when no
// Postgres (or Redis) was found or a flag is wrong, and 130 when it was
// interrupted.
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

	"github.com/curfew-project/curfew/services/demo/internal/stage"
	"github.com/curfew-project/curfew/services/demo/internal/story"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// The forms that Curfew runs in.
const (
	oneMachine  = "one-machine"
	distributed = "distributed"
)

func main() {
	curfew := flag.String("curfew", beside("curfew"), "the curfew program")
	form := flag.String("form", oneMachine, "what Curfew runs as: "+oneMachine+" or "+distributed)
	flag.Parse()
	if *form != oneMachine && *form != distributed {
		fmt.Fprintf(os.Stderr, "demo: -form=%s is neither %s nor %s\n", *form, oneMachine, distributed)
		os.Exit(2)
	}
	environ := os.Environ()
	for _, entry := range environ { // for the Postgres client in this process
		if name, _, _ := strings.Cut(entry, "="); server.Leads(name) {
			_ = os.Unsetenv(name) // fails for empty names only
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	cfg := stage.Config{
		Curfew: *curfew, Environ: environ, Clock: clock.System{}, Paused: os.Getenv("CURFEW_DEMO_PAUSED") == "1",
		Finder: find.Finder{Getenv: os.Getenv, Install: true, Log: os.Stderr},
	}
	if *form == distributed {
		cfg.Programs = beside(".")
	}
	err := run(ctx, cfg, os.Getenv("KEEP") == "1")
	interrupted := ctx.Err() != nil
	stop()
	os.Exit(code(err, interrupted))
}

// beside is the path of another program in our own folder.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func run(ctx context.Context, cfg stage.Config, keep bool) (err error) {
	fmt.Println("Looking for Postgres and starting a cluster …")
	s, err := stage.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	if err := story.Tell(ctx, s, cfg.Clock, os.Stdout); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w\nThe server's log ends:\n%s", err, s.LogTail())
		}
		return err
	}
	if keep {
		story.Stay(s, os.Getpid(), os.Stdout)
		<-ctx.Done()
	}
	return nil
}

// code says how it went, to a person and to the caller.
func code(err error, interrupted bool) int {
	var missing *find.NotFoundError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &missing):
		fmt.Fprintln(os.Stderr, missing)
		return 2
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything was stopped and removed")
		return 130
	}
	fmt.Fprintln(os.Stderr, "\ndemo: FAILED:", err)
	return 1
}
