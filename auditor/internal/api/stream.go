package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
)

// streamBatch is how many entries a reader has one deadline for.
const streamBatch = 256

// errEnded: the ledger ended before the place it was said to end at.
var errEnded = errors.New("the ledger is shorter than it was")

// reader is one stream of server-sent events (WHATWG HTML, section 9.2).
type reader struct {
	*Handler
	w    http.ResponseWriter
	out  *http.ResponseController
	at   event.Position // everything up to here was sent, or filtered out
	kind string         // the only type that is sent; empty: all
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request) {
	at, err := h.begin(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, ok := enter(w, h.readers, "readers of the stream")
	if !ok {
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // or a proxy keeps events to itself
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	s := &reader{Handler: h, w: w, out: http.NewResponseController(w), at: at, kind: r.URL.Query().Get("type")}
	if err := s.run(r.Context()); err != nil && r.Context().Err() == nil {
		h.log.Info().Err(err).Stringer("position", s.at).Msg("a stream was cut; its reader may resume")
	}
}

// begin is the place after which a stream begins.
func (h *Handler) begin(r *http.Request) (event.Position, error) {
	for name := range r.URL.Query() {
		if name != "type" && name != "after" {
			return event.Position{}, fmt.Errorf("unknown parameter %q: want type or after", name)
		}
	}
	for _, from := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")} {
		if from != "" {
			return position(from)
		}
	}
	at, _ := h.end.At()
	at.Epoch = max(1, at.Epoch)
	return at, nil
}

// run sends until the reader is gone or too slow, the stream has lasted long
// enough, or the ledger cannot be read. Then the reader comes back.
func (s *reader) run(ctx context.Context) error {
	over, stop := s.clock.Timer(s.cfg.Longest)
	defer stop()
	beat, stopBeat := s.clock.Timer(s.cfg.Heartbeat)
	defer func() { stopBeat() }()
	if err := s.mark(); err != nil {
		return err
	}
	for {
		_, moved := s.end.At() // before sending: what comes meanwhile wakes
		if err := s.send(ctx); err != nil {
			return err
		}
		if s.rest(ctx) { // what comes meanwhile goes in one look
			return nil
		}
		select {
		case <-moved:
		case <-beat:
			if err := s.mark(); err != nil {
				return err
			}
			beat, stopBeat = s.clock.Timer(s.cfg.Heartbeat)
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		case <-s.stopped:
			return nil
		}
	}
}

// rest waits for a moment; true: the stream ends.
func (s *reader) rest(ctx context.Context) bool {
	pause, stop := s.clock.Timer(s.cfg.Pace)
	defer stop()
	select {
	case <-pause:
		return false
	case <-ctx.Done():
	case <-s.stopped:
	}
	return true
}

// mark gives the reader its place without an event: it resumes there.
func (s *reader) mark() error {
	s.deadline()
	if _, err := fmt.Fprintf(s.w, "id: %s\n\n", s.at); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return s.flush()
}

func (s *reader) deadline() { _ = s.out.SetWriteDeadline(s.clock.Now().Add(s.cfg.Write)) } // not every writer can

func (s *reader) flush() error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("flush the stream: %w", err)
	}
	return nil
}

// send writes what follows up to the ledger's end, a batch a flush, each with a
// deadline of its own.
func (s *reader) send(ctx context.Context) error {
	for {
		end, _ := s.end.At()
		if !s.at.Before(end) {
			return nil
		}
		select {
		case <-s.stopped:
			return nil
		default:
		}
		last := end.Number
		if s.at.Epoch < end.Epoch { // the rest of an earlier segment, then the next one
			var err error
			if last, err = s.ledger.Size(s.at.Epoch); err != nil {
				return fmt.Errorf("read the size of segment %d: %w", s.at.Epoch, err)
			}
			if s.at.Number >= last {
				s.at = event.Position{Epoch: s.at.Epoch + 1}
				continue
			}
		}
		if err := s.batch(ctx, min(last, s.at.Number+streamBatch)); err != nil {
			return err
		}
	}
}

// batch writes the entries after s.at up to number to.
func (s *reader) batch(ctx context.Context, to int64) error {
	s.deadline()
	for e, err := range s.ledger.Entries(ctx, s.at.Epoch, s.at.Number+1, to) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if ev := catalog.Decode(s.at.Epoch, e); s.kind == "" || s.kind == string(ev.Type) {
			if err := s.write(ev); err != nil {
				return err
			}
		}
		s.at.Number = e.Number
	}
	if s.at.Number < to {
		return fmt.Errorf("%w: entry %d of epoch %d", errEnded, to, s.at.Epoch)
	}
	return s.flush()
}

// write sends one event: id is the event's id, event its type, data one line of
// JSON.
func (s *reader) write(e event.Event) error {
	body, err := json.Marshal(show(e))
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Position, err)
	}
	if _, err := fmt.Fprintf(s.w, "id: %s\nevent: %s\ndata: %s\n\n", e.Position, e.Type, body); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return nil
}
