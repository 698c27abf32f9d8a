package appender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

var errAway = errors.New("the broker is away")

// stream hands out what its script holds. It is its own consumer.
type stream struct {
	mu      sync.Mutex
	batches [][]event.Event
	heads   chan event.Position
	away    error
	fetched int // events
	acked   int // events, of those fetched
	opened  int
	tail    event.Position // the last that it has
	gone    error          // why it does not say so
}

func newStream() *stream { return &stream{heads: make(chan event.Position, 1)} }

func (s *stream) Consume(context.Context, string, bool) (bus.Consumer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	s.opened++
	return s, nil
}

func (s *stream) Heads(context.Context) (<-chan event.Position, error) { return s.heads, nil }

func (s *stream) Replay(context.Context, time.Time) iter.Seq2[event.Event, error] {
	return func(func(event.Event, error) bool) {}
}

func (s *stream) Tail(context.Context) (event.Event, error) {
	return event.Event{Position: s.tail}, s.gone
}

func (s *stream) Fetch(context.Context, int, time.Duration) ([]event.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil || len(s.batches) == 0 {
		return nil, s.away
	}
	b := s.batches[0]
	s.batches = s.batches[1:]
	s.fetched += len(b)
	return b, nil
}

func (s *stream) Ack(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = s.fetched
	return nil
}

func (s *stream) Close() error { return nil }

func (s *stream) push(batches ...[]event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, batches...)
}

// opening keeps tests from opening ledgers at the same time: the library's log
// settings belong to the process.
var opening sync.Mutex

// world is a real ledger, a store and a scripted stream.
type world struct {
	t      *testing.T
	dir    string
	clock  *storetest.Clock
	fake   *storetest.Fake
	store  *storetest.Faulty
	outbox *counted
	ledger *faulty
	stream *stream
	healer healer
	lock   store.Lock
	n      int

	appended []event.Position
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := storetest.NewClock()
	w := &world{t: t, dir: t.TempDir(), clock: c, fake: storetest.NewFake(c), stream: newStream()}
	w.store = storetest.NewFaulty(w.fake)
	w.outbox = &counted{Store: w.store}
	w.acquire()
	w.open()
	return w
}

func (w *world) acquire() {
	w.t.Helper()
	lock, ok, err := w.fake.Acquire(w.t.Context(), publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		w.t.Fatalf("acquire: %t, %v", ok, err)
	}
	w.lock = lock
}

// open opens the ledger, as a start of the process does.
func (w *world) open() {
	w.t.Helper()
	opening.Lock()
	defer opening.Unlock()
	l, err := ledger.Open(w.t.Context(), ledger.Config{Dir: w.dir, Installation: "test", CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close(context.WithoutCancel(w.t.Context())) })
	w.ledger = &faulty{Ledger: l}
}

// restart closes the ledger and opens it again.
func (w *world) restart() *appender.Appender {
	w.t.Helper()
	if err := w.ledger.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	return w.appender()
}

// wait is 250 ms of the clock that stands still; a look at the head each second.
func (w *world) appender() *appender.Appender {
	return w.with(w.stream)
}

func (w *world) with(s bus.Stream) *appender.Appender {
	return appender.New(w.ledger, s, w.outbox, &w.healer, w.clock, zerolog.Nop(), appender.Config{Batch: 50}, func(p event.Position) {
		w.appended = append(w.appended, p)
		if size, err := w.ledger.Size(p.Epoch); err != nil || size < p.Number {
			w.t.Errorf("told of %s while the ledger ends with %d, %v", p, size, err)
		}
	})
}

