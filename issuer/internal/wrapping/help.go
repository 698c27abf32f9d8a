package wrapping

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	const which = "POST takes token, the wrapping token, or is sent with it."
	return []engine.Help{
		{Path: Mount + "wrap", Synopsis: "Any fields, under a token that opens once.", Text: "POST takes what is to be wrapped. X-Vault-Wrap-TTL says for how long, as it does with every other request."},
		{Path: Mount + "lookup", Synopsis: "What is known of a wrapping token, without opening it.", Text: which},
		{Path: Mount + "unwrap", Synopsis: "What was wrapped, once.", Text: which},
		{Path: Mount + "rewrap", Synopsis: "Another wrapping token for what was wrapped; the first opens nothing any more.", Text: which},
	}
}
