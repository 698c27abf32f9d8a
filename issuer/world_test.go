package issuer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// hang is how long a wait may last before the test calls it a hang; no test
// depends on how fast anything is.
const hang = 30 * time.Second

// world is an issuer with everything around it: a store and a target in
// memory, both by a clock that only the test moves.
type world struct {
	t      *testing.T
	clock  *storetest.Clock
	fake   *storetest.Fake
	store  *storetest.Faulty
	engine *enginetest.Fake
	probe  *enginetest.Probe
	seal   *seal
	issuer *issuer.Issuer
	server *httptest.Server
	logs   *logs
	root   string

	holders int // policies that were made for one token

	record *record
}

// record is what was read of the events.
type record struct {
	mu     sync.Mutex
	events []event.Event
}

const target = "target-1"

// seal is an open one.
type seal struct {
	mu     sync.Mutex
	status issuer.SealStatus
	guard  []store.Ref
}

func openSeal() *seal {
	return &seal{status: issuer.SealStatus{
		Type: "file", Initialized: true, Shares: 1, Threshold: 1, RecoverySeal: true,
		StorageType: "sqlite", ClusterName: "curfew", ClusterID: "6315a266-0021-c10a-e55a-784f32f63b7f",
	}}
}

func (s *seal) set(change func(*issuer.SealStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

func (s *seal) Status(context.Context) (issuer.SealStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, nil
}

func (s *seal) Initialize(_ context.Context, _ issuer.InitRequest) (issuer.InitResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Initialized {
		return issuer.InitResult{}, issuer.ErrInitialized
	}
	s.status.Initialized, s.status.Sealed = true, false
	return issuer.InitResult{RootToken: secret.New("hvs.made-by-init")}, nil
}

// Shut seals the API; the key is "the key".
func (s *seal) Shut(context.Context, ...event.Event) error {
	s.set(func(s *issuer.SealStatus) { s.Sealed = true })
	return nil
}

func (s *seal) Unseal(_ context.Context, key secret.Value, _ lease.Actor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.status.Initialized:
		return issuer.ErrNotInitialized
	case key.Reveal() == "no key":
		return issuer.ErrNoKey
	case key.Reveal() != "the key":
		return issuer.ErrWrongKey
	}
	s.status.Sealed = false
	return nil
}

// Reset has nothing to forget: the key is in one piece.
func (*seal) Reset() {}

func (s *seal) Guard() []store.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guard
}

// Derive implements issuer.Keys.
func (*seal) Derive(purpose string) ([]byte, error) { return []byte("key of " + purpose), nil }

// Seal and Open implement issuer.Sealer, without secrecy: bound to their context.
func (*seal) Seal(plaintext []byte, about string) ([]byte, error) {
	return append([]byte(about+"|"), plaintext...), nil
}

func (*seal) Open(ciphertext []byte, about string) ([]byte, error) {
	plaintext, ok := bytes.CutPrefix(ciphertext, []byte(about+"|"))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return plaintext, nil
}

// logs keeps what was logged.
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

// newWorld starts an issuer with a root token, the mount database/ and its
// role readonly (1 h, at most 24 h).
func newWorld(t *testing.T, change ...func(*issuer.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock(), seal: openSeal(), logs: &logs{}}
	w.fake, w.record = storetest.NewFake(w.clock), &record{}
	w.store = storetest.NewFaulty(w.fake)
	w.engine = enginetest.NewFake(enginetest.FakeConfig{Clock: w.clock})
	w.probe = w.engine.Probe(target)
	cfg := issuer.Config{Version: "1.2.3", SyncWithin: hang, ForceAfter: 50 * time.Millisecond, Within: 2 * hang}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	w.issuer, err = issuer.New(issuer.Deps{
		Store: w.store, Engines: []engine.Engine{w.engine}, Seal: w.seal, Keys: w.seal, Sealer: w.seal,
		Clock: clock.System{}, Log: zerolog.New(w.logs),
	}, cfg)
	must(t, err)
	w.server = httptest.NewServer(w.issuer.Handler())
	t.Cleanup(w.server.Close)
	root, err := w.issuer.RootToken(t.Context(), secret.Value{}, lease.System("system:test"))
	must(t, err)
	w.root = root.Reveal()
	w.policy("a", `path "*" { capabilities = ["create", "read", "update", "delete", "list"] }`)
	w.mount("database/")
	w.role("readonly", lease.TTLs{Default: time.Hour, Max: 24 * time.Hour})
	return w
}

