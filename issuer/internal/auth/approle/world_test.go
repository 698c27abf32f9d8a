package approle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/auth/approle"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// keyring derives from master keys, the current one first.
type keyring []string

func (k keyring) Derive(purpose string) ([]byte, error) { return []byte(k[0] + purpose), nil }

func (k keyring) DeriveEach(purpose string) (out [][]byte, err error) {
	for _, master := range k {
		out = append(out, []byte(master+purpose))
	}
	return out, nil
}

// nobody revokes, so that a disabled mount goes no further than being
// withdrawn. The rest is tested in package auth.
type nobody struct{}

func (nobody) RevokeAll(context.Context, store.Query, lease.Actor, string) (int, error) {
	return 0, errors.New("nobody revokes")
}

// logs may be written to from several goroutines.
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

// world is an auth table with approle/ on it, on a store in memory.
type world struct {
	t     *testing.T
	clock *storetest.Clock
	fake  *storetest.Fake
	store *storetest.Faulty
	logs  *logs
	table *auth.Table
	reg   *tokens.Registry
	from  string // address of the client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock(), logs: &logs{}, from: "192.0.2.7"}
	w.fake = storetest.NewFake(w.clock)
	w.store = storetest.NewFaulty(w.fake)
	w.start(keyring{"first"})
	w.ok(w.handleSys("auth/approle", `{"type":"approle"}`))
	return w
}

// start makes another issuer of the same installation the one that is asked.
func (w *world) start(k keyring) {
	log := zerolog.New(w.logs)
	lockout := auth.NewLockout(w.store, auth.LockoutConfig{})
	method := approle.New(w.store, k, lockout, log, lease.TTLs{})
	w.table = auth.New(w.store, nobody{}, []auth.Method{method}, log, auth.Config{})
	w.reg = tokens.New(w.store, k, tokencache.New[*tokens.Known](w.clock, tokencache.Config{Max: -1}), log, lease.TTLs{})
}

func (w *world) request(op engine.Operation, path, body string) *request.Request {
	w.t.Helper()
	data, err := wire.Decode(strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return &request.Request{
		ID: "r1", Operation: op, Path: path, Data: data,
		Actor: lease.Actor{Name: "accessor-1", Address: w.from, RequestID: "r1"},
	}
}

func (w *world) handleSys(path, body string) (*wire.Answer, error) {
	w.t.Helper()
	return w.table.Enable(w.t.Context(), w.request(engine.Write, "sys/"+path, body), strings.TrimPrefix(path, "auth/"))
}

// do asks for a path below the mount.
func (w *world) do(op engine.Operation, path, body string) (*wire.Answer, error) {
	w.t.Helper()
	return w.table.Handle(w.t.Context(), w.request(op, "auth/approle/"+path, body))
}

func (w *world) write(path, body string) (*wire.Answer, error) {
	w.t.Helper()
	return w.do(engine.Write, path, body)
}

func (w *world) ok(a *wire.Answer, err error) *wire.Answer {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// login is a login as far as package approle goes.
func (w *world) login(roleID, secretID string) (tokens.Login, error) {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"role_id": roleID, "secret_id": secretID})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.table.Login(w.t.Context(), w.request(engine.Write, "auth/approle/login", string(body)))
}

// app makes the role app and returns its role id.
func (w *world) app(body string) string {
	w.t.Helper()
	w.ok(w.write("role/app", body))
	return w.ok(w.do(engine.Read, "role/app/role-id", "")).Data["role_id"].(string)
}

// secret makes a secret id of the role app.
func (w *world) secret(body string) (text, accessor string) {
	w.t.Helper()
	d := w.ok(w.write("role/app/secret-id", body)).Data
	return d["secret_id"].(string), d["secret_id_accessor"].(string)
}

// refused checks status and text of an error.
func (w *world) refused(err error, status int, text string) {
	w.t.Helper()
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Status != status || text != "" && !strings.Contains(e.Error(), text) {
		w.t.Fatalf("error %v, want %d %q", err, status, text)
	}
}

// count is how many entries of a kind there are, withdrawn ones too.
func (w *world) count(kind store.Kind) int {
	w.t.Helper()
	n := 0
	for _, withdrawn := range []bool{false, true} {
		l, err := w.fake.List(w.t.Context(), kind, "", "", withdrawn, 100_000)
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(l)
	}
	return n
}

// everything is all that the store and the log hold, as text.
func (w *world) everything() string {
	w.t.Helper()
	out := w.logs.String()
	for _, kind := range []store.Kind{
		store.KindAuth, store.KindAppRole, store.KindAppRoleID, store.KindSecretID, store.KindLockout, store.KindSystem,
	} {
		for _, withdrawn := range []bool{false, true} {
			l, err := w.fake.List(w.t.Context(), kind, "", "", withdrawn, 100_000)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, e := range l {
				out += e.Key + " " + e.ID + " " + string(e.Value) + "\n"
			}
		}
	}
	for _, e := range w.events() {
		text, err := json.Marshal(e)
		if err != nil {
			w.t.Fatal(err)
		}
		out += string(text) + "\n"
	}
	return out
}

// events are all that were committed.
func (w *world) events() []event.Event {
	w.t.Helper()
	ctx := w.t.Context()
	lock, ok, err := w.fake.Acquire(ctx, "publisher", "test", 1<<40)
	if err != nil || !ok {
		w.t.Fatalf("lock: %t %v", ok, err)
	}
	if _, _, err := w.fake.Number(ctx, lock, 100_000); err != nil {
		w.t.Fatal(err)
	}
	all, err := w.fake.Events(ctx, event.Position{Epoch: 1}, 100_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func keysOf(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
