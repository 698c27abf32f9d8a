//go:build integration || fault

package postgres_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// hangs bounds what would otherwise wait for ever. It decides no test.
const hangs = time.Minute

// The statements of the two articles.
const (
	createLogin = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`
	grantAll    = `GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"`
	defaults    = `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "{{name}}"`
	revokeAll   = `REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "{{name}}"`
	dropRole    = `DROP ROLE IF EXISTS "{{name}}"`
)

// passwords are credentials in memory.
type passwords struct {
	mu               sync.Mutex
	current, pending string
	reads            int
}

func (p *passwords) Passwords(context.Context) (current, pending secret.Value, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	return secret.New(p.current), secret.New(p.pending), nil
}

func (p *passwords) Promote(_ context.Context, pending secret.Value) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.pending = pending.Reveal(), ""
	return nil
}

func (p *passwords) set(current, pending string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.pending = current, pending
}

func (p *passwords) get() (current, pending string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.pending
}

// notebook keeps notes.
type notebook struct {
	mu    sync.Mutex
	notes []string
}

func (n *notebook) Note(id lease.ID, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, string(id)+": "+text)
}

func (n *notebook) all() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.notes, "\n")
}

// world is an admin with its database, and a target that works as this admin.
type world struct {
	*postgres.Target
	t     testing.TB
	admin *testkit.Admin
	creds *passwords
	notes *notebook
}

// template is the URL as a person writes it.
func template(a *testkit.Admin, params ...string) string {
	url := a.URL(params...)
	url = strings.Replace(url, a.User+":"+a.Password, "{{username}}:{{password}}", 1)
	return url
}

func settle(tb testing.TB, a *testkit.Admin, change ...func(*postgres.Settings)) *world {
	tb.Helper()
	return settleBy(tb, a, clock.System{}, change...)
}

// settleBy is settle with a clock of the test's.
func settleBy(tb testing.TB, a *testkit.Admin, clk clock.Clock, change ...func(*postgres.Settings)) *world {
	tb.Helper()
	s := postgres.Settings{URL: template(a), Username: a.User, Program: "test"}
	for _, c := range change {
		c(&s)
	}
	w := &world{t: tb, admin: a, creds: &passwords{current: a.Password}, notes: &notebook{}}
	var err error
	if w.Target, err = postgres.New(w.creds, clk, w.notes, s); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hangs)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// eachAdmin runs a test as a superuser and as an admin with CREATEROLE (C4).
func eachAdmin(t *testing.T, test func(w *world), change ...func(*postgres.Settings)) {
	t.Helper()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(settle(t, testkit.SharedPostgres(t).CreateAdmin(t, kind), change...))
		})
	}
}

func plan(creation ...string) postgres.Plan {
	return postgres.Plan{Generation: lease.RandomBase62(8), Creation: creation, Iterations: 1}
}

func s1() postgres.Plan { return plan(createLogin, grantAll) }

func s2() postgres.Plan {
	p := plan(createLogin, grantAll, defaults)
	p.Revocation = []string{revokeAll, dropRole}
	return p
}

// intent is a lease as it is when its creation begins.
func intent(tb testing.TB, p postgres.Plan) lease.Lease {
	tb.Helper()
	frozen, err := p.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	return lease.Lease{
		ID: lease.NewID("database/creds/test"), Kind: lease.Secret, State: lease.Intent,
		Account: "v-test-role-" + strings.ToLower(rand.Text()[:20]) + fmt.Sprint("-", now.Unix()),
		Plan:    frozen, TTL: time.Hour, CreateDeadline: now.Add(hangs),
	}
}

// confirmed is the lease after its activation.
func confirmed(l lease.Lease, c engine.Created) lease.Lease {
	l.State, l.Handle, l.ActivatedAt, l.ExpiresAt = lease.Active, c.Handle, time.Now(), time.Now().Add(l.TTL)
	return l
}

// account is a credential that was issued.
type account struct {
	lease          lease.Lease
	user, password string
}

// issue creates n credentials of a plan, in one batch.
func (w *world) issue(n int, p postgres.Plan) []account {
	w.t.Helper()
	batch := make([]engine.Creation, n)
	for i := range batch {
		batch[i] = engine.Creation{Lease: intent(w.t, p), Secret: secret.New("pw-" + lease.RandomBase62(24))}
	}
	out := make([]account, n)
	for i, c := range w.Create(w.t.Context(), batch) {
		if c.Err != nil {
			w.t.Fatalf("create: %v", c.Err)
		}
		out[i] = account{lease: confirmed(batch[i].Lease, c), user: c.Data["username"].(string), password: c.Data["password"].(string)}
	}
	return out
}

func (w *world) url(a account, database string, params ...string) string {
	// A plus is no space to a client of Postgres.
	return strings.ReplaceAll(w.admin.Cluster().URL(a.user, a.password, database, params...), "+", "%20")
}

// login opens a session as the leased user.
func (w *world) login(a account) *pgx.Conn {
	w.t.Helper()
	return testkit.Connect(w.t, w.url(a, w.admin.Database))
}

// refused reports whether a log-in fails.
func (w *world) refused(a account) bool {
	conn, err := pgx.Connect(w.t.Context(), w.url(a, w.admin.Database))
	if err == nil {
		_ = conn.Close(w.t.Context())
	}
	return err != nil
}

// super is a session of the cluster's superuser in the admin's database.
func (w *world) super() *pgx.Conn {
	w.t.Helper()
	return testkit.Connect(w.t, w.admin.Cluster().AdminURL(w.admin.Database))
}

func value[T any](tb testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	tb.Helper()
	var v T
	if err := conn.QueryRow(tb.Context(), sql, args...).Scan(&v); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

func run(tb testing.TB, conn *pgx.Conn, sql string) {
	tb.Helper()
	if _, err := conn.Exec(tb.Context(), sql); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) exists(name string) bool {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.admin.Cluster().AdminURL("postgres"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(w.t.Context())
	return value[bool](w.t, conn, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name)
}

// eventually polls: servers do things in their own time.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(hangs); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("never: %s", what)
		}
	}
}

// kind asserts what kind of error it is.
func kind(tb testing.TB, err error, want engine.Kind, parts ...string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("no error, want %s", want)
	}
	e := engine.AsError(err)
	if e.Kind != want {
		tb.Fatalf("%s: %v, want %s", e.Kind, err, want)
	}
	for _, p := range parts {
		if !strings.Contains(e.Message, p) {
			tb.Fatalf("%q does not say %q", e.Message, p)
		}
	}
}

// removed disables and removes accounts and fails the test unless all are gone.
func (w *world) removed(accounts ...account) {
	w.t.Helper()
	leases := make([]lease.Lease, len(accounts))
	for i, a := range accounts {
		leases[i] = a.lease
	}
	for _, o := range w.Disable(w.t.Context(), leases) {
		if o.Err != nil || !o.Disabled || !o.SessionsEnded {
			w.t.Fatalf("disable: %+v", o)
		}
	}
	for i := range leases {
		leases[i].State = lease.Revoking
		leases[i].Revocation.DisabledAt, leases[i].Revocation.SessionsEndedAt = time.Now(), time.Now()
	}
	for i, o := range w.Remove(w.t.Context(), leases) {
		if o.Err != nil || !o.Gone {
			w.t.Fatalf("remove: %+v", o)
		}
		if w.exists(accounts[i].user) {
			w.t.Fatalf("%s is reported as gone but exists", accounts[i].user)
		}
	}
}

func secretOf(text string) secret.Value { return secret.New(text) }

func replace(s, from, to string) string { return strings.Replace(s, from, to, 1) }
