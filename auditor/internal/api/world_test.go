package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// opening keeps tests from opening ledgers at the same time: the library's log
// settings belong to the process.
var opening sync.Mutex

// world is a record that is served.
type world struct {
	t        *testing.T
	dir      string
	ledger   *ledger.Ledger
	catalog  *catalog.Catalog
	follower *catalog.Follower
	handler  *Handler
	url      string
	all      []event.Event
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir}
	var err error
	opening.Lock()
	w.ledger, err = ledger.Open(t.Context(), ledger.Config{Dir: filepath.Join(dir, "ledger"), Installation: "test", CheckpointInterval: 100 * time.Millisecond})
	opening.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if w.catalog, err = catalog.Open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	w.follower = catalog.NewFollower(w.ledger.Reader, w.catalog, zerolog.Nop())
	w.handler = New(w.ledger.Reader, w.catalog, clock.System{}, zerolog.Nop(), cfg)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10) // so that a reader which takes nothing is soon seen
		return ctx
	}
	server.Start()
	w.url = server.URL + "/v1/audit/"
	t.Cleanup(func() {
		w.handler.Stop()
		server.CloseClientConnections()
		server.Close()
		if err := w.ledger.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := w.catalog.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

var kinds = []event.Type{event.LeaseCreated, event.LeaseRenewed, event.LeaseRevoked}

// grow appends n events to an epoch and tells the handler.
func (w *world) grow(epoch int64, n int) {
	w.t.Helper()
	next, err := w.ledger.Next(w.t.Context(), epoch)
	if err != nil {
		w.t.Fatal(err)
	}
	events, lines := make([]event.Event, n), make([][]byte, n)
	for i := range events {
		k := len(w.all) + i
		id := fmt.Sprintf("database/creds/r/%d", k%7)
		events[i] = event.Event{
			Position: event.Position{Epoch: epoch, Number: next + int64(i)}, Type: kinds[k%len(kinds)],
			Time: start.Add(time.Duration(k) * time.Second), Subject: id,
			Data: event.Data{LeaseID: lease.ID(id), Version: int64(k), Actor: lease.Actor{Name: "someone"}, Reason: "because"},
		}
		if lines[i], err = json.Marshal(events[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.ledger.Append(w.t.Context(), epoch, next, lines); err != nil {
		w.t.Fatal(err)
	}
	w.all = append(w.all, events...)
	if n > 0 {
		w.handler.Grown(events[n-1].Position)
	}
}

// catalogue brings the catalogue up to the ledger.
func (w *world) catalogue() {
	w.t.Helper()
	if _, err := w.follower.Do(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(path string) (int, http.Header, []byte) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), hang)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, body
}

// envelope is the part of an answer that the tests look at.
type envelope struct {
	RequestID string   `json:"request_id"`
	Warnings  []string `json:"warnings"`
	Data      struct {
		Entries []entry `json:"entries"`
	} `json:"data"`
	Errors []string `json:"errors"`
}

func (w *world) entries(query string) envelope {
	w.t.Helper()
	status, _, body := w.get("entries?" + query)
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil || status != http.StatusOK {
		w.t.Fatalf("entries?%s: %d %s, %v", query, status, body, err)
	}
	return e
}

// message is one server-sent event; one without data only marks a place.
type message struct{ id, kind, data string }

// stream is an open stream.
type stream struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Reader
	close  context.CancelFunc
}

// open connects; from is the Last-Event-ID, or empty.
func (w *world) open(query, from string) *stream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), hang)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"stream?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if from != "" {
		r.Header.Set("Last-Event-ID", from)
	}
	answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // by the stream's close
	if err != nil {
		w.t.Fatal(err)
	}
	s := &stream{t: w.t, answer: answer, lines: bufio.NewReader(answer.Body), close: func() { cancel(); answer.Body.Close() }}
	w.t.Cleanup(s.close)
	return s
}

// next is the next message; false: the stream has ended.
func (s *stream) next() (m message, ok bool) {
	s.t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return message{}, false
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return m, true
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.kind = value
		case "data":
			m.data = value
		}
	}
}

// event is the next message with an event.
func (s *stream) event() entry {
	s.t.Helper()
	for {
		m, ok := s.next()
		if !ok {
			s.t.Fatal("the stream has ended")
		}
		if m.data == "" {
			continue
		}
		var e entry
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			s.t.Fatal(err)
		}
		if p := (event.Position{Epoch: e.Epoch, Number: e.Number}); m.id != p.String() || m.kind != string(e.Type) {
			s.t.Fatalf("event %s has the id %s and the type %s", p, m.id, m.kind)
		}
		return e
	}
}

// mark is the next message, which must be a place without an event.
func (s *stream) mark() string {
	s.t.Helper()
	m, ok := s.next()
	if !ok || m.data != "" || m.kind != "" || m.id == "" {
		s.t.Fatalf("message %+v, want a place only", m)
	}
	return m.id
}

// ends waits for the end of the stream.
func (s *stream) ends() {
	s.t.Helper()
	for {
		if _, ok := s.next(); !ok {
			return
		}
	}
}
