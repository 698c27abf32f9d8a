package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/secret"
)

// SQLSTATEs that decide something here.
const (
	codeInvalidAuthorization = "28000"
	codeWrongPassword        = "28P01"
	codeNoDatabase           = "3D000"
	codeReadOnly             = "25006"
	codeCanceled             = "57014"
	codeLockTimeout          = "55P03"
	codeDeadlock             = "40P01"
	codeSerialization        = "40001"
	codeNotNumber            = "22P02" // what a condition of ours fails with
	codeUniqueViolation      = "23505"
	codeDuplicateObject      = "42710"
	codeUndefinedObject      = "42704"
	codeDependent            = "2BP01"
	codePrivilege            = "42501"
	codeInternal             = "XX000"
	codeNotGranted           = "01007" // a warning: a GRANT that granted nothing
)

func pgError(err error) *pgconn.PgError {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg
	}
	return nil
}

func hasCode(err error, codes ...string) bool {
	pg := pgError(err)
	return pg != nil && slices.Contains(codes, pg.Code)
}

// transient reports whether the same statements may work in a moment: somebody
// else was writing the same rows of the catalogue (B6).
func transient(err error) bool {
	pg := pgError(err)
	if pg == nil {
		return false
	}
	switch pg.Code {
	case codeDeadlock, codeSerialization, codeLockTimeout:
		return true
	case codeInternal:
		return strings.Contains(pg.Message, "tuple concurrently") || pg.Routine == "simple_heap_update" ||
			pg.Routine == "simple_heap_delete"
	case codeUniqueViolation:
		return pg.SchemaName == "pg_catalog"
	}
	return false
}

// lost reports whether the connection is of no more use after err; what was
// sent may have happened.
func lost(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*engine.Error](err); ok {
		return false
	}
	pg := pgError(err)
	if pg == nil {
		return true
	}
	return pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC" || pg.Code == codeReadOnly
}

// explain turns the failure of a connection attempt into an error for a person;
// nil stays nil. The passwords that were tried do not appear in it.
func (d *dialer) explain(database string, err error, tried ...secret.Value) error {
	if err == nil {
		return nil
	}
	e := &engine.Error{Kind: engine.Unreachable, Err: err}
	text := scrub("error verifying connection: "+err.Error(), append(tried, secret.New(d.config.Password))...)
	e.Err = errors.New(text) // the library's holds its configuration
	if advice := tlsAdvice(err, d.mode); advice != "" {
		e.Kind, e.Message = engine.Refused, text+"; "+advice
		return e
	}
	// A standby that lags may not know the database or the password yet.
	behind := d.standby && hasCode(err, codeWrongPassword, codeNoDatabase)
	if pg := pgError(err); pg != nil && !outage(pg.Code) && !behind {
		e.Kind = engine.Refused
	}
	if hasCode(err, codePrivilege) {
		text += "; the admin user lacks a privilege: GRANT CONNECT ON DATABASE " + ident(database) + " TO " + ident(d.config.User)
	}
	e.Message = text
	return e
}

// outage reports whether a SQLSTATE tells of a server that cannot do anything
// at the moment, for whoever asks.
func outage(code string) bool {
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57P") ||
		strings.HasPrefix(code, "58") || code == codeReadOnly
}

// scrub takes secrets out of a text of the server's: a syntax error quotes the
// token it stumbled over. Verifiers are quoted in parts, too.
func scrub(text string, secrets ...secret.Value) string {
	for _, s := range secrets {
		if s.Empty() {
			continue
		}
		text = strings.ReplaceAll(text, s.Reveal(), secret.Redacted)
		for _, part := range strings.FieldsFunc(s.Reveal(), func(r rune) bool { return strings.ContainsRune("$:", r) }) {
			if len(part) >= 16 {
				text = strings.ReplaceAll(text, part, secret.Redacted)
			}
		}
	}
	return text
}

// fault is an error of the server, traced to a statement.
type fault struct {
	pg *pgconn.PgError
	// statement is the number of the role's own statement, from 1; 0: one of
	// Curfew's.
	statement int
	what      string // "creation_statements", or what Curfew did
	source    string // the statement as it was written, for the missing GRANT; not for messages
	heir      string // who takes objects over, for the missing GRANT
	account   string // that people made, for the missing GRANT
	secrets   []secret.Value
}

func (f *fault) Error() string { return f.text() }

func (f *fault) Unwrap() error { return f.pg }

// text is for a person. Of the fields of the server's error only the message
// is certain to hold no more than names; DETAIL is shown where it lists
// dependencies.
func (f *fault) text() string {
	text := f.what
	if f.statement > 0 {
		text += fmt.Sprintf(": statement %d", f.statement)
	}
	text += ": ERROR: " + f.pg.Message + " (SQLSTATE " + f.pg.Code + ")"
	if f.pg.Code == codeDependent && f.pg.Detail != "" {
		text += ": " + strings.ReplaceAll(f.pg.Detail, "\n", "; ")
	}
	return scrub(text, f.secrets...)
}

// person turns whatever went wrong into the error that leaves this package.
func (t *Target) person(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	f, traced := errors.AsType[*fault](err)
	pg := pgError(err)
	switch {
	case pg == nil && (errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err)):
		return &engine.Error{Kind: engine.Unreachable, Message: "the target did not answer in time", Err: err}
	case pg == nil:
		return &engine.Error{Kind: engine.Unreachable, Message: "the connection to the target was lost", Err: err}
	}
	text := "ERROR: " + pg.Message + " (SQLSTATE " + pg.Code + ")"
	if traced {
		text = f.text()
	}
	e := &engine.Error{Kind: engine.Refused, Message: text, Err: err}
	switch {
	case transient(err), pg.Code == codeCanceled:
		e.Kind = engine.Conflict
	case lost(err), outage(pg.Code):
		e.Kind = engine.Unreachable
	case pg.Code == codePrivilege || pg.Code == codeNotGranted:
		if grant := t.missing(f, pg); grant != "" {
			e.Message += "; the admin user lacks a privilege: " + grant
		}
	}
	return e
}
