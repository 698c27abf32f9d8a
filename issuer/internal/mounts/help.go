package mounts

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Table] serves.
func Help() []engine.Help {
	const move = "It is refused, and the answer says what to do: enable a new mount, move the clients, disable the old one."
	return []engine.Help{
		{Path: "sys/mounts", Synopsis: "The mounted secrets engines.", Text: "GET shows them with their settings, LIST gives their paths."},
		{Path: "sys/mounts/…", Synopsis: "A mount of a secrets engine.", Text: "POST enables it and takes type, description and config (default_lease_ttl, max_lease_ttl).\n" +
			"GET shows it. DELETE disables it: it issues nothing from then on, and what it issued is revoked."},
		{Path: "sys/mounts/…/tune", Synopsis: "The settings of a mount.", Text: "POST changes default_lease_ttl, max_lease_ttl and description, GET shows them. Live leases keep their limits."},
		{Path: "sys/internal/ui/mounts", Synopsis: "The mounts that the caller reaches.", Text: "GET shows secrets engines and auth methods."},
		{Path: "sys/internal/ui/mounts/…", Synopsis: "The mount that serves a path.", Text: "GET shows it to who has a permission there. Clients ask before they read."},
		{Path: "sys/remount", Synopsis: "Moving a mount, which is not possible.", Text: move},
		{Path: "sys/remount/status/…", Synopsis: "The state of such a move.", Text: move},
	}
}
