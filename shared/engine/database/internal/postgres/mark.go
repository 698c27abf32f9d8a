package postgres

import (
	"context"
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
)

// markPrefix begins the names of the roles that bear marks; no account's name
// begins so.
const markPrefix = "curfew-owner-"

// markKey keeps those who write marks in one database apart: "curfew", then 2.
// It is another than [advisoryKey], which long work may hold.
const markKey = "7094966430863785986" // 0x6375726665770002

// MarkRole names the role whose comment is the mark of a connection (B3). A
// role is the one thing that a CREATEROLE user may make in any cluster, that all
// databases share, and that copies and backups keep together with the accounts.
func MarkRole(connection string) string { return markPrefix + connection }

// Mark reads the mark of a connection; "" where there is none.
func (t *Target) Mark(ctx context.Context, connection string) (string, error) {
	mark := ""
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		got, err := l.query(ctx, markSQL(connection))
		if err == nil {
			mark = got[0][0]
		}
		return err
	})
	return mark, err
}

// markSQL is one row, also where the role is missing.
func markSQL(connection string) string {
	return `SELECT COALESCE((SELECT pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = ` +
		literal(MarkRole(connection)) + `), '')`
}

// SetMark replaces the mark was by now, in one transaction. Conflict says that
// it was another one, and nothing else does. It is sent once: after a lost
// connection only reading tells whether it happened.
func (t *Target) SetMark(ctx context.Context, connection, was, now string) error {
	err := t.observe.use(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
		for pass := 0; ; pass++ {
			err := l.setMark(ctx, connection, was, now)
			if !overtaken(err) || pass >= tries {
				return err
			}
			t.pause(ctx, jitter(pass))
		}
	})
	if overtaken(err) || hasCode(err, codeCanceled, codeLockTimeout) {
		return busy("others are working on the mark of the target")
	}
	return t.person(err)
}

// overtaken reports whether another writer of the mark was faster with the role
// itself: made it, changed it or dropped it after this one had looked.
func overtaken(err error) bool {
	return transient(err) && !hasCode(err, codeLockTimeout) ||
		hasCode(err, codeDuplicateObject, codeUndefinedObject, codeUniqueViolation)
}

// setMark takes the role before it compares: every writer updates its row, and
// of two that meet in different databases, where advisory locks do not, the
// later one fails and has to look again.
func (l *link) setMark(ctx context.Context, connection, was, now string) error {
	name := MarkRole(connection)
	// A short wait: the sessions of revoked accounts are ended on this lane.
	begin := append([]string{"BEGIN"}, l.setup(transaction{statement: l.dialer.limits.Turn / 2, lock: shortLock})...)
	begin = append(begin, "SET LOCAL search_path=pg_catalog")
	if l.facts.version >= createroleGrants && !l.facts.superuser {
		begin = append(begin, "SET LOCAL createrole_self_grant=''") // ADMIN OPTION is enough to comment and to drop
	}
	begin = append(begin, "SELECT pg_catalog.pg_advisory_xact_lock("+markKey+")",
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = "+literal(name)+")::pg_catalog.text")
	there, err := l.marking(ctx, name, begin...)
	if err != nil {
		return err
	}
	verb := "CREATE"
	if there == "true" {
		verb = "ALTER"
	}
	found, err := l.marking(ctx, name, verb+" ROLE "+ident(name)+" NOLOGIN", markSQL(connection))
	if err != nil {
		return err
	}
	if found != was {
		return l.rollback(ctx, &engine.Error{
			Kind: engine.Conflict, Message: "the comment of role " + name + ", the mark of the target, is not what was expected",
		})
	}
	_, err = l.marking(ctx, name, "COMMENT ON ROLE "+ident(name)+" IS "+literal(now), "COMMIT")
	return err
}

// marking sends one message of the transaction and returns the value that its
// last command gives. With an error the transaction is over.
func (l *link) marking(ctx context.Context, name string, commands ...string) (string, error) {
	results, err := l.run(ctx, strings.Join(commands, ";\n"))
	if pg := pgError(err); pg != nil {
		err = &fault{pg: pg, what: "set the mark of the target on role " + name}
	}
	if err != nil {
		return "", l.rollback(ctx, err)
	}
	last := results[len(results)-1]
	if len(last.Rows) == 1 {
		return string(last.Rows[0][0]), nil
	}
	return "", nil
}

// Unmark takes the mark of a connection away, whatever it is.
func (t *Target) Unmark(ctx context.Context, connection string) error {
	return t.look(ctx, func(ctx context.Context, l *link) error {
		return t.step(ctx, l, transaction{lock: shortLock}, t.settings.Limits.Turn/2, unit{
			doing: "drop the mark of the target",
			after: []string{"DROP ROLE IF EXISTS " + ident(MarkRole(connection))},
		})
	})
}
