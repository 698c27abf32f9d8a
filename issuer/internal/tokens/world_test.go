package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const (
	here  = "192.0.2.7"
	month = 768 * time.Hour
)

// keys derives from master keys, the current one first.
type keys []string

func (k keys) Derive(purpose string) ([]byte, error) { return []byte(k[0] + purpose), nil }

func (k keys) DeriveEach(purpose string) ([][]byte, error) {
	out := make([][]byte, len(k))
	for i := range k {
		out[i] = []byte(k[i] + purpose)
	}
	return out, nil
}

// world is a registry on a store in memory, by a clock that only the test moves.
type world struct {
	t     *testing.T
	clock *storetest.Clock
	fake  *storetest.Fake
	store *storetest.Faulty
	reg   *tokens.Registry
	root  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock()}
	w.fake = storetest.NewFake(w.clock)
	w.store = storetest.NewFaulty(w.fake)
	w.reg = w.registry("first")
	root, err := w.reg.Root(t.Context(), secret.Value{}, lease.System("system:test"))
	must(t, err)
	w.root = root.Reveal()
	return w
}

// cache is one that keeps nothing.
func (w *world) cache() *tokens.Cache {
	return tokencache.New[*tokens.Known](w.clock, tokencache.Config{Max: -1})
}

// registry is one more process on the same store.
func (w *world) registry(masters ...string) *tokens.Registry {
	return tokens.New(w.store, keys(masters), w.cache(), zerolog.Nop(), lease.TTLs{Default: month, Max: month})
}

type handler func(context.Context, *request.Request) (*wire.Answer, error)

// as makes a request with a token, as the API does.
func (w *world) as(token string, h handler, data map[string]any, change ...func(*request.Request)) (*wire.Answer, error) {
	w.t.Helper()
	caller, actor, err := w.reg.Authenticate(w.t.Context(), secret.New(token), here, request.NewID())
	if err != nil {
		return nil, err
	}
	r := &request.Request{Operation: engine.Write, Path: "auth/token/test", Data: data, Actor: actor, Caller: caller}
	for _, c := range change {
		c(r)
	}
	return h(w.t.Context(), r)
}

// do is as with the root token, and must not fail.
func (w *world) do(h handler, data map[string]any) *wire.Answer {
	w.t.Helper()
	a, err := w.as(w.root, h, data)
	must(w.t, err)
	return a
}

// token makes a child of the root token.
func (w *world) token(data map[string]any) *wire.Auth {
	w.t.Helper()
	return w.do(w.reg.Create, data).Auth
}

// valid reports whether the registry takes a token; a failure of the store is
// none of both.
func (w *world) valid(token string) bool {
	w.t.Helper()
	_, _, err := w.reg.Authenticate(w.t.Context(), secret.New(token), here, "id")
	if err != nil && status(err) != 403 {
		w.t.Fatal(err)
	}
	return err == nil
}

// row is the lease of an accessor.
func (w *world) row(accessor string) lease.Lease {
	w.t.Helper()
	found, err := w.fake.Find(w.t.Context(), store.Query{Account: accessor})
	must(w.t, err)
	if len(found) != 1 {
		w.t.Fatalf("%d leases have the accessor", len(found))
	}
	return found[0]
}

// live are all tokens but the root token that are active.
func (w *world) live() []lease.Lease {
	w.t.Helper()
	found, err := w.fake.Find(w.t.Context(), store.Query{Prefix: "auth/", States: []lease.State{lease.Active}})
	must(w.t, err)
	return found
}

// number does what the publisher does; it returns the head.
func (w *world) number() (event.Position, error) {
	ctx := w.t.Context()
	lock, ok, err := w.fake.Acquire(ctx, "publisher", "test", time.Hour)
	if err != nil || !ok {
		return event.Position{}, fmt.Errorf("take the publisher's lock: %v, %w", ok, err)
	}
	head, _, err := w.fake.Number(ctx, lock, 1_000_000)
	return head, err
}

// events counts the events of a type that were committed.
func (w *world) events(kind event.Type) (n int) {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.number()
	must(w.t, err)
	all, err := w.fake.Events(ctx, event.Position{Epoch: 1}, 1_000_000)
	must(w.t, err)
	for _, e := range all {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// status is that of an error which a client is told, 0 for any other.
func status(err error) int {
	if w, ok := errors.AsType[*wire.Error](err); ok {
		return w.Status
	}
	return 0
}

// refused fails the test unless err says text with a status.
func refused(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	if status(err) != code || err.Error() != text {
		t.Errorf("%s: %v (status %d), want %q (%d)", what, err, status(err), text, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
