package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
)

// Group is a role that cannot log in and holds what the accounts of a role
// share: they are members of it and have no privileges of their own.
type Group struct {
	Name string
	// Statements are what it is granted, as sqltext returns them from Sources of
	// a group's half; Numbers are the places that they had in the role.
	Statements []string
	Numbers    []int
}

// compile reads the statements; errors are fit for a client.
func (g Group) compile() (sqltext.Script, error) {
	return sqltext.Parse(sqltext.Shared, g.Statements...)
}

// unit makes the role, unless it is there, and grants it everything again, which
// costs nothing where it has it. It inherits nothing: it is a member of nothing.
func (g Group) unit(script sqltext.Script, there bool) (unit, error) {
	u := unit{doing: "make the group role", what: script.Kind().String()}
	if !there {
		u.before = []string{"CREATE ROLE " + ident(g.Name) + " NOLOGIN NOINHERIT"}
	}
	for i, s := range script.Statements() {
		text, err := s.Render(sqltext.Vars{Name: g.Name})
		if err != nil {
			return u, invalid("%w", err)
		}
		st := statement{text: text, source: s.Source()}
		if i < len(g.Numbers) {
			st.number = g.Numbers[i]
		}
		u.script = append(u.script, st)
	}
	return u, nil
}

// KeepGroup makes a group role where it is missing, and grants it all that it
// should have. It may be done again, and by several at once. After an error of
// kind Refused the role has nothing of it, or what it had before, or what could
// be granted of an ALL TABLES; after any other it may have it.
//
// Where the role is missing, announce is called first: it says for how long from
// its call on the role may still be made. It is not made after that, whatever
// becomes of this process: the target's own clock decides (B1). An error of
// announce is returned.
//
// It has a connection of its own while it lasts, so that a schema of many tables
// keeps nobody's batch waiting, but for the locks (B6).
func (t *Target) KeepGroup(ctx context.Context, g Group, announce func(context.Context) (time.Duration, error)) error {
	script, err := g.compile()
	if err != nil {
		return invalid("%w", err)
	}
	limit := t.settings.Limits.Call
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for pass := 0; ; pass++ {
		err := t.groups.once(ctx, limit, func(ctx context.Context, l *link) error {
			there, err := l.query(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = `+literal(g.Name)+`)::pg_catalog.text`)
			if err != nil {
				return err
			}
			u, err := g.unit(script, there[0][0] == "true")
			if err != nil {
				return err
			}
			tx := transaction{advisory: true}
			if len(u.before) > 0 {
				began := t.clk.Now()
				within, err := announce(ctx)
				if err != nil {
					return err
				}
				if tx.last, _, err = t.fence(ctx, l, "the time for the group role", began.Add(within)); err != nil {
					return err
				}
			}
			return t.step(ctx, l, tx, limit, u)
		})
		if errors.Is(err, errFence) {
			return &engine.Error{Kind: engine.Busy, Message: "the target took longer than the making of a group role may take", After: time.Second, Err: err}
		}
		again := lost(err) || hasCode(err, codeDuplicateObject, codeUniqueViolation) || Lacks(err, g.Name)
		if !again || pass >= tries || ctx.Err() != nil {
			return t.person(err)
		}
		t.pause(ctx, jitter(pass))
	}
}

// Lacks reports whether something failed because there is no role of a name.
func Lacks(err error, name string) bool {
	return hasCode(err, codeUndefinedObject) && name != "" && strings.Contains(pgError(err).Message, `"`+name+`"`)
}

// admit makes an account a member of its group role. From version 16 on it
// inherits whatever its own attribute says, and cannot become the group: before,
// nobody could be kept from that.
func (l *link) admit(group, account string) string {
	sql := "GRANT " + ident(group) + " TO " + ident(account)
	if l.facts.version >= createroleGrants {
		sql += " WITH INHERIT TRUE, SET FALSE"
	}
	return sql
}

// populatedSQL tells of the role r whether an account that may be a lease's is a
// member of it.
const populatedSQL = `EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles u ON u.oid = m.member
 WHERE m.roleid = r.oid AND u.rolname ~ '` + markShape + `')`

// DropGroup takes a group role away by the safe default (C5), in each database
// where the catalogue names it, and proves its absence on the recorded system
// (C6); a making that has not ended is waited for. It may be done again. Conflict
// says that accounts are still members. Of the plan, that of a stray of the
// connection, it takes what becomes of objects that somebody made in the group's
// name.
func (t *Target) DropGroup(ctx context.Context, name string, p Plan) error {
	ctx, cancel := context.WithTimeout(ctx, t.settings.Limits.Call)
	defer cancel()
	there, populated := false, false
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		got, err := l.query(ctx, `SELECT `+populatedSQL+`::pg_catalog.text FROM pg_catalog.pg_roles r WHERE r.rolname = `+literal(name))
		there = err == nil && len(got) == 1
		populated = there && got[0][0] == "true"
		return err
	})
	switch {
	case err != nil:
		return err
	case populated:
		return &engine.Error{Kind: engine.Conflict, Message: "accounts are still members of the group role"}
	case !there:
		// B1: DROP … IF EXISTS would not see a making that has not ended.
		if err := t.wait(ctx, name); err != nil && !taken(err) {
			return t.person(err)
		}
	}
	j := &job{lease: &lease.Lease{Account: name}, name: name, plan: &compiled{Plan: p}, err: errStays}
	rooms := &rooms{target: t, lanes: map[string]*lane{}}
	defer rooms.close(ctx)
	t.cleanOne(ctx, rooms, j)
	return t.person(j.err)
}
