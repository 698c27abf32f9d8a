package recovery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// record is a ledger in memory.
type record map[int64][][]byte

func (l record) Epochs() ([]int64, error) { return slices.Sorted(maps.Keys(l)), nil }

func (l record) Size(epoch int64) (int64, error) { return int64(len(l[epoch])), nil }

func (l record) Next(_ context.Context, epoch int64) (int64, error) {
	return int64(len(l[epoch])) + 1, nil
}

func (l record) Append(_ context.Context, epoch, first int64, lines [][]byte) (int64, error) {
	if want := int64(len(l[epoch])) + 1; first != want {
		return want - 1, &ledger.GapError{Epoch: epoch, Want: want, Got: first}
	}
	l[epoch] = append(l[epoch], lines...)
	return int64(len(l[epoch])), nil
}

func (l record) Entries(_ context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for n := from; n <= min(to, int64(len(l[epoch]))); n++ {
			if !yield(ledger.Entry{Number: n, Data: l[epoch][n-1]}, nil) {
				return
			}
		}
	}
}

// events decodes an epoch's entries.
func (l record) events(t fataler, epoch int64) (out []event.Event) {
	t.Helper()
	for i, line := range l[epoch] {
		var e event.Event
		if err := json.Unmarshal(line, &e); err != nil || e.Position != (event.Position{Epoch: epoch, Number: int64(i) + 1}) {
			t.Fatalf("entry %d-%d is %s, %v", epoch, i+1, line, err)
		}
		out = append(out, e)
	}
	return out
}

// stream replays what it was given.
type stream struct {
	bus.Nop
	events []event.Event
	err    error // after them
	stuck  bool  // after them, until the context ends
	read   int   // how many were given
}

func (s *stream) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for _, e := range s.events {
			if e.Time.Before(since) {
				continue
			}
			s.read++
			if !yield(e, nil) {
				return
			}
		}
		if s.stuck {
			<-ctx.Done()
			yield(event.Event{}, ctx.Err())
			return
		}
		if s.err != nil {
			yield(event.Event{}, s.err)
		}
	}
}

func (s *stream) Tail(context.Context) (last event.Event, err error) {
	for _, e := range s.events {
		if last.Position.Before(e.Position) {
			last = e
		}
	}
	return last, s.err
}

// ending is a stream of which only its end is known.
type ending struct {
	bus.Nop
	stream *stream
}

func (e ending) Tail(ctx context.Context) (event.Event, error) { return e.stream.Tail(ctx) }

// sending is the broker of a publisher.
type sending struct{ ending }

func (s sending) Publish(_ context.Context, events []event.Event) (int, error) {
	s.stream.events = append(s.stream.events, events...)
	return len(events), nil
}

type fataler interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// act is something that was done to the store, to be done again to a copy.
type act struct {
	at time.Time
	do func(*storetest.Fake)
}

// world is a store that can be copied as it was, its record, and its stream.
type world struct {
	t      fataler
	ctx    context.Context
	clock  *storetest.Clock
	fake   *storetest.Fake
	acts   []act
	ledger record
	stream *stream
	log    bytes.Buffer
}

func newWorld(t fataler) *world {
	c := storetest.NewClock()
	return &world{t: t, ctx: context.Background(), clock: c, fake: storetest.NewFake(c), ledger: record{}, stream: &stream{}}
}

// do does something a second later, and remembers it.
func (w *world) do(what func(*storetest.Fake)) {
	w.clock.Advance(time.Second)
	w.acts = append(w.acts, act{w.clock.Now(), what})
	what(w.fake)
}

// copied is the store after the first n acts.
func (w *world) copied(n int) (*storetest.Fake, *storetest.Clock) {
	c := storetest.NewClock()
	f := storetest.NewFake(c)
	for _, a := range w.acts[:n] {
		c.Advance(a.at.Sub(c.Now()))
		a.do(f)
	}
	return f, c
}

