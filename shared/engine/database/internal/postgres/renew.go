package postgres

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
)

// swap is the one expiry that a renewal may move, and the one that it sets.
type swap struct {
	from time.Time
	to   time.Time // if exact; else what is left of the lease says
	// exact: to was given.
	exact bool
}

// Renew moves VALID UNTIL of each account (B9) and runs the role's
// renew_statements before.
func (t *Target) Renew(ctx context.Context, batch []engine.Renewal) []engine.Renewed {
	jobs := make([]*job, len(batch))
	for i := range batch {
		b := &batch[i]
		j := &job{lease: &b.Lease, name: b.Lease.Account, kind: sqltext.Renew, at: t.clk.Now(), ttl: b.Remaining}
		jobs[i] = j
		if err := j.restrict(b); err != nil {
			j.fail(err)
			continue
		}
		t.prepare(j)
	}
	t.submit(ctx, t.renewing, t.prolonging(), unsettled(jobs))
	out := make([]engine.Renewed, len(batch))
	for i, j := range jobs {
		switch {
		case hasCode(j.err, codeUndefinedObject):
			out[i].Err = gone(j.lease)
		case j.err != nil:
			out[i].Err = j.err
		default:
			out[i] = engine.Renewed{Was: expiry(j.was), Now: expiry(j.until)}
		}
	}
	return out
}

// restrict reads which expiry a renewal may move.
func (j *job) restrict(r *engine.Renewal) (err error) {
	if r.If == "" {
		return nil
	}
	j.only = &swap{exact: r.To != ""}
	if j.only.from, err = parseExpiry(r.If); err == nil && j.only.exact {
		j.only.to, err = parseExpiry(r.To)
	}
	return err
}

// never is the expiry of an account without VALID UNTIL.
const never engine.Expiry = "never"

// expiry is VALID UNTIL in microseconds since 1970.
func expiry(until time.Time) engine.Expiry {
	if until.IsZero() {
		return never
	}
	return engine.Expiry(strconv.FormatInt(until.UnixMicro(), 10))
}

func parseExpiry(e engine.Expiry) (time.Time, error) {
	if e == never {
		return time.Time{}, nil
	}
	at, err := microseconds(string(e))
	if err != nil {
		return at, &engine.Error{Kind: engine.Internal, Message: "this is no expiry of this engine", Err: err}
	}
	return at, nil
}

func gone(l *lease.Lease) error {
	return &engine.Error{Kind: engine.NotFound, Message: "the account " + l.Account + " is no longer in the target"}
}

var errOvertaken = &engine.Error{
	Kind:    engine.Conflict,
	Message: "the account was renewed by another request meanwhile",
}

func (t *Target) prolonging() act {
	return act{class: creations, look: t.lookUp, unit: t.prolongUnit, confirm: t.confirmProlonged}
}

// lookUp reads the expiries that are to be moved. The time that it returns is
// late by what the question took, never early: so are the expiries that follow
// from it.
func (t *Target) lookUp(ctx context.Context, l *link, jobs []*job) (time.Time, error) {
	before := t.clk.Now()
	c, err := t.count(ctx, l, names(jobs), nil)
	if err != nil {
		return time.Time{}, err
	}
	// Whoever locks several accounts does so in this order.
	slices.SortStableFunc(jobs, func(a, b *job) int { return strings.Compare(a.name, b.name) })
	for _, j := range jobs {
		r, ok := c.byName[j.name]
		switch {
		case !ok:
			j.fail(gone(j.lease))
		case j.unsure && r.until.Equal(j.until):
			j.state = settled // by the transaction whose end was not heard
		case j.only != nil && !r.until.Equal(j.only.from):
			j.fail(errOvertaken)
		default:
			j.was, j.unsure = r.until, false
		}
	}
	return c.at.Add(t.clk.Now().Sub(before)), nil
}

// prolongUnit counts the remaining time from when it was asked for.
func (t *Target) prolongUnit(_ *link, j *job, now time.Time) (unit, error) {
	if j.ttl > 0 {
		j.ttl = max(time.Microsecond, j.ttl-t.clk.Now().Sub(j.at))
		j.at = t.clk.Now()
	}
	j.until = t.end(j, now)
	switch {
	case j.only != nil && j.only.exact:
		j.until = j.only.to
	case j.only == nil && !j.was.IsZero() && !j.until.IsZero() && !j.until.After(j.was):
		j.until = j.was.Add(time.Microsecond) // what VALID UNTIL can tell apart
	}
	u, err := t.scriptUnit(j)
	u.doing = "set VALID UNTIL"
	u.before = []string{lockAccount(j.name), stillUntil(j.name, j.was)}
	u.after = []string{validUntil(j.name, j.until)}
	u.guarded = errOvertaken
	return u, err
}

// accountLock is "curf", the first half of the advisory locks on accounts. All
// programs of Curfew that work on a database must agree on it.
const accountLock = "1668641382"

// lockAccount keeps other renewals of an account waiting until the transaction
// ends. Two accounts may share a lock.
func lockAccount(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return "SELECT pg_catalog.pg_advisory_xact_lock(" + accountLock + "," +
		strconv.FormatInt(int64(int32(h.Sum32())), 10) + ")" //nolint:gosec // any number will do
}

// stillUntil fails unless VALID UNTIL is what it was. It is a statement of its
// own, behind the lock: it must see what was committed before the lock was given.
func stillUntil(name string, was time.Time) string {
	text := ""
	if !was.IsZero() {
		text = string(expiry(was))
	}
	return `SELECT CASE WHEN (SELECT ` + untilSQL + ` FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) ` + literal(name) +
		`) OPERATOR(pg_catalog.=) ` + literal(text) + ` THEN 0 ` +
		`ELSE ('another expiry at ' || pg_catalog.clock_timestamp()::pg_catalog.text)::pg_catalog.int4 END`
}

// confirmProlonged asks about those of whose transaction the end was not heard.
// What another renewal sets from now on is no matter of this one's.
func (t *Target) confirmProlonged(ctx context.Context, l *link, jobs []*job) error {
	var open []*job
	for _, j := range jobs {
		if j.unsure {
			open = append(open, j)
		} else {
			j.state = settled
		}
	}
	if len(open) == 0 {
		return nil
	}
	c, err := t.count(ctx, l, names(open), nil)
	if err != nil {
		return err
	}
	for _, j := range open {
		switch r, ok := c.byName[j.name]; {
		case !ok:
			j.fail(gone(j.lease))
		case r.until.Equal(j.until):
			j.state = settled
		default:
			j.later(errNotSeen)
		}
	}
	return nil
}
