//go:build e2e

package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// The faults of the store where it is Postgres. What a client was answered is
// there afterwards, whatever it was (A6, A7); while the store takes no writes
// nothing is answered, and nothing is revoked by Curfew (C10).

const (
	// restarts are how often the store is restarted, cutting how long its
	// connections are cut, unwritable how long it takes no writes.
	restarts   = 20
	cutting    = time.Minute
	unwritable = 40 * time.Second
	// noticed is how long Curfew has to find a fault out.
	noticed = 15 * time.Second
)

// TestStore breaks the Postgres that is the store of the distributed form.
func TestStore(t *testing.T) {
	if !full() || !distributed() {
		t.Skipf("it takes minutes and Postgres as the store: set %s=1 and %s=distributed", fullVariable, formVariable)
	}
	w := open(t)
	for _, way := range []struct {
		name string
		mode server.StopMode
	}{{"fast", server.Fast}, {"immediate", server.Immediate}} {
		t.Run("restarted "+way.name, func(t *testing.T) { w.storeRestarts(t, way.name, way.mode) })
	}
	t.Run("connections cut", w.storeCut)
	t.Run("read only", w.storeReadOnly)
	t.Run("disk full", w.storeFull)
	t.Run("log disk full", w.storeLogFull)
}

// store is the fleet's Postgres.
func (w *world) store(t *testing.T) (*fleet, *server.Postgres) {
	t.Helper()
	f, ok := w.form.(*fleet)
	if !ok {
		t.Fatal("the store is no Postgres")
	}
	return f, f.Postgres()
}

// dial logs in to the store: as Curfew does, or as the superuser.
func (w *world) dial(t *testing.T, super bool) (*pgx.Conn, error) {
	t.Helper()
	f, p := w.store(t)
	user := url.UserPassword(server.Superuser, p.Password())
	if !super {
		password, err := os.ReadFile(filepath.Join(f.Dir, "store-password"))
		must(t, err, "read the store's password")
		user = url.UserPassword("curfew", string(password))
	}
	u := url.URL{Scheme: "postgres", User: user, Host: fmt.Sprintf("127.0.0.1:%d", p.Port()), Path: "/curfew", RawQuery: "sslmode=disable"}
	return pgx.Connect(t.Context(), u.String())
}

// inStore runs statements in the store as its superuser, each alone.
func (w *world) inStore(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := w.dial(t, true)
	must(t, err, "connect to the store")
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // it was used
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		must(t, err, sql)
	}
}

// writes reports why the store takes no writes of Curfew's, as it says itself.
func (w *world) writes(t *testing.T) error {
	t.Helper()
	conn, err := w.dial(t, false)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // it was used
	_, err = conn.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS probe (n int); INSERT INTO probe VALUES (1); DROP TABLE probe")
	return err
}

// says reports whether Postgres refused something for this reason.
func says(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// serve waits until the load was answered n times more.
func (l *load) serve(t *testing.T, n int64) {
	t.Helper()
	want := l.done.Load() + n
	if !soon(hang, func() bool { return l.done.Load() >= want }) {
		t.Fatalf("clients were answered %d times, want %d", l.done.Load(), want)
	}
}

// refusal is the first error of issuing, within d. What was given before is held.
func (w *world) refusal(t *testing.T, c *vault.Client, d time.Duration) (err error) {
	t.Helper()
	if !soon(d, func() bool {
		var cred credential
		if cred, err = w.issue(t.Context(), c, "database/creds/app"); err == nil {
			w.book.hold(cred)
		}
		return err != nil
	}) {
		t.Fatal("credentials are given as before")
	}
	return err
}

// nothingAnswered fails if a credential is given, or a revocation promised, while
// the store takes no writes, for as long as it is watched (A6).
func (w *world) nothingAnswered(t *testing.T, c *vault.Client, cred credential, d time.Duration) {
	t.Helper()
	t.Logf("issuing is answered by: %v", w.refusal(t, c, noticed))
	tries := 0
	for until := time.Now().Add(d); time.Now().Before(until); tries++ {
		given, err := w.issue(t.Context(), c, "database/creds/app")
		if err == nil {
			t.Fatalf("%s was issued while the store takes no writes", given.lease)
		}
		comesBack(t, err)
		w.book.asks(cred)
		if err = revoke(t.Context(), c, cred, false); err == nil {
			t.Fatalf("the revocation of %s was promised while the store takes no writes", cred.lease)
		}
		comesBack(t, err)
		time.Sleep(time.Second)
	}
	t.Logf("issuing and revoking were refused %d times each", tries)
}

// comesBack fails unless an error tells the client to ask again later.
func comesBack(t *testing.T, err error) {
	t.Helper()
	var answer *vault.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("refused with %v, want %d", err, http.StatusServiceUnavailable)
	}
}