// restore puts the copy in the store's place. Time has gone on.
func (w *world) restore(n int) {
	now := w.clock.Now()
	w.fake, w.clock = w.copied(n)
	w.clock.Advance(now.Sub(w.clock.Now()))
	w.acts = slices.Clip(w.acts[:n])
}

// change applies an action to whatever version there is.
func (w *world) change(id lease.ID, do lease.Action) {
	key, reason := fmt.Sprintf("key-%d", len(w.acts)), fmt.Sprintf("act %d", len(w.acts))
	w.do(func(f *storetest.Fake) {
		c := lease.Change{ID: id, Version: lease.AnyVersion, Key: key, By: lease.Actor{Name: "someone"}, Reason: reason, Do: do}
		if _, begin := do.(lease.Begin); begin {
			c.Version = 0
		}
		f.Apply(context.Background(), store.Transition{Change: c})
	})
}

// begin makes a lease of a connection.
func (w *world) begin(name, target string) lease.ID {
	id := lease.ID("database/creds/r/" + name)
	w.change(id, lease.Begin{Grace: time.Minute, Lease: lease.Lease{
		Kind: lease.Secret, MountID: "mount-1", Mount: "database/", Role: "r", Engine: "database", Target: target,
		TokenID: "auth/token/create/root", Account: "v-" + name, Plan: []byte(`{"plan":1}`), TTL: time.Hour, MaxTTL: 24 * time.Hour, Renewable: true,
	}})
	return id
}

func (w *world) active(name, target string) lease.ID {
	id := w.begin(name, target)
	w.change(id, lease.Activate{Handle: []byte("oid")})
	return id
}

func (w *world) token(name string) lease.ID {
	id := lease.ID("auth/token/create/" + name)
	w.change(id, lease.Begin{Lease: lease.Lease{Kind: lease.Token, Account: "accessor-" + name, TTL: time.Hour, MaxTTL: 24 * time.Hour, Renewable: true}})
	return id
}

// end revokes a lease and, if it is to be over, ends it.
func (w *world) end(id lease.ID, over bool) {
	w.change(id, lease.Revoke{})
	if over {
		w.change(id, lease.Finish{To: lease.Revoked})
	}
}

// connection makes a connection of the mount, and both on record.
func (w *world) connection(id string) {
	w.do(func(f *storetest.Fake) {
		_, _ = f.Write(context.Background(), store.Write{
			Puts:   []store.Entry{{Kind: store.KindConnection, Key: "mount-1/" + id, ID: id, Value: []byte(`{}`)}},
			Events: []event.Event{configured("database/config/"+id, "write")},
		})
	})
}

func (w *world) mount() {
	w.do(func(f *storetest.Fake) {
		_, _ = f.Write(context.Background(), store.Write{
			Puts:   []store.Entry{{Kind: store.KindMount, Key: "database/", ID: "mount-1", Value: []byte(`{"type":"database"}`)}},
			Events: []event.Event{configured("sys/mounts/database", "write")},
		})
	})
}

func configured(path, operation string) event.Event {
	return event.Event{Type: event.ConfigChanged, Subject: path, Data: event.Data{Path: path, Operation: operation, Actor: lease.Actor{Name: "someone"}}}
}

// request is an event that concerns no lease, told from all others.
func (w *world) request(tag string) {
	name := fmt.Sprintf("%s/%d", tag, len(w.acts))
	w.do(func(f *storetest.Fake) {
		_ = f.Append(context.Background(), event.Event{Type: event.RequestServed, Subject: name, Data: event.Data{Path: name}})
	})
}

// number numbers everything.
func (w *world) number() {
	w.do(func(f *storetest.Fake) {
		lock, _, _ := f.Acquire(context.Background(), publish.LockName, "test", 1000*time.Hour)
		_, _, _ = f.Number(context.Background(), lock, 1<<20)
	})
}

