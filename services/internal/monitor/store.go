package monitor

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
)

// Source is what the metrics of the store are read from.
type Source interface {
	store.Entries
	store.Outbox
	store.Recovery
}

// fromStore asks the store at each scrape.
type fromStore struct {
	store Source

	up, backlog, confirmed, suspended, doubted, skew, seen *prometheus.Desc
}

// Store is the collector of what every process of an installation sees alike.
func Store(s Source) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("curfew_"+name, help, labels, nil)
	}
	return &fromStore{
		store:     s,
		up:        desc("store_up", "1 where the store answered this scrape."),
		backlog:   desc("events_backlog", "Events that the ledger has not confirmed, or that were not deleted since."),
		confirmed: desc("ledger_position", "Number of the last event that the ledger confirmed, in its epoch.", "epoch"),
		suspended: desc("store_suspended", "1 where the store lacks what was committed: nothing is issued."),
		doubted:   desc("installation_doubted", "1 where stray accounts are only reported until a person confirms."),
		skew:      desc("clock_skew_seconds", "A process's clock less the store's, as it measured it.", "process", "program", "version"),
		seen:      desc("process_seen_timestamp_seconds", "When a process said last that it runs, by the store's clock.", "process", "program", "version"),
	}
}

// Describe implements [prometheus.Collector].
func (f *fromStore) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.up, f.backlog, f.confirmed, f.suspended, f.doubted, f.skew, f.seen} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (f *fromStore) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	up := 1.0
	gauge := func(d *prometheus.Desc, v float64, err error, labels ...string) {
		if err != nil {
			up = 0
			return
		}
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n, err := f.store.Backlog(ctx)
	gauge(f.backlog, float64(n), err)
	p, err := f.store.Confirmed(ctx, store.Ledger)
	gauge(f.confirmed, float64(p.Number), err, number(p.Epoch))
	_, suspended, err := f.store.Suspension(ctx)
	gauge(f.suspended, truth(suspended), err)
	doubts, err := installation.Current(ctx, f.store)
	gauge(f.doubted, truth(len(doubts) > 0), err)
	processes, err := installation.Processes(ctx, f.store)
	if err != nil {
		up = 0
	}
	for _, p := range processes {
		gauge(f.skew, p.Skew.Seconds(), nil, p.Name, p.Program, p.Version)
		gauge(f.seen, float64(p.Seen.UnixMilli())/1000, nil, p.Name, p.Program, p.Version)
	}
	out <- prometheus.MustNewConstMetric(f.up, prometheus.GaugeValue, up)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
