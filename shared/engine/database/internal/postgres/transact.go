package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// unit is what one lease contributes to a transaction: all of it happens or
// nothing.
type unit struct {
	before  []string
	script  []statement // the role's own
	after   []string
	what    string // the kind of script, for errors
	doing   string // what before and after do, for errors
	heir    string // who takes objects over
	account string // that is changed, where people made it
	secrets []secret.Value
	guarded error // what it means that a condition in before does not hold
}

// statement is one of a role's statements: as it is sent, as it was written,
// and where it stood; 0: where it stands.
type statement struct {
	text, source string
	number       int
}

// transaction is several units with what surrounds them.
type transaction struct {
	units []unit
	// advisory serialises with other conflicting transactions in the database.
	advisory bool
	// alone: the scripts may change the session, which is reset before last.
	alone     bool
	statement time.Duration // statement_timeout
	lock      time.Duration // lock_timeout; 0: the target's
	// last are statements before COMMIT; alive are the units that hold so far.
	last func(alive []int) []string
}

// The transaction as a whole failed; nothing of it happened.
var (
	errFence  = errors.New("create deadline passed")
	errParse  = errors.New("the message could not be parsed")
	errCommit = errors.New("commit failed")
)

// where says what a command of a message is: step (≥ 0) of a unit, or one of
// the constants.
type where struct {
	unit int // index, or one of the negative places
	step int
}

const (
	placeBegin = -1 - iota
	placeSetup
	placeLast
	placeCommit
)

// message is a simple-query message that knows its commands.
type message struct {
	sql    strings.Builder
	places []where
	starts []int // offset of each command
}

func (m *message) add(at where, commands ...string) {
	for _, c := range commands {
		m.starts = append(m.starts, m.sql.Len())
		m.places = append(m.places, at)
		m.sql.WriteString(c)
		m.sql.WriteString(";\n")
	}
}

// transact runs a transaction in one message, and in one more for each unit
// that fails. faults holds an error for each unit that did not happen; with
// err nothing happened, or, where the connection was lost, nobody knows.
func (l *link) transact(ctx context.Context, tx transaction) (faults []error, err error) {
	faults = make([]error, len(tx.units))
	warned := make([]error, len(tx.units))
	nonce := "curfew_" + lease.RandomBase62(16)
	m := &message{}
	m.add(where{unit: placeBegin}, "BEGIN")
	m.add(where{unit: placeSetup}, l.setup(tx)...)
	for next := 0; ; {
		tx.compose(l, m, nonce, next, faults)
		results, err := l.run(ctx, m.sql.String())
		tx.warnings(l, m, warned)
		if err == nil {
			if tag := results[len(results)-1].CommandTag.String(); tag != "COMMIT" {
				return nil, fmt.Errorf("%w: the server answered %s", errCommit, tag)
			}
			for i, w := range warned {
				if faults[i] == nil {
					faults[i] = w
				}
			}
			return faults, nil
		}
		at, ours := l.traced(m, err)
		if !ours || at.unit < 0 {
			return nil, l.rollback(ctx, tx.whole(at, err))
		}
		if ctx.Err() != nil {
			return nil, l.rollback(ctx, err)
		}
		faults[at.unit] = tx.units[at.unit].fault(at.step, err)
		next = at.unit + 1
		m = &message{}
		m.add(where{unit: placeSetup}, "ROLLBACK TO SAVEPOINT "+nonce, "RELEASE SAVEPOINT "+nonce)
	}
}

// setup are the settings of a transaction. Nothing outlives it (B6).
func (l *link) setup(tx transaction) []string {
	out := strings.Split(l.guard(tx.statement), ";")
	if tx.lock > 0 {
		out = append(out, "SET LOCAL lock_timeout="+milliseconds(tx.lock))
	}
	if !l.facts.waits {
		out = append(out, "SET LOCAL synchronous_commit=on") // (C6)
	}
	out = append(out, "SET LOCAL client_min_messages=warning")
	if l.facts.mutes {
		out = append(out, "SET LOCAL log_min_error_statement=panic") // (B5)
	}
	if l.facts.version >= createroleGrants && !l.facts.superuser {
		out = append(out, "SET LOCAL createrole_self_grant='set, inherit'") // (C4)
	}
	if tx.advisory {
		out = append(out, "SELECT pg_catalog.pg_advisory_xact_lock("+advisoryKey+")")
	}
	return append(out, "SET LOCAL search_path TO DEFAULT")
}

