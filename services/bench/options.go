package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/site"
	"github.com/curfew-project/curfew/services/bench/internal/work"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

// The forms that Curfew runs in.
const (
	oneMachine  = "one-machine"
	distributed = "distributed"
)

// options are what the flags say.
type options struct {
	args []string // as they were given
	form string
	// Of a server that runs elsewhere.
	address string
	token   secret.Value
	target  site.Target

	run  []string // names of benchmarks
	out  string   // folder
	work work.Config
}

func parse(args []string, getenv func(string) string) (o options, err error) {
	o.args = args
	var names, roles, clients, revokers, target string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.form, "form", oneMachine, "what Curfew runs as: "+oneMachine+" or "+distributed)
	f.StringVar(&o.address, "address", "", "URL of a server that runs elsewhere; its token is in VAULT_TOKEN")
	f.StringVar(&target, "target", "", "its target: postgres://user:password@host:port/database?options, of a user that may make roles and schemas; or in BENCH_TARGET")
	f.StringVar(&names, "run", strings.Join(work.Names(), ","), "what to measure, in this order")
	f.StringVar(&roles, "roles", strings.Join(work.Variants(), ","), "kinds of roles to issue")
	f.StringVar(&clients, "clients", "1,8,32,64", "numbers of clients to issue with")
	f.DurationVar(&o.work.Time, "time", 10*time.Second, "of each loop")
	f.DurationVar(&o.work.Mix, "mix", time.Minute, "of the steady mix")
	f.Float64Var(&o.work.Rate, "rate", 300, "operations a second of the mix")
	f.IntVar(&o.work.Leases, "leases", 10_000, "leases of a mass expiry and of a prefix")
	f.IntVar(&o.work.Live, "live", 100_000, "live leases of memory and restart")
	f.IntVar(&o.work.Singles, "singles", 100, "leases that are due one at a time")
	f.DurationVar(&o.work.Outage, "outage", 30*time.Second, "how long the target is away")
	f.StringVar(&revokers, "revokers", "1,2,4,8", "numbers of revokers to scale to")
	f.IntVar(&o.work.Targets, "targets", 64, "targets that the revokers share")
	f.IntVar(&o.work.Each, "each", 8, "leases of each of them")
	f.DurationVar(&o.work.Latency, "latency", 20*time.Millisecond, "of each of them, there and back")
	f.StringVar(&o.out, "out", "", "folder for results.json, table.md and plots")
	f.StringVar(&o.work.Profiles, "profile", "", "folder for profiles of the server's processes")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.run, o.work.Roles = strings.Split(names, ","), strings.Split(roles, ",")
	if o.work.Clients, err = numbers("clients", clients); err != nil {
		return o, err
	}
	if o.work.Revokers, err = numbers("revokers", revokers); err != nil {
		return o, err
	}
	if target == "" {
		target = getenv("BENCH_TARGET")
	}
	if o.address != "" {
		if o.target, err = site.ParseTarget(target); err != nil {
			return o, fmt.Errorf("-target: %w", err)
		}
		o.token = secret.New(getenv("VAULT_TOKEN"))
	}
	return o, o.check(f.Args())
}

// numbers reads the list of a flag.
func numbers(flag, list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-%s: %q is no number of %s", flag, text, flag)
		}
		all = append(all, n)
	}
	return all, nil
}

func (o options) check(rest []string) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(len(rest) == 0, "takes no argument %q", rest)
	need(o.form == oneMachine || o.form == distributed, "-form=%s is neither %s nor %s", o.form, oneMachine, distributed)
	for _, name := range o.run {
		need(slices.Contains(work.Names(), name), "-run: there is no %q among %s", name, strings.Join(work.Names(), ", "))
	}
	for _, name := range o.work.Roles {
		need(slices.Contains(work.Variants(), name), "-roles: there is no %q among %s", name, strings.Join(work.Variants(), ", "))
	}
	w := o.work
	need(w.Time > 0 && w.Mix > 0 && w.Outage > 0 && w.Rate > 0, "-time, -mix, -outage and -rate must be above 0")
	need(w.Leases >= 10 && w.Live >= 10 && w.Singles >= 1, "-leases and -live must be at least 10, -singles 1")
	need(w.Targets >= 1 && w.Each >= 1 && w.Latency >= 0, "-targets and -each must be at least 1, -latency 0")
	need(o.address == "" || !o.token.Empty(), "VAULT_TOKEN is needed for -address")
	return errors.Join(errs...)
}

// site is what the options name.
func (o options) site(ctx context.Context, environ []string, finder find.Finder, c clock.Clock) (*site.Site, error) {
	if o.address != "" {
		return site.Given(o.address, o.token, o.target), nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own folder: %w", err)
	}
	return site.Open(ctx, site.Config{
		Programs: filepath.Dir(self), Distributed: o.form == distributed,
		Finder: finder, Environ: environ, Clock: c,
	})
}