// stored are the store's numbered events after a position.
func (w *world) stored(after event.Position) []event.Event {
	w.t.Helper()
	events, err := w.fake.Events(w.ctx, after, 1<<20)
	if err != nil {
		w.t.Fatalf("events: %v", err)
	}
	return events
}

// publish gives the stream what it does not have of the store.
func (w *world) publish() {
	var last event.Position
	if n := len(w.stream.events); n > 0 {
		last = w.stream.events[n-1].Position
	}
	w.stream.events = append(w.stream.events, w.stored(last)...)
}

// append numbers everything and puts it on record; what the appender confirms
// then is part of what a copy has.
func (w *world) append(confirm bool) {
	w.t.Helper()
	w.number()
	var last event.Position
	for epoch, lines := range w.ledger {
		if p := (event.Position{Epoch: epoch, Number: int64(len(lines))}); last.Before(p) {
			last = p
		}
	}
	for _, e := range w.stored(last) {
		line, err := appender.Encode(e)
		if err != nil {
			w.t.Fatalf("encode: %v", err)
		}
		if _, err := w.ledger.Append(w.ctx, e.Position.Epoch, e.Position.Number, [][]byte{line}); err != nil {
			w.t.Fatalf("append: %v", err)
		}
		last = e.Position
	}
	if confirm {
		w.do(func(f *storetest.Fake) { _ = f.Confirm(context.Background(), store.Ledger, last) })
	}
}

func (w *world) trim(upTo event.Position) {
	w.do(func(f *storetest.Fake) { _, _ = f.Trim(context.Background(), upTo, 1<<20) })
}

// auditor is an appender with its recovery, on a store that may break.
func (w *world) auditor(s store.Store, cfg recovery.Config) *appender.Appender {
	r := recovery.New(w.ledger, w.stream, s, zerolog.New(&w.log), cfg)
	return appender.New(w.ledger, ending{stream: w.stream}, s, r, w.clock, zerolog.Nop(), appender.Config{Wait: time.Nanosecond, Tail: 2 * time.Second}, func(event.Position) {})
}

// settle runs an auditor and a publisher until all is on record.
func (w *world) settle(a *appender.Appender) {
	w.t.Helper()
	var err error
	for round := range 20 {
		w.clock.Advance(time.Second)
		if lock, ok, locked := w.fake.Acquire(w.ctx, publish.LockName, "test", time.Hour); ok && locked == nil {
			_, _, _ = w.fake.Number(w.ctx, lock, 1<<20)
		}
		if _, err = a.Do(w.ctx); err == nil {
			head, _ := w.fake.Head(w.ctx)
			confirmed, _ := w.fake.Confirmed(w.ctx, store.Ledger)
			backlog := len(w.stored(confirmed))
			// What a recovery commits gets its number a round later.
			if _, suspended, _ := w.fake.Suspension(w.ctx); round > 3 && !suspended && backlog == 0 && (confirmed == head || head.Number == 0) {
				return
			}
		}
	}
	w.t.Fatalf("it does not come to rest: %v", err)
}

// lease is a row; the zero Lease where there is none.
func (w *world) lease(id lease.ID) lease.Lease {
	l, _ := w.fake.Get(w.ctx, id)
	return l
}

// reports are those of all recoveries.
func (w *world) reports() []installation.Restored {
	w.t.Helper()
	all, err := installation.Recoveries(w.ctx, w.fake)
	if err != nil {
		w.t.Fatalf("read the reports: %v", err)
	}
	return all
}

func (w *world) doubts() []string {
	w.t.Helper()
	reasons, err := installation.Current(w.ctx, w.fake)
	if err != nil {
		w.t.Fatalf("read the doubt: %v", err)
	}
	return reasons
}

// lost names the losses of a report.
func lost(r installation.Restored) (out []string) {
	for _, l := range r.Lost {
		out = append(out, l.What+" "+l.ID)
	}
	slices.Sort(out)
	return out
}

var _ fataler = (*testing.T)(nil)

func noLog() zerolog.Logger { return zerolog.Nop() }