// closes fails unless the target itself refuses a login whose lease has run out,
// though nobody can revoke it (B8, C10).
func (w *world) closes(t *testing.T, cred credential) {
	t.Helper()
	var err error
	if !soon(cleanWithin, func() bool { err = w.target.login(t.Context(), cred.user, cred.password); return refused(err) }) {
		t.Errorf("%s works after its time: %v", cred.user, err)
	}
}

// give issues a credential of a role for which a test is responsible.
func (w *world) give(t *testing.T, c *vault.Client, role string) credential {
	t.Helper()
	cred, err := w.issue(t.Context(), c, "database/creds/"+role)
	must(t, err, "issue")
	return cred
}

// storeRestarts restarts the store again and again.
func (w *world) storeRestarts(t *testing.T, name string, mode server.StopMode) {
	t.Helper()
	f, p := w.store(t)
	row := faults.Row{Fault: "store: restarted, " + name}
	l := w.load(t, 2*loadClients)
	for row.Rounds < restarts {
		time.Sleep(time.Duration(w.chance.Int64N(int64(time.Second)))) // any instant will do
		pid := p.Pid()
		must(t, p.Stop(t.Context(), mode), "stop the store")
		if _, err := w.dial(t, true); err == nil || server.Alive(pid) {
			t.Fatal("the store goes on")
		}
		time.Sleep(time.Duration(w.chance.Int64N(int64(2 * time.Second))))
		must(t, f.part(t, topology.Store).Start(t.Context()), "start the store")
		up := w.again(t)
		row.Rounds++
		l.serve(t, 5)
		t.Logf("round %d: clients were served %v after it", row.Rounds, time.Since(up).Round(time.Millisecond))
		if row.Rounds%checkEvery == 0 {
			l.end()
			w.settle(t, &row, up)
			w.tell(t.Context(), t, parked())
			l = w.load(t, 2*loadClients)
		}
	}
	l.end()
	w.close(t, &row)
}