// policy writes one past the API: without events.
func (w *world) policy(name, text string) {
	w.t.Helper()
	value, err := json.Marshal(map[string]string{"text": text})
	must(w.t, err)
	_, err = w.fake.Write(w.t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindPolicy, Key: name, Value: value}}})
	must(w.t, err)
}

// mount enables an engine at path.
func (w *world) mount(path string) {
	w.t.Helper()
	w.ok(w.do("POST", "sys/mounts/"+strings.TrimSuffix(path, "/"), `{"type":"database"}`), 204)
}

func (w *world) entry(path string) store.Entry {
	w.t.Helper()
	e, err := w.fake.Entry(w.t.Context(), store.KindMount, path)
	must(w.t, err)
	return e
}

// role makes a role of the mount database/ and its target, with an entry that
// guards it.
func (w *world) role(name string, limits lease.TTLs, change ...func(*enginetest.FakeRole)) store.Ref {
	w.t.Helper()
	m := w.entry("database/")
	put, err := w.fake.Write(w.t.Context(), store.Write{
		Puts: []store.Entry{{Kind: store.KindRole, Key: m.ID + "/" + name, Value: []byte("{}")}},
	})
	must(w.t, err)
	ref := store.Ref{Kind: store.KindRole, ID: put[0].ID}
	w.engine.AddTarget(engine.Target{ID: target, MountID: m.ID, Mount: m.Key, Name: "my-postgres"})
	r := enginetest.FakeRole{MountID: m.ID, Target: target, Limits: limits, Guard: []store.Ref{ref}}
	for _, c := range change {
		c(&r)
	}
	w.engine.AddRole(name, r)
	return ref
}

// response is what came back.
type response struct {
	code   int
	header http.Header
	body   string
}

