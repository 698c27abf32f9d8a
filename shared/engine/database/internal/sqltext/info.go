package sqltext

import "slices"

// Kind returns what the statements are for.
func (s Script) Kind() Kind { return s.kind }

// Len returns the number of statements.
func (s Script) Len() int { return len(s.statements) }

// Statements returns the statements in their order.
func (s Script) Statements() []Statement { return slices.Clone(s.statements) }

// Sources returns the statements' sources: what a lease keeps to be parsed
// again when it is renewed or revoked (A2).
func (s Script) Sources() []string {
	all := make([]string, len(s.statements))
	for i, st := range s.statements {
		all[i] = st.source
	}
	return all
}

// Numbers returns the statements' numbers, which count on over both halves of a
// script that was shared.
func (s Script) Numbers() []int {
	all := make([]int, len(s.statements))
	for i, st := range s.statements {
		all[i] = st.number
	}
	return all
}

// Batchable reports whether all statements are: then the script shares a
// transaction with those of other leases.
func (s Script) Batchable() bool { return !slices.ContainsFunc(s.statements, not(Statement.Batchable)) }

// Conflicting reports whether any statement is.
func (s Script) Conflicting() bool { return slices.ContainsFunc(s.statements, Statement.Conflicting) }

// PerUserGrant reports whether any statement is one.
func (s Script) PerUserGrant() bool { return slices.ContainsFunc(s.statements, Statement.PerUserGrant) }

// Uses reports whether any statement uses the variable.
func (s Script) Uses(v Variable) bool {
	return slices.ContainsFunc(s.statements, func(st Statement) bool { return st.Uses(v) })
}

// PasswordOnlyAsPassword returns an [*Error] for the first statement in which
// the password stands elsewhere than [Statement.PasswordOnlyAsPassword] allows.
func (s Script) PasswordOnlyAsPassword() error {
	for _, st := range s.statements {
		if !st.PasswordOnlyAsPassword() {
			return st.fault("{{password}} is not the whole literal after PASSWORD in CREATE or ALTER ROLE: with " +
				"password_authentication=scram-sha-256 a verifier would stand there; use password_authentication=password")
		}
	}
	return nil
}

// Number returns the statement's place in its script, from 1.
func (st Statement) Number() int { return st.number }

// Head returns the statement's first keywords, for logs and errors; empty for a
// query in parentheses.
func (st Statement) Head() string { return st.class.head }

// Source returns the statement as it was written, without comments and
// semicolon. It may hold literals of the author's: it is not for logs.
func (st Statement) Source() string { return st.source }

// Uses reports whether the statement uses the variable.
func (st Statement) Uses(v Variable) bool { return slices.Contains(st.uses, v) }

// Batchable reports whether the statement may share a transaction with the
// statements of other leases: CREATE and ALTER ROLE of the lease's own account,
// GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, COMMENT, and in revocation and
// rollback also DROP ROLE of the own account. Every other statement runs alone
// on a session that is reset afterwards (B4): it may change the session, or run
// code that does.
func (st Statement) Batchable() bool { return st.class.batchable }

// Conflicting reports whether the statement may write rows of the catalogue
// that statements of other leases write at the same time: privileges on
// objects, default privileges, other accounts, and everything whose effect
// cannot be seen. Creating, altering and dropping the own account and
// memberships do not. Conflicting statements are serialised (B6).
func (st Statement) Conflicting() bool { return st.class.conflicting }

// PerUserGrant reports whether the statement grants privileges on objects to
// the account itself, where membership in a group role would scale better.
func (st Statement) PerUserGrant() bool { return st.class.perUser }

// PasswordOnlyAsPassword reports whether each {{password}} is the whole string
// literal after the keyword PASSWORD in CREATE or ALTER ROLE, also inside a body
// of code. Only there does PostgreSQL take a SCRAM verifier for what it is
// (B10).
func (st Statement) PasswordOnlyAsPassword() bool { return !st.misplaced }

func (st Statement) fault(reason string) *Error {
	return &Error{Kind: st.kind, Statement: st.number, Head: st.class.head, Reason: reason}
}

func not(f func(Statement) bool) func(Statement) bool {
	return func(st Statement) bool { return !f(st) }
}
