package sqltext

import "slices"

// class is what the engine has to know about a statement before it runs.
type class struct {
	// head is the statement's first keywords, safe to print.
	head string
	// batchable statements share a transaction with those of other leases.
	batchable bool
	// conflicting statements may write rows of the catalogue that statements
	// of other leases write too.
	conflicting bool
	// perUser statements grant privileges on objects to the account itself.
	perUser bool
	// holder is whose the statement is where grants are shared, unshared why it
	// is nobody's.
	holder   holder
	unshared string
	// creates is true where the account is created, or may be by code that
	// knows its name.
	creates bool
}

// classify says how a statement of a kind runs. It is asked about statements
// that refusal let through.
func (p phrase) classify(k Kind) class {
	c := class{head: p.head(), conflicting: true}
	c.holder, c.unshared = p.share()
	switch p.word(0) {
	case "CREATE", "ALTER", "DROP":
		p.classifyDDL(&c, k)
	case "GRANT", "REVOKE":
		c.batchable = true
		c.conflicting = p.has("ON") // without ON it is a membership
		c.perUser = c.conflicting && p.word(0) == "GRANT" && p.mentionsOwn()
	case "COMMENT":
		c.batchable = true
		c.conflicting = !p.words(1, "ON", "ROLE") || !p.own(3)
	case "SET", "RESET":
		c.conflicting = false
	case "DO", "CALL", "SELECT", "WITH", "":
		c.creates = p.mentionsName()
	}
	if k.rotates() {
		c.batchable = false // it concerns no lease
	}
	return c
}

func (p phrase) classifyDDL(c *class, k Kind) {
	switch {
	case p.words(0, "ALTER", "DEFAULT", "PRIVILEGES"):
		c.batchable = true
		c.perUser = p.has("GRANT") && p.mentionsOwn()
	case p.aboutRole("CREATE"):
		c.batchable, c.conflicting, c.creates = true, false, true
	case p.aboutRole("ALTER"):
		// Another account's row is shared by all leases; ALL, CURRENT_USER and
		// the like mean the connection's own user.
		ownOnly := p.own(2) || p.membersOwnOnly()
		c.batchable, c.conflicting = ownOnly, !ownOnly
	case p.aboutRole("DROP"):
		list := 2
		if p.words(2, "IF", "EXISTS") {
			list = 4
		}
		c.conflicting = !p.ownOnly(list)
		// Before it exists, an account can be dropped only by mistake.
		c.batchable = k.takesAway() && p.ownOnly(list)
	}
}

// membersOwnOnly recognises ALTER GROUP g ADD USER "{{name}}", the old form of
// GRANT g TO "{{name}}".
func (p phrase) membersOwnOnly() bool {
	verb := p.word(3)
	return (verb == "ADD" || verb == "DROP") && p.word(4) == "USER" && p.ownOnly(5)
}

// mentionsName reports whether the name stands in any quotes of the statement.
func (p phrase) mentionsName() bool {
	for _, t := range p.toks {
		if t.kind == tokDollar {
			// Asked only whether the name may be there; compile refuses what
			// is wrong with it.
			refs, err := readRefs(p.src, t.bodyStart, t.bodyEnd, false)
			if err == nil && slices.ContainsFunc(refs, isName) {
				return true
			}
		}
		if slices.ContainsFunc(t.refs, isName) {
			return true
		}
	}
	return false
}

func isName(r ref) bool { return r.variable == Name }

// head returns the first keywords, for messages. Only words from fixed lists
// are repeated: others may be anything.
func (p phrase) head() string {
	verbs := append(soloVerbs(), "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE",
		"EXECUTE", "DEALLOCATE", "DECLARE", "FETCH", "MOVE", "CLOSE", "COPY", "LISTEN", "NOTIFY", "UNLISTEN", "LOAD",
		"VACUUM", "CLUSTER", "REINDEX", "CHECKPOINT", "DISCARD")
	objects := []string{
		"ROLE", "USER", "GROUP", "DEFAULT", "OWNED", "DATABASE", "TABLESPACE", "SYSTEM", "SUBSCRIPTION", "INDEX", "TABLE",
		"SCHEMA", "FUNCTION", "PROCEDURE", "TRANSACTION", "SESSION", "LOCAL", "ALL",
	}
	verb := p.word(0)
	if !slices.Contains(verbs, verb) {
		return ""
	}
	if object := p.word(1); slices.Contains(objects, object) {
		return verb + " " + object
	}
	return verb
}

// kindRefusal returns why a statement has no place in statements of a kind, or "".
func (p phrase) kindRefusal(k Kind) string {
	switch {
	case k != Creation && p.aboutRole("CREATE"):
		return "CREATE " + p.word(1) + " belongs to " + Creation.String()
	case k == Renew && p.says("LOGIN", "PASSWORD"):
		return "LOGIN and PASSWORD are refused when renewing: they would open an account that was closed meanwhile (B9)"
	case k.takesAway() && p.says("LOGIN"):
		return "LOGIN would open an account that is being closed"
	case (k == Renew || k.rotates()) && (p.aboutRole("DROP") || p.words(0, "DROP", "OWNED")):
		return "DROP " + p.word(1) + " belongs to " + Revocation.String()
	}
	return ""
}

// says looks for words outside quotes, and in code also inside them.
func (p phrase) says(words ...string) bool {
	if p.holdsCode() {
		return mentions(p.raw(), words...)
	}
	return p.has(words...)
}

// holdsCode reports whether the statement's quotes hold the body of a function.
func (p phrase) holdsCode() bool {
	if p.word(0) == "DO" {
		return true
	}
	object := 1
	if p.words(1, "OR", "REPLACE") {
		object = 3
	}
	return p.word(0) == "CREATE" && (p.word(object) == "FUNCTION" || p.word(object) == "PROCEDURE")
}