// storeCut ends sessions of the store again and again, all or some of them.
func (w *world) storeCut(t *testing.T) {
	row := faults.Row{Fault: "store: connections cut"}
	conn, err := w.dial(t, true)
	must(t, err, "connect to the store")
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // it was used
	l := w.load(t, 2*loadClients)
	l.serve(t, 50)
	before, sessions := l.done.Load(), 0
	for until := time.Now().Add(cutting); time.Now().Before(until); row.Rounds++ {
		var n int
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
			FROM pg_stat_activity WHERE usename = 'curfew' AND random() < $1`, []float64{0.2, 1}[w.chance.IntN(2)]).Scan(&n), "cut")
		sessions += n
		time.Sleep(time.Duration(w.chance.Int64N(int64(400 * time.Millisecond))))
	}
	up := time.Now()
	t.Logf("%d sessions were ended in %v; meanwhile clients were answered %d times", sessions, cutting, l.done.Load()-before)
	if sessions < row.Rounds {
		t.Errorf("only %d sessions were ended in %d rounds", sessions, row.Rounds)
	}
	if l.done.Load() == before {
		t.Error("nobody was answered meanwhile: a commit whose session ends is done again (A6)")
	}
	l.serve(t, 50)
	l.end()
	w.settle(t, &row, up)
	w.close(t, &row)
}

// storeReadOnly is a store that takes no writes: somebody switched them off.
func (w *world) storeReadOnly(t *testing.T) {
	row := faults.Row{Fault: "store: read only", Rounds: 1}
	c := w.client(t)
	l := w.load(t, 2*loadClients)
	l.serve(t, 50)
	asked, brief := w.give(t, c, "app"), w.give(t, c, "brief")
	w.inStore(t, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
	var err error
	if !soon(noticed, func() bool { err = w.writes(t); return says(err, "25006") }) {
		t.Fatalf("the store is not read only: %v", err)
	}
	w.nothingAnswered(t, c, asked, unwritable)
	w.closes(t, brief)
	w.inStore(t, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
	if !soon(noticed, func() bool { err = w.writes(t); return err == nil }) {
		t.Fatalf("the store takes no writes: %v", err)
	}
	up := time.Now()
	w.book.ends(brief)
	l.serve(t, 50)
	l.end()
	w.settle(t, &row, up)
	w.close(t, &row)
}

// storeFull is a store whose tables have no room left: statements that need some
// are refused with 53100, what still fits is done.
func (w *world) storeFull(t *testing.T) {
	row := faults.Row{Fault: "store: disk full", Rounds: 1}
	f, p := w.store(t)
	v := mount(t, "128m", p.Dir())
	f.stop(t)
	w.inDatabase(t, "postgres",
		"CREATE TABLESPACE small LOCATION '"+v.dir+"'", "ALTER DATABASE curfew SET TABLESPACE small")
	w.again(t)
	c := w.client(t)
	l := w.load(t, 2*loadClients)
	l.serve(t, 100)
	brief := w.give(t, c, "brief")
	logged := size(t, p)
	v.fill(t)
	conn, err := w.dial(t, true)
	must(t, err, "connect to the store")
	if _, err := conn.Exec(t.Context(), "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)"); !says(err, "53100") {
		t.Fatalf("there is room left: %v", err)
	}
	must(t, conn.Close(t.Context()), "leave the store")
	t.Logf("issuing is answered by: %v", w.refusal(t, c, hang))
	if !soon(hang, func() bool { return strings.Contains(since(t, p, logged), "could not extend file") }) {
		t.Fatalf("the store has room for all; it wrote:\n%s", since(t, p, logged))
	}
	before := l.done.Load()
	time.Sleep(unwritable)
	t.Logf("clients were answered %d times in %v", l.done.Load()-before, unwritable)
	w.closes(t, brief)
	v.clear(t)
	up := time.Now()
	w.book.ends(brief)
	l.serve(t, 100)
	l.end()
	w.settle(t, &row, up)
	// Out of the tablespace again, which ends with this test.
	f.stop(t)
	w.inDatabase(t, "postgres", "ALTER DATABASE curfew SET TABLESPACE pg_default", "DROP TABLESPACE small")
	w.settle(t, &row, w.again(t))
	w.close(t, &row)
}

// storeLogFull is a store whose log has no room left: Postgres panics, recovers,
// and panics again.
func (w *world) storeLogFull(t *testing.T) {
	row := faults.Row{Fault: "store: log disk full", Rounds: 1}
	f, p := w.store(t)
	v := mount(t, "112m", p.Dir())
	w.inStore(t, "ALTER SYSTEM SET min_wal_size = '32MB'", "ALTER SYSTEM SET max_wal_size = '48MB'", "SELECT pg_reload_conf()", "CHECKPOINT", "CHECKPOINT")
	must(t, p.Stop(t.Context(), server.Fast), "stop the store")
	back := v.takes(t, filepath.Join(p.Dir(), "data", "pg_wal"))
	w.again(t)
	c := w.client(t)
	l := w.load(t, 2*loadClients)
	l.serve(t, 100)
	brief := w.give(t, c, "brief")
	logged := size(t, p)
	v.fill(t)
	if !soon(hang, func() bool { // segments that were there before are used first
		if conn, err := w.dial(t, true); err == nil {
			_, _ = conn.Exec(t.Context(), "SELECT pg_create_restore_point('fill')")
			_, _ = conn.Exec(t.Context(), "SELECT pg_switch_wal()")
			_ = conn.Close(t.Context())
		}
		text := since(t, p, logged)
		return strings.Contains(text, "PANIC") && strings.Contains(text, "No space left on device")
	}) {
		t.Fatalf("the log's disk is not full; the store wrote:\n%s", since(t, p, logged))
	}
	t.Logf("issuing is answered by: %v", w.refusal(t, c, hang))
	before := l.done.Load()
	for until := time.Now().Add(unwritable); time.Now().Before(until); time.Sleep(time.Second) {
		v.fill(t) // what was given back meanwhile
	}
	t.Logf("clients were answered %d times in %v", l.done.Load()-before, unwritable)
	w.closes(t, brief)
	t.Logf("the store panicked %d times", strings.Count(since(t, p, logged), "PANIC"))
	v.clear(t)
	if !soon(hang, func() bool {
		if !p.Running() { // it gives up where it cannot recover
			_ = f.part(t, topology.Store).Start(t.Context())
		}
		return w.writes(t) == nil
	}) {
		t.Fatalf("the store does not come back:\n%s", since(t, p, logged))
	}
	up := w.again(t)
	w.book.ends(brief)
	l.serve(t, 100)
	l.end()
	w.settle(t, &row, up)
	must(t, p.Stop(t.Context(), server.Fast), "stop the store")
	back()
	w.settle(t, &row, w.again(t))
	w.close(t, &row)
}

// inDatabase runs statements as the superuser in another database of the store.
func (w *world) inDatabase(t *testing.T, database string, statements ...string) {
	t.Helper()
	_, p := w.store(t)
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(server.Superuser, p.Password()),
		Host: fmt.Sprintf("127.0.0.1:%d", p.Port()), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	conn, err := pgx.Connect(t.Context(), u.String())
	must(t, err, "connect to the store")
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // it was used
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		must(t, err, sql)
	}
}

// size is how much the store has logged, and since what it logged beyond that.
func size(t *testing.T, p *server.Postgres) int {
	t.Helper()
	text, err := p.Log()
	must(t, err, "read the log of the store")
	return len(text)
}

func since(t *testing.T, p *server.Postgres, size int) string {
	t.Helper()
	text, err := p.Log()
	must(t, err, "read the log of the store")
	return string(text[size:])
}
