package auth_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/auth/approle"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

type key struct{}

func (key) Derive(purpose string) ([]byte, error) { return []byte(purpose), nil }

// revoker keeps what it was asked for, and whether the mount was withdrawn by
// then (A3).
type revoker struct {
	store store.Store
	mu    sync.Mutex
	asked []store.Query
	early bool
	fail  error
}

func (r *revoker) RevokeAll(ctx context.Context, q store.Query, _ lease.Actor, _ string) (int, error) {
	e, err := r.store.EntryByID(ctx, store.KindAuth, q.MountID)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
	r.early = r.early || err == nil && !e.Withdrawn
	return 0, r.fail
}

type world struct {
	t       *testing.T
	clock   *storetest.Clock
	fake    *storetest.Fake
	store   *storetest.Faulty
	revoker *revoker
	table   *auth.Table
}

func newWorld(t *testing.T, cfg auth.LockoutConfig) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock()}
	w.fake = storetest.NewFake(w.clock)
	w.store = storetest.NewFaulty(w.fake)
	w.revoker = &revoker{store: w.fake}
	method := approle.New(w.store, key{}, auth.NewLockout(w.store, cfg), zerolog.Nop(), lease.TTLs{})
	w.table = auth.New(w.store, w.revoker, []auth.Method{method}, zerolog.Nop(), auth.Config{
		Version: "1.2.3", System: lease.TTLs{Default: time.Hour, Max: 24 * time.Hour},
	})
	return w
}

