// Package installation is what all roles know about the installation as a whole:
// whether it is in doubt, which targets it owns, and what its last recovery could
// not bring back. All of it is kept in the store, as entries of
// [store.KindSystem].
//
// # Doubt
//
// A sweep takes accounts away that bear the installation's mark and have no
// lease. Where the store is older than the accounts, or belongs to a copy of the
// installation, those may be credentials that somebody uses. So after a restore,
// after a change of epoch, or on a copy, sweeps only report until a person has
// confirmed (B3). Leases are not concerned: what the store knows is revoked on
// time in any case.
//
//	[Raise]    the recovery, or a start in another place, doubts
//	[Current]  the sweep asks before it acts
//	[Confirm]  a person has looked: sweeps act again
//
// # Owning a target
//
// A copy of an installation has every key of the original, so nothing that is
// written down once tells them apart. What does is a mark in the target that
// changes with every round of the sweep, and that the store remembers: the one of
// two copies that comes second finds a mark that it never wrote. The mark names
// the run of the process that wrote it and counts up.
//
//	[Owned]     what the store knows, read after the mark
//	[Own]       the next mark, committed before it is written
//	[Contest]   the mark was another's: it was replaced by one that is nobody's
//	            ([Disputed]), which the other meets in turn, and so both only report
//	[Confirm]   whatever was contested is taken over
//
// What holds: a mark that was written is known to the store that wrote it, to
// what is copied from it later, and to no other; a contest stands until a
// confirmation that follows it; nothing of this is lost to a change that comes
// at the same time.
//
// # What can fail
//
// Errors are the store's. A change that meets another is tried again here, so
// that callers need not.
package installation
