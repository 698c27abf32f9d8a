package work

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
	"github.com/curfew-project/curfew/services/bench/internal/report"
	"github.com/curfew-project/curfew/services/bench/internal/site"
	"github.com/curfew-project/curfew/services/bench/internal/vault"
	"github.com/curfew-project/curfew/shared/clock"
)

// Config is how much is done.
type Config struct {
	Roles    []string      // of [Variants]
	Clients  []int         // of issuing
	Time     time.Duration // of each closed loop
	Mix      time.Duration // of the steady mix
	Rate     float64       // operations a second of the mix
	Leases   int           // of a mass expiry and of a prefix
	Live     int           // of memory and restart
	Singles  int           // of the lag of one lease
	Outage   time.Duration // of the target
	Revokers []int         // of scaling
	Targets  int           // they share
	Each     int           // leases of each
	Latency  time.Duration // of each, there and back
	Profiles string        // folder; empty: none
}

// Bench runs benchmarks on one site.
type Bench struct {
	cfg    Config
	site   *site.Site
	api    *vault.Client
	clock  clock.Clock
	log    io.Writer
	report *report.Report

	mu       sync.Mutex
	roles    map[string]bool // written
	baseline map[string]uint32
}

// benchmark is one of them.
type benchmark struct {
	name string
	own  bool // needs a server that was started for it
	run  func(*Bench, context.Context) error
}

func all() []benchmark {
	return []benchmark{
		{"issue", false, (*Bench).issues},
		{"renew", false, (*Bench).renews},
		{"revoke", false, (*Bench).revokes},
		{"single", false, (*Bench).singles},
		{"prefix", false, (*Bench).prefix},
		{"expiry", false, (*Bench).expiry},
		{"mix", false, (*Bench).mix},
		{"outage", true, (*Bench).outage},
		{"memory", true, (*Bench).memory}, // its leases are restart's, too
		{"scale", true, (*Bench).scale},
	}
}

// Names lists the benchmarks in the order in which they run.
func Names() (names []string) {
	for _, b := range all() {
		names = append(names, b.name)
	}
	return names
}

// New returns a bench that writes what it does to log.
func New(s *site.Site, c clock.Clock, log io.Writer, r *report.Report, cfg Config) *Bench {
	return &Bench{cfg: cfg, site: s, api: vault.New(s.URL, s.Token), clock: c, log: log, report: r, roles: map[string]bool{}}
}

// mount is the path of the engine, connection the name of the target in it.
const (
	mount      = "bench"
	connection = "target"
)

// Run runs the named benchmarks.
func (b *Bench) Run(ctx context.Context, names []string) (err error) {
	if err := b.site.Prepare(ctx); err != nil {
		return err
	}
	defer func() {
		rest := context.WithoutCancel(ctx)
		_, gone := b.api.Do(rest, http.MethodDelete, "sys/mounts/"+mount, nil)
		err = errors.Join(err, gone, b.site.Restore(rest))
	}()
	if err := b.connect(ctx); err != nil {
		return err
	}
	if b.baseline, err = b.site.Accounts(ctx); err != nil {
		return err
	}
	for _, w := range all() {
		if !slices.Contains(names, w.name) {
			continue
		}
		if w.own && !b.site.Own() {
			b.say("%s: left out: it needs a server that is started for it", w.name)
			continue
		}
		if err := w.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if err := b.settle(ctx); err != nil {
			return fmt.Errorf("after %s: %w", w.name, err)
		}
	}
	return nil
}

func (b *Bench) connect(ctx context.Context) error {
	if _, err := b.api.Do(ctx, http.MethodPost, "sys/mounts/"+mount, map[string]any{"type": "database"}); err != nil {
		return fmt.Errorf("mount the engine: %w", err)
	}
	return b.connectAs(ctx, connection, "", "")
}

