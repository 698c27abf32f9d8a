// Package revoker takes access away on time: it watches what falls due, claims
// it in batches per target, and drives each revocation through its stages until
// absence is proved.
//
// # What holds
//
// Correctness rests on the store and the sweeps (D1): with an index and a
// stream that do nothing, every due lease is found within a second. The stream
// makes wake-ups immediate, the index spreads the work over processes.
//
// Never early: a lease enters revoking for expiry only in a commit in which the
// store's own clock is at or past its expiry (A5).
//
// Never given up: a failed attempt has one fate (C8), chosen in work.Fate:
// retry with growing delay, or park with the reason and try again at least
// every 15 minutes. A target that does not answer is probed with one lease at a
// time; its first success wakes the whole backlog.
//
// No target waits for another: each has its own claims and flights.
//
// Nothing is taken away because a store that may lack something lacks it: the
// stray sweep acts only where no doubt stands (A7) and where the mark in the
// target shows that no other installation sweeps it (B3). What the store has is
// revoked on time in any case.
//
// # Loops
//
//	indexer    stream → index             wake-ups
//	upcoming   store  → index             what falls due within the window
//	drift      store  ↔ index             what the index lacks of it (D2)
//	overdue    store  → index             what everything else forgot, each second
//	claimer    index  → flights           a batch of one target at a time
//	lapse      claims that ran out
//	barriers   prefix revocations that were not listed to their end (A4)
//	mounts     mounts that are being disabled (A2)
//	strays     accounts in a target without a live lease (B3)
//	owners     what is kept of targets that are gone
//	ghosts     sessions without an account (C2)
//	rotations  passwords of static roles that are due (package rotate)
//	groups     group roles to be refreshed, or dropped (package rotate)
//	prune      leases that ended long ago
//	recount    counts of living leases that are wrong (quotas)
//
// # What can fail
//
//	store away     nothing is revoked (C10); on return the most overdue go first
//	store rewound  while it is suspended nothing expires, revocations go on; a
//	               lease from the record is ended by the target's safe default
//	copy at work   strays are reported, here and there, until a person confirms
//	target away    its leases wait; others do not notice
//	index away     the overdue sweep feeds an index of the process's own; what it
//	               lacks is not known until it is back
//	index emptied  what falls due within the window is there again after two looks,
//	               the rest as it enters the window; until then the sweep
//	process dies   its claims lapse after five seconds; every effect is repeatable
//	               (C7)
package revoker
