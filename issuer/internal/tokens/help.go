package tokens

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Registry] serves.
func Help() []engine.Help {
	const (
		wish = "POST takes policies, ttl, explicit_max_ttl, period, num_uses, display_name, meta, renewable and no_default_policy."
		ends = " What was issued to it, and the tokens made with it, end with it."
	)
	return []engine.Help{
		{Path: "auth/token", Synopsis: "Tokens: who asks, and what they may do.", Text: "A token is a lease. What it creates, and the tokens made with it, end when it ends."},
		{Path: "auth/token/create", Synopsis: "A new token, a child of the caller's.", Text: wish + " no_parent makes an orphan and needs sudo."},
		{Path: "auth/token/create-orphan", Synopsis: "A new token without a parent.", Text: wish},
		{Path: "auth/token/lookup-self", Synopsis: "The caller's token.", Text: "GET shows it."},
		{Path: "auth/token/lookup", Synopsis: "A token.", Text: "POST takes token. GET shows the caller's own."},
		{Path: "auth/token/lookup-accessor", Synopsis: "A token by its accessor.", Text: "POST takes accessor."},
		{Path: "auth/token/renew-self", Synopsis: "More time for the caller's token.", Text: "POST takes increment, the time from now."},
		{Path: "auth/token/renew", Synopsis: "More time for a token.", Text: "POST takes token and increment, the time from now."},
		{Path: "auth/token/renew-accessor", Synopsis: "More time for a token by its accessor.", Text: "POST takes accessor and increment, the time from now."},
		{Path: "auth/token/revoke-self", Synopsis: "The end of the caller's token.", Text: "POST ends it." + ends},
		{Path: "auth/token/revoke", Synopsis: "The end of a token.", Text: "POST takes token." + ends},
		{Path: "auth/token/revoke-accessor", Synopsis: "The end of a token by its accessor.", Text: "POST takes accessor." + ends},
		{Path: "auth/token/revoke-orphan", Synopsis: "The end of a token whose children stay.", Text: "POST takes token. What was issued to it ends with it."},
		{Path: "auth/token/accessors", Synopsis: "The accessors of all tokens.", Text: "LIST gives them."},
		{Path: "auth/token/tidy", Synopsis: "Nothing to start: what has ended is forgotten all the time.", Text: "POST says so."},
	}
}
