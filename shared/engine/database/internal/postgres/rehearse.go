package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Rehearsal is a life of an account that is tried out. The name bears the mark,
// so that even what should never stay would be found (B3).
type Rehearsal struct {
	Name     string
	Password secret.Value
	Plan     Plan
	// Group is the role that Plan.Group names, which is made for the trial.
	Group Group
}

// Rehearse runs the statements of a plan, and all that Curfew does around them,
// in one transaction on the target that is rolled back, and says what went
// wrong. It leaves nothing behind: the connection is closed at the end, also
// where the process dies, and until then nothing is committed. What a function
// does outside of transactions stays, as it does with each lease.
//
// One rehearsal at a time runs on a target, on a connection of its own, and for
// no longer than a batch may: no lease waits for it, but for locks of the same
// statements (B7).
func (t *Target) Rehearse(ctx context.Context, r Rehearsal) ([]Finding, error) {
	if t.rehearsals.Add(1) > maxRehearsals {
		t.rehearsals.Add(-1)
		return nil, busy("too many trials wait for the target")
	}
	defer t.rehearsals.Add(-1)
	// It goes on without whoever asked, for as long as it may, so that the
	// connection is closed in order.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.settings.Limits.Call)
	defer cancel()
	limit := t.settings.Limits.Turn
	for pass := 0; ; pass++ {
		var s *stage
		err := t.rehearsing.once(ctx, limit, func(ctx context.Context, l *link) (err error) {
			if s, err = t.newStage(l, r); err != nil {
				return err
			}
			if err = s.play(ctx); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				s.add(Finding{Code: "slow", Text: "the statements together take longer than " + lease.Short(limit) +
					": the trial was broken off, and each lease waits for the lane of slow ones"})
				return nil
			}
			return err
		})
		if err == nil {
			return s.findings, nil
		}
		if !transient(err) || pass >= tries {
			return nil, t.person(err)
		}
		t.pause(ctx, jitter(pass))
	}
}

// maxRehearsals bounds those that wait for their turn.
const maxRehearsals = 8

// stage is where one rehearsal is played.
type stage struct {
	*Target
	l        *link
	job      *job
	scripts  Scripts
	group    sqltext.Script // empty: there is none
	members  Group
	nonce    string
	findings []Finding
}