// connectAs connects a database of the target as it is reached at an address;
// empty: its own.
func (b *Bench) connectAs(ctx context.Context, name, address, database string) error {
	_, err := b.api.Do(ctx, http.MethodPost, mount+"/config/"+name, map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": b.site.Target.Connection(address, database),
		"username": site.Admin, "password": b.site.Target.AdminPassword().Reveal(),
	})
	if err != nil {
		return fmt.Errorf("connect the target: %w", err)
	}
	return nil
}

// settle ends all leases, and fails unless neither a lease nor an account is left.
func (b *Bench) settle(ctx context.Context) error {
	if _, err := b.api.Do(ctx, http.MethodPut, "sys/leases/revoke-prefix/"+mount, map[string]any{"sync": true}); err != nil {
		return fmt.Errorf("revoke all leases: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		left, err := b.left(ctx)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return b.noLease(ctx)
		}
		tick, stop := b.clock.Timer(100 * time.Millisecond)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return fmt.Errorf("%d accounts are left, among them %s", len(left), left[0])
		}
	}
}

// left are the accounts of leases that were not there at the start. A server may
// make roles of its own beside them; those of leases are named by the template
// that is the default of every server.
func (b *Bench) left(ctx context.Context) (names []string, err error) {
	now, err := b.site.Accounts(ctx)
	for name := range now {
		if _, before := b.baseline[name]; !before && strings.HasPrefix(name, "v-") {
			names = append(names, name)
		}
	}
	return names, err
}

// noLease fails where a lease of any role is left.
func (b *Bench) noLease(ctx context.Context) error {
	for _, role := range slices.Sorted(maps.Keys(b.roles)) {
		a, err := b.api.Do(ctx, "LIST", "sys/leases/lookup/"+mount+"/creds/"+role, nil)
		if status, ok := errors.AsType[*vault.StatusError](err); ok && status.Status == http.StatusNotFound {
			continue
		}
		if err != nil {
			return fmt.Errorf("list leases: %w", err)
		}
		if len(a.Data.Keys) > 0 {
			return fmt.Errorf("%d leases of role %s are left", len(a.Data.Keys), role)
		}
	}
	return nil
}

func (b *Bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%s  "+format+"\n", append([]any{b.clock.Now().Format(time.TimeOnly)}, args...)...)
}

// add enters a row of samples and says it.
func (b *Bench) add(row report.Row, s measure.Samples, u usage) {
	row.Count, row.Errors = len(s.Latencies), s.Failed()
	for text, n := range s.Errors {
		if n == slices.Max(slices.Collect(maps.Values(s.Errors))) {
			row.Error = text
		}
	}
	row.Rate = cmp.Or(row.Rate, s.PerSecond())
	row.P50, row.P99 = report.Milliseconds(s.Quantile(0.5)), report.Milliseconds(s.Quantile(0.99))
	row.Max = report.Milliseconds(s.Quantile(1))
	if n := float64(row.Count); n > 0 {
		row.Server, row.Target, row.Load = micro(u.server)/n, micro(u.target)/n, micro(u.load)/n
	}
	b.enter(row)
}

func (b *Bench) enter(row report.Row) {
	b.report.Rows = append(b.report.Rows, row)
	b.say("%s %s, %d clients: %d, %d errors, %.0f/s, p50 %.2f ms, p99 %.2f ms; bare %.0f/s (%.0f %%), one by one %.0f/s; CPU µs %.0f, %.0f, %.0f %v %s",
		row.What, row.Role, row.Clients, row.Count, row.Errors, row.Rate, row.P50, row.P99, row.Bare, 100*row.Ratio(), row.Single,
		row.Server, row.Target, row.Load, row.More, row.Error)
}

// point adds to a series of the report.
func (b *Bench) point(series string, x, y float64) {
	if b.report.Series == nil {
		b.report.Series = map[string][]report.Point{}
	}
	b.report.Series[series] = append(b.report.Series[series], report.Point{X: x, Y: y})
}
