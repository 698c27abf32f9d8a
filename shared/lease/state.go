package lease

import "slices"

// State is where a lease stands (A1).
type State string

// The states. The last three are final.
const (
	Intent    State = "intent"    // committed before the target is touched
	Active    State = "active"    // the account was seen in the target
	Revoking  State = "revoking"  // access is being taken away
	Revoked   State = "revoked"   // absence proved in the target
	Expired   State = "expired"   // cannot be recalled, ran out
	Abandoned State = "abandoned" // given up by a person, with actor and reason
)

// none is the state of a lease that has no row yet.
const none State = ""

// moves is the one table of legal transitions.
var moves = map[State][]State{
	none:      {Intent, Active, Revoking},
	Intent:    {Intent, Active, Revoking}, // to itself: a higher version, by Restore (A7)
	Active:    {Active, Revoking},
	Revoking:  {Revoking, Revoked, Expired, Abandoned},
	Revoked:   {},
	Expired:   {},
	Abandoned: {},
}

// starts says in which state a lease of each kind begins.
var starts = map[Kind]State{Secret: Intent, Token: Active, Stray: Revoking}

// States lists every state, in the order of a life.
func States() []State { return []State{Intent, Active, Revoking, Revoked, Expired, Abandoned} }

// CanBecome reports whether s → t is in the table.
func (s State) CanBecome(t State) bool { return slices.Contains(moves[s], t) }

// Final reports whether nothing can follow s.
func (s State) Final() bool { return s == Revoked || s == Expired || s == Abandoned }

// Live reports whether the credential may be in use: s is intent or active.
func (s State) Live() bool { return s == Intent || s == Active }

// Kind says what a lease is about.
type Kind string

// The kinds.
const (
	Secret Kind = "secret" // an account or key in a target
	Token  Kind = "token"  // a token of Curfew itself
	Stray  Kind = "stray"  // an account with our mark that no lease stands for (B3)
)