// envelope is the body as a client reads it.
type envelope struct {
	RequestID     string         `json:"request_id"`
	LeaseID       string         `json:"lease_id"`
	Renewable     bool           `json:"renewable"`
	LeaseDuration int64          `json:"lease_duration"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
	WrapInfo      *struct {
		Token           string    `json:"token"`
		Accessor        string    `json:"accessor"`
		TTL             int64     `json:"ttl"`
		CreationTime    time.Time `json:"creation_time"`
		CreationPath    string    `json:"creation_path"`
		WrappedAccessor string    `json:"wrapped_accessor"`
	} `json:"wrap_info"`
	Auth *struct {
		ClientToken   string            `json:"client_token"`
		Accessor      string            `json:"accessor"`
		Policies      []string          `json:"policies"`
		Metadata      map[string]string `json:"metadata"`
		LeaseDuration int64             `json:"lease_duration"`
		Renewable     bool              `json:"renewable"`
		Orphan        bool              `json:"orphan"`
	} `json:"auth"`
	Errors []string `json:"errors"`
}

func (r response) envelope(t *testing.T) envelope {
	t.Helper()
	var e envelope
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return e
}

// do sends a request with the root token.
func (w *world) do(method, path, body string) response { return w.as(w.root, method, path, body) }

func (w *world) as(token, method, path, body string) response {
	w.t.Helper()
	h := http.Header{}
	if token != "" {
		h.Set("X-Vault-Token", token)
	}
	return w.send(method, path, body, h)
}

// wrapped is [world.as], for an answer in a wrapping token that lives for ttl.
func (w *world) wrapped(token, method, path, body, ttl string) response {
	w.t.Helper()
	h := http.Header{"X-Vault-Wrap-Ttl": {ttl}}
	if token != "" {
		h.Set("X-Vault-Token", token)
	}
	return w.send(method, path, body, h)
}

func (w *world) send(method, path, body string, h http.Header) response {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/v1/"+path, reader)
	must(w.t, err)
	q.Header = h
	got, err := w.server.Client().Do(q)
	must(w.t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	must(w.t, err)
	return response{got.StatusCode, got.Header, string(text)}
}

// ok fails the test unless the status is want.
func (w *world) ok(r response, want int) response {
	w.t.Helper()
	if r.code != want {
		w.t.Fatalf("status %d, want %d: %s\n%s", r.code, want, r.body, w.logs)
	}
	return r
}

// refused fails the test unless the answer is an error of exactly that text.
func (w *world) refused(r response, want int, text string) {
	w.t.Helper()
	w.ok(r, want)
	if got := r.envelope(w.t).Errors; len(got) != 1 || got[0] != text {
		w.t.Fatalf("errors %q, want %q", got, text)
	}
}

// creds issues a credential.
func (w *world) creds() envelope {
	w.t.Helper()
	return w.ok(w.do("GET", "database/creds/readonly", ""), 200).envelope(w.t)
}

// token makes a child of the root token.
func (w *world) token(body string) envelope {
	w.t.Helper()
	return w.ok(w.do("POST", "auth/token/create", body), 200).envelope(w.t)
}

func (w *world) lease(id string) lease.Lease {
	w.t.Helper()
	l, err := w.fake.Get(w.t.Context(), lease.ID(id))
	must(w.t, err)
	return l
}

// leases are all leases of the mount.
func (w *world) leases(states ...lease.State) []lease.Lease {
	w.t.Helper()
	found, err := w.fake.Find(w.t.Context(), store.Query{Prefix: "database/", States: states})
	must(w.t, err)
	return found
}

// exists reports whether the target has the account.
func (w *world) exists(account string) bool {
	w.t.Helper()
	ok, err := w.probe.Exists(w.t.Context(), account)
	must(w.t, err)
	return ok
}

// events are all events that were committed, of the given types.
func (w *world) events(types ...event.Type) []event.Event {
	w.t.Helper()
	ctx := w.t.Context()
	lock, ok, err := w.fake.Acquire(ctx, "publisher", "test", time.Hour)
	must(w.t, err)
	if !ok {
		w.t.Fatal("the publisher's lock is taken")
	}
	_, _, err = w.fake.Number(ctx, lock, 1_000_000)
	must(w.t, err)
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	after := event.Position{Epoch: 1}
	if n := len(w.record.events); n > 0 {
		after = w.record.events[n-1].Position
	}
	more, err := w.fake.Events(ctx, after, 1_000_000)
	must(w.t, err)
	w.record.events = append(w.record.events, more...)
	var out []event.Event
	for _, e := range w.record.events {
		for _, want := range types {
			if e.Type == want {
				out = append(out, e)
			}
		}
	}
	return out
}

// eventually waits until check is true.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !check(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// arrive waits until a call has come as far as an injected wait.
func arrive(t *testing.T, reached <-chan struct{}) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(hang):
		t.Fatal("the call never came")
	}
}

// pipeline does in small what the revoker does, until the test ends: this
// module must not import it.
func (w *world) pipeline() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			w.work(ctx)
			time.Sleep(time.Millisecond)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// work revokes once what is due.
func (w *world) work(ctx context.Context) {
	due, err := w.fake.Due(ctx, w.clock.Now(), store.Cursor{}, 1000)
	if err != nil {
		return
	}
	for _, d := range due {
		l, err := w.fake.Get(ctx, d.ID)
		if err != nil {
			continue
		}
		if l.State == lease.Revoking {
			w.finish(ctx, l)
			continue
		}
		w.fake.Apply(ctx, store.Transition{Change: lease.Change{
			ID: l.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System(lease.ActorExpiry), Do: lease.Revoke{If: lease.IfDue},
		}})
	}
}

func (w *world) finish(ctx context.Context, l lease.Lease) {
	var do lease.Action = lease.Finish{To: lease.Revoked}
	if l.Kind == lease.Token {
		q := store.Query{Token: l.ID, States: []lease.State{lease.Intent, lease.Active}}
		if l.Revocation.KeepTokens {
			q.Kind = lease.Secret
		}
		children, _ := w.fake.Find(ctx, q)
		if l.Inside != "" && !l.Revocation.Opened {
			children = append(children, lease.Lease{ID: l.Inside})
		}
		for _, c := range children {
			w.fake.Apply(ctx, store.Transition{Change: lease.Change{
				ID: c.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System(lease.ActorToken), Do: lease.Revoke{},
			}})
		}
	} else if err := w.engine.Remove(ctx, l.Target, []lease.Lease{l})[0].Err; err != nil {
		e := engine.AsError(err)
		do = lease.Progress{Failed: e.Kind != engine.NotYet, Error: e.Message, Parked: e.Parks(), After: max(e.After, time.Minute)}
	}
	w.fake.Apply(ctx, store.Transition{Change: lease.Change{
		ID: l.ID, Version: l.Version, Key: lease.RandomBase62(8), By: lease.System(lease.ActorSweep), Do: do,
	}})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
