//go:build integration

package auditor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/testkit"
)

// pipeline is store, publisher, stream and auditor, all real.
type pipeline struct {
	t    *testing.T
	dir  string
	dial func(ctx context.Context) (*jetstream.Bus, error)

	store   *sqlite.Store
	bus     *jetstream.Bus
	auditor *auditor.Auditor
	settled func() // called when store and record are settled
	stops   []func() error
}

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	p := &pipeline{t: t, dir: t.TempDir()}
	p.dial = func(ctx context.Context) (*jetstream.Bus, error) {
		b, _, err := jetstream.Embed(ctx, jetstream.EmbedConfig{Dir: filepath.Join(p.dir, "nats")})
		return b, err
	}
	t.Cleanup(p.stop)
	return p
}

func (p *pipeline) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// start starts everything, as a program does.
func (p *pipeline) start() {
	p.t.Helper()
	ctx := context.WithoutCancel(p.t.Context())
	var err error
	p.store, err = sqlite.Open(ctx, filepath.Join(p.dir, "store"), clock.System{}, sqlite.Config{})
	p.check(err)
	p.stops = append(p.stops, p.store.Close)
	p.bus, err = p.dial(ctx)
	p.check(err)
	p.stops = append(p.stops, func() error { return p.bus.Close(ctx) })
	p.auditor, err = auditor.New(ctx, auditor.Deps{Stream: p.bus, Store: p.store, Clock: clock.System{}, Log: zerolog.Nop()},
		auditor.Config{Dir: filepath.Join(p.dir, "audit"), Installation: "test"})
	p.check(err)
	p.auditor.Settle(ctx)
	if p.settled != nil {
		p.settled()
	}
	p.run(p.auditor.Run)
	wake, release := p.store.Watch()
	publisher, err := publish.New(p.store, p.bus, wake, clock.System{}, zerolog.Nop(), publish.Config{Owner: "test-" + lease.RandomBase62(8)})
	p.check(err)
	runner := step.New(clock.System{}, zerolog.Nop(), step.Config{MaxBackoff: time.Second}, publisher)
	p.run(func(ctx context.Context) error {
		defer release()
		err := runner.Run(ctx)
		if err == nil {
			err = publisher.Close(context.WithoutCancel(ctx))
		}
		return err
	})
}

func (p *pipeline) run(work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	p.stops = append(p.stops, func() error { cancel(); return <-done })
}

// stop stops everything, the last started first.
func (p *pipeline) stop() {
	p.t.Helper()
	for i := len(p.stops) - 1; i >= 0; i-- {
		if err := p.stops[i](); err != nil {
			p.t.Errorf("stop: %v", err)
		}
	}
	p.stops = nil
}

// write commits the events from..to, 20 in a commit, by several writers.
func (p *pipeline) write(from, to int) {
	p.t.Helper()
	commits := make(chan []event.Event)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for events := range commits {
				if err := p.store.Append(p.t.Context(), events...); err != nil {
					p.t.Errorf("append: %v", err)
				}
			}
		})
	}
	for n := from; n <= to; n += 20 {
		var events []event.Event
		for k := n; k <= min(to, n+19); k++ {
			id := fmt.Sprintf("database/creds/r/%d", k)
			events = append(events, event.Event{Type: event.LeaseRevoked, Subject: id, Data: event.Data{
				LeaseID: lease.ID(id), Mount: "database/", Role: "r", State: lease.Revoked, Actor: lease.System(lease.ActorExpiry),
			}})
		}
		commits <- events
	}
	close(commits)
	wg.Wait()
}

// recorded waits until the ledger has confirmed n events.
func (p *pipeline) recorded(n int64) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * hang); ; time.Sleep(5 * time.Millisecond) {
		at, err := p.store.Confirmed(p.t.Context(), publish.Ledger)
		if err == nil && at.Number >= n {
			return
		}
		if time.Now().After(deadline) {
			head, _ := p.store.Head(p.t.Context())
			p.t.Fatalf("confirmed is %s, %v; the head %s; want %d", at, err, head, n)
		}
	}
}

// trimmed waits until the store has nothing more.
func (p *pipeline) trimmed() {
	p.t.Helper()
	for deadline := time.Now().Add(hang); ; time.Sleep(5 * time.Millisecond) {
		n, err := p.store.Backlog(p.t.Context())
		if err == nil && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d events are kept, %v", n, err)
		}
	}
}

