// Package api serves the record over HTTP:
//
//	GET /v1/audit/entries     search by lease, type, since, until, after, limit
//	GET /v1/audit/stream      server-sent events from now, or after Last-Event-ID
//	GET /v1/audit/checkpoint  the latest signed checkpoint (text)
//	GET /v1/audit/key         the public key that verifies checkpoints (text)
//
// What holds: entries are answered from the ledger, never from the stream; the
// id of a server-sent event is the event's id, so a reader that comes back with
// Last-Event-ID misses nothing and gets nothing twice; a reader that does not
// keep up is cut (section E). Authentication is the caller's: the issuer puts
// these handlers behind its tokens.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

const (
	defaultLimit = 1000
	maxLimit     = 10_000
	maxReaders   = 256
	writeTimeout = 10 * time.Second
	heartbeat    = 15 * time.Second
	streamBatch  = 512
)

// Handler serves the record.
type Handler struct {
	ledger  *ledger.Reader
	catalog *catalog.Catalog
	clock   clock.Clock
	log     zerolog.Logger
	mux     *http.ServeMux

	mu      sync.Mutex
	last    event.Position
	grown   chan struct{} // closed when last moves
	readers int
}

// New returns a handler.
func New(l *ledger.Reader, c *catalog.Catalog, clk clock.Clock, log zerolog.Logger) *Handler {
	h := &Handler{ledger: l, catalog: c, clock: clk, log: log, mux: http.NewServeMux(), grown: make(chan struct{})}
	h.mux.HandleFunc("GET /v1/audit/entries", h.entries)
	h.mux.HandleFunc("GET /v1/audit/stream", h.stream)
	h.mux.HandleFunc("GET /v1/audit/checkpoint", h.checkpoint)
	h.mux.HandleFunc("GET /v1/audit/key", h.key)
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Grown tells readers that the ledger ends at p.
func (h *Handler) Grown(p event.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = p
	close(h.grown)
	h.grown = make(chan struct{})
}

func (h *Handler) end() (event.Position, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, h.grown
}

// entry is one event as the API shows it: the fields that people search by in
// front, everything else in data.
type entry struct {
	Epoch   int64      `json:"epoch"`
	Number  int64      `json:"number"`
	Type    event.Type `json:"type"`
	Time    time.Time  `json:"time"`
	Subject string     `json:"subject"`
	Version int64      `json:"version,omitempty"`
	Actor   string     `json:"actor"`
	Reason  string     `json:"reason,omitempty"`
	Data    event.Data `json:"data"`
}

func show(e event.Event) entry {
	return entry{
		Epoch: e.Position.Epoch, Number: e.Position.Number, Type: e.Type, Time: e.Time, Subject: e.Subject,
		Version: e.Data.Version, Actor: e.Data.Actor.Name, Reason: e.Data.Reason, Data: e.Data,
	}
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {text}})
}

func (h *Handler) fail(w http.ResponseWriter, err error) {
	h.log.Error().Err(err).Msg("record could not be read")
	fail(w, http.StatusInternalServerError, "the record could not be read; see the server's log")
}

func (h *Handler) entries(w http.ResponseWriter, r *http.Request) {
	q, err := parse(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	at, err := h.catalog.Find(r.Context(), q)
	if err != nil {
		h.fail(w, err)
		return
	}
	found := make([]entry, 0, len(at))
	for _, p := range at {
		e, err := h.read(r.Context(), p)
		if err != nil {
			h.fail(w, err)
			return
		}
		found = append(found, show(e))
	}
	answer := map[string]any{
		"request_id": lease.RandomBase62(24), "lease_id": "", "renewable": false, "lease_duration": 0,
		"data": map[string]any{"entries": found}, "wrap_info": nil, "warnings": nil, "auth": nil,
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (h *Handler) read(ctx context.Context, p event.Position) (event.Event, error) {
	for e, err := range h.ledger.Entries(ctx, p.Epoch, p.Number, p.Number) {
		if err != nil {
			return event.Event{}, fmt.Errorf("read entry %s: %w", p, err)
		}
		return catalog.Decode(e.Data)
	}
	return event.Event{}, fmt.Errorf("read entry %s: it is not in the ledger", p)
}

func parse(v url.Values) (catalog.Query, error) {
	q := catalog.Query{Subject: v.Get("lease"), Type: v.Get("type"), Limit: defaultLimit}
	var err error
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			if *to, err = time.Parse(time.RFC3339Nano, s); err != nil {
				return q, fmt.Errorf("%s is not a time in RFC 3339", name)
			}
		}
	}
	if s := v.Get("after"); s != "" {
		if q.After, err = after(s); err != nil {
			return q, err
		}
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			return q, fmt.Errorf("limit is not a number from 1 to %d", maxLimit)
		}
	}
	return q, nil
}

// after takes an event id, or a plain number of the first epoch.
func after(s string) (event.Position, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return event.Position{Epoch: 1, Number: n}, nil
	}
	p, err := event.ParsePosition(s)
	if err != nil {
		return p, errors.New("after is not an event id such as 1-42")
	}
	return p, nil
}

func (h *Handler) checkpoint(w http.ResponseWriter, _ *http.Request) {
	last, _ := h.end()
	note, err := h.ledger.Checkpoint(max(1, last.Epoch))
	if errors.Is(err, ledger.ErrNoSegment) {
		fail(w, http.StatusNotFound, "no checkpoint yet")
		return
	}
	if err != nil {
		h.fail(w, err)
		return
	}
	text(w, note)
}

func (h *Handler) key(w http.ResponseWriter, _ *http.Request) {
	k, err := h.ledger.PublicKey()
	if err != nil {
		h.fail(w, err)
		return
	}
	text(w, []byte(k.String()+"\n"))
}

func text(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b)
}
