package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// within bounds each question that a request asks.
const within = 2 * time.Second

// Check says why the process cannot work; nil where it can.
type Check struct {
	Name string
	Ask  func(context.Context) error
}

// Monitor answers the paths. Make it with [New].
type Monitor struct {
	registry *prometheus.Registry
	profiles bool

	mu     sync.Mutex
	checks []Check
}

// New returns the monitor of a program, with the metrics of its process.
func New(program, version string) *Monitor {
	m := &Monitor{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "curfew_build_info", Help: "1; the program and its version.",
			ConstLabels: prometheus.Labels{"program": program, "version": version},
		}, func() float64 { return 1 }),
	)
	return m
}

// Profile makes Handler serve profiles, too. Not while it is served.
func (m *Monitor) Profile() { m.profiles = true }

// Register adds metrics.
func (m *Monitor) Register(c ...prometheus.Collector) { m.registry.MustRegister(c...) }

// Require adds a check to readiness.
func (m *Monitor) Require(c Check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks = append(m.checks, c)
}

// Handler serves the paths.
func (m *Monitor) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", m.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, Timeout: 2 * within,
	}))
	if m.profiles {
		profiles(mux)
	}
	return mux
}

func (m *Monitor) ready(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	checks := m.checks
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	var why []string
	for _, c := range checks {
		if err := c.Ask(ctx); err != nil {
			why = append(why, c.Name+": "+err.Error())
		}
	}
	if len(why) > 0 {
		say(w, http.StatusServiceUnavailable, strings.Join(why, "\n"))
		return
	}
	say(w, http.StatusOK, "ok")
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) // who asked may be gone
}

// Serve answers on a listener until ctx ends.
func (m *Monitor) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler: m.Handler(), ReadHeaderTimeout: within, ReadTimeout: 2 * within,
		WriteTimeout: 5 * within, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14,
	}
	stopped := make(chan error, 1)
	release := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		err := s.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.Close()
		}
		stopped <- err
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		release()
		return fmt.Errorf("serve health and metrics: %w", err)
	}
	return <-stopped
}
