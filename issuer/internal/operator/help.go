package operator

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	return []engine.Help{
		{Path: "sys/installation", Synopsis: "How things stand with the installation.", Text: "GET shows recoveries of the store, doubts about being the only copy, accounts without a lease, and the processes that run."},
		{Path: "sys/installation/confirm", Synopsis: "A person's word that this is the one installation.", Text: "PUT gives it: accounts without a lease are taken away again."},
	}
}
