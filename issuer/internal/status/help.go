package status

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	return []engine.Help{
		{Path: "sys/health", Synopsis: "Whether this process can serve.", Text: "GET answers by its status: 200, 501 not initialised, 503 sealed. It needs no token."},
		{
			Path: "sys/seal", Synopsis: "Seal the API of every issuer.",
			Text: "PUT closes the API and stops issuing, until somebody unseals it; restarts do not. It needs sudo. What was issued is still revoked on time.",
		},
		{
			Path: "sys/unseal", Synopsis: "Open what is sealed.",
			Text: "PUT takes the master key as key, in hex or base64. It needs no token. reset=true is accepted: the key has no parts.",
		},
		{Path: "sys/seal-status", Synopsis: "Whether the server is sealed.", Text: "GET shows it. It needs no token."},
		{Path: "sys/leader", Synopsis: "Which process leads; every one serves.", Text: "GET shows it. It needs no token."},
		{Path: "sys/init", Synopsis: "Whether the installation is there.", Text: "GET shows it, PUT makes it, once, and answers what its operators need. It needs no token."},
	}
}
