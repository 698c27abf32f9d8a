package leases

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Book] serves, also under their older names.
func Help() []engine.Help {
	const (
		older  = "An older name of sys/leases/"
		below  = "All leases whose id begins with the path and a slash, begun before the request."
		named  = "PUT takes lease_id, and increment: the time from now that the lease is to live, its TTL where it is left out."
		sync   = "PUT takes sync: true, the default, waits until access has ended; false answers at once. "
		again  = "PUT takes reason, and after: where the answer's next says that there is more."
		repeat = "A revocation that fails is tried again until it is done."
	)
	return []engine.Help{
		{Path: "sys/leases", Synopsis: "The leases whose revocation needs a person.", Text: "GET takes type=irrevocable, and limit: a number, or none; prefix and connection narrow it.\nIt shows each lease with its reason, its failures and its next try."},
		{Path: "sys/leases/count", Synopsis: "How many revocations of each mount need a person.", Text: "GET takes type=irrevocable."},
		{Path: "sys/leases/tidy", Synopsis: "Nothing to start: sweeps look for what was left over all the time.", Text: "PUT says so."},
		{Path: "sys/leases/lookup", Synopsis: "A lease by its id.", Text: "PUT takes lease_id. LIST gives the first elements of the ids of live leases."},
		{Path: "sys/leases/lookup/…", Synopsis: "The live leases below a path.", Text: "LIST gives the next elements of their ids. A token that lacks the permission sees the leases that it created."},
		{Path: "sys/leases/renew", Synopsis: "More time for a lease.", Text: named},
		{Path: "sys/leases/renew/…", Synopsis: "More time for the lease whose id is in the path.", Text: named},
		{Path: "sys/leases/revoke", Synopsis: "The end of a lease.", Text: sync + "lease_id says which. " + repeat},
		{Path: "sys/leases/revoke/…", Synopsis: "The end of the lease whose id is in the path.", Text: sync + repeat},
		{Path: "sys/leases/revoke-prefix/…", Synopsis: "The end of all leases below a path.", Text: below + "\n" + sync + "reason is kept with each lease.\n" + repeat + " See sys/leases/preview and sys/leases/operations."},
		{Path: "sys/leases/revoke-force/…", Synopsis: "The end of all leases below a path, also where access could not be taken away.", Text: below + "\nWhat is not revoked within seconds is abandoned: PUT takes reason, which is kept with who did it.\nA sweep goes on looking for the accounts."},
		{Path: "sys/leases/recount", Synopsis: "A comparison of the counts that quotas go by with the leases.", Text: "PUT asks for one now; it happens each day and after an upgrade without.\nGET shows when the last one was, and for how many paths the count was wrong."},
		{Path: "sys/leases/retry", Synopsis: "Another try at a revocation, now.", Text: "PUT takes lease_id, and reason."},
		{Path: "sys/leases/retry/…", Synopsis: "Another try at the revocation of the lease whose id is in the path, now.", Text: "PUT takes reason."},
		{Path: "sys/leases/retry-prefix/…", Synopsis: "Another try at all revocations below a path that have failed, now.", Text: again},
		{Path: "sys/leases/retry-connection/…", Synopsis: "Another try at all revocations of a connection that have failed, now.", Text: "The path is that of the mount and the name of the connection. " + again},
		{Path: "sys/leases/abandon/…", Synopsis: "The end of a lease, also where access could not be taken away.", Text: "PUT takes reason, which is needed and kept with who gave it.\nThe pipeline has seconds to end it in order. A sweep goes on looking for the account."},
		{Path: "sys/leases/preview/…", Synopsis: "What a revocation of all leases below a path would take.", Text: "GET counts them by role and by who created them. Nothing is revoked."},
		{Path: "sys/leases/operations", Synopsis: "The revocations of prefixes and of disabled mounts.", Text: "LIST gives their ids."},
		{Path: "sys/leases/operations/…", Synopsis: "How far a revocation of a prefix, or of a disabled mount, has come.", Text: "GET counts what is done, failed, open and abandoned. It is there until all leases have ended, and an hour longer."},
		{Path: "sys/renew", Synopsis: older + "renew.", Text: named},
		{Path: "sys/renew/…", Synopsis: older + "renew/<lease id>.", Text: named},
		{Path: "sys/revoke", Synopsis: older + "revoke.", Text: sync + repeat},
		{Path: "sys/revoke/…", Synopsis: older + "revoke/<lease id>.", Text: sync + repeat},
		{Path: "sys/revoke-prefix/…", Synopsis: older + "revoke-prefix/<path>.", Text: below},
		{Path: "sys/revoke-force/…", Synopsis: older + "revoke-force/<path>.", Text: below},
	}
}
