package database

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const (
	mountID = "mount-1"
	mount   = "database/"
	// adminPassword must be seen nowhere.
	adminPassword = "s3cr3t-of-the-admin"
)

// aead seals as the real seal does: the context is bound to the ciphertext.
type aead struct{ cipher.AEAD }

func newSealer(tb testing.TB) Sealer {
	tb.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		tb.Fatal(err)
	}
	return aead{a}
}

func (a aead) Seal(plaintext []byte, context string) ([]byte, error) {
	nonce := make([]byte, a.NonceSize())
	rand.Read(nonce)
	return a.AEAD.Seal(nonce, nonce, plaintext, []byte(context)), nil
}

func (a aead) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < a.NonceSize() {
		return nil, errors.New("too short")
	}
	return a.AEAD.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], []byte(context))
}

// logs is a writer that tests may read while it is written.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bench is an engine with a store of its own.
type bench struct {
	*Engine
	tb     testing.TB
	fake   *storetest.Fake
	sealer Sealer
	logs   *logs
}

func newBench(tb testing.TB) *bench {
	tb.Helper()
	b := &bench{tb: tb, fake: storetest.NewFake(clock.System{}), sealer: newSealer(tb), logs: &logs{}}
	b.Engine = b.another()
	return b
}

// another is an engine of another process: the same store and seal.
func (b *bench) another() *Engine {
	b.tb.Helper()
	e, err := New(Deps{Store: b.fake, Sealer: b.sealer, Clock: clock.System{}, Log: zerolog.New(b.logs)}, Config{Program: "test"})
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() {
		if err := e.Close(b.tb.Context()); err != nil && b.tb.Context().Err() == nil {
			b.tb.Error(err)
		}
	})
	return e
}

func (b *bench) ask(op engine.Operation, path string, data map[string]any) (*engine.Response, error) {
	return b.Handle(b.tb.Context(), &engine.Request{
		Operation: op, MountID: mountID, Mount: mount, Path: path, Data: data,
		Actor: lease.Actor{Name: "accessor", DisplayName: "token-app"},
	})
}

func (b *bench) must(op engine.Operation, path string, data map[string]any) *engine.Response {
	b.tb.Helper()
	r, err := b.ask(op, path, data)
	if err != nil {
		b.tb.Fatalf("%s %s: %v", op, path, err)
	}
	return r
}

// refused asks for an error of a kind whose message holds each of the texts.
func (b *bench) refused(kind engine.Kind, op engine.Operation, path string, data map[string]any, texts ...string) {
	b.tb.Helper()
	_, err := b.ask(op, path, data)
	wantError(b.tb, op, path, err, kind, texts...)
}

func wantError(tb testing.TB, op engine.Operation, path string, err error, kind engine.Kind, texts ...string) {
	tb.Helper()
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Kind != kind {
		tb.Errorf("%s %s: %v, want an error of kind %q", op, path, err, kind)
		return
	}
	for _, text := range texts {
		if !strings.Contains(e.Message, text) {
			tb.Errorf("%s %s: %q, want it to hold %q", op, path, e.Message, text)
		}
	}
}

func (b *bench) plan(role string, id lease.ID) (*engine.Plan, error) {
	return b.Plan(b.tb.Context(), &engine.Request{
		Operation: engine.Read, MountID: mountID, Mount: mount, Path: "creds/" + role, LeaseID: id,
		Actor: lease.Actor{Name: "accessor", DisplayName: "token-app"},
	})
}

// unverified is a connection to a port where nobody listens.
func unverified(more ...string) map[string]any {
	d := map[string]any{
		"plugin_name":       "postgresql-database-plugin",
		"connection_url":    "postgresql://{{username}}:{{password}}@127.0.0.1:1/postgres?sslmode=disable",
		"username":          "vault_admin",
		"password":          adminPassword,
		"allowed_roles":     "readonly,short",
		"verify_connection": "false",
	}
	for n := 0; n+1 < len(more); n += 2 {
		d[more[n]] = more[n+1]
	}
	return d
}

const creation = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`

func roleOf(db string, more ...string) map[string]any {
	d := map[string]any{"db_name": db, "creation_statements": creation, "default_ttl": "1h", "max_ttl": "24h"}
	for n := 0; n+1 < len(more); n += 2 {
		d[more[n]] = more[n+1]
	}
	return d
}

// soon bounds waiting for what must happen.
const soon = 30 * time.Second

// events are all that were stored.
func (b *bench) events() []event.Event {
	b.tb.Helper()
	ctx := b.tb.Context()
	l, ok, err := b.fake.Acquire(ctx, "publisher", "test", time.Hour)
	if err != nil || !ok {
		b.tb.Fatalf("lock the publisher: %t, %v", ok, err)
	}
	if _, _, err := b.fake.Number(ctx, l, 1<<20); err != nil {
		b.tb.Fatal(err)
	}
	all, err := b.fake.Events(ctx, event.Position{}, 1<<20)
	if err != nil {
		b.tb.Fatal(err)
	}
	return all
}
