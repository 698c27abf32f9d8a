package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/auditor/internal/watermark"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
)

// Config tunes a [Handler]; the zero value works.
type Config struct {
	Readers   int           // of streams at once; 256
	Searches  int           // at once; 16
	Checks    int           // of the whole record at once; 2
	Within    time.Duration // for a search to wait for the catalogue; 2 s
	Write     time.Duration // for a reader to take a batch; 10 s
	Heartbeat time.Duration // 15 s
	Pace      time.Duration // between two looks of a stream at the ledger; 100 ms
	Longest   time.Duration // a stream; 1 h
}

func (c Config) withDefaults() Config {
	c.Readers = cmp.Or(c.Readers, 256)
	c.Searches = cmp.Or(c.Searches, 16)
	c.Checks = cmp.Or(c.Checks, 2)
	c.Within = cmp.Or(c.Within, 2*time.Second)
	c.Write = cmp.Or(c.Write, 10*time.Second)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.Pace = cmp.Or(c.Pace, 100*time.Millisecond)
	c.Longest = cmp.Or(c.Longest, time.Hour)
	return c
}

// Handler serves the record.
type Handler struct {
	ledger  *ledger.Reader
	catalog *catalog.Catalog
	clock   clock.Clock
	log     zerolog.Logger
	cfg     Config
	mux     *http.ServeMux

	end      *watermark.Mark // of the ledger
	readers  chan struct{}   // holds one for each stream
	searches chan struct{}
	checks   chan struct{}
	stop     sync.Once
	stopped  chan struct{}
}

// New returns a handler.
func New(l *ledger.Reader, c *catalog.Catalog, clk clock.Clock, log zerolog.Logger, cfg Config) *Handler {
	cfg = cfg.withDefaults()
	h := &Handler{
		ledger: l, catalog: c, clock: clk, log: log, cfg: cfg, mux: http.NewServeMux(), end: watermark.New(),
		readers: make(chan struct{}, cfg.Readers), searches: make(chan struct{}, cfg.Searches),
		checks: make(chan struct{}, cfg.Checks), stopped: make(chan struct{}),
	}
	h.mux.HandleFunc("GET /v1/audit/entries", h.entries)
	h.mux.HandleFunc("GET /v1/audit/stream", h.stream)
	h.mux.HandleFunc("GET /v1/audit/checkpoint", h.checkpoint)
	h.mux.HandleFunc("GET /v1/audit/key", h.key)
	h.mux.HandleFunc("GET /v1/audit/fsck", h.fsck)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fail(w, http.StatusNotFound) // as the server says it of a path it does not know
			return
		}
		fail(w, http.StatusMethodNotAllowed, "unsupported operation")
	})
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Grown tells readers that the ledger ends at p.
func (h *Handler) Grown(p event.Position) { h.end.Set(p) }

// Reached tells readers that the ledger ends at p or after it.
func (h *Handler) Reached(p event.Position) { h.end.Advance(p) }

// Stop ends the streams, and those that begin later; other requests are served
// on. It may be called again.
func (h *Handler) Stop() { h.stop.Do(func() { close(h.stopped) }) }

// enter takes a place in a bounded room; leave gives it back.
func enter(w http.ResponseWriter, room chan struct{}, what string) (leave func(), ok bool) {
	select {
	case room <- struct{}{}:
		return func() { <-room }, true
	default:
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "too many "+what+": try again")
		return nil, false
	}
}

// fail answers in the shape of Vault's errors.
func fail(w http.ResponseWriter, status int, texts ...string) {
	if texts == nil {
		texts = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": texts})
}

// broken answers what the reader can do nothing about.
func (h *Handler) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is there to be told, and nothing is wrong
	}
	h.log.Error().Err(err).Msg("the record could not be read")
	fail(w, http.StatusInternalServerError, "the record could not be read; see the server's log")
}

func (h *Handler) checkpoint(w http.ResponseWriter, r *http.Request) {
	last, _ := h.end.At()
	note, err := h.ledger.Checkpoint(max(1, last.Epoch))
	if errors.Is(err, ledger.ErrNoSegment) {
		fail(w, http.StatusNotFound, "no checkpoint yet")
		return
	}
	if err != nil {
		h.broken(w, r, err)
		return
	}
	text(w, note)
}

func (h *Handler) key(w http.ResponseWriter, r *http.Request) {
	k, err := h.ledger.PublicKey()
	if errors.Is(err, fs.ErrNotExist) {
		fail(w, http.StatusNotFound, "no ledger yet")
		return
	}
	if err != nil {
		h.broken(w, r, err)
		return
	}
	text(w, []byte(k.String()+"\n"))
}

func text(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b)
}
