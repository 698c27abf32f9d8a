package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/secret"
)

// Create makes the accounts of a batch; out[i] is what became of batch[i]. The
// secret of a creation is the password. What failed may have happened: the
// caller rolls it back.
func (t *Target) Create(ctx context.Context, batch []engine.Creation) []engine.Created {
	jobs := make([]*job, len(batch))
	for i := range batch {
		jobs[i] = t.creation(&batch[i])
	}
	t.submit(ctx, t.creating, t.making(), unsettled(jobs))
	out := make([]engine.Created, len(batch))
	for i, j := range jobs {
		if out[i].Err = j.err; j.err != nil {
			continue
		}
		h := Handle{RoleOID: j.seen.oid, Identity: j.system}
		out[i].Handle, out[i].Err = h.Encode()
		out[i].Data = map[string]any{"username": j.lease.Account, "password": j.password.Reveal()}
	}
	return out
}

func unsettled(jobs []*job) []*job {
	var out []*job
	for _, j := range jobs {
		if j.state != settled {
			out = append(out, j)
		}
	}
	return out
}

// creation prepares one job; what is wrong with it settles it.
func (t *Target) creation(c *engine.Creation) *job {
	j := &job{
		lease: &c.Lease, name: c.Lease.Account, kind: sqltext.Creation, at: t.clk.Now(), ttl: c.Lease.TTL,
		password: c.Secret, verifier: c.Secret,
	}
	if j.lease.CreateDeadline.IsZero() { // without it nothing would end a creation that hangs (B1)
		j.fail(&engine.Error{Kind: engine.Internal, Message: "the lease has no create deadline"})
		return j
	}
	if !t.prepare(j) {
		return j
	}
	script := j.script()
	if script.Len() == 0 {
		j.fail(invalid("creation_statements are missing"))
		return j
	}
	if cmp.Or(j.plan.Authentication, SCRAM) != SCRAM || !script.Uses(sqltext.Password) {
		return j
	}
	if err := script.PasswordOnlyAsPassword(); err != nil {
		j.fail(invalid("%w", err))
		return j
	}
	var err error
	if j.verifier, err = j.plan.verifier(c.Secret); err != nil {
		j.fail(err)
	}
	return j
}

// verifier is what the server is given in place of a password (B10).
func (p *Plan) verifier(password secret.Value) (secret.Value, error) {
	salt := make([]byte, scram.SaltLen)
	rand.Read(salt) // never fails, it ends the process
	text, err := scram.Verifier(password.Reveal(), salt, cmp.Or(p.Iterations, scram.DefaultIterations))
	if err != nil {
		return secret.Value{}, &engine.Error{Kind: engine.Internal, Message: "the password cannot be hashed", Err: err}
	}
	return secret.New(text), nil
}

// prepare finds the plan of a job and the script of its kind.
func (t *Target) prepare(j *job) bool {
	plan, err := t.plans.get(j.lease.Plan)
	if err != nil {
		j.fail(err)
		return false
	}
	j.plan = plan
	if j.kind != 0 {
		if _, err := plan.script(j.kind); err != nil {
			j.fail(invalid("%w", err))
			return false
		}
	}
	return true
}

// making is how accounts are created.
func (t *Target) making() act {
	return act{class: creations, fence: true, unit: t.makeUnit, confirm: t.confirmMade}
}

func (t *Target) makeUnit(l *link, j *job, now time.Time) (unit, error) {
	j.set, j.until = t.clk.Now(), t.end(j, now)
	u, err := t.scriptUnit(j)
	u.doing, u.after = l.finish(j)
	return u, err
}

// finish is what Curfew adds to a role's statements, and what errors call it.
func (l *link) finish(j *job) (doing string, after []string) {
	after = []string{validUntil(j.name, j.until)}
	if j.plan.Group == "" {
		return "set VALID UNTIL", after
	}
	return "make the account a member of its group role and set VALID UNTIL", append([]string{l.admit(j.plan.Group, j.name)}, after...)
}

// end is when logins of the account end: margin after the lease (B8).
func (t *Target) end(j *job, now time.Time) time.Time {
	if j.ttl <= 0 {
		return time.Time{}
	}
	return now.Add(j.ttl + t.settings.Limits.Margin).Truncate(time.Microsecond)
}

// scriptUnit renders the role's statements for a job.
func (t *Target) scriptUnit(j *job) (unit, error) { return j.render(j.script()) }

