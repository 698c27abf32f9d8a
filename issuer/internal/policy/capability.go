package policy

import "slices"

// Operation is what a request asks for.
type Operation string

// Each operation needs the capability of its name, but Help, which shows no
// data and is open to every token.
const (
	Create    Operation = "create"
	Read      Operation = "read"
	Update    Operation = "update"
	Patch     Operation = "patch"
	Delete    Operation = "delete"
	List      Operation = "list"
	Subscribe Operation = "subscribe"
	Help      Operation = "help"
)

// capability is a set of capabilities.
type capability uint16

const (
	canCreate capability = 1 << iota
	canRead
	canUpdate
	canPatch
	canDelete
	canList
	canSudo
	canSubscribe
	denied // alone in a set
)

const capabilityCount = 9

func (c capability) has(other capability) bool { return c&other != 0 }

// index is the place of a single capability in tables.
func (c capability) index() int {
	i := 0
	for ; c > 1; c >>= 1 {
		i++
	}
	return i
}

// join is the capabilities of two rules together: deny takes all away.
func (c capability) join(other capability) capability {
	if c |= other; c.has(denied) {
		return denied
	}
	return c
}

// names are the capabilities in alphabetical order, `deny` where there is none.
func (c capability) names() []string {
	var out []string
	for i := range capabilityCount {
		if single := capability(1) << i; c.has(single) {
			out = append(out, single.name())
		}
	}
	if out == nil {
		out = []string{denied.name()}
	}
	slices.Sort(out)
	return out
}

func (c capability) name() string {
	switch c {
	case canSudo:
		return "sudo"
	case denied:
		return "deny"
	case canCreate:
		return string(Create)
	case canRead:
		return string(Read)
	case canUpdate:
		return string(Update)
	case canPatch:
		return string(Patch)
	case canDelete:
		return string(Delete)
	case canList:
		return string(List)
	case canSubscribe:
		return string(Subscribe)
	}
	return ""
}

// capabilityOf gives the capability of a name in a policy, 0 where it is none.
func capabilityOf(name string) capability {
	switch name {
	case "sudo":
		return canSudo
	case "deny":
		return denied
	}
	return Operation(name).needs()
}

// needs is the capability that an operation takes, 0 where it is unknown.
func (o Operation) needs() capability {
	switch o {
	case Create:
		return canCreate
	case Read:
		return canRead
	case Update:
		return canUpdate
	case Patch:
		return canPatch
	case Delete:
		return canDelete
	case List:
		return canList
	case Subscribe:
		return canSubscribe
	case Help:
	}
	return 0
}

// hasParameters reports whether the parameters of such a request are looked at.
func (o Operation) hasParameters() bool {
	return o == Create || o == Read || o == Update || o == Patch
}

// shorthand gives the capabilities of the old form, policy = "write".
func shorthand(name string) (capability, bool) {
	const write = canCreate | canRead | canUpdate | canDelete | canList
	switch name {
	case "":
		return 0, true
	case "deny":
		return denied, true
	case "list":
		return canList, true
	case "read":
		return canRead | canList, true
	case "write":
		return write, true
	case "sudo":
		return write | canSudo, true
	}
	return 0, false
}
