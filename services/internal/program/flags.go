package program

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/memory"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/expiry/redis"
	"github.com/curfew-project/curfew/shared/step"
)

// Streams are where a program reads and writes.
type Streams struct {
	Stdout, Stderr io.Writer
	// Lookup reads the environment.
	Lookup func(string) (string, bool)
	// Hangups tells of SIGHUP.
	Hangups *step.Watchers
}

// Main is the main function of a program: it returns the exit code.
func Main(p config.Program, about string, role Role) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	hangups, end := Hangups()
	defer end()
	defer memory.Keep(clock.System{}, os.LookupEnv)()
	return start(ctx, p, about, role, os.Args[1:], Streams{Stdout: os.Stdout, Stderr: os.Stderr, Lookup: os.LookupEnv, Hangups: hangups})
}

// Hangups tells of SIGHUP until it is ended. The process does not end by the
// signal any more.
func Hangups() (w *step.Watchers, end func()) {
	w = &step.Watchers{}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-signals:
				w.Set()
			case <-done:
				return
			}
		}
	})
	return w, func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
	}
}

// start parses flags and configuration, and runs the role. Bad usage is exit
// code 2, every other failure 1.
func start(ctx context.Context, p config.Program, about string, role Role, args []string, streams Streams) int {
	var file, level string
	var check, tell bool
	f := flag.NewFlagSet(string(p), flag.ContinueOnError)
	f.SetOutput(streams.Stderr)
	f.StringVar(&file, "config", "", "configuration file (HCL)")
	f.BoolVar(&check, "check-config", false, "print the configuration and stop")
	f.StringVar(&level, "log-level", "", "trace, debug, info, warn or error")
	f.BoolVar(&tell, "version", false, "print the version and stop")
	f.Usage = func() {
		fmt.Fprintf(streams.Stderr, "%[1]s: %[2]s\n\n  %[1]s -config=curfew.hcl\n  %[1]s -config=curfew.hcl -check-config\n\n", p, about)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	var err error
	switch {
	case f.NArg() > 0:
		fmt.Fprintf(streams.Stderr, "%s: takes no argument %q\n", p, f.Arg(0))
		return 2
	case tell:
		_, err = fmt.Fprintf(streams.Stdout, "%s %s\n", p, version.Version)
	default:
		err = configured(ctx, p, role, file, level, check, streams)
	}
	if err != nil {
		fmt.Fprintf(streams.Stderr, "%s: %v\n", p, err)
		return 1
	}
	return 0
}

// configured reads the configuration, and prints it or runs the role with it.
func configured(ctx context.Context, p config.Program, role Role, file, level string, check bool, streams Streams) error {
	cfg, err := load(p, file, level, streams.Lookup)
	if err != nil {
		return err
	}
	if check {
		if p != config.Revoker {
			if err := listener.Check(cfg.Listener); err != nil {
				return err
			}
		}
		return cfg.Print(streams.Stdout)
	}
	log := cfg.Log.Logger(streams.Stderr)
	redis.LogTo(log.With().Str("component", "index").Logger())
	return run(ctx, p, cfg, role, log, cmp.Or(streams.Hangups, &step.Watchers{}))
}

// load is flag over environment over file over default.
func load(p config.Program, file, level string, lookup func(string) (string, bool)) (config.Config, error) {
	cfg := config.Default()
	if file == "" {
		return cfg, errors.New("-config=FILE is needed")
	}
	if err := cfg.Read(file); err != nil {
		return cfg, err
	}
	if err := cfg.Environ(lookup); err != nil {
		return cfg, err
	}
	cfg.Log.Level = cmp.Or(level, cfg.Log.Level)
	if err := cfg.Finish(p); err != nil {
		return cfg, fmt.Errorf("configuration %s: %w", file, err)
	}
	return cfg, nil
}
