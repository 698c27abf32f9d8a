package policy

import (
	"fmt"
	"strings"
	"time"
)

// Decision is the answer of an [ACL]. Its slices are shared: they are not to be
// changed.
type Decision struct {
	Allowed bool
	// Root is set where the policy root allows it, as all else.
	Root bool
	// Sudo is set where the rule gives sudo; for what only some requests to a
	// path need it for (a token without parent, one with a period).
	Sudo bool
	// Rule is the pattern that decided, empty where none matches.
	Rule string
	// Policies are those that allow it, or deny it; where something else is
	// missing, those that have the rule.
	Policies []string
	// Missing is all that the request violates, nil where it is allowed.
	Missing []Missing
}

// Kind is a way in which a request can lack permission.
type Kind int

// What each kind of [Missing] has beside it.
const (
	NoRule            Kind = iota + 1
	Denied                 // a rule with deny
	UnknownOperation       //
	MissingCapability      // Capability
	NotWrapped             // Min, Max
	WrapTTL                // Min, Max
	RequiredParameter      // Parameter, that is not there
	DeniedParameter        // Parameter, denied or with a denied value
	UnlistedParameter      // Parameter, that is not among the allowed
	UnlistedValue          // Parameter, whose value is not among the allowed
)

// Missing is one thing that stands between a request and permission.
type Missing struct {
	Kind       Kind
	Capability string
	Parameter  string        // as it was sent
	Min, Max   time.Duration // 0: no bound
}

// String says it to the person who holds the token or writes the policy.
func (m Missing) String() string {
	switch m.Kind {
	case NoRule:
		return "no policy of the token has a rule for this path"
	case Denied:
		return "the rule denies everything"
	case UnknownOperation:
		return "there is no capability for such an operation"
	case MissingCapability:
		return fmt.Sprintf("capability %q is missing", m.Capability)
	case NotWrapped:
		return "the answer must be wrapped, for " + m.bounds()
	case WrapTTL:
		return "the wrapping TTL must be " + m.bounds()
	case RequiredParameter:
		return fmt.Sprintf("parameter %q is required", m.Parameter)
	case DeniedParameter:
		return fmt.Sprintf("parameter %q is denied, or its value is", m.Parameter)
	case UnlistedParameter:
		return fmt.Sprintf("parameter %q is not among the allowed ones", m.Parameter)
	case UnlistedValue:
		return fmt.Sprintf("the value of parameter %q is not among the allowed ones", m.Parameter)
	}
	return ""
}

func (m Missing) bounds() string {
	switch {
	case m.Max == 0:
		return fmt.Sprintf("%v or longer", m.Min)
	case m.Min == 0:
		return fmt.Sprintf("%v or shorter", m.Max)
	case m.Min > m.Max:
		return fmt.Sprintf("%v or longer and %v or shorter, which policies ask for together and nothing is", m.Min, m.Max)
	}
	return fmt.Sprintf("%v to %v", m.Min, m.Max)
}

// Explain says in one line for each reason what was decided and why. It is for
// the holder of the token, in an answer that was asked for, never in the one to
// the request itself.
func (d Decision) Explain() string {
	by := strings.Join(d.Policies, ", ")
	switch {
	case d.Root:
		return "allowed by policy root"
	case d.Allowed && d.Rule == "":
		return "allowed to every token"
	case d.Allowed:
		return fmt.Sprintf("allowed by path %q of %s", d.Rule, by)
	}
	var b strings.Builder
	b.WriteString("denied")
	if d.Rule != "" {
		fmt.Fprintf(&b, " by path %q of %s", d.Rule, by)
	}
	for _, m := range d.Missing {
		b.WriteString("\n" + m.String())
	}
	return b.String()
}