// advisoryKey is "curfew" and a version. All programs of Curfew that work on a
// database must agree on it.
const advisoryKey = "7094966430863785985" // 0x6375726665770001

// reset undoes what statements that ran alone did to the session.
func (l *link) reset(tx transaction) []string {
	tx.advisory = false
	return append([]string{"RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"}, l.setup(tx)...)
}

// compose adds the units from next on, and the end.
func (tx transaction) compose(l *link, m *message, nonce string, next int, faults []error) {
	for i := next; i < len(tx.units); i++ {
		u := tx.units[i]
		m.add(where{unit: i}, "SAVEPOINT "+nonce)
		m.add(where{unit: i}, u.before...)
		for n, s := range u.script {
			m.add(where{i, n + 1}, s.text)
		}
		if tx.alone {
			m.add(where{unit: i}, l.reset(tx)...)
		}
		m.add(where{unit: i}, u.after...)
		m.add(where{unit: i}, "RELEASE SAVEPOINT "+nonce)
	}
	if tx.last != nil {
		var alive []int
		for i, f := range faults {
			if f == nil {
				alive = append(alive, i)
			}
		}
		m.add(where{unit: placeSetup}, "SET LOCAL search_path=pg_catalog")
		m.add(where{unit: placeLast}, tx.last(alive)...)
	}
	m.add(where{unit: placeCommit}, "COMMIT")
}

// traced finds the command that failed; ours is false where the connection was
// lost.
func (l *link) traced(m *message, err error) (at where, ours bool) {
	if lost(err) {
		return where{}, false
	}
	if l.done > 0 || m.places[0].unit != placeBegin {
		return m.places[min(l.done, len(m.places)-1)], true
	}
	// Before the first command: the message was parsed as a whole (B5). The
	// position says where, in characters.
	at = where{unit: placeBegin}
	if pos := int(pgError(err).Position); pos > 0 {
		text := []rune(m.sql.String())
		offset := len(string(text[:min(pos-1, len(text))]))
		for i, start := range m.starts {
			if start <= offset {
				at = m.places[i]
			}
		}
	}
	return at, l.conn.TxStatus() != 'I'
}

// whole turns an error outside the units into one of the whole transaction.
func (tx transaction) whole(at where, err error) error {
	switch {
	case lost(err):
		return err
	case at.unit == placeLast && !hasCode(err, codeCanceled):
		return fmt.Errorf("%w: %w", errFence, err)
	case at.unit == placeCommit:
		return fmt.Errorf("%w: %w", errCommit, err)
	case at.unit >= 0:
		return fmt.Errorf("%w: %w", errParse, tx.units[at.unit].fault(at.step, err))
	case at.unit == placeBegin:
		return fmt.Errorf("%w: %w", errParse, err)
	}
	return err
}

// warnings makes faults of GRANTs that granted nothing: the server only warns,
// and the account would lack what its role promises. They came with a
// transaction that may have committed all the same: the caller takes back.
func (tx transaction) warnings(l *link, m *message, warned []error) {
	for _, n := range l.notices {
		at := m.places[min(n.after, len(m.places)-1)]
		if n.notice.Code == codeNotGranted && at.unit >= 0 && at.step > 0 && warned[at.unit] == nil {
			warned[at.unit] = tx.units[at.unit].fault(at.step, (*pgconn.PgError)(n.notice))
		}
	}
}

// fault traces an error of the server to a statement of the unit.
func (u unit) fault(step int, err error) error {
	pg := pgError(err)
	if pg == nil {
		return err
	}
	if step == 0 && u.guarded != nil && pg.Code == codeNotNumber {
		return u.guarded
	}
	f := &fault{pg: pg, what: u.doing, heir: u.heir, account: u.account, secrets: u.secrets}
	if step > 0 && step <= len(u.script) {
		s := u.script[step-1]
		f.what, f.statement, f.source = u.what, cmp.Or(s.number, step), s.source
	}
	return f
}
