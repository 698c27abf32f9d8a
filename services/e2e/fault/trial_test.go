//go:build e2e

package fault

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit"
)

// trial is one fault of a target that is done to a patient.
type trial struct {
	*testing.T
	w *world
	g *target
	c *vault.Client
	// rounds is how often it was done.
	rounds int
	// proxied says that a proxy is to stand before the target; proxy is it.
	proxy *testkit.Proxy
}

// trialOf is what is done, and what the patient has to be like.
type trialOf struct {
	name    string
	do      func(*trial) (up time.Time)
	options []testkit.Option
	proxied bool
	slow    bool // not for an ordinary run
}

// witnessed is how long a fault is looked at, at least: a brief lease runs out in
// that time.
const witnessed = 5 * time.Second

// trials are all faults of a target but its outage.
func trials() []trialOf {
	return []trialOf{
		{name: "slow", do: (*trial).slow},
		{name: "connections cut", do: (*trial).cut, proxied: true, slow: true},
		{name: "sessions killed", do: (*trial).killed, slow: true},
		{name: "locks", do: (*trial).locks, slow: true},
		{name: "slow statements", do: (*trial).sleepers, slow: true},
		{name: "admin password", do: (*trial).password},
		{name: "dropped by hand", do: (*trial).dropped},
		{name: "owners", do: (*trial).owners},
		{name: "prepared", do: (*trial).prepared, options: []testkit.Option{testkit.WithSetting("max_prepared_transactions", "10")}, slow: true},
		{name: "grants of others", do: (*trial).grantor},
		{name: "hidden sessions", do: (*trial).hide, slow: true},
		{name: "standby", do: (*trial).standby, slow: true},
		{name: "moved", do: (*trial).moved, proxied: true},
		{name: "restored", do: (*trial).restored, proxied: true, slow: true},
		{name: "other installations", do: (*trial).installations, slow: true},
		{name: "hostile text", do: (*trial).hostile},
	}
}

