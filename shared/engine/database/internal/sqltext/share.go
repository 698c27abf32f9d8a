package sqltext

// holder says to whom a statement belongs where grants are shared: to the
// account itself, or to the group role that all accounts of a role are members
// of.
type holder uint8

const (
	holderNone holder = iota
	holderAccount
	holderGroup
)

// Reasons why a statement has no place where grants are shared.
const (
	reasonUnshared = `has no place with shared_grants: there are CREATE ROLE, ALTER ROLE and COMMENT ON ROLE of "{{name}}", ` +
		`memberships (GRANT … TO "{{name}}"), which stay with the account, and GRANT … ON … TO "{{name}}" and ` +
		`ALTER DEFAULT PRIVILEGES … GRANT … TO "{{name}}", which go to the group role`
	reasonGrantee = `with shared_grants a GRANT … ON … ends in TO "{{name}}", alone, perhaps WITH GRANT OPTION: ` +
		`it is made once, for the group role, and no other variable has a value there`
	reasonNoInherit = "NOINHERIT: with shared_grants the account has its privileges by membership, and would not have them"
	reasonNothing   = `shared_grants has nothing to share: no statement is GRANT … ON … TO "{{name}}" or ALTER DEFAULT PRIVILEGES … GRANT … TO "{{name}}"`
)

// Share splits creation statements where grants are shared: what makes the
// account is run for each, what it may do to objects is granted once, to a group
// role. Each statement is in exactly one of the two, in its order and with its
// number. An error is an [*Error]: the first statement that fits neither.
//
// Sources of the group's half are parsed again as [Shared], those of the
// account's as [Creation].
func (s Script) Share() (account, group Script, err error) {
	account.kind, group.kind = s.kind, Shared
	for _, st := range s.statements {
		switch st.class.holder {
		case holderAccount:
			account.statements = append(account.statements, st)
		case holderGroup:
			st.kind = Shared
			group.statements = append(group.statements, st)
		case holderNone:
			return Script{}, Script{}, st.fault(st.class.unshared)
		}
	}
	if len(group.statements) == 0 {
		return Script{}, Script{}, &Error{Kind: s.kind, Reason: reasonNothing}
	}
	return account, group, nil
}

// share says which half the statement belongs to, or why to none.
func (p phrase) share() (of holder, reason string) {
	switch {
	case p.aboutRole("CREATE") && p.own(2), p.aboutRole("ALTER") && (p.own(2) || p.membersOwnOnly()):
		if p.has("NOINHERIT") {
			return holderNone, reasonNoInherit
		}
		return holderAccount, ""
	case p.words(0, "COMMENT", "ON", "ROLE") && p.own(3):
		return holderAccount, ""
	case p.word(0) == "GRANT" && !p.has("ON"):
		return holderAccount, "" // it is cheap, and says itself what is inherited
	case p.word(0) == "GRANT", p.words(0, "ALTER", "DEFAULT", "PRIVILEGES") && p.has("GRANT") && !p.has("REVOKE"):
		if p.ownGrantee() {
			return holderGroup, ""
		}
		return holderNone, reasonGrantee
	}
	return holderNone, reasonUnshared
}

// ownGrantee reports whether the statement ends in TO "{{name}}", perhaps WITH
// GRANT OPTION, and holds no other variable.
func (p phrase) ownGrantee() bool {
	end := len(p.toks)
	if end > 3 && p.words(end-3, "WITH", "GRANT", "OPTION") {
		end -= 3
	}
	at := end - 1
	before := at - 1
	if p.word(before) == "GROUP" { // the old spelling
		before--
	}
	if !p.own(at) || p.word(before) != "TO" {
		return false
	}
	for i, t := range p.toks {
		if t.kind == tokDollar || i != at && len(t.refs) > 0 {
			return false
		}
	}
	return true
}
