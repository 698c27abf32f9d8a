package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/curfew-project/curfew/services/bench/internal/site"
	"github.com/curfew-project/curfew/services/bench/internal/work"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

func main() {
	environ := os.Environ()
	o, err := parse(os.Args[1:], os.Getenv)
	for _, entry := range environ { // for the Postgres client in this process
		if name, _, _ := strings.Cut(entry, "="); server.Leads(name) {
			_ = os.Unsetenv(name) // fails for empty names only
		}
	}
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err = run(ctx, o, environ)
	interrupted := ctx.Err() != nil
	stop()
	os.Exit(code(err, interrupted))
}

// run opens a site, measures it, and writes what was found, also of a run that
// did not come to its end.
func run(ctx context.Context, o options, environ []string) (err error) {
	s, err := o.site(ctx, environ, find.Finder{Getenv: os.Getenv, Install: true, Log: os.Stderr}, clock.System{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	r, err := describe(ctx, s, clock.System{}, strings.Join(append([]string{"bench"}, o.args...), " "))
	if err != nil {
		return err
	}
	if err = work.New(s, clock.System{}, os.Stderr, r, o.work).Run(ctx, o.run); err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(s))
	}
	return errors.Join(err, write(r, o.out, os.Stdout))
}

func tail(s *site.Site) string {
	if text := s.LogTail(); text != "" {
		return "The server's log ends:\n" + text
	}
	return ""
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
		fmt.Fprintln(os.Stderr, "bench: interrupted; what was started was stopped and removed")
		return 130
	}
	fmt.Fprintln(os.Stderr, "bench: FAILED:", err)
	return 1
}