func (w *world) request(op engine.Operation, path, body string) *request.Request {
	w.t.Helper()
	data, err := wire.Decode(strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return &request.Request{ID: "r1", Operation: op, Path: path, Data: data, Actor: lease.Actor{Name: "a", Address: "192.0.2.7"}}
}

func (w *world) enable(path, body string) error {
	w.t.Helper()
	_, err := w.table.Enable(w.t.Context(), w.request(engine.Write, "sys/auth/"+path, body), path)
	return err
}

func (w *world) disable(path string) error {
	w.t.Helper()
	_, err := w.table.Disable(w.t.Context(), w.request(engine.Delete, "sys/auth/"+path, ""), path)
	return err
}

func (w *world) tune(path, body string) error {
	w.t.Helper()
	_, err := w.table.Tune(w.t.Context(), w.request(engine.Write, "sys/auth/"+path+"/tune", body), path)
	return err
}

func (w *world) login(secretID string) error {
	w.t.Helper()
	body := `{"role_id":"app","secret_id":"` + secretID + `"}`
	_, err := w.table.Login(w.t.Context(), w.request(engine.Write, "auth/approle/login", body))
	return err
}

// role makes the role app with the role id app and the secret id right.
func (w *world) role() {
	w.t.Helper()
	for _, c := range [][2]string{
		{"role/app", `{"role_id":"app"}`}, {"role/app/custom-secret-id", `{"secret_id":"right"}`},
	} {
		_, err := w.table.Handle(w.t.Context(), w.request(engine.Write, "auth/approle/"+c[0], c[1]))
		must(w.t, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err error, status int, text string) {
	t.Helper()
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Status != status || !strings.Contains(e.Error(), text) {
		t.Fatalf("error %v, want %d %q", err, status, text)
	}
}

func (w *world) entries(kind store.Kind) (out []store.Entry) {
	w.t.Helper()
	for _, withdrawn := range []bool{false, true} {
		l, err := w.fake.List(w.t.Context(), kind, "", "", withdrawn, 10_000)
		must(w.t, err)
		out = append(out, l...)
	}
	return out
}

// recorded is what the stock CLI sends to enable approle.
const recorded = `{"type":"approle","description":"","config":{"options":null,"default_lease_ttl":"0s","max_lease_ttl":"0s",` +
	`"force_no_cache":false},"local":false,"seal_wrap":false,"external_entropy_access":false,"options":null}`

func TestRecordedList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	a, err := w.table.Read(t.Context(), w.request(engine.Read, "sys/auth", ""))
	must(t, err)
	if got := slices.Sorted(maps.Keys(a.Data)); !a.Doubled || !slices.Equal(got, []string{"approle/", "token/"}) {
		t.Fatalf("mounts %v, doubled %t", got, a.Doubled)
	}
	got := a.Data["approle/"].(map[string]any)
	if !strings.HasPrefix(got["accessor"].(string), "auth_approle_") || got["uuid"] == "" {
		t.Errorf("accessor %v, uuid %v", got["accessor"], got["uuid"])
	}
	delete(got, "accessor")
	delete(got, "uuid")
	want := map[string]any{
		"config": map[string]any{
			"default_lease_ttl": int64(0), "force_no_cache": false, "max_lease_ttl": int64(0), "token_type": "default-service",
		},
		"deprecation_status": "supported", "description": "", "external_entropy_access": false, "local": false,
		"options": nil, "plugin_version": "", "running_plugin_version": "v1.2.3+builtin.curfew", "running_sha256": "",
		"seal_wrap": false, "type": "approle",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("approle/\n%v, want\n%v", got, want)
	}
	if token := a.Data["token/"].(map[string]any); token["type"] != "token" || token["description"] != "token based credentials" {
		t.Errorf("token/ %v", token)
	}
}

func TestTune(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", `{"type":"approle","config":{"max_lease_ttl":"2h"}}`))
	must(t, w.tune("approle", `{"default_lease_ttl":"30m","description":"machines","listing_visibility":"unauth",`+
		`"user_lockout_config":{"lockout_threshold":"3","lockout_duration":"1m"}}`))
	must(t, w.tune("approle", `{"token_type":"service"}`)) // leaves the rest
	a, err := w.table.ReadTune(t.Context(), nil, "approle")
	must(t, err)
	want := map[string]any{
		"default_lease_ttl": int64(1800), "max_lease_ttl": int64(7200), "force_no_cache": false, "token_type": "service",
		"description": "machines", "listing_visibility": "unauth", "user_lockout_config": map[string]any{
			"lockout_threshold": 3, "lockout_duration": int64(60), "lockout_counter_reset_duration": int64(0), "lockout_disable": false,
		},
	}
	if !reflect.DeepEqual(a.Data, want) {
		t.Errorf("tune\n%v, want\n%v", a.Data, want)
	}
	a, err = w.table.ReadTune(t.Context(), nil, "token")
	must(t, err)
	if a.Data["max_lease_ttl"] != int64(86400) {
		t.Errorf("token/ %v", a.Data)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("a/b", `{"type":"approle"}`))
	for _, c := range []struct{ path, body, text string }{
		{"x", `{}`, "type must be specified"},
		{"x", `{"type":"ldap"}`, "not found in the catalog: ldap"},
		{"x", `{"type":"token"}`, "cannot be instantiated"},
		{"x", `{"type":"approle","config":{"token_type":"batch"}}`, "not supported"},
		{"x", `{"type":"approle","config":{"default_lease_ttl":"2h","max_lease_ttl":"1h"}}`, "lease TTL too large"},
		{"x", `{"type":"approle","config":{"max_lease_ttl":"banana"}}`, "max_lease_ttl"},
		{"x", `{"type":"approle","config":[]}`, "config"},
		{"x", `{"type":"approle","config":{"listing_visibility":"all"}}`, "listing_visibility"},
		{"x", `{"type":"approle","config":{"user_lockout_config":{"lockout_threshold":-1}}}`, "lockout_threshold"},
		{"a", `{"type":"approle"}`, "path is already in use at a/b/"},
		{"a/b", `{"type":"approle"}`, "path is already in use at a/b/"},
		{"a/b/c", `{"type":"approle"}`, "path is already in use at a/b/"},
		{"token", `{"type":"approle"}`, "path is already in use at token/"},
		{"token/x", `{"type":"approle"}`, "path is already in use at token/"},
		{"1/2/3/4/5/6/7/8/9", `{"type":"approle"}`, "more than 8"},
	} {
		refused(t, w.enable(c.path, c.body), 400, c.text)
	}
	refused(t, w.tune("token", `{}`), 400, "no limits of its own")
	refused(t, w.tune("x", `{}`), 400, "No auth engine at x/")
	refused(t, w.disable("token"), 400, "cannot be disabled")
	must(t, w.disable("x"))
	_, err := w.table.ReadOne(t.Context(), nil, "x")
	refused(t, err, 400, "No auth engine at x/")
	_, err = w.table.Handle(t.Context(), w.request(engine.Read, "auth/x/role", ""))
	refused(t, err, 404, "no handler for route")
	refused(t, w.login("right"), 404, "no handler for route")
	if n := len(w.entries(store.KindAuth)); n != 1 {
		t.Errorf("%d mounts", n)
	}
}

// Only logins of mounts that are there need no token.
func TestIsLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	must(t, w.enable("deep/er", recorded))
	for path, want := range map[string]bool{
		"auth/approle/login": true, "auth/deep/er/login": true, "auth/approle/login/x": false, "auth/approle": false,
		"auth/approle/role/login": false, "auth/deep/login": false, "auth/token/login": false, "auth/other/login": false,
		"approle/login": false, "sys/auth/approle/login": false, "auth/token/create": false, "auth": false,
	} {
		if got, err := w.table.IsLogin(t.Context(), path); got != want || err != nil {
			t.Errorf("%s: %t %v", path, got, err)
		}
	}
	w.store.Break(storetest.Fault{Method: "Entry"})
	if got, err := w.table.IsLogin(t.Context(), "auth/approle/login"); got || err == nil {
		t.Errorf("without a store: %t %v", got, err)
	}
}

// Law: whatever is enabled and disabled in whatever order, no mount lies inside
// another, and each path is served by the mount that begins it.
func TestMountsNeverNest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, auth.LockoutConfig{})
		path := rapid.StringMatching(`[ab](/[ab]){0,2}`)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			p := path.Draw(rt, "path")
			if rapid.IntRange(0, 3).Draw(rt, "disable") == 0 {
				must(t, w.disable(p))
			} else if err := w.enable(p, recorded); err != nil {
				refused(t, err, 400, "already in use")
			}
		}
		all, err := w.table.All(t.Context(), false)
		must(t, err)
		for _, m := range all {
			for _, n := range all {
				if m.ID != n.ID && strings.HasPrefix(m.Path, n.Path) {
					rt.Fatalf("%s lies inside %s", m.Path, n.Path)
				}
			}
			if found, rest, err := w.table.Resolve(t.Context(), m.Path+"role/x"); err != nil || found.ID != m.ID || rest != "role/x" {
				rt.Fatalf("%s is served by %s (%q, %v)", m.Path, found.Path, rest, err)
			}
		}
	})
}

func TestEnableAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		path := "a" + strings.Repeat("/a", i%3)
		r := w.request(engine.Write, "sys/auth/"+path, recorded)
		wg.Go(func() {
			if _, err := w.table.Enable(t.Context(), r, path); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if n := len(w.entries(store.KindAuth)); won.Load() != 1 || n != 1 {
		t.Errorf("%d of nested mounts are enabled, %d are there", won.Load(), n)
	}
}
