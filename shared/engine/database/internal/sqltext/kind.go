package sqltext

import "slices"

// Kind says what statements are for. It decides which variables have a value
// and which statements may stand there.
type Kind uint8

const (
	// Creation makes the account of a lease.
	Creation Kind = iota + 1
	// Renew runs when a lease is extended.
	Renew
	// Revocation takes the account of a lease away.
	Revocation
	// Rollback takes away what a failed creation left.
	Rollback
	// RotateRoot changes the password of the connection's own user.
	RotateRoot
	// Rotation changes the password of an account that is not Curfew's own.
	Rotation
	// Shared is what [Script.Share] takes out of creation statements for a group
	// role; {{name}} is the group's.
	Shared
)

// String returns the name of the field of the API that holds the statements.
func (k Kind) String() string {
	switch k {
	case Creation, Shared:
		return "creation_statements"
	case Renew:
		return "renew_statements"
	case Revocation:
		return "revocation_statements"
	case Rollback:
		return "rollback_statements"
	case RotateRoot:
		return "root_rotation_statements"
	case Rotation:
		return "rotation_statements"
	}
	return "statements"
}

// variables returns those that have a value in statements of this kind.
func (k Kind) variables() []Variable {
	switch k {
	case Creation:
		return []Variable{Name, Password, Expiration}
	case Renew:
		return []Variable{Name, Expiration}
	case Revocation, Rollback, Shared:
		return []Variable{Name}
	case RotateRoot, Rotation:
		return []Variable{Name, Password}
	}
	return nil
}

func (k Kind) has(v Variable) bool { return slices.Contains(k.variables(), v) }

func (k Kind) rotates() bool { return k == RotateRoot || k == Rotation }

func (k Kind) takesAway() bool { return k == Revocation || k == Rollback }
