package sqlite_test

import (
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// BenchmarkRead is what a request reads: a lease by its id, as a token that is
// not cached, an entry, and which tokens changed (D7), amid 1,000 events.
func BenchmarkRead(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), clock.System{}, sqlite.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	id := lease.NewID("auth/token/create")
	out := s.Apply(b.Context(), store.Transition{Change: lease.Change{ID: id, Key: "k", Do: lease.Begin{
		Lease: lease.Lease{Kind: lease.Token, TTL: time.Hour, Plan: []byte(`{"policies":["app"]}`)},
	}}})
	if out[0].Err != nil {
		b.Fatal(out[0].Err)
	}
	if _, err := s.Write(b.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: "database/", Value: []byte("{}")}}}); err != nil {
		b.Fatal(err)
	}
	events := make([]event.Event, 1000)
	for i := range events {
		events[i] = event.Event{Type: event.RequestServed, Subject: "sys/mounts", Data: event.Data{
			Actor: lease.Actor{Name: "accessor", Address: "127.0.0.1", RequestID: "one"}, Operation: "read", Path: "sys/mounts", Status: 200,
		}}
	}
	if err := s.Append(b.Context(), events...); err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"lease": func() error { _, err := s.Get(b.Context(), id); return err },
		"entry": func() error { _, err := s.Entry(b.Context(), store.KindMount, "database/"); return err },
		"changed tokens": func() error {
			_, err := s.ChangedTokens(b.Context(), event.Position{Epoch: 1}, 100)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