// render puts the job's values into statements.
func (j *job) render(script sqltext.Script) (unit, error) {
	u := unit{what: script.Kind().String(), secrets: []secret.Value{j.password, j.verifier}}
	vars := sqltext.Vars{Name: j.name, Password: j.verifier.Reveal(), Expiration: stamp(j.until)}
	for i, s := range script.Statements() {
		text, err := s.Render(vars)
		if err != nil {
			return u, invalid("%w", err)
		}
		st := statement{text: text, source: s.Source()}
		if script.Kind() == sqltext.Creation && i < len(j.plan.Numbers) {
			st.number = j.plan.Numbers[i]
		}
		u.script = append(u.script, st)
	}
	return u, nil
}

// fence raises an error once the target's clock has passed the earliest
// deadline (B1). The text is put together by the server, or it would be taken
// apart while the statement is planned.
func fence(live []*job, alive []int) []string {
	var first time.Time
	for _, i := range alive {
		if d := live[i].lease.CreateDeadline; first.IsZero() || d.Before(first) {
			first = d
		}
	}
	if first.IsZero() {
		return nil
	}
	return []string{notAfter("create deadline", first)}
}

// notAfter is a statement that fails once the target's clock has passed a time.
func notAfter(what string, deadline time.Time) string {
	return `SELECT CASE WHEN pg_catalog.clock_timestamp() < ` + literal(stamp(deadline)) + `::pg_catalog.timestamptz THEN 0 ` +
		`ELSE (` + literal(what+" passed at ") + ` || pg_catalog.clock_timestamp()::pg_catalog.text)::pg_catalog.int4 END`
}

// fence ends a transaction that a time has passed, which is of the local clock:
// the target's own decides (B1). left is until then.
func (t *Target) fence(ctx context.Context, l *link, what string, until time.Time) (last func([]int) []string, left time.Duration, err error) {
	_, now, err := t.sample(ctx, l)
	if err != nil {
		return nil, 0, err
	}
	// In this order: a pause in between makes the end come earlier.
	left = until.Sub(t.clk.Now())
	text := notAfter(what, now.Add(left))
	return func([]int) []string { return []string{text} }, left, nil
}

// confirmMade reads back what was created: only what was seen is reported (A8).
func (t *Target) confirmMade(ctx context.Context, l *link, jobs []*job) error {
	c, err := t.count(ctx, l, names(jobs), nil)
	if err != nil {
		return err
	}
	var off []*job
	for _, j := range jobs {
		r, ok := c.byName[j.name]
		switch {
		case !ok:
			j.later(errNotSeen)
		case !r.login:
			j.fail(&engine.Error{
				Kind:    engine.Refused,
				Message: "creation_statements made a role that cannot log in: write CREATE ROLE … LOGIN",
			})
		case !t.onTime(j, r, c.at):
			off = append(off, j)
		default:
			j.seen, j.system = r, c.Identity
			j.state = settled
		}
	}
	return t.mend(ctx, l, off, c.at)
}

var errNotSeen = &engine.Error{
	Kind:    engine.Unreachable,
	Message: "the connection to the target was lost before it confirmed",
}

// onTime reports whether VALID UNTIL of an account is what it should be by the
// target's clock at.
func (t *Target) onTime(j *job, r role, at time.Time) bool {
	if j.ttl <= 0 || r.until.IsZero() {
		return j.ttl <= 0 && r.until.IsZero()
	}
	want := t.end(j, at.Add(-t.clk.Now().Sub(j.set)))
	return r.until.Sub(want).Abs() <= t.settings.Limits.Margin/2
}

// mend sets VALID UNTIL again where the sample of the clock was wrong.
func (t *Target) mend(ctx context.Context, l *link, jobs []*job, now time.Time) error {
	if len(jobs) == 0 {
		return nil
	}
	tx := transaction{statement: t.settings.Limits.Turn / 2}
	for _, j := range jobs {
		j.set, j.until = t.clk.Now(), t.end(j, now)
		tx.units = append(tx.units, unit{doing: "set VALID UNTIL", after: []string{validUntil(j.name, j.until)}})
	}
	faults, err := l.transact(ctx, tx)
	if err != nil {
		return err
	}
	c, err := t.count(ctx, l, names(jobs), nil)
	if err != nil {
		return err
	}
	for i, j := range jobs {
		r, ok := c.byName[j.name]
		if faults[i] != nil || !ok || !t.onTime(j, r, c.at) {
			j.fail(&engine.Error{Kind: engine.Conflict, Message: "VALID UNTIL of the account is not what was set", Err: faults[i]})
			continue
		}
		j.seen, j.system = r, c.Identity
		j.state = settled
	}
	return nil
}

func names(jobs []*job) []string {
	out := make([]string, len(jobs))
	for i, j := range jobs {
		out[i] = j.name
	}
	return out
}