func (t *Target) newStage(l *link, r Rehearsal) (*stage, error) {
	scripts, err := r.Plan.Compile()
	if err != nil {
		return nil, invalid("%w", err)
	}
	s := &stage{Target: t, l: l, scripts: scripts, nonce: "curfew_" + lease.RandomBase62(16)}
	s.job = &job{
		lease: &lease.Lease{}, name: r.Name, plan: &compiled{Plan: r.Plan}, ttl: time.Hour, kind: sqltext.Creation,
		password: r.Password, verifier: r.Password,
	}
	if s.members = r.Group; r.Plan.Group != "" {
		if s.group, err = r.Group.compile(); err != nil {
			return nil, invalid("%w", err)
		}
	}
	if cmp.Or(r.Plan.Authentication, SCRAM) == SCRAM {
		if s.job.verifier, err = r.Plan.verifier(r.Password); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// play goes through the life of an account. An error means that it could not be
// tried; what failed in the trial is a finding.
func (s *stage) play(ctx context.Context) error {
	now, err := s.targetNow(ctx, s.l)
	if err != nil {
		return err
	}
	s.job.until = s.end(s.job, now)
	if err := s.begin(ctx); err != nil {
		return err
	}
	if s.group.Len() > 0 {
		u, err := s.members.unit(s.group, false)
		if err != nil {
			return err
		}
		if made, err := s.part(ctx, u, false, true); err != nil || !made {
			return err
		}
	}
	doing, after := s.l.finish(s.job)
	made, err := s.script(ctx, s.scripts.Creation, doing, after...)
	if err != nil || !made {
		return err
	}
	account, err := s.look(ctx)
	if err != nil {
		return err
	}
	if _, err := s.script(ctx, s.scripts.Renewal, "set VALID UNTIL", validUntil(s.job.name, s.job.until)); err != nil {
		return err
	}
	if _, err := s.part(ctx, s.l.bar(account), false, true); err != nil {
		return err
	}
	if err := s.remove(ctx, s.scripts.Revocation, account); err != nil {
		return err
	}
	if s.scripts.Rollback.Len() == 0 {
		return nil
	}
	return s.remove(ctx, s.scripts.Rollback, account)
}

func (s *stage) begin(ctx context.Context) error {
	all := []sqltext.Script{s.group, s.scripts.Creation, s.scripts.Renewal, s.scripts.Revocation, s.scripts.Rollback}
	tx := transaction{statement: s.settings.Limits.Turn / 2}
	for _, script := range all {
		tx.advisory = tx.advisory || script.Conflicting()
	}
	for _, sql := range append([]string{"BEGIN"}, s.l.setup(tx)...) {
		if _, err := s.l.run(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// script plays statements of the role and then one of Curfew's; ok is false
// where they failed.
func (s *stage) script(ctx context.Context, script sqltext.Script, doing string, after ...string) (ok bool, err error) {
	u, err := s.job.render(script)
	if err != nil {
		// What the lexer would not let pass with these values.
		s.add(Finding{Code: "refused", Kind: script.Kind().String(), Text: err.Error(), Fatal: true})
		return false, nil //nolint:nilerr // it is a finding
	}
	u.doing, u.after = doing, after
	return s.part(ctx, u, !script.Batchable(), true)
}

// part plays a unit inside a savepoint. What is refused becomes a finding, of
// which fatal says how bad it is, and is undone.
func (s *stage) part(ctx context.Context, u unit, alone, fatal bool) (ok bool, err error) {
	if err := s.run(ctx, "SAVEPOINT "+s.nonce); err != nil {
		return false, err
	}
	step, err := s.steps(ctx, u, alone)
	if err == nil {
		return true, s.run(ctx, "RELEASE SAVEPOINT "+s.nonce)
	}
	if lost(err) || transient(err) || ctx.Err() != nil || errors.Is(err, errLeft) {
		return false, err
	}
	var f *fault
	if !errors.As(u.fault(step, err), &f) {
		return false, err
	}
	s.refused(f, fatal)
	return false, s.back(ctx)
}

// steps sends one statement after the other, so that each error is that of the
// last; step counts those of the role.
func (s *stage) steps(ctx context.Context, u unit, alone bool) (step int, err error) {
	for _, sql := range u.before {
		if err := s.run(ctx, sql); err != nil {
			return 0, err
		}
	}
	for n, st := range u.script {
		if err := s.run(ctx, st.text); err != nil {
			return n + 1, err
		}
	}
	after := u.after
	if alone {
		after = append(s.l.reset(transaction{statement: s.settings.Limits.Turn / 2}), after...)
	}
	for _, sql := range after {
		if err := s.run(ctx, sql); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// errLeft: a statement ended the transaction. Nothing that follows would be
// undone.
var errLeft = &engine.Error{Kind: engine.Refused, Message: "a statement of the role ended the transaction in which it ran: it cannot be tried out"}

// run sends one command. A GRANT that granted nothing is an error, as it is of a
// creation.
func (s *stage) run(ctx context.Context, sql string) error {
	_, err := s.l.run(ctx, sql)
	if err == nil && s.l.conn.TxStatus() != 'T' {
		return errLeft
	}
	for _, n := range s.l.notices {
		if err == nil && n.notice.Code == codeNotGranted {
			err = (*pgconn.PgError)(n.notice)
		}
	}
	return err
}

// back undoes what came after the savepoint.
func (s *stage) back(ctx context.Context) error {
	if err := s.run(ctx, "ROLLBACK TO SAVEPOINT "+s.nonce); err != nil {
		return err
	}
	return s.run(ctx, "RELEASE SAVEPOINT "+s.nonce)
}

// look finds the account that the creation made.
func (s *stage) look(ctx context.Context) (role, error) {
	got, err := s.l.run(ctx, `SELECT r.oid::pg_catalog.text, r.rolcanlogin::pg_catalog.text,
 (SELECT pg_catalog.count(*) FROM pg_catalog.pg_shdepend d WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
 AND d.refobjid OPERATOR(pg_catalog.=) r.oid AND d.deptype OPERATOR(pg_catalog.=) 'o')::pg_catalog.text
 FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) `+literal(s.job.name))
	if err != nil {
		return role{}, err
	}
	row := rows(got[0])
	if len(row) != 1 {
		s.add(Finding{Code: "creation", Fatal: true, Kind: sqltext.Creation.String(), Text: "no account of the name was made"})
		return role{name: s.job.name}, nil
	}
	oid, err := strconv.ParseUint(row[0][0], 10, 32)
	if err != nil {
		return role{}, fmt.Errorf("read OID: %w", err)
	}
	r := role{name: s.job.name, oid: uint32(oid), login: row[0][1] == "true"}
	if !r.login {
		s.add(Finding{
			Code: "login", Fatal: true, Kind: sqltext.Creation.String(),
			Text: "the account cannot log in", Remedy: "write CREATE ROLE … LOGIN",
		})
	}
	if row[0][2] != "0" {
		s.add(s.ownsObjects())
	}
	return r, nil
}

func (s *stage) ownsObjects() Finding {
	f := Finding{Code: "owned-objects", Kind: sqltext.Creation.String()}
	if cmp.Or(s.job.plan.OwnedObjects, s.settings.OwnedObjects) == Drop {
		f.Text = "the account owns objects from the beginning, which are dropped with it (owned_objects=drop)"
		return f
	}
	f.Text = "the account owns objects from the beginning, which are handed to " +
		ident(cmp.Or(s.job.plan.ReassignTo, s.settings.ReassignTo, s.l.facts.user)) + " at its end and pile up there, unless owned_objects is drop"
	return f
}

// remove plays the end of the account as a revocation does, and undoes it: the
// statements and a bare DROP ROLE, else the safe default (C5).
func (s *stage) remove(ctx context.Context, script sqltext.Script, account role) error {
	outer := s.nonce
	if err := s.run(ctx, "SAVEPOINT "+outer); err != nil {
		return err
	}
	s.nonce = "curfew_" + lease.RandomBase62(16)
	err := s.leave(ctx, script, account)
	s.nonce = outer
	if err != nil {
		return err
	}
	return s.back(ctx)
}

func (s *stage) leave(ctx context.Context, script sqltext.Script, account role) error {
	u, err := s.job.render(script)
	if err != nil {
		return err
	}
	drop := "DROP ROLE IF EXISTS " + ident(account.name)
	u.doing, u.after = "drop the account", []string{drop}
	before := len(s.findings)
	gone, err := s.part(ctx, u, !script.Batchable(), false)
	if err != nil || gone {
		return err
	}
	if script.Len() == 0 {
		s.findings = s.findings[:before] // nothing of the role's failed: the default is what it chose
	}
	if !s.l.facts.superuser {
		if _, err := s.part(ctx, unit{doing: "join the account", after: []string{s.l.join(account.name)}}, false, true); err != nil {
			return err
		}
	}
	if ok, err := s.part(ctx, s.disown(s.l, s.job, account), false, true); err != nil || !ok {
		return err
	}
	_, err = s.part(ctx, unit{doing: "drop the account", after: []string{drop}}, false, true)
	return err
}

func (s *stage) add(f Finding) { s.findings = append(s.findings, f) }

// refused is the finding of a statement that the server did not take.
func (s *stage) refused(f *fault, fatal bool) {
	out := Finding{
		Code: "refused", Kind: f.what, Statement: f.statement, SQLState: f.pg.Code, Text: f.text(), Fatal: fatal,
	}
	switch f.pg.Code {
	case codePrivilege, codeNotGranted:
		out.Remedy = s.missing(f, f.pg)
	case codeCanceled:
		out.Code = "slow"
		out.Text += "; a statement that takes longer than " + lease.Short(s.settings.Limits.Turn/2) + " makes each lease wait for the lane of slow ones"
		out.Fatal = false
	}
	if !fatal && out.Code == "refused" {
		out.Text += "; the account is taken away without it, by REASSIGN OWNED, DROP OWNED and DROP ROLE"
	}
	// Nobody ever gets to know the account by its name.
	out.Text = strings.ReplaceAll(out.Text, s.job.name, "{{name}}")
	out.Remedy = strings.ReplaceAll(out.Remedy, s.job.name, "{{name}}")
	if s.group.Len() > 0 {
		out.Text = strings.ReplaceAll(out.Text, s.members.Name, "(group role)")
		out.Remedy = strings.ReplaceAll(out.Remedy, s.members.Name, "(group role)")
	}
	s.add(out)
}
