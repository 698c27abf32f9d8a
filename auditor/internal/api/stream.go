package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
)

// stream sends entries as server-sent events (WHATWG HTML, section 9.2): id is
// the event's id, event its type, data one line of JSON.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request) {
	at, grown := h.end()
	at.Epoch = max(1, at.Epoch)
	from := r.Header.Get("Last-Event-ID")
	if from == "" {
		from = r.URL.Query().Get("after")
	}
	if from != "" {
		p, err := after(from)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		at = p
	}
	if !h.enter() {
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "too many readers of the stream")
		return
	}
	defer h.leave()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_ = out.SetWriteDeadline(h.clock.Now().Add(writeTimeout))
	if out.Flush() != nil {
		return
	}
	kind := r.URL.Query().Get("type")
	for {
		var err error
		if at, err = h.send(r, w, out, at, kind); err != nil {
			return // the reader is gone, too slow, or the ledger cannot be read: it comes back
		}
		beat, stop := h.clock.Timer(heartbeat)
		select {
		case <-r.Context().Done():
			stop()
			return
		case <-grown:
		case <-beat:
			_ = out.SetWriteDeadline(h.clock.Now().Add(writeTimeout))
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil || out.Flush() != nil {
				stop()
				return
			}
		}
		stop()
		_, grown = h.end()
	}
}

// send writes what follows at up to the end, a batch a flush, each with a
// deadline of its own.
func (h *Handler) send(r *http.Request, w http.ResponseWriter, out *http.ResponseController, at event.Position, kind string) (event.Position, error) {
	for {
		end, _ := h.end()
		if !at.Before(end) {
			return at, nil
		}
		epoch := at.Epoch
		if at.Epoch < end.Epoch { // the rest of an earlier segment, then the next one
			size, err := h.ledger.Size(max(1, epoch))
			if err != nil {
				return at, fmt.Errorf("read the size of segment %d: %w", epoch, err)
			}
			if at.Number >= size {
				at = event.Position{Epoch: at.Epoch + 1}
				continue
			}
			end = event.Position{Epoch: epoch, Number: size}
		}
		_ = out.SetWriteDeadline(h.clock.Now().Add(writeTimeout))
		to := min(end.Number, at.Number+streamBatch)
		for e, err := range h.ledger.Entries(r.Context(), epoch, at.Number+1, to) {
			if err != nil {
				return at, fmt.Errorf("read the ledger: %w", err)
			}
			ev, err := catalog.Decode(e.Data)
			if err != nil {
				return at, err
			}
			at = ev.Position
			if kind == "" || kind == string(ev.Type) {
				if err := line(w, ev); err != nil {
					return at, err
				}
			}
		}
		if err := out.Flush(); err != nil {
			return at, fmt.Errorf("flush the stream: %w", err)
		}
	}
}

func line(w http.ResponseWriter, e event.Event) error {
	body, err := json.Marshal(show(e))
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Position, err)
	}
	if _, err := fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", e.Position, e.Type, body); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return nil
}

func (h *Handler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers >= maxReaders {
		return false
	}
	h.readers++
	return true
}

func (h *Handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
}
