package sqltext

import (
	"slices"
	"strings"
)

const (
	reasonTransaction = "transaction control: Curfew runs the statements of a lease in transactions of its own"
	reasonOutside     = "cannot run inside a transaction block"
	reasonCursor      = "prepared statements and cursors have no use here"
	reasonNotify      = "LISTEN and NOTIFY are refused: Curfew's sessions are shared, and nobody listens on them"
	reasonSettings    = "changes a setting that Curfew relies on"
)

// solo are the verbs of statements that may run, on their own. What is in no
// list is refused: a new statement of PostgreSQL is looked at before it runs.
func soloVerbs() []string {
	return []string{
		"ALTER", "ANALYZE", "CALL", "COMMENT", "CREATE", "DELETE", "DO", "DROP", "GRANT", "IMPORT", "INSERT", "LOCK",
		"MERGE", "REASSIGN", "REFRESH", "RESET", "REVOKE", "SECURITY", "SELECT", "SET", "TABLE", "TRUNCATE", "UPDATE",
		"VALUES", "WITH",
	}
}

// refusal returns why a statement cannot run in any kind, or "".
func (p phrase) refusal() string {
	verb := p.word(0)
	switch verb {
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE":
		return reasonTransaction
	case "PREPARE":
		if p.word(1) == "TRANSACTION" {
			return reasonTransaction
		}
		return reasonCursor
	case "EXECUTE", "DEALLOCATE", "DECLARE", "FETCH", "MOVE", "CLOSE":
		return reasonCursor
	case "COPY":
		return "COPY takes the connection over and is refused"
	case "LISTEN", "NOTIFY", "UNLISTEN":
		return reasonNotify
	case "LOAD":
		return "LOAD puts a library into a shared session and is refused"
	case "VACUUM", "CLUSTER", "REINDEX", "CHECKPOINT", "DISCARD":
		return verb + " " + reasonOutside + " in all its forms, and has no place in a role"
	case "CREATE", "ALTER", "DROP", "REFRESH":
		return p.ddlRefusal(verb)
	case "SET", "RESET":
		return p.settingRefusal()
	case "":
		if p.text(0) == "(" {
			return p.parenthesisRefusal()
		}
		return "does not begin with a keyword"
	}
	if !slices.Contains(soloVerbs(), verb) {
		return "is no statement that Curfew knows to be safe to run for a lease"
	}
	return p.setConfigRefusal()
}

// parenthesisRefusal lets a query in parentheses through.
func (p phrase) parenthesisRefusal() string {
	i := 0
	for i < len(p.toks) && p.text(i) == "(" {
		i++
	}
	if slices.Contains([]string{"SELECT", "WITH", "VALUES", "TABLE"}, p.word(i)) {
		return p.setConfigRefusal()
	}
	return "does not begin with a keyword"
}

func (p phrase) ddlRefusal(verb string) string {
	object := p.word(1)
	switch {
	case p.hasPair("BEGIN", "ATOMIC"):
		return "a body of BEGIN ATOMIC … END holds semicolons: write it in dollar quotes"
	case verb == "REFRESH":
		return "" // CONCURRENTLY runs in a transaction here
	case object == "SYSTEM", object == "SUBSCRIPTION":
		return verb + " " + object + " " + reasonOutside
	case verb != "ALTER" && (object == "DATABASE" || object == "TABLESPACE"):
		return verb + " " + object + " " + reasonOutside
	case verb == "ALTER" && object == "DATABASE" && p.has("TABLESPACE"):
		return "moving a database " + reasonOutside
	case p.has("CONCURRENTLY"):
		return "CONCURRENTLY " + reasonOutside
	case p.aboutRole("ALTER") && p.own(2) && p.word(3) == "RENAME":
		return "renaming the account would hide it from its own revocation"
	case p.aboutRole("CREATE") && !p.own(2):
		return `creates an account other than "{{name}}", which nobody would revoke; create group roles beforehand`
	}
	return p.setConfigRefusal()
}

// reliedOn are the settings on which the lexer or a promise rests.
func reliedOn() []string {
	return []string{
		"STANDARD_CONFORMING_STRINGS", "BACKSLASH_QUOTE", "CLIENT_ENCODING", // how statements are read (B4)
		"SYNCHRONOUS_COMMIT", // a revocation that is reported is durable (C6)
		"TRANSACTION_ISOLATION", "TRANSACTION_READ_ONLY", "TRANSACTION_DEFERRABLE",
	}
}

// settingRefusal looks at SET and RESET. What is left of them runs alone.
func (p phrase) settingRefusal() string {
	i := 1
	if w := p.word(1); p.word(0) == "SET" && (w == "SESSION" || w == "LOCAL") {
		i = 2
	}
	switch p.word(i) {
	case "TRANSACTION", "CHARACTERISTICS":
		return reasonTransaction
	case "NAMES":
		return reasonSettings + ": CLIENT_ENCODING"
	case "ALL":
		if p.word(0) == "RESET" {
			return reasonSettings + ": RESET ALL changes all of them"
		}
	}
	if i >= len(p.toks) {
		return "names no setting"
	}
	name := p.word(i)
	if t := p.toks[i]; t.kind != tokWord {
		if t.kind != tokIdent || len(t.refs) > 0 {
			return "names no setting"
		}
		name = upper(p.src[t.bodyStart:t.bodyEnd])
	}
	if slices.Contains(reliedOn(), name) {
		return reasonSettings + ": " + name
	}
	return ""
}

// setConfigRefusal finds the function form of SET, also inside bodies.
func (p phrase) setConfigRefusal() string {
	raw := upper(p.raw())
	if !strings.Contains(raw, "SET_CONFIG") {
		return ""
	}
	for _, name := range reliedOn() {
		if strings.Contains(raw, name) {
			return reasonSettings + ": " + name
		}
	}
	return ""
}

// codeRefusal looks at the quotes that hold the body of a function: a variable
// in them is escaped by the rules of SQL, so they have to be SQL's.
func (p phrase) codeRefusal() error {
	if !p.holdsCode() {
		return nil
	}
	for i, t := range p.toks {
		if len(t.refs) > 0 && t.kind != tokIdent {
			return &lexError{t.refs[0].start, "variable " + t.refs[0].variable.String() +
				" inside a body in single quotes: write the body in dollar quotes"}
		}
		if t.kind == tokDollar && strings.Contains(p.src[t.bodyStart:t.bodyEnd], "{{") && !p.inSQL() {
			return &lexError{p.toks[i].start, "a body with variables in a language other than plpgsql or sql"}
		}
	}
	return nil
}

// inSQL reports whether every LANGUAGE of the statement is one whose quotes are
// SQL's. Without any, DO means plpgsql.
func (p phrase) inSQL() bool {
	for i := range p.toks {
		if p.word(i) != "LANGUAGE" {
			continue
		}
		if i+1 == len(p.toks) {
			return false
		}
		t := p.toks[i+1]
		name := upper(p.src[t.bodyStart:t.bodyEnd])
		if name != "PLPGSQL" && name != "SQL" {
			return false
		}
	}
	return true
}
