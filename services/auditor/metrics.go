package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/auditor"
)

// devices collects what audit devices do; an auditor that stands by has none.
type devices struct {
	auditor    *auditor.Auditor
	up, behind *prometheus.Desc
}

func devicesOf(a *auditor.Auditor) *devices {
	return &devices{
		auditor: a,
		up:      prometheus.NewDesc("curfew_audit_device_up", "1 where the audit device writes, 0 where it does not.", []string{"device"}, nil),
		behind:  prometheus.NewDesc("curfew_audit_device_behind_events", "Events that the ledger has and the audit device has not.", []string{"device"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (d *devices) Describe(to chan<- *prometheus.Desc) { to <- d.up; to <- d.behind }

// Collect implements [prometheus.Collector].
func (d *devices) Collect(to chan<- prometheus.Metric) {
	for _, s := range d.auditor.Devices() {
		up := 1.0
		if s.Trouble != "" {
			up = 0
		}
		to <- prometheus.MustNewConstMetric(d.up, prometheus.GaugeValue, up, s.Path)
		to <- prometheus.MustNewConstMetric(d.behind, prometheus.GaugeValue, float64(s.Behind), s.Path)
	}
}

var _ prometheus.Collector = (*devices)(nil)
