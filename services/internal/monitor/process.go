package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/auditor"
)

func gauge(name, help string, read func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "curfew_" + name, Help: help}, read)
}

// Publisher tells whether this process is the one that publishes.
func Publisher(active func() bool) prometheus.Collector {
	return gauge("publisher_active", "1 where this process is the one that numbers and publishes events.",
		func() float64 { return truth(active()) })
}

// Stream tells whether the event stream is connected.
func Stream(disconnected func() error) prometheus.Collector {
	return gauge("stream_up", "1 where this process is connected to the event stream.",
		func() float64 { return truth(disconnected() == nil) })
}

// Certificate tells when the certificate of the listener ends; 0: it has none.
func Certificate(until func() time.Time) prometheus.Collector {
	return gauge("certificate_not_after_timestamp_seconds", "When the certificate ends that the listener shows; 0: it has none.",
		func() float64 { return stamp(until()) })
}

// devices collects what audit devices do; an auditor that stands by has none.
type devices struct {
	auditor             Auditing
	appends, up, behind *prometheus.Desc
}

// Auditing is what is asked of an auditor.
type Auditing interface {
	Appends() bool
	Devices() []auditor.DeviceStatus
}

// Auditor is the collector of an auditor.
func Auditor(a Auditing) prometheus.Collector {
	return &devices{
		auditor: a,
		appends: desc("auditor_appends", "1 where this auditor is the one that appends, 0 where it stands by."),
		up:      desc("audit_device_up", "1 where the audit device writes, 0 where it does not.", "device"),
		behind:  desc("audit_device_behind_events", "Events that the ledger has and the audit device has not.", "device"),
	}
}

// Describe implements [prometheus.Collector].
func (d *devices) Describe(to chan<- *prometheus.Desc) { to <- d.appends; to <- d.up; to <- d.behind }

// Collect implements [prometheus.Collector].
func (d *devices) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(d.appends, prometheus.GaugeValue, truth(d.auditor.Appends()))
	for _, s := range d.auditor.Devices() {
		to <- prometheus.MustNewConstMetric(d.up, prometheus.GaugeValue, truth(s.Trouble == ""), s.Path)
		to <- prometheus.MustNewConstMetric(d.behind, prometheus.GaugeValue, float64(s.Behind), s.Path)
	}
}

var _ prometheus.Collector = (*devices)(nil)
