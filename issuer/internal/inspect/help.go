package inspect

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	return []engine.Help{
		{Path: "sys/fsck", Synopsis: "What curfew fsck compares of the installation as a whole.", Text: "GET tells how far events have come, which processes run and which targets there are."},
		{Path: "sys/fsck/leases", Synopsis: "What curfew fsck compares of leases.", Text: "GET pages through those that have not ended: after, limit. Or it asks for one account, one id, or what is overdue."},
		{Path: "sys/fsck/accounts/…", Synopsis: "The accounts in a target that bear our mark.", Text: "GET pages through their names: after, limit. Nothing is changed in the target."},
	}
}
