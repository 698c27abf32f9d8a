// Package expiry is the contract of the expiry index: which leases fall due,
// when, per target.
//
// What holds: the index is a hint (D1). A member that waits in due only moves
// to an earlier time; only the holder of a claim may put it later, and loses to
// an earlier time that was offered meanwhile, unless that is the time for which
// it was claimed: an old hint that came again is no news. A claimed member is in flight
// until it is done, put back, or its claim lapses; then it is due again.
// Claiming moves a member to in-flight before it leaves due, so that a crash in
// between leaves it in at least one.
//
// What can fail: anything, at any time, with all content lost. The sweep of
// overdue leases in the store finds what the index forgot; the worker re-reads
// the store after every claim, so that a wrong member does no harm: one too many
// costs its place until it falls due, and a claim. An index that is a [Comparer]
// can be asked what it lacks before that is overdue (D2).
//
// Who calls: the revoker. The suite is package expirytest.
package expiry