// kept watches that the store never deletes what the ledger has not confirmed
// (D4), until stop.
func (p *pipeline) kept(s *sqlite.Store) (stop func()) {
	ctx, cancel := context.WithCancel(p.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			// In this order: the confirmation read last is the highest.
			events, err1 := s.Events(ctx, event.Position{}, 1)
			at, err2 := s.Confirmed(ctx, publish.Ledger)
			if err1 == nil && err2 == nil && len(events) == 1 && at.Number+1 < events[0].Position.Number {
				p.t.Errorf("the store begins with %s, confirmed is %s", events[0].Position, at)
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// complete: the ledger has events 1..n, dense, each once, and is sound.
func (p *pipeline) complete(n int) {
	p.t.Helper()
	seen := map[string]bool{}
	next := int64(1)
	for e, err := range ledger.NewReader(filepath.Join(p.dir, "audit", "ledger")).Entries(p.t.Context(), 1, 1, 1<<40) {
		p.check(err)
		var got event.Event
		p.check(json.Unmarshal(e.Data, &got))
		if e.Number != next || got.Position.Number != next || got.Type != event.LeaseRevoked || seen[got.Subject] {
			p.t.Fatalf("entry %d is %s", next, e.Data)
		}
		seen[got.Subject] = true
		next++
	}
	if len(seen) != n {
		p.t.Errorf("%d events are on record, want %d", len(seen), n)
	}
	for _, id := range []int{1, n / 2, n} {
		w := httptest.NewRecorder()
		query := fmt.Sprintf("/v1/audit/entries?lease=database/creds/r/%d", id)
		p.auditor.Handler().ServeHTTP(w, httptest.NewRequestWithContext(p.t.Context(), http.MethodGet, query, nil))
		if strings.Count(w.Body.String(), `"type":"lease.revoked"`) != 1 {
			p.t.Errorf("%s: %s", query, w.Body)
		}
	}
}

func (p *pipeline) sound() {
	p.t.Helper()
	var out strings.Builder
	if err := auditor.Verify(p.t.Context(), filepath.Join(p.dir, "audit"), "", nil, &out); err != nil {
		p.t.Errorf("verify: %v\n%s", err, out.String())
	}
}

// The stream is deleted in the middle, and everything is stopped and started.
func TestPipeline(t *testing.T) {
	p := newPipeline(t)
	p.start()
	stop := p.kept(p.store)
	begin := time.Now()
	p.write(1, 2000)
	p.recorded(2000)
	t.Logf("2,000 events: %.0f a second", 2000/time.Since(begin).Seconds())
	begin = time.Now()
	p.write(2001, 2500)
	p.check(p.bus.Delete(t.Context()))
	p.write(2501, 3500)
	stop()
	p.stop() // whatever is under way
	p.start()
	stop = p.kept(p.store)
	p.write(3501, 5000)
	p.recorded(5000)
	t.Logf("3,000 events with the stream deleted and a restart: %.0f a second", 3000/time.Since(begin).Seconds())
	p.trimmed()
	stop()
	p.complete(5000)
	p.stop()
	p.sound()
}

// The broker is stopped in the middle, and comes back with or without its
// stream.
func TestPipelineWithABrokerThatGoesAway(t *testing.T) {
	server := testkit.NATS(t)
	p := newPipeline(t)
	p.dial = func(ctx context.Context) (*jetstream.Bus, error) {
		return jetstream.Dial(ctx, server.URL(), jetstream.Config{})
	}
	p.start()
	stop := p.kept(p.store)
	p.write(1, 1000)
	server.Stop(t)
	p.write(1001, 2000)
	if head, err := p.store.Head(t.Context()); err == nil { // promise 6: the record goes on without a broker
		p.recorded(head.Number)
	}
	server.Start(t)
	p.write(2001, 3000)
	p.recorded(3000)
	for { // the connection may not be back yet
		if err := p.bus.Delete(t.Context()); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.write(3001, 5000)
	p.recorded(5000)
	p.trimmed()
	stop()
	p.complete(5000)
	p.stop()
	p.sound()
}
