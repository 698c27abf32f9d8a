package monitor

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
)

// Source is what the metrics of the store are read from.
type Source interface {
	store.Leases
	store.Entries
	store.Outbox
	store.Recovery
	store.Time
}

// fromStore asks the store at each scrape.
type fromStore struct {
	store   Source
	overdue *overdue
	names   *names

	up, epoch, suspended, doubted, skew, seen             *prometheus.Desc
	backlog, head, unpublished, confirmed, behind, lag    *prometheus.Desc
	living, open, parked, due, oldest, strays, recounting *prometheus.Desc
}

// Store is the collector of what every process of an installation sees alike.
func Store(s Source, c clock.Clock) prometheus.Collector {
	n := newNames(s)
	place := []string{"mount", "target"}
	return &fromStore{
		store: s, names: n, overdue: &overdue{store: s, names: n, clock: c},
		up:          desc("store_up", "1 where the store answered this scrape."),
		epoch:       desc("store_epoch", "Epoch of the store: it rises with each recovery."),
		suspended:   desc("store_suspended", "1 where the store lacks what was committed: nothing is issued."),
		doubted:     desc("installation_doubted", "1 where stray accounts are only reported until a person confirms."),
		skew:        desc("clock_skew_seconds", "A process's clock less the store's, as it measured it.", "process", "program", "version"),
		seen:        desc("process_seen_timestamp_seconds", "When a process said last that it runs, by the store's clock.", "process", "program", "version"),
		backlog:     desc("events_backlog", "Events that the ledger has not confirmed, or that were not deleted since."),
		head:        desc("events_head", "Number of the last event that was numbered, in its epoch.", "epoch"),
		unpublished: desc("events_unpublished", "Numbered events that the stream has not acknowledged."),
		confirmed:   desc("ledger_position", "Number of the last event that the ledger confirmed, in its epoch.", "epoch"),
		behind:      desc("ledger_lag_events", "Numbered events that the ledger has not confirmed."),
		lag:         desc("ledger_lag_seconds", "Age of the oldest numbered event that the ledger has not confirmed; 0 where it has all."),
		living:      desc("leases", "Credentials, and tokens that expire, that live or are being taken away."),
		open:        desc("revocations_open", "Leases in revocation.", place...),
		parked:      desc("revocations_parked", "Leases whose revocation needs a person.", place...),
		due:         desc("overdue_leases", "Leases whose turn has passed and that nobody has looked at; the most overdue are counted.", place...),
		oldest:      desc("overdue_oldest_seconds", "For how long access should have ended that has not, at most.", place...),
		strays:      desc("strays_reported", "Accounts without a lease that are only reported.", place...),
		recounting:  desc("recount_timestamp_seconds", "When the counts of living leases were compared with the leases last; 0: never."),
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("curfew_"+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (f *fromStore) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		f.up, f.epoch, f.suspended, f.doubted, f.skew, f.seen, f.backlog, f.head, f.unpublished, f.confirmed, f.behind, f.lag,
		f.living, f.open, f.parked, f.due, f.oldest, f.strays, f.recounting,
	} {
		out <- d
	}
}

// scrape is one answer; what the store did not say is left out of it.
type scrape struct {
	out chan<- prometheus.Metric
	up  bool
}

func (s *scrape) gauge(d *prometheus.Desc, v float64, err error, labels ...string) {
	if err != nil {
		s.up = false
		return
	}
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// Collect implements [prometheus.Collector].
func (f *fromStore) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s := &scrape{out: out, up: true}
	f.state(ctx, s)
	f.events(ctx, s)
	f.leases(ctx, s)
	out <- prometheus.MustNewConstMetric(f.up, prometheus.GaugeValue, truth(s.up))
}

func (f *fromStore) state(ctx context.Context, s *scrape) {
	_, suspended, err := f.store.Suspension(ctx)
	s.gauge(f.suspended, truth(suspended), err)
	doubts, err := installation.Current(ctx, f.store)
	s.gauge(f.doubted, truth(len(doubts) > 0), err)
	processes, err := installation.Processes(ctx, f.store)
	s.up = s.up && err == nil
	for _, p := range processes {
		s.gauge(f.skew, p.Skew.Seconds(), nil, p.Name, p.Program, p.Version)
		s.gauge(f.seen, stamp(p.Seen), nil, p.Name, p.Program, p.Version)
	}
	last, _, err := store.ReadRecount(ctx, f.store)
	s.gauge(f.recounting, stamp(last.At), err)
}

func (f *fromStore) events(ctx context.Context, s *scrape) {
	n, err := f.store.Backlog(ctx)
	s.gauge(f.backlog, float64(n), err)
	ledger, err := f.store.Confirmed(ctx, store.Ledger)
	s.gauge(f.confirmed, float64(ledger.Number), err, number(ledger.Epoch))
	if err != nil {
		return
	}
	sent, err := f.store.Confirmed(ctx, publish.Sent)
	if err != nil {
		s.up = false
		return
	}
	// The head is read last: the others are never ahead of it.
	head, err := f.store.Head(ctx)
	s.gauge(f.head, float64(head.Number), err, number(head.Epoch))
	s.gauge(f.epoch, float64(head.Epoch), err)
	s.gauge(f.unpublished, distance(sent, head), err)
	s.gauge(f.behind, distance(ledger, head), err)
	if err != nil {
		return
	}
	lag, err := f.age(ctx, ledger)
	s.gauge(f.lag, lag.Seconds(), err)
}

// age is that of the first event after a position.
func (f *fromStore) age(ctx context.Context, after event.Position) (time.Duration, error) {
	next, err := f.store.Events(ctx, after, 1)
	if err != nil || len(next) == 0 {
		return 0, err
	}
	now, err := f.store.Now(ctx)
	return max(0, now.Sub(next[0].Time)), err
}

// distance is how many events lie between two positions; of another epoch, those
// of the later one.
func distance(from, to event.Position) float64 {
	if from.Epoch != to.Epoch {
		return float64(to.Number)
	}
	return float64(max(0, to.Number-from.Number))
}

func (f *fromStore) leases(ctx context.Context, s *scrape) {
	living, err := f.store.Living(ctx, "")
	s.gauge(f.living, float64(living), err)
	found, now, err := f.overdue.get(ctx)
	s.up = s.up && err == nil
	for _, p := range places(found) {
		w := found[p]
		s.gauge(f.open, float64(w.open), nil, p.mount, p.target)
		s.gauge(f.parked, float64(w.parked), nil, p.mount, p.target)
		s.gauge(f.due, float64(w.overdue), nil, p.mount, p.target)
		oldest := time.Duration(0)
		if !w.oldest.IsZero() {
			oldest = max(0, now.Sub(w.oldest))
		}
		s.gauge(f.oldest, oldest.Seconds(), nil, p.mount, p.target)
	}
	reported, err := installation.ReportedStrays(ctx, f.store)
	s.up = s.up && err == nil
	for target, r := range reported {
		mount := f.names.mount(ctx, f.overdue.mountOf(ctx, target))
		s.gauge(f.strays, float64(r.Count), nil, mount, f.names.target(ctx, mount, target))
	}
}

func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
