//go:build integration

package jetstream_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/bus/bustest"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
)

func embed(t *testing.T, cfg jetstream.EmbedConfig) (*jetstream.Bus, string) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b, url, err := jetstream.Embed(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return b, url
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, law := range bustest.Laws() {
		t.Run(law.Name, func(t *testing.T) {
			t.Parallel()
			b, _ := embed(t, jetstream.EmbedConfig{})
			law.Check(t, subject(t, b, b))
		})
	}
}

// watcher watches a law fail. A broken stream is waited for in vain: inVain
// bounds that instead of the law's own patience.
type watcher struct {
	*testing.T
	inVain func() context.Context
	failed bool
}

func (w *watcher) Context() context.Context { return w.inVain() }

type stop struct{}

func (w *watcher) Errorf(string, ...any) { w.failed = true }
func (w *watcher) Fatalf(string, ...any) { w.failed = true; panic(stop{}) }

// liar reports everything as sent and sends all but the last of a batch; deaf
// never announces.
type liar struct{ bus.Bus }

func (l liar) Publish(ctx context.Context, e []event.Event) (int, error) {
	if _, err := l.Bus.Publish(ctx, e[:len(e)-1]); err != nil {
		return 0, err
	}
	return len(e), nil
}

// shuffled sends the second event before the first.
type shuffled struct{ bus.Bus }

func (s shuffled) Publish(ctx context.Context, e []event.Event) (int, error) {
	if len(e) > 1 {
		e = append([]event.Event{e[1], e[0]}, e[2:]...)
	}
	return s.Bus.Publish(ctx, e)
}

// forgetful replays all but the first event.
type forgetful struct{ bus.Bus }

func (f forgetful) Replay(ctx context.Context, since time.Time) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		first := true
		for e, err := range f.Bus.Replay(ctx, since) {
			if !first && !yield(e, err) {
				return
			}
			first = false
		}
	}
}

// blind says of no event that it is the last.
type blind struct{ bus.Bus }

func (blind) Tail(context.Context) (event.Event, error) { return event.Event{}, nil }

func TestSuiteCatchesBrokenStreams(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]struct {
		law  string
		wrap func(bus.Bus) bus.Bus
	}{
		"liar":      {"D3 an event published twice is stored once", func(b bus.Bus) bus.Bus { return liar{b} }},
		"shuffled":  {"events arrive in order and whole", func(b bus.Bus) bus.Bus { return shuffled{b} }},
		"forgetful": {"A7 what is stored can be read from its beginning, to its end", func(b bus.Bus) bus.Bus { return forgetful{b} }},
		"blind":     {"A7 the tail is the last event that is stored", func(b bus.Bus) bus.Bus { return blind{b} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := embed(t, jetstream.EmbedConfig{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			w := &watcher{T: t, inVain: func() context.Context { return ctx }}
			for _, law := range bustest.Laws() {
				if law.Name != broken.law {
					continue
				}
				func() {
					defer func() {
						if p := recover(); p != nil && p != (stop{}) {
							panic(p)
						}
					}()
					law.Check(w, subject(t, broken.wrap(b), b))
				}()
			}
			if !w.failed {
				t.Errorf("law %q holds for a broken stream", broken.law)
			}
		})
	}
}

// A restart on the same directory keeps the stream and the consumers' places.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, _, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Position: event.Position{Epoch: 1, Number: 1}, Type: event.LeaseCreated, Time: time.Now()}
	if _, err := b.Publish(t.Context(), []event.Event{e}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _ = embed(t, jetstream.EmbedConfig{Dir: dir})
	c, err := b.Consume(t.Context(), "late", true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Fetch(t.Context(), 10, hang)
	if err != nil || len(got) != 1 || got[0].Position != e.Position {
		t.Errorf("after a restart: %v, %v", got, err)
	}
}

// A subscriber of the network may read events and may not write them.
func TestSubscriberMayOnlyRead(t *testing.T) {
	t.Parallel()
	const password = "subscriber-password"
	b, url := embed(t, jetstream.EmbedConfig{Listen: "127.0.0.1:0", Subscriber: secret.New(password)})
	if nc, err := nats.Connect(url); err == nil {
		nc.Close()
		t.Fatal("connected without a password")
	}
	denied := make(chan error, 10)
	nc, err := nats.Connect(url, nats.UserInfo(jetstream.SubscriberUser, password),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(t.Context(), jetstream.StreamName, natsjs.ConsumerConfig{
		Durable: "watcher", AckPolicy: natsjs.AckExplicitPolicy, FilterSubject: "curfew.event.lease.revoked.>",
	})
	if err != nil {
		t.Fatalf("a subscriber cannot make a consumer: %v", err)
	}
	e := event.Event{
		Position: event.Position{Epoch: 1, Number: 1}, Type: event.LeaseRevoked, Time: time.Now(),
		Data: event.Data{Mount: "database/", LeaseID: "database/creds/r/x"},
	}
	if _, err := b.Publish(t.Context(), []event.Event{e}); err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(natsjs.FetchMaxWait(hang))
	if err != nil {
		t.Fatalf("a subscriber cannot read: %v", err)
	}
	if id := m.Headers().Get("ce-id"); id != "1-1" {
		t.Errorf("ce-id is %q", id)
	}
	if err := nc.Publish("curfew.event.lease.revoked.database", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-denied:
		t.Logf("refused: %v", err)
	case <-time.After(hang):
		t.Error("a subscriber may publish events")
	}
	if err := js.DeleteStream(t.Context(), jetstream.StreamName); err == nil {
		t.Error("a subscriber may delete the stream")
	}
}
