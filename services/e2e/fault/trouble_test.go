//go:build e2e

package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// The chapters about trouble: in the target, and with processes that end.

// owned is an account that owns a table when it goes (C5).
func (s *teller) owned() {
	cred, ok := s.issue(s.c, "database/creds/own")
	if !ok {
		return
	}
	_ = s.w.target.exec(s.TB, "CREATE TABLE owned%d (n int); ALTER TABLE owned%d OWNER TO %q", s.n, s.n, cred.user)
	s.asks(cred)
	s.ended(revoke(s.ctx, s.c, cred, true), cred)
}

// hidden is a session that starts slowly: it has passed the check of its login
// when the account goes (C2).
func (s *teller) hidden() {
	cred, ok := s.issue(s.c, "database/creds/app")
	if !ok {
		return
	}
	began := make(chan struct{})
	go func() {
		close(began)
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		target := s.w.target
		if conn, err := pgx.Connect(ctx, target.URL(cred.user, cred.password, target.admin.Database, "options=-cpost_auth_delay=8")); err == nil {
			_ = conn.Close(ctx) // it has been cut off
		}
	}()
	<-began
	s.w.quiet(s.ctx, time.Second, func() bool { return false }) // it is logging in
	s.asks(cred)
	s.ended(revoke(s.ctx, s.c, cred, true), cred)
}

// late is a creation that the target holds up, in a process that dies; what
// comes of it is rolled back (B1): in one half of the tellings an account that
// came to be later, in the other nothing.
func (s *teller) late() {
	w := s.w
	before := w.target.accounts(s.TB)
	if w.target.exec(s.TB, "BEGIN; LOCK TABLE pg_catalog.pg_auth_members IN EXCLUSIVE MODE") != nil {
		return
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if cred, err := w.issue(s.ctx, s.c, "database/creds/app"); err == nil {
			w.book.hold(cred)
		}
	}()
	w.quiet(s.ctx, 500*time.Millisecond, func() bool { return false })
	w.form.kill(s.TB, w.form.ours()...)
	if w.late = !w.late; w.late {
		_ = w.target.exec(s.TB, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'", w.target.admin.User)
	}
	_ = w.target.exec(s.TB, "ROLLBACK")
	<-answered
	_ = w.form.start(s.ctx)
	w.quiet(s.ctx, 20*time.Second, func() bool { return len(w.target.accounts(s.TB)) <= len(before) })
	w.quiet(s.ctx, 15*time.Second, func() bool { return false })
}

// stopped is an end in good order.
func (s *teller) stopped() {
	s.w.form.stop(s.TB)
	_ = s.w.form.start(s.ctx)
}

// gone takes a target away that a sweep has marked as Curfew's. Both the sweep and
// whoever forgets what was kept of it look when a process starts.
func (s *teller) gone() {
	name := fmt.Sprint("gone", s.n)
	_, err := s.put("database/config/"+name, s.w.target.connection(s.TB, s.w.target.admin.User, s.w.target.admin.Password))
	s.stopped()
	if err == nil {
		s.w.quiet(s.ctx, 5*time.Second, func() bool { return false })
		s.remove("database/config/" + name)
	}
	s.stopped()
}

// strays puts accounts back whose leases have ended, as a restore of the target
// does (C6).
func (s *teller) strays() {
	cred, ok := s.issue(s.c, "database/creds/app")
	if !ok {
		return
	}
	s.asks(cred)
	err := revoke(s.ctx, s.c, cred, true)
	s.ended(err, cred)
	if err != nil {
		return
	}
	s.w.book.note(func() { s.w.book.remade[cred.user] = true })
	_ = s.w.target.exec(s.TB, "CREATE ROLE %q LOGIN", cred.user)
	s.w.quiet(s.ctx, 20*time.Second, func() bool { return !slices.Contains(s.names(), cred.user) })
}

func (s *teller) names() (all []string) {
	for name := range s.w.target.accounts(s.TB) {
		all = append(all, name)
	}
	return all
}

// quiet waits until holds, or until ctx ends.
func (w *world) quiet(ctx context.Context, d time.Duration, holds func() bool) {
	soon(d, func() bool { return ctx.Err() != nil || holds() })
}

// text is a value as JSON, for messages.
func text(v any) string {
	b, _ := json.Marshal(v) // maps and strings
	return string(b)
}
