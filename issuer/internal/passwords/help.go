package passwords

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	return []engine.Help{
		{Path: "sys/policies/password", Synopsis: "The names of password policies.", Text: "LIST gives them."},
		{Path: "sys/policies/password/…/generate", Synopsis: "A password by a policy, to try it.", Text: "GET makes one. It is kept nowhere."},
		{
			Path: "sys/policies/password/…", Synopsis: "A password policy: how passwords are drawn.",
			Text: "PUT takes policy, its text in HCL or JSON: length, and rule \"charset\" with charset and min-chars.\n" +
				"GET shows it, DELETE removes it: what names it then makes no credentials.",
		},
	}
}
