// Package recovery brings a store back that has lost commits (A7): one that was
// restored from an older copy, or failed over to a standby that lagged. The
// ledger has what was committed; what it knows beyond the store is replayed
// into the store, and the store goes on in a new epoch.
//
// # The steps
//
//  1. Anchor: the store knows of a last event that is on record (what the
//     consumer "ledger" confirmed). The ledger must have it, as the store has
//     it; else it is another store's, [ErrForeign].
//  2. Suspend: from this commit on the store decides nothing that it could
//     decide wrongly: it issues, renews, expires and numbers nothing.
//  3. Common: from the anchor on, store and ledger are compared event by event,
//     epoch by epoch, up to the last that both have.
//  4. Fold: what the ledger has after that, and what the stream has that
//     neither has under its number, is folded into the last known state of each
//     lease. A lease that was seen ending has ended; else the highest version
//     counts, and of equal ones the later.
//  5. Restore: each of those states is applied by [lease.Restore]. What cannot
//     be brought back is a loss, by name.
//  6. Keep: where anything is missing, or may be, each intent that the store now
//     has may have been confirmed in a commit that nothing has. It is rolled back
//     only when its credential would have ended in any case.
//  7. Resume: one commit ends the suspension, begins the epoch, gives the
//     store's own events after the common one its first numbers, raises the
//     doubt that keeps stray sweeps from acting (B3), and keeps the report. Where
//     nothing is missing, no epoch begins and nobody doubts.
//
// # What holds
//
//   - Nothing that is on record as revoked, or as being revoked, is live after
//     it; nothing that is on record as live ends earlier than the record's last
//     word says, by this.
//   - A credential whose intent store or record has, and whose confirmation was
//     answered and then lost, works until its first term is over: its intent
//     stays one, nobody can renew it, and it can be revoked by request. No
//     creation is allowed for longer than the store had allowed it (B1).
//   - The epoch is greater than any that store, ledger or stream has: no number
//     is given twice.
//   - Nothing that store and record share is changed but how long an intent is
//     kept, and nothing is deleted.
//   - It is repeated from the first step after a crash or an error anywhere, to
//     the same end: steps 1, 3 and 4 only read, 2, 5 and 6 do nothing the second
//     time, 7 is one commit.
//
// # What is not brought back
//
//	tokens begun since       the record has no hash of them: a loss, by accessor
//	configuration            the record has no values, lest it have secrets: a
//	                         loss, by path
//	leases of connections    nobody could take their accounts away: a loss, with
//	that the store has not   account and target
//	entries that cannot be   a loss, by number
//	read
//	what neither ledger nor  nobody knows it. Accounts without an intent bear the
//	stream has               mark, so the stray sweep finds and reports them;
//	                         renewals count no more; revocations have to be made
//	                         again, as the report says where the store knows that
//	                         commits are missing
//	what the stream alone    held to be nothing where it did not say within
//	has, if store and        appender.Config.Tail, at a start of the store's
//	ledger agree             server, where it ends: what is due meanwhile goes by
//	                         the older store. The publisher sees it before it
//	                         sends anything, and it is brought back then
//	the term of an intent    records made before intents said it: the intent is
//	                         rolled back after the grace of a creation
//
// # A crash, or an error, after each step
//
//	anchor    nothing was done
//	suspend   the store stays suspended; the appender looks for that when it
//	          begins and each second, and comes here
//	restore   leases that were restored are found so and counted again; those
//	          that must go are being taken away already
//	keep      intents that were kept need no more; the others follow
//	resume    the store is not suspended: the next try has nothing to do. If the
//	          answer was lost, the store is asked
//
// # What can fail
//
//	the ledger is another    ErrForeign at each try. A store that is not
//	store's                  suspended is not suspended for it: nothing says that
//	                         it is old, and suspending would stop expiry. Nothing
//	                         is appended, so that the backlog's limit ends issuing
//	                         (D4). A store that is suspended stays so. A person
//	                         puts the right one of the two back
//	store away               tried again by who calls
//	ledger away or damaged   tried again; the store stays suspended meanwhile.
//	                         A single entry that is no event is a loss
//	stream away, or slower   recovered without the rest of it; the report says
//	than Config.Stream       so, and an epoch begins in any case. The next
//	                         recovery, if there is one, begins where this one did
//	a copy of store, ledger  not seen here: they agree. The marks in the targets
//	and stream together      show it (B3)
//
// # Who calls
//
// The auditor's appender, which has the ledger's lock: one recovery at a time.
package recovery