// make commits and numbers n events and returns them.
func (w *world) make(n int) []event.Event {
	w.t.Helper()
	for range n {
		w.n++
		e := event.Event{Type: event.RequestServed, Subject: fmt.Sprintf("sys/%d", w.n), Data: event.Data{Path: fmt.Sprintf("sys/%d", w.n)}}
		if err := w.fake.Append(w.t.Context(), e); err != nil {
			w.t.Fatal(err)
		}
	}
	head, _, err := w.fake.Number(w.t.Context(), w.lock, n)
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := w.fake.Events(w.t.Context(), event.Position{Epoch: head.Epoch, Number: head.Number - int64(n)}, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func do(t *testing.T, a *appender.Appender) {
	t.Helper()
	if _, err := a.Do(t.Context()); err != nil {
		t.Fatalf("do: %v", err)
	}
}

// wants runs the step and wants an error.
func wants(t *testing.T, a *appender.Appender, want error) {
	t.Helper()
	if _, err := a.Do(t.Context()); !errors.Is(err, want) {
		t.Fatalf("do: %v, want %v", err, want)
	}
}

// has: the segment's entries are the events want, and confirmed is at most that.
func (w *world) has(epoch int64, want []event.Event) {
	w.t.Helper()
	n := 0
	for e, err := range w.ledger.Entries(w.t.Context(), epoch, 1, 1<<40) {
		if err != nil {
			w.t.Fatal(err)
		}
		var got event.Event
		if err := json.Unmarshal(e.Data, &got); err != nil {
			w.t.Fatal(err)
		}
		if n >= len(want) {
			w.t.Fatalf("epoch %d has an entry %d, want %d entries", epoch, e.Number, len(want))
		}
		x, _ := json.Marshal(want[n])
		if n++; e.Number != int64(n) || !bytes.Equal(x, e.Data) {
			w.t.Fatalf("epoch %d entry %d is %s, want %s", epoch, e.Number, e.Data, x)
		}
	}
	if n != len(want) {
		w.t.Fatalf("epoch %d has %d entries, want %d", epoch, n, len(want))
	}
}

func (w *world) confirmed() event.Position {
	w.t.Helper()
	p, err := w.fake.Confirmed(w.t.Context(), publish.Ledger)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) suspended() bool {
	w.t.Helper()
	_, suspended, err := w.fake.Suspension(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return suspended
}

func (w *world) confirmedIs(number int64) {
	w.t.Helper()
	if got := w.confirmed(); got.Number != number {
		w.t.Errorf("confirmed is %s, want number %d", got, number)
	}
}

// faulty is the real ledger with faults in Append.
type faulty struct {
	*ledger.Ledger
	before, after error // next Append: not done; done but reported failed
	gagged        bool  // with after: nor is the position told
	added         bool  // its entries have a field that this release does not know
}

func (f *faulty) Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for e, err := range f.Ledger.Entries(ctx, epoch, from, to) {
			if f.added {
				e.Data = bytes.Replace(e.Data, []byte(`"data":{`), []byte(`"data":{"added_since":1,`), 1)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (f *faulty) Append(ctx context.Context, epoch, first int64, entries [][]byte) (int64, error) {
	if err := f.before; err != nil {
		f.before = nil
		return 0, err
	}
	n, err := f.Ledger.Append(ctx, epoch, first, entries)
	if failed := f.after; failed != nil {
		f.after = nil
		if f.gagged {
			n = 0
		}
		return n, failed
	}
	return n, err
}

// counted counts reads, and can be made to lie about epochs.
type counted struct {
	appender.Store
	reads int
}

func (c *counted) Events(ctx context.Context, after event.Position, limit int) ([]event.Event, error) {
	c.reads++
	return c.Store.Events(ctx, after, limit)
}

// healer is a recovery that does what its test says; without that it fails
// with what it is to heal. The real one is tested in package recovery.
type healer struct {
	found []error
	heal  func() error
}

func (h *healer) Recover(_ context.Context, found error) error {
	h.found = append(h.found, found)
	if h.heal != nil {
		return h.heal()
	}
	return found
}

// epochs is a store of several epochs; only what an appender reads.
type epochs struct {
	store.Outbox
	events    []event.Event
	head      event.Position
	confirmed event.Position
}

func (s *epochs) Head(context.Context) (event.Position, error) { return s.head, nil }

func (s *epochs) Events(_ context.Context, after event.Position, limit int) (out []event.Event, _ error) {
	for _, e := range s.events {
		if after.Before(e.Position) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (s *epochs) Suspension(context.Context) (store.Suspension, bool, error) {
	return store.Suspension{}, false, nil
}

func (s *epochs) Compared(context.Context, store.Suspension) error { return nil }

func (s *epochs) Confirmed(context.Context, string) (event.Position, error) { return s.confirmed, nil }

func (s *epochs) Confirm(_ context.Context, _ string, upTo event.Position) error {
	if s.head.Before(upTo) {
		return store.ErrAhead
	}
	s.confirmed = upTo
	return nil
}

// numbered makes events from..to of an epoch; tag tells histories apart.
func numbered(epoch, from, to int64, tag string) (out []event.Event) {
	for n := from; n <= to; n++ {
		out = append(out, event.Event{
			Position: event.Position{Epoch: epoch, Number: n}, Type: event.LeaseRevoked,
			Time: time.Unix(1_900_000_000+n, 0).UTC(), Subject: fmt.Sprintf("%s/%d/%d", tag, epoch, n),
			Data: event.Data{Path: fmt.Sprintf("%s/%d/%d", tag, epoch, n)},
		})
	}
	return out
}

var (
	_ bus.Stream   = (*stream)(nil)
	_ bus.Consumer = (*stream)(nil)
)
