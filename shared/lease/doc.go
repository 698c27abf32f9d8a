// Package lease is the lease itself: its id, its states and the legal moves
// between them, and the arithmetic of its times. It does no I/O; every store
// enforces it by applying a [Change] to the row it has locked (rule A1).
//
//	                ┌────────── renew, use
//	                ▼            │
//	intent ──▶ active ───────────┘
//	   │          │
//	   └────┬─────┘
//	        ▼
//	    revoking ◀──┐ progress, failure, retry
//	        │  └────┘
//	        ├──▶ revoked     absence proved in the target
//	        ├──▶ expired     cannot be recalled, ran out (STS)
//	        └──▶ abandoned   forced by a person
//
// A secret starts as an intent, a token (which has no effect outside the
// store) as active, a stray account (found in the target without a live lease)
// as revoking.
//
// What holds:
//   - every applied change raises the version by one, but for [Restore], which
//     raises it above the version that the record has;
//   - a change is applied to the version it names or not at all, unless it
//     says [AnyVersion];
//   - a lease that ended never changes again;
//   - times come from the store's clock, handed to [Change.Apply] (A5), and an
//     expiry is refused while the lease still runs by that clock;
//   - a token of limited uses serves no more requests than it was granted: each
//     use is a change, the last one puts it into revoking, and versions that
//     [Restore] brings in from the record count as uses;
//   - no renewal passes the ceiling that was frozen when the lease began (A2);
//     an expiry that the record shows was allowed moves it.
//
// What can fail is named by the errors of this package; a change that fails
// leaves the lease as it was.
package lease