// TestTargetTrouble does to a target what may be done to one, under load on
// another, which must not notice (promise 4). What needs a person is said, and goes
// on by itself when the person has done it (C8).
func TestTargetTrouble(t *testing.T) {
	w := open(t)
	all := trials()
	if !full() {
		w.chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	done := false
	for _, of := range all {
		t.Run(strings.ReplaceAll(of.name, " ", "-"), func(t *testing.T) {
			if !full() && (of.slow || done) {
				t.Skip("one of these is done by chance, all by make fault")
			}
			done = true
			w.try(t, of)
		})
	}
}

// try does one of them to a target of its own, and judges.
func (w *world) try(t *testing.T, of trialOf) {
	t.Helper()
	before := w.record.count()
	s := &trial{T: t, w: w, c: w.client(t)}
	s.g = newTarget(t, of.options...)
	if of.proxied {
		s.proxy = testkit.NewProxy(t, fmt.Sprintf("%s:%d", s.g.Host(), s.g.Port()))
		s.g.address = s.proxy.Address()
	}
	w.admit(t, s.g)
	t.Cleanup(func() { w.forget(s.g) }) // of one that failed
	l := w.calm(t, loadClients, 100*time.Millisecond)
	began := time.Now()
	witness, err := w.issue(t.Context(), s.c, "database/creds/brief") // at least one runs out meanwhile
	must(t, err, "issue")
	w.book.ends(witness)
	up := of.do(s)
	to := latest(time.Now(), began.Add(witnessed))
	time.Sleep(time.Until(to))
	l.end()
	w.verdict(t, faults.Row{Fault: "target: " + of.name + ", " + w.form.name(), Rounds: s.rounds}, up, before)
	w.punctual(t, began, to)
	w.discharge(t, s.g)
}

// write writes to the patient's mount.
func (s *trial) write(path string, data map[string]any) {
	s.Helper()
	// Curfew itself writes of a connection what it finds out.
	s.w.insist(s.T, "write "+path, func() error {
		_, err := s.c.Logical().Write(s.g.mount+"/"+path, data)
		return err
	})
}

// hold is a credential of the patient that must work until something ends it.
func (s *trial) hold(role string) credential {
	s.Helper()
	cred, err := s.w.issue(s.Context(), s.c, s.g.mount+"/creds/"+role)
	must(s, err, "issue "+role)
	s.w.book.hold(cred)
	return cred
}

// brief is a credential that is about to run out.
func (s *trial) brief() credential {
	s.Helper()
	cred, err := s.w.issue(s.Context(), s.c, s.g.mount+"/creds/brief")
	must(s, err, "issue")
	s.w.book.ends(cred)
	return cred
}

// end asks for the end of a credential and waits for it only where sync says so.
func (s *trial) end(cred credential, sync bool) {
	s.Helper()
	s.w.book.asks(cred)
	must(s, revoke(s.Context(), s.c, cred, sync), "revoke")
	s.w.book.ends(cred)
}

// eventually fails the test where something does not come to be.
func (s *trial) eventually(within time.Duration, what string, holds func() bool) {
	s.Helper()
	if !soon(within, holds) {
		s.Fatalf("not within %v: %s", within, what)
	}
}

// there reports whether an account exists, and whether it may log in.
func (s *trial) there(cred credential) (exists, login bool) {
	s.Helper()
	login, exists = s.g.accounts(s.T)[cred.user]
	return exists, login
}

// gone waits until no account is left of credentials.
func (s *trial) gone(creds ...credential) {
	s.Helper()
	for _, cred := range creds {
		s.eventually(cleanWithin, cred.user+" goes", func() bool { there, _ := s.there(cred); return !there })
	}
}

// barred waits until an account cannot log in, whatever else waits.
func (s *trial) barred(within time.Duration, creds ...credential) {
	s.Helper()
	for _, cred := range creds {
		s.eventually(within, cred.user+" is disabled", func() bool { _, login := s.there(cred); return !login })
	}
}

// parks waits until the revocation of a credential needs a person, for a reason
// that says something (C8).
func (s *trial) parks(cred credential, says string) {
	s.Helper()
	var why string
	if !soon(cleanWithin, func() bool {
		var answer struct {
			Data struct {
				Leases []struct {
					Lease string `json:"lease_id"`
					Error string
				}
			}
		}
		body, err := s.w.get(s, "/v1/sys/leases?"+url.Values{"type": {"irrevocable"}, "limit": {"none"}}.Encode())
		must(s, err, "list what needs a person")
		must(s, json.Unmarshal(body, &answer), "list what needs a person")
		for _, l := range answer.Data.Leases {
			if l.Lease == cred.lease {
				why = l.Error
			}
		}
		return strings.Contains(why, says)
	}) {
		s.Fatalf("the reason of %s is %q, which does not say %q", cred.user, why, says)
	}
	s.Logf("it needs a person: %s", why)
}

// sql runs statements as the superuser, each in a transaction of its own.
func (s *trial) sql(statements ...string) {
	s.Helper()
	for _, text := range statements {
		must(s, s.g.exec(s, "%s", text), "run "+text)
	}
}

// value reads one as the superuser.
func value[V any](s *trial, sql string, args ...any) (v V) {
	s.Helper()
	must(s, s.g.super.QueryRow(s.Context(), sql, args...).Scan(&v), "run "+sql)
	return v
}

// session logs in as a credential, until the test ends.
func (s *trial) session(cred credential, database string) *pgx.Conn {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), s.g.URL(cred.user, cred.password, database))
	must(s, err, "log in")
	s.Cleanup(func() { _ = conn.Close(lasting()) }) // it may have been ended
	return conn
}

// elsewhere is a session of the superuser that holds something until it is let go.
func (s *trial) elsewhere(statements ...string) (release func()) {
	s.Helper()
	conn := testkit.Connect(s, s.g.AdminURL(s.g.admin.Database))
	for _, text := range append([]string{"BEGIN"}, statements...) {
		_, err := conn.Exec(s.Context(), text)
		must(s, err, text)
	}
	return func() { _, _ = conn.Exec(s.Context(), "ROLLBACK") }
}

// waits waits until a session of Curfew's waits for a lock, and returns its pid.
func (s *trial) waits() (pid int) {
	s.Helper()
	s.eventually(cleanWithin, "a statement waits for a lock", func() bool {
		pid = value[int](s, "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'", s.g.admin.User)
		return pid != 0
	})
	return pid
}
