// Package store is the contract of the durable store: the truth about leases,
// configuration and events. Everything else (index, stream, ledger) is rebuilt
// from it (promise 6).
//
// # What holds
//
// Durability: what Apply or Write reported as done survives a crash of the
// process and of the machine. Every transition is applied by
// [lease.Change.Apply] to the row it locked, at the store's own time (A5), and
// its event is in the same commit (transactional outbox, D3).
//
// Isolation: the checks of a [Guard] and the change they guard are one commit;
// a withdrawal that has returned is seen by every commit that starts later, and
// a listing that starts after a withdrawal returned sees every intent that was
// committed before it (A3).
//
// Quotas: a beginning that a [Quota] has no room for is refused in its commit,
// by a count that every transition keeps. The bound holds over all processes: it
// is never exceeded by beginnings, however many race.
//
// Group commit: concurrent calls share commits; a batch that fails as a whole
// is halved, so that one bad item never fails its neighbours. A commit whose
// answer was lost is read back by (id, version, key) before anything is
// answered (A6).
//
// Changes: who asks for the tokens that changed after a position is told of
// every commit that returned before it asked, whether its events have a number
// yet or not, or that some cannot be told (D7).
//
// Concurrency: every method may be called from any goroutine.
//
// # What can fail
//
//	ErrNotFound   no such row
//	ErrWithdrawn  a guard refused: nothing was changed
//	ErrQuota      a quota has no room for the beginning: nothing was changed
//	ErrRevision   an entry has another revision
//	ErrExists     an entry of that kind and key exists
//	ErrUnknown    the commit may or may not have happened and could not be
//	              read back; the caller must treat it as both
//	ErrUnavailable  the database is away, or takes no writes now (read-only,
//	              disk full, locked): not done, and asking at once will not help
//	ErrLost       the caller's lock is not its own any more
//	ErrAhead      a consumer confirms what the store never numbered: it has
//	              seen more than this store remembers (A7)
//	ErrSuspended  the store has lost commits and must not decide this (A7)
//	ErrEpoch, ErrNotSuspended  Resume is out of place
//	lease.Err…    the change does not apply to the row
//
// Any other error means: not done, try again.
//
// # Who calls
//
// The issuer (intents, activations, renewals, configuration), the revoker
// (revocations, sweeps), the publisher (numbers, heads), the auditor (missing
// events). The suite is package storetest; every implementation passes it.
package store
