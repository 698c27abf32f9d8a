package access

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	const (
		policy = "PUT takes policy, its text in HCL or JSON. GET shows it, DELETE removes it: then it allows nothing.\nA change counts at once here, and within a second in other processes."
		ask    = "path or paths say where."
	)
	return []engine.Help{
		{Path: "sys/policies/acl", Synopsis: "The names of policies.", Text: "LIST gives them."},
		{Path: "sys/policies/acl/…", Synopsis: "A policy: what tokens that have it may do.", Text: policy},
		{Path: "sys/policy", Synopsis: "The names of policies, by an older name.", Text: "GET and LIST give them."},
		{Path: "sys/policy/…", Synopsis: "A policy, by an older name.", Text: policy},
		{Path: "sys/capabilities", Synopsis: "What a token may do on paths.", Text: "POST takes token; " + ask},
		{Path: "sys/capabilities-self", Synopsis: "What the caller may do on paths.", Text: "POST: " + ask},
		{Path: "sys/capabilities-accessor", Synopsis: "What a token may do on paths, by its accessor.", Text: "POST takes accessor; " + ask},
		{Path: ExplainPath, Synopsis: "Why the caller may do something, or what it lacks.", Text: "POST takes operation, path and data. Every token may ask about itself."},
		{Path: "sys/internal/ui/resultant-acl", Synopsis: "What the caller's policies say together.", Text: "GET shows the rules by path."},
	}
}
