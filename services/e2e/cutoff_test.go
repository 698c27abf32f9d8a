//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

// disableWithin is the promise: how long after its expiry a credential may at
// most log in.
const disableWithin = time.Second

// onTime fails unless access to a lease ended after its time and not later than
// promised, by the clock of the store. It returns the last entry about it.
func onTime(tb testing.TB, s *curfew, lease string) entry {
	tb.Helper()
	all := s.history(tb, lease)
	gapless(tb, lease, all)
	last := all[len(all)-1]
	d := last.Data
	if d.DueAt == nil || d.DisabledAt == nil || d.SessionsEndedAt == nil || d.EndedAt == nil {
		tb.Fatalf("the last entry about %s lacks times: %+v", lease, last)
	}
	if late := d.DisabledAt.Sub(*d.DueAt); late < 0 || late > disableWithin {
		tb.Errorf("%s was disabled %v after it was due, want 0 to %v", lease, late, disableWithin)
	}
	if d.SessionsEndedAt.Before(*d.DisabledAt) || d.EndedAt.Before(*d.SessionsEndedAt) {
		tb.Errorf("%s: stages out of order: %v, %v, %v", lease, d.DisabledAt, d.SessionsEndedAt, d.EndedAt)
	}
	return last
}

// TestCutOff: access ends on time for clients that do what they can to keep it
// (C2). It runs alone: it measures.
func TestCutOff(t *testing.T) {
	s := newCurfew(t)
	// A client that hides makes the end of others' sessions wait for it.
	target := articleTarget(t, testkit.CreateRoleAdmin)
	c := newVault(t, s)
	target.setUp(t, c, "database", "4s", "4s")
	target.Exec(t, "postgres", "CREATE ROLE readers; GRANT SELECT ON items TO readers; GRANT readers TO vault_admin WITH ADMIN OPTION")
	target.role(t, c, "database", "member", s1Creation+` GRANT readers TO "{{name}}";`, "4s", "4s")
	t.Run("set role", func(t *testing.T) { cutSetRole(t, s, target, issue(t, c, "database/creds/member")) })
	t.Run("reconnect", func(t *testing.T) { cutReconnect(t, s, target, issue(t, c, "database/creds/app")) })
	t.Run("hide", func(t *testing.T) { cutHiding(t, s, target, issue(t, c, "database/creds/app")) })
	t.Run("many", func(t *testing.T) { cutMany(t, s, target, c) })
}

// query is what a client does with its session; the time is the target's.
func query(ctx context.Context, conn *pgx.Conn) (time.Time, error) {
	var at time.Time
	var n int
	err := conn.QueryRow(ctx, "SELECT clock_timestamp(), count(*) FROM items").Scan(&at, &n)
	return at, err
}

// cutSetRole: a session that has become another role is still found.
func cutSetRole(t *testing.T, s *curfew, target *target, cred credential) {
	t.Helper()
	conn := target.login(t, cred)
	_, err := conn.Exec(t.Context(), "SET ROLE readers")
	must(t, err, "become another role")
	var last time.Time
	for deadline := time.Now().Add(hang); ; {
		at, err := query(t.Context(), conn)
		if err != nil {
			break
		}
		if last = at; time.Now().After(deadline) {
			t.Fatal("the session goes on")
		}
	}
	d := onTime(t, s, cred.lease).Data
	if last.After(*d.SessionsEndedAt) {
		t.Errorf("a session worked at %v, which is after all were ended at %v", last, d.SessionsEndedAt)
	}
	if last.Before(d.DueAt.Add(-hang)) {
		t.Errorf("the session ended at %v, long before its time %v", last, d.DueAt)
	}
	want(t, "sessions left", target.sessions(t, cred.user), 0)
}

// cutReconnect: a client that logs in again and again is refused from the
// moment on, and not earlier.
func cutReconnect(t *testing.T, s *curfew, target *target, cred credential) {
	t.Helper()
	var lastWorked, firstRefused time.Time
	refusals := 0
	for deadline := time.Now().Add(hang); refusals < 50; {
		if time.Now().After(deadline) {
			t.Fatal("the client goes on")
		}
		conn, err := target.tryLogin(t.Context(), cred)
		if err != nil {
			if refusals++; firstRefused.IsZero() {
				firstRefused = time.Now() // the target's clock is this machine's
			}
			continue
		}
		if at, err := query(t.Context(), conn); err == nil {
			lastWorked = at
		}
		closeConn(conn)
	}
	d := onTime(t, s, cred.lease).Data
	if firstRefused.Before(*d.DueAt) {
		t.Errorf("a login was refused at %v, before the expiry at %v", firstRefused, d.DueAt)
	}
	if lastWorked.IsZero() || lastWorked.After(*d.SessionsEndedAt) {
		t.Errorf("the last login worked at %v; sessions were ended at %v", lastWorked, d.SessionsEndedAt)
	}
	target.gone(t, cred.user)
}

// cutHiding: a client that has authenticated and then waits, where nobody sees
// it, gets no session after the expiry.
func cutHiding(t *testing.T, s *curfew, target *target, cred credential) {
	t.Helper()
	const delay = 12 // seconds: longer than the lease lives, and than waiting for it to show
	config, err := pgx.ParseConfig(target.URL(cred.user, cred.password, target.database))
	must(t, err, "configure the client")
	config.RuntimeParams["options"] = fmt.Sprintf("-c post_auth_delay=%d", delay)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()

	type outcome struct {
		began time.Time
		err   error
	}
	outcomes := make(chan outcome, 100)
	var clients sync.WaitGroup
	for deadline := time.Now().Add(cred.duration); time.Now().Before(deadline); time.Sleep(cred.duration / 16) {
		clients.Go(func() {
			began := time.Now()
			conn, err := pgx.ConnectConfig(ctx, config.Copy())
			if err == nil {
				_, err = query(ctx, conn)
				closeConn(conn) //nolint:contextcheck // also when the time is over
			}
			outcomes <- outcome{began, err}
		})
	}
	hidden := target.count(t, `SELECT count(*) FROM pg_locks l WHERE locktype = 'virtualxid'
		AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid)`)
	d := onTime(t, s, cred.lease).Data
	clients.Wait()
	close(outcomes)
	tried := 0
	for o := range outcomes {
		if o.began.After(*d.DueAt) {
			continue
		}
		if tried++; o.err == nil {
			t.Errorf("a client that hid from %v on read the table after the expiry at %v", o.began, d.DueAt)
		}
	}
	if tried < 3 || hidden == 0 {
		t.Fatalf("the test is of no use: %d clients in time, %d hidden at the end", tried, hidden)
	}
	want(t, "account left", target.exists(t, cred.user), false)
}

// cutMany: all of many leases end on time.
func cutMany(t *testing.T, s *curfew, target *target, c client) {
	t.Helper()
	var creds []credential
	for range 40 {
		creds = append(creds, issue(t, c, "database/creds/app"))
	}
	for _, cred := range creds {
		onTime(t, s, cred.lease)
		want(t, "account left", target.exists(t, cred.user), false)
	}
}
